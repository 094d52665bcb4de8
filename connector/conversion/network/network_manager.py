"""NetworkManager: the keyfiles in /etc/NetworkManager/system-connections."""

from __future__ import annotations

import re
from typing import Final

from connector.conversion.network import sections
from connector.conversion.network.cards import NameClaim, NamedCard, Naming, is_valid, path_name
from connector.conversion.network.texts import GuestTexts

_FOLDER: Final = "/etc/NetworkManager/system-connections"
_ETHERNET: Final = ("ethernet", "802-3-ethernet")  # the name of the type and of its section
_STATIC: Final = re.compile(
    r"(?:address|addresses|route|routes|routing-rule)\d*|route\d+_options|gateway|dns|dns-search|dns-priority"
    r"|ignore-auto-dns|ignore-auto-routes|never-default"
)
_BACKUP: Final = re.compile(r".*(?:~|\.(?:bak|orig|old|rpmnew|rpmsave|dpkg-\w+))")


def claims(texts: GuestTexts) -> list[NameClaim]:
    """The names and MACs of Ethernet connections."""
    result: list[NameClaim] = []
    for path in _paths(texts):
        text = texts.read(path) or ""
        mac = next(iter(_macs(text)), "")
        names = [name for name in _names(text) if is_valid(name)]
        names += [path_name(place) for place in _places(text) if not names and not mac and path_name(place)]
        if mac or names:
            result += [NameClaim(name, mac) for name in names or [""]]
    return result


def match_by_name(texts: GuestTexts, naming: Naming) -> None:
    """Connections that know their card by MAC, place or driver know it by name."""
    for path in _paths(texts):
        text = changed = texts.read(path) or ""
        for section in _ETHERNET:
            if any(sections.values(text, section, key) for key in ("cloned-mac-address",)):
                texts.note(f"{path} sets the MAC of its card (cloned-mac-address); this was kept")
        changed = _unpinned(changed, naming)
        changed = _unplaced(texts, path, changed, naming)
        texts.change(
            path, changed, "knows its card by the MAC, the place or the driver that it has under VMware"
        )


def _unpinned(text: str, naming: Naming) -> str:
    card = next((card for mac in _macs(text) if (card := naming.of_mac(mac))), None)
    if naming.keeps_macs or card is None:
        return text
    for section in _ETHERNET:
        text = sections.without(text, section, lambda key: key == "mac-address")
    return text if _names(text) else sections.with_value(text, "connection", "interface-name", card.name)


def _unplaced(texts: GuestTexts, path: str, text: str, naming: Naming) -> str:
    places = _places(text)
    drivers = [word for value in sections.values(text, "match", "driver") for word in _words(value)]
    if not places and not any(word.startswith(("vmxnet", "e1000")) for word in drivers):
        return text
    cards = {card.name for word in places if (card := naming.of_path(word))} or {
        card.name for card in naming.cards if naming.alone
    }
    if not _names(text) and len(cards) != 1:
        texts.note(f"{path} matches cards by place or driver, and it is not known which cards these are")
        return text
    text = sections.without(text, "match", lambda key: key in ("path", "driver"))
    return text if _names(text) else sections.with_value(text, "connection", "interface-name", min(cards))


def ask_dhcp(texts: GuestTexts, card: NamedCard, naming: Naming) -> None:
    """Every connection of the card; one that fits any card is its own when the machine has no other card."""
    for path in _paths(texts):
        text = texts.read(path) or ""
        macs, names = _macs(text), _names(text)
        is_of_card = card.name in names if names else any(naming.of_mac(mac) == card for mac in macs)
        if is_of_card or (
            not names and not macs and naming.alone and not sections.values(text, "match", "path")
        ):
            _ask(texts, path, text, card)


def ask_dhcp_unnamed(texts: GuestTexts, *, is_alone: bool) -> None:
    """Connections that fit any card. `is_alone`: the machine has one, so they are its own."""
    for path in _paths(texts):
        text = texts.read(path) or ""
        if _names(text) or _macs(text) or sections.values(text, "match", "path"):
            continue
        if is_alone:
            _ask(texts, path, text, None)
        elif any(sections.values(text, family, "method")[-1:] == ["manual"] for family in ("ipv4", "ipv6")):
            texts.note(
                f"{path} gives a fixed address to any card; it was kept, because the machine has several"
            )


def _ask(texts: GuestTexts, path: str, text: str, card: NamedCard | None) -> None:
    name = card.name if card else "the card"
    masters = [v for key in ("master", "controller") for v in sections.values(text, "connection", key)]
    if masters:
        texts.note(f"{name} belongs to {masters[0]}; the addresses of {masters[0]} were kept")
        return
    changed = text
    for family in ("ipv4", "ipv6"):
        methods = sections.values(text, family, "method")[-1:]
        if methods == ["manual"]:
            changed = sections.without(changed, family, lambda key: _STATIC.fullmatch(key) is not None)
            changed = sections.with_value(changed, family, "method", "auto")
        elif family == "ipv4" and methods and methods != ["auto"]:
            texts.note(f"{path} has the IPv4 method {methods[0]}, which was kept")
    texts.change(path, changed, f"{name} asks DHCP on the target")


def _paths(texts: GuestTexts) -> list[str]:
    """The files of Ethernet connections. Before release 1.20 they had no ending."""
    paths = [path for path in texts.paths(_FOLDER) if not _BACKUP.fullmatch(path)]
    return [path for path in paths if set(_types(texts.read(path) or "")) & set(_ETHERNET)]


def _types(text: str) -> list[str]:
    return sections.values(text, "connection", "type")[-1:]


def _macs(text: str) -> list[str]:
    return [mac for section in _ETHERNET for mac in sections.values(text, section, "mac-address") if mac]


def _names(text: str) -> list[str]:
    names = [name for name in sections.values(text, "connection", "interface-name")[-1:] if name]
    matched = [word for value in sections.values(text, "match", "interface-name") for word in _words(value)]
    return names + [word for word in matched if is_valid(word)]


def _places(text: str) -> list[str]:
    return [word for value in sections.values(text, "match", "path") for word in _words(value)]


def _words(value: str) -> list[str]:
    return [word for word in re.split(r"[;,\s]+", value) if word]
