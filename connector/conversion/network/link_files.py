"""Files with which systemd-udevd names network cards (systemd.link), and whether a guest lets systemd name them at all.

None is written here: before a card can be matched by `OriginalName=`, the initramfs may have renamed it, and then the file
is not applied; see `udev_rules`.
"""

from __future__ import annotations

import re
from typing import Final

from connector.conversion.network import sections
from connector.conversion.network.cards import NameClaim, NamedCard, Naming
from connector.conversion.network.texts import GuestTexts

FOLDER: Final = "/etc/systemd/network"
_DEFAULT: Final = f"{FOLDER}/99-default.link"
_RULES: Final = "/etc/udev/rules.d"
_SETUP: Final = "80-net-setup-link.rules"  # reads .link files
_MACS: Final = ("MACAddress", "PermanentMACAddress")
VMWARE_DRIVERS: Final = ("vmxnet*", "e1000*", "pcnet32", "vlance")
_KERNEL: Final = re.compile(r"eth(\d{1,2})")


def claims(texts: GuestTexts) -> list[NameClaim]:
    """The names that .link files give."""
    result: list[NameClaim] = []
    for path in texts.paths(FOLDER, ".link"):
        text = texts.read(path) or ""
        macs = [word for key in _MACS for word in sections.words(text, "Match", key)]
        originals = sections.words(text, "Match", "OriginalName")
        kernel = _KERNEL.fullmatch(originals[0]) if len(originals) == 1 else None
        order = int(kernel[1]) if kernel else None
        for name in sections.values(text, "Link", "Name")[-1:]:
            result.append(NameClaim(name, macs[0] if macs else "", order, gives=True))
    return result


def match_by_name(texts: GuestTexts, naming: Naming) -> None:
    """Files that match a card by MAC, place or driver match it by the kernel's order; their settings stay."""
    for path in texts.paths(FOLDER, ".link"):
        _match(texts, path, naming)


def _match(texts: GuestTexts, path: str, naming: Naming) -> None:
    text = texts.read(path) or ""
    removed = removed_matches(text, naming)
    if not removed:
        return
    names = sections.values(text, "Link", "Name")[-1:]
    card = naming.named(names[0]) if names else matched_card(text, naming)
    if card is None:
        texts.note(f"{path} matches a card by {', '.join(removed)}, and it is not known which card that is")
        return
    changed = sections.without(text, "Match", lambda key: key in removed)
    changed = sections.with_value(changed, "Match", "OriginalName", f"eth{card.card.order}")
    texts.change(
        path, changed, f"matches {card.name} by {', '.join(removed)}, which it has under VMware only"
    )


def removed_matches(text: str, naming: Naming) -> list[str]:
    """The keys of [Match] that match under VMware only."""
    removed = [] if naming.keeps_macs else [key for key in _MACS if _names_card(text, key, naming)]
    if sections.words(text, "Match", "Path"):
        removed.append("Path")
    if set(sections.words(text, "Match", "Driver")) & {
        *VMWARE_DRIVERS,
        "vmxnet3",
        "vmxnet",
        "e1000",
        "e1000e",
    }:
        removed.append("Driver")
    return removed


def _names_card(text: str, key: str, naming: Naming) -> bool:
    return any(naming.of_mac(word) for word in sections.words(text, "Match", key))


def matched_card(text: str, naming: Naming) -> NamedCard | None:
    """The card that [Match] means, when it means one."""
    cards = [naming.of_mac(word) for key in _MACS for word in sections.words(text, "Match", key)]
    cards += [naming.of_path(word) for word in sections.words(text, "Match", "Path")]
    if not cards and naming.alone:
        cards = list(naming.cards)
    matched = {card.card.order: card for card in cards if card}
    return next(iter(matched.values())) if len(matched) == 1 else None


def keeps_kernel_names(texts: GuestTexts) -> bool:
    """Whether nobody in the guest renames ethN: its udev is too old, or files switch that off as systemd and Debian document."""
    if f"{_RULES}/{_SETUP}" in texts.paths(_RULES, _SETUP):
        return "net_setup_link" not in (texts.read(f"{_RULES}/{_SETUP}") or "")
    if _DEFAULT in texts.paths(FOLDER, "99-default.link"):
        return not sections.values(texts.read(_DEFAULT) or "", "Link", "NamePolicy")
    return all(texts.read(f"{folder}/udev/rules.d/{_SETUP}") is None for folder in ("/usr/lib", "/lib"))
