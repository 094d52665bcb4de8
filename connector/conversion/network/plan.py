"""Plans what must change in a Linux guest, so that it has its network at the first boot on another hypervisor.

The names of the cards stay, so that no setting that uses them has to be rewritten. Matches by what the target does not have
(MAC, place, driver) become matches by name. In the mode `dhcp` the first card asks DHCP besides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from connector.conversion.changes import ChangePlan, FileChange
from connector.conversion.network import (
    ifcfg,
    ifupdown,
    link_files,
    netplan,
    network_manager,
    networkd,
    sections,
    udev_rules,
)
from connector.conversion.network.cards import Card, NameClaim, NamedCard, Naming, assign, is_kernel_name
from connector.conversion.network.texts import GuestTexts
from connector.offline.window import Files

_NAMES_OF_THE_KERNEL: Final = "net.ifnames=0"


class NetworkMode(StrEnum):
    """What becomes of the addresses."""

    KEEP = "keep"  # addresses, routes and DNS stay with the card of the same order
    DHCP = "dhcp"  # the first card asks DHCP; the others stay as they are


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """`initramfs_files`: the changes of `plan` that udev in the initramfs has to see too, since it may name cards first."""

    plan: ChangePlan
    initramfs_files: tuple[FileChange, ...] = ()


class Format(Protocol):
    """How one program keeps the settings of network cards. The modules below are such formats."""

    def claims(self, texts: GuestTexts) -> list[NameClaim]:
        """The names of cards, with the MACs that the files bind them to."""

    def match_by_name(self, texts: GuestTexts, naming: Naming) -> None:
        """Plan that cards are matched by name where they are matched by what the target does not have."""

    def ask_dhcp(self, texts: GuestTexts, card: NamedCard, naming: Naming) -> None:
        """Plan that this card asks DHCP, unless it belongs to a bond or bridge: each format knows its own word for that."""


FORMATS: Final[tuple[Format, ...]] = (ifupdown, netplan, network_manager, ifcfg, networkd)


def plan(
    files: Files,
    cards: Sequence[Card],
    *,
    mode: NetworkMode,
    keeps_macs: bool,
    command_lines: Sequence[str] = (),
) -> NetworkPlan:
    """The plan for a guest whose root is `files`. `cards`: all of the machine, in VMware's order.

    `keeps_macs`: the target's cards have the MACs of `cards`. `command_lines`: of the kernels in the boot loader's configuration.
    Raises nothing about what the guest holds.
    """
    texts = GuestTexts(files)
    kernel_names = _keeps_kernel_names(texts, command_lines)
    claims = [*udev_rules.claims(texts), *link_files.claims(texts)]
    claims += [claim for each in FORMATS for claim in each.claims(texts)]
    naming = assign(claims, cards, keeps_macs=keeps_macs, kernel_names=kernel_names, note=texts.note)
    udev_rules.match_by_name(texts, naming)
    link_files.match_by_name(texts, naming)
    for each in FORMATS:
        each.match_by_name(texts, naming)
    if mode is NetworkMode.DHCP:
        _ask_dhcp(texts, naming, len(cards))
    elif naming.cards:
        _note_cloud_init(texts)
    _keep_names(texts, naming, kernel_names)
    changes = texts.plan()
    return NetworkPlan(changes, tuple(change for change in changes.changes if _is_for_udev(change)))


def _keeps_kernel_names(texts: GuestTexts, command_lines: Sequence[str]) -> bool:
    keeps = [_NAMES_OF_THE_KERNEL in line.split() for line in command_lines]
    return bool(keeps and all(keeps)) or link_files.keeps_kernel_names(texts)


def _ask_dhcp(texts: GuestTexts, naming: Naming, count: int) -> None:
    first = next((card for card in naming.cards if card.card.order == 0), None)
    if first is not None:
        for each in FORMATS:
            each.ask_dhcp(texts, first, naming)
    for pattern_format in (netplan, networkd, network_manager):
        pattern_format.ask_dhcp_unnamed(texts, is_alone=count == 1)
    changed = {change.path for change in texts.plan().changes}
    resolver = texts.read("/etc/resolv.conf") if changed else None
    lines = sections.split(resolver or "")
    if any(line.startswith("nameserver") for line in lines) and not any(
        line.startswith("#") for line in lines
    ):
        texts.note(
            "/etc/resolv.conf was kept: nothing says that a program writes it, and it may name servers of the old network"
        )


def _note_cloud_init(texts: GuestTexts) -> None:
    """On another cloud it takes the machine for a new one, and writes what that cloud says of the network."""
    if texts.read("/etc/cloud/cloud.cfg") is None or texts.paths("/etc/cloud", "cloud-init.disabled"):
        return
    files = [*texts.paths("/etc/cloud/cloud.cfg.d", ".cfg"), "/etc/cloud/cloud.cfg"]
    if not any(re.search(r"config:[ \t]*disabled", texts.read(path) or "") for path in files):
        texts.note(
            "cloud-init is in the guest and may replace its addresses on a cloud; network: {config: disabled} stops that"
        )


def _keep_names(texts: GuestTexts, naming: Naming, kernel_names: bool) -> None:
    """Give the names that no file of the guest gives for sure, and that the kernel would not give by itself."""
    claims = [*udev_rules.claims(texts), *(claim for each in FORMATS for claim in each.claims(texts))]
    fixed_names = {claim.name for claim in claims if claim.gives}
    fixed_names |= {claim.name for claim in link_files.claims(texts) if claim.mac}
    wanted = [
        named
        for named in naming.cards
        if named.is_used
        and named.name not in fixed_names
        and not (kernel_names and named.name == f"eth{named.card.order}")
    ]
    moved = [c.name for c in wanted if is_kernel_name(c.name) and c.name != f"eth{c.card.order}"]
    if moved:
        names = ", ".join(moved)
        texts.note(f"{names} may be another card on the target; check the addresses after the first start")
    udev_rules.write(texts, wanted, keeps_macs=naming.keeps_macs)


def _is_for_udev(change: FileChange) -> bool:
    return change.path.startswith(f"{udev_rules.FOLDER}/") or change.path.endswith(".link")
