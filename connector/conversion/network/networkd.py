"""systemd-networkd: /etc/systemd/network/*.network."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final

from connector.conversion.network import link_files, sections
from connector.conversion.network.cards import (
    NameClaim,
    NamedCard,
    Naming,
    fits_some_card,
    is_physical,
    path_name,
)
from connector.conversion.network.texts import GuestTexts

_FOLDER: Final = "/etc/systemd/network"
_STATIC: Final = ("Address", "Gateway", "DNS", "Domains")
_DHCP: Final = ("yes", "true", "1", "on", "both", "ipv4", "v4")
_UPPER: Final = ("Bond", "Bridge", "VRF")


def claims(texts: GuestTexts) -> list[NameClaim]:
    """The names and MACs of [Match]."""
    result: list[NameClaim] = []
    for path in texts.paths(_FOLDER, ".network"):
        text = texts.read(path) or ""
        names = [name for name in sections.words(text, "Match", "Name") if is_physical(name)]
        macs = _macs(text)
        if not sections.words(text, "Match", "Name"):
            result += [NameClaim("", mac) for mac in macs]
            result += [
                NameClaim(path_name(place))
                for place in sections.words(text, "Match", "Path")
                if path_name(place)
            ]
        result += [NameClaim(name, macs[0] if len(macs) == len(names) == 1 else "") for name in names]
    return result


def _macs(text: str) -> list[str]:
    return [
        mac for key in ("MACAddress", "PermanentMACAddress") for mac in sections.words(text, "Match", key)
    ]


def match_by_name(texts: GuestTexts, naming: Naming) -> None:
    """Files that match a card by MAC, place or driver match it by name."""
    for path in texts.paths(_FOLDER, ".network"):
        text = texts.read(path) or ""
        removed = link_files.removed_matches(text, naming)
        if not removed:
            continue
        names = sections.words(text, "Match", "Name")
        card = link_files.matched_card(text, naming)
        if not names and card is None:
            texts.note(
                f"{path} matches cards by {', '.join(removed)}, and it is not known which cards these are"
            )
            continue
        changed = sections.without(text, "Match", lambda key, removed=removed: key in removed)  # type: ignore[misc]
        if not names and card is not None and not _macs(changed):
            changed = sections.with_value(changed, "Match", "Name", card.name)
        texts.change(path, changed, f"matches by {', '.join(removed)}, which the card has under VMware only")


def ask_dhcp(texts: GuestTexts, card: NamedCard, naming: Naming) -> None:
    """The first file that matches the card is the one that networkd applies."""
    for path in texts.paths(_FOLDER, ".network"):
        text = texts.read(path) or ""
        if _fits(text, card.name) or _matches_mac(text, card, naming):
            _ask(texts, path, text, card.name)
            return


def ask_dhcp_unnamed(texts: GuestTexts, *, is_alone: bool) -> None:
    """Files that match cards by a pattern or by their type. `is_alone`: the machine has one card, so the first is its own."""
    for path in texts.paths(_FOLDER, ".network"):
        text = texts.read(path) or ""
        names = sections.words(text, "Match", "Name")
        if _macs(text) or sections.words(text, "Match", "Path") or any(map(is_physical, names)):
            continue
        is_type = not names and "ether" in sections.words(text, "Match", "Type")
        if not is_type and not any(map(fits_some_card, names)):
            continue
        if is_alone:
            _ask(texts, path, text, "the card")
            return
        if _addresses(text):
            texts.note(
                f"{path} gives a fixed address to any card; it was kept, because the machine has several"
            )


def _fits(text: str, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in sections.words(text, "Match", "Name"))


def _addresses(text: str) -> list[str]:
    return sections.values(text, "Network", "Address") + sections.values(text, "Address", "Address")


def _matches_mac(text: str, card: NamedCard, naming: Naming) -> bool:
    return not sections.words(text, "Match", "Name") and link_files.matched_card(text, naming) == card


def _ask(texts: GuestTexts, path: str, text: str, name: str) -> None:
    upper = [name for key in _UPPER for name in sections.values(text, "Network", key)]
    if upper:
        texts.note(f"{name} belongs to {upper[0]}; the addresses of {upper[0]} were kept")
        return
    if texts.paths(f"{path}.d", ".conf"):
        texts.note(f"{path}.d holds further settings of {name}, which were kept")
    old = _addresses(text)
    asks = [value.lower() for value in sections.values(text, "Network", "DHCP")[-1:]]
    if not old and not asks:
        texts.note(f"{name} has no address of its own in {path}; nothing was changed there")
        return
    changed = sections.without(text, "Network", lambda key: key in _STATIC) if old else text
    changed = sections.without_sections(changed, "Address", "Route") if old else changed
    if not asks or asks[0] not in _DHCP:
        changed = sections.with_value(changed, "Network", "DHCP", "yes")
    texts.change(path, changed, f"{name} asks DHCP on the target")
