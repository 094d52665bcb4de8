"""Rules of udev that name network cards: those that a guest has, and one for each card whose name must be kept.

A new rule names a card by its MAC when the target keeps MACs, else by its place among the Ethernet cards of the PCI bus. A rule
is applied by every udev since RHEL 6, under net.ifnames=0 too, and also to a card that the initramfs has renamed already.
A .link file is not: with `OriginalName=eth0` it means no card that has been renamed, and its Name= was not given to such a
card before systemd 240 (systemd's issue 9006). The kernel's ethN is no place: when eth0 was renamed before the next card
comes, that one is eth0 too (issue 23036 shows it). `DRIVERS=="?*"` keeps bridges and VLANs out, which have a card's MAC.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from connector.conversion.network.cards import NameClaim, NamedCard, Naming, is_valid, normal_mac
from connector.conversion.network.sections import split
from connector.conversion.network.texts import GuestTexts

FOLDER: Final = "/etc/udev/rules.d"
OWN: Final = f"{FOLDER}/70-connector-network.rules"
_NAME: Final = re.compile(r"(?<![A-Z_])NAME\s*:?=\s*\"([^\"]*)\"")
_MAC: Final = re.compile(r"(?:ATTRS?|SYSFS)\{address\}\s*==\s*\"([^\"]*)\"")
_RANK: Final = re.compile(r"RESULT==\"(\d{1,2})\"")
_PLACE: Final = re.compile(
    r"(?:\bKERNELS|\bID|ENV\{ID_(?:PATH|NET_NAME_\w{1,20})\})\s*==\s*\"|DRIVERS\s*==\s*\"(?:vmxnet|e1000|pcnet32|vlance)"
)
_HEAD: Final = (
    "# Written when this machine was converted: its network cards keep the names that its settings use.\n"
)
#: Counts the Ethernet cards of the PCI bus that come before this one. udev replaces $id and makes $ of $$.
_COUNT: Final = (
    "n=0; for d in /sys/bus/pci/devices/*; do [ $${d##*/} = $id ] && echo $$n && break; "
    "read c < $$d/class; case $$c in 0x0200*) n=$$((n+1));; esac; done"
)


def claims(texts: GuestTexts) -> list[NameClaim]:
    """The names that rules give."""
    return [
        claim for path in texts.paths(FOLDER, ".rules") for claim in _claims(path, texts.read(path) or "")
    ]


def _claims(path: str, text: str) -> list[NameClaim]:
    result: list[NameClaim] = []
    for rule in _rules(text):
        name = _name(rule)
        if name is not None and "$" not in name and "%" not in name:
            mac, rank = _MAC.search(rule), _RANK.search(rule) if path == OWN else None
            order = int(rank[1]) if rank else None
            result.append(NameClaim(name, mac[1] if mac else "", order, gives=path != OWN))
    return result


def match_by_name(texts: GuestTexts, naming: Naming) -> None:
    """Rules that name a card by what another machine does not have go; `plan` gives the names anew."""
    for path in texts.paths(FOLDER, ".rules"):
        text = texts.read(path) or ""
        kept = [rule for rule in _rules(text) if path == OWN or not _is_stale(rule, naming)]
        texts.change(path, "".join(kept), "names cards by the MAC or the place that they had under VMware")


def _is_stale(rule: str, naming: Naming) -> bool:
    name = _name(rule)
    if name is None:
        return False
    mac = _MAC.search(rule)
    if mac is not None:
        return not naming.keeps_macs and naming.of_mac(mac[1]) is not None
    return _PLACE.search(rule) is not None and naming.named(name) is not None


def write(texts: GuestTexts, cards: Sequence[NamedCard], *, keeps_macs: bool) -> None:
    """Rules that give these cards their names. Without cards nothing is written."""
    rules = [_rule(card, keeps_macs) for card in cards if is_valid(card.name)]
    if rules:
        names = ", ".join(card.name for card in cards)
        texts.change(OWN, _HEAD + "".join(rules), f"keeps the names {names} on the target's cards")


def _rule(card: NamedCard, keeps_macs: bool) -> str:
    mac = normal_mac(card.card.mac)
    if keeps_macs and mac:
        address = ":".join(mac[n : n + 2] for n in range(0, 12, 2))
        match = f'DRIVERS=="?*", ATTR{{address}}=="{address}"'
    else:
        program = f"/bin/sh -c '{_COUNT}'"
        match = f'KERNEL=="eth*|en*", SUBSYSTEMS=="pci", PROGRAM="{program}", RESULT=="{card.card.order}"'
    return f'SUBSYSTEM=="net", ACTION=="add", {match}, NAME="{card.name}"\n'


def _name(rule: str) -> str | None:
    if rule.lstrip().startswith("#") or not re.search(r"SUBSYSTEM\s*==\s*\"net\"|KERNEL\s*==\s*\"eth", rule):
        return None
    match = _NAME.search(rule)
    return match[1] if match else None


def _rules(text: str) -> list[str]:
    """Lines, and continued lines in one piece."""
    rules: list[str] = []
    is_open = False
    for line in split(text):
        if is_open:
            rules[-1] += line
        else:
            rules.append(line)
        is_open = line.rstrip("\r\n").endswith("\\")
    return rules
