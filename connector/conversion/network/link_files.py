"""Files with which systemd-udevd names network cards: those that a guest has, and one for each card whose name must be kept.

`Name=` without `NamePolicy=` is given to the card also under net.ifnames=0. The first file in the order of names that matches is
applied alone. Before systemd 240 a card that was renamed in the initramfs is not renamed again, so the file has to be there too.

`OriginalName=` is the kernel's name of the card when its event comes, so it means the card itself: bridges, bonds and VLANs
have its MAC, and `MACAddress=` alone would match them. `Type=ether` does not tell them apart everywhere: systemd 219 (RHEL 7)
knows no such type.
"""

from __future__ import annotations

import re
from typing import Final

from connector.conversion.network import sections
from connector.conversion.network.cards import NameClaim, NamedCard, Naming, is_valid, normal_mac
from connector.conversion.network.texts import GuestTexts

FOLDER: Final = "/etc/systemd/network"
_OWN: Final = f"{FOLDER}/10-connector-"
_DEFAULT: Final = f"{FOLDER}/99-default.link"
_MACS: Final = ("MACAddress", "PermanentMACAddress")
VMWARE_DRIVERS: Final = ("vmxnet*", "e1000*", "pcnet32", "vlance")
_KERNEL: Final = re.compile(r"eth(\d{1,2})")
_HEAD: Final = "# Written when this machine was converted: the card keeps the name that its settings use.\n"


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
            result.append(NameClaim(name, macs[0] if macs else "", order, gives=not path.startswith(_OWN)))
    return result


def match_by_name(texts: GuestTexts, naming: Naming) -> None:
    """Files that match a card by MAC, place or driver match it by the kernel's order; their settings stay."""
    for path in texts.paths(FOLDER, ".link"):
        if not path.startswith(_OWN):
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
    """Whether the guest's files switch systemd's names off, in one of the ways that systemd and Debian document."""
    setup = "80-net-setup-link.rules"
    if f"/etc/udev/rules.d/{setup}" in texts.paths("/etc/udev/rules.d", setup):
        return "net_setup_link" not in (texts.read(f"/etc/udev/rules.d/{setup}") or "")
    if _DEFAULT in texts.paths(FOLDER, "99-default.link"):
        return not sections.values(texts.read(_DEFAULT) or "", "Link", "NamePolicy")
    return not knows_links(texts)


def knows_links(texts: GuestTexts) -> bool:
    """Whether udev of this guest reads .link files."""
    setup = "80-net-setup-link.rules"
    if f"/etc/udev/rules.d/{setup}" in texts.paths("/etc/udev/rules.d", setup):
        return "net_setup_link" in (texts.read(f"/etc/udev/rules.d/{setup}") or "")
    return any(texts.read(f"{folder}/udev/rules.d/{setup}") is not None for folder in ("/usr/lib", "/lib"))


def write(texts: GuestTexts, card: NamedCard, *, keeps_macs: bool) -> None:
    """The file that gives one card its name."""
    mac = normal_mac(card.card.mac)
    if not is_valid(card.name):
        return
    if keeps_macs and mac:
        address = ":".join(mac[n : n + 2] for n in range(0, 12, 2))
        match = f"MACAddress={address}\nOriginalName=eth[0-9]\n"
    else:
        match = f"OriginalName=eth{card.card.order}\n"
    text = f"{_HEAD}[Match]\n{match}\n[Link]\nName={card.name}\n"
    texts.change(f"{_OWN}{card.name}.link", text, f"keeps the name {card.name} on the target's card")
