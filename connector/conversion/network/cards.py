"""Which configured name belongs to which network card: by MAC, then by place, then by the order of VMware's slots.

VMware writes the place of a card as a slot number, FFF.BBBBB.DDDDD in binary: function of the PCI bridge, bus, device
(Broadcom KB 2047927). ACPI gives systemd 32 * bus + function for it, so slot 192 is ens192 and slot 1184 (1024 + 160) is ens161.
vmxnet3 cards sit behind the bridges pciBridge4 to 7, and the first function of all four is used first:
160 192 224 256 161 193 225 257 162 ... (160 is a disk controller's slot in many machines.)
Behind pciBridge0 e1000 cards are numbered one by one: 32 33 34 ... Where there is no ACPI slot, the name is that of the bus:
the bridges lead to the buses 3 to 34, eight functions each, so ens160 is enp3s0, ens192 is enp11s0, ens161 is enp4s0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

_KERNEL: Final = re.compile(r"eth(\d{1,3})")
_SLOT: Final = re.compile(r"ens(\d{1,4})")
_BUS: Final = re.compile(r"enp(\d{1,3})s(\d{1,2})")
_INDEX: Final = re.compile(r"eno(\d{8,9})")  # (number of the card + 1) << 24, of systemd before 234
_OF_MAC: Final = re.compile(r"enx([0-9a-f]{12})")
_PATH: Final = re.compile(r"pci-0000:([0-9a-f]{2}):([0-9a-f]{2})\.0")
_PHYSICAL: Final = re.compile(r"eth\d{1,3}|en[a-z0-9]{2,12}|em\d{1,2}|p\d{1,2}p\d{1,2}")
#: The kernel takes no longer names; ours end up in file names and rules.
_TYPICAL: Final = ("eth0", "ens192", "enp1s0", "eno1")
_VALID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")


@dataclass(frozen=True, slots=True)
class Card:
    """A network card of the machine. `slot`: vSphere's pciSlotNumber, when it is known."""

    order: int
    mac: str
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class NameClaim:
    """A name that a file of the guest uses. `name` is empty when the file knows a card by its MAC only.

    `order`: the file says which card of the kernel's order it is. `gives`: the file itself makes the name.
    """

    name: str
    mac: str = ""
    order: int | None = None
    gives: bool = False


@dataclass(frozen=True, slots=True)
class NamedCard:
    """A card and its name in the guest. `is_used`: files of the guest use the name; else it is only a word for the card."""

    card: Card
    name: str
    is_used: bool = True


@dataclass(frozen=True, slots=True)
class Naming:
    """The names of a machine's cards. `alone`: the machine has one card."""

    cards: tuple[NamedCard, ...]
    keeps_macs: bool
    alone: bool

    def of_mac(self, mac: str) -> NamedCard | None:
        """The card that had this MAC, in any of the notations of configuration files."""
        wanted = normal_mac(mac)
        return next((c for c in self.cards if wanted and normal_mac(c.card.mac) == wanted), None)

    def of_path(self, path: str) -> NamedCard | None:
        """The card at a place that udev calls, for example, pci-0000:0b:00.0."""
        names = path_names(path)
        named = next((c for c in self.cards if c.name in names or names & set(slot_names(c.card.slot))), None)
        return named or (self.cards[0] if self.alone and self.cards else None)

    def named(self, name: str) -> NamedCard | None:
        return next((card for card in self.cards if card.name == name), None)


def normal_mac(mac: str) -> str:
    """Twelve hexadecimal digits; "" for anything else."""
    digits = re.sub(r"[:.\-]", "", mac[:32].strip()).lower()
    return digits if re.fullmatch(r"[0-9a-f]{12}", digits) else ""


def is_physical(name: str) -> bool:
    """Whether a name is one that the kernel or systemd gives to a network card."""
    return _PHYSICAL.fullmatch(name) is not None


def fits_some_card(pattern: str) -> bool:
    """Whether a pattern of names, such as en*, fits names of network cards. A plain name is no pattern."""
    is_pattern = any(character in pattern for character in "*?[")
    return is_pattern and any(fnmatchcase(name, pattern) for name in _TYPICAL)


def is_valid(name: str) -> bool:
    return _VALID.fullmatch(name) is not None


def is_kernel_name(name: str) -> bool:
    return _KERNEL.fullmatch(name) is not None


def slot_names(slot: int | None) -> tuple[str, ...]:
    """The names that systemd gives to a card in a slot of VMware."""
    if slot is None or not 0 < slot < 1 << 13:
        return ()
    function, bus, device = slot >> 10, slot >> 5 & 31, slot & 31
    if bus == 1:
        return f"ens{32 + device}", f"enp2s{device}"
    if 5 <= bus <= 8:
        return f"ens{32 * bus + function}", f"enp{3 + 8 * (bus - 5) + function}s0"
    return (f"ens{slot}",)


def path_names(path: str) -> set[str]:
    """The names that systemd gives to a card at a place under VMware."""
    match = _PATH.fullmatch(path)
    if match is None:
        return set()
    bus, device = int(match[1], 16), int(match[2], 16)
    if bus == 2:
        return {f"ens{32 + device}", f"enp2s{device}"}
    if 3 <= bus <= 34 and not device:
        return {f"ens{32 * (5 + (bus - 3) // 8) + (bus - 3) % 8}", f"enp{bus}s0"}
    return {f"enp{bus}s{device}"}


def path_name(path: str) -> str:
    """The first of these names; empty for a place that no card of VMware has."""
    return max(path_names(path), default="")


def assign(
    claims: Sequence[NameClaim],
    cards: Sequence[Card],
    *,
    keeps_macs: bool,
    kernel_names: bool,
    note: Callable[[str], None],
) -> Naming:
    """The name of each card that a file names. `kernel_names`: nobody renames ethN in this guest."""
    usable = [claim for claim in claims if not claim.name or _is_usable(claim, cards, note)]
    names: dict[int, NameClaim] = {}
    for rule in (_by_mac, _by_order, _by_place):
        for claim in usable:
            card = rule(claim, cards)
            if card is not None and claim.name and card.order not in names and _is_free(claim.name, names):
                names[card.order] = claim
    _by_sequence([c for c in usable if c.name and not c.mac], cards, names, kernel_names, note)
    named = [NamedCard(card, names[card.order].name) for card in cards if card.order in names]
    left = [card for card in cards if card.order not in names]
    nameless = _nameless([claim for claim in usable if not claim.name], left, not keeps_macs)
    for known in nameless if not keeps_macs else ():
        note(f"card {known.card.order + 1} was known by its MAC only; it gets the name {known.name}")
    every = sorted([*named, *nameless], key=lambda each: each.card.order)
    return Naming(tuple(every), keeps_macs, len(cards) == 1)


def _is_usable(claim: NameClaim, cards: Sequence[Card], note: Callable[[str], None]) -> bool:
    """Names of other machines' cards stay in files when a template is cloned. They mean nothing."""
    if not is_valid(claim.name):
        note(f"{claim.name!r} is no name of a network card")
        return False
    return not claim.mac or _by_mac(claim, cards) is not None


def _is_free(name: str, names: dict[int, NameClaim]) -> bool:
    return all(claim.name != name for claim in names.values())


def _by_mac(claim: NameClaim, cards: Sequence[Card]) -> Card | None:
    match = _OF_MAC.fullmatch(claim.name)
    mac = normal_mac(claim.mac) or (match[1] if match else "")
    return next((card for card in cards if mac and normal_mac(card.mac) == mac), None)


def _by_order(claim: NameClaim, cards: Sequence[Card]) -> Card | None:
    if claim.order is None or claim.mac:
        return None
    return next((card for card in cards if card.order == claim.order), None)


def _by_place(claim: NameClaim, cards: Sequence[Card]) -> Card | None:
    if claim.mac:
        return None
    match = _INDEX.fullmatch(claim.name)
    number = (int(match[1]) >> 24) - 1 if match else None
    return next((c for c in cards if claim.name in slot_names(c.slot) or c.order == number), None)


def _by_sequence(
    claims: Iterable[NameClaim],
    cards: Sequence[Card],
    names: dict[int, NameClaim],
    kernel_names: bool,
    note: Callable[[str], None],
) -> None:
    """The other names, in VMware's order, for the other cards, in theirs."""
    left = {claim.name: claim for claim in reversed(list(claims)) if _is_free(claim.name, names)}
    kernels = [name for name in left if is_kernel_name(name)]
    others = sorted(left.keys() - set(kernels), key=_sequence)
    by_number = {int(name[3:]): name for name in sorted(kernels, key=_sequence)}
    guessed: list[str] = []
    for card in [card for card in cards if card.order not in names]:
        name = by_number.get(card.order) if kernel_names or not others else None
        if name is None and others:
            name = others.pop(0)
            guessed.append(f"{name} is card {card.order + 1}")
        if name is not None:
            names[card.order] = left[name]
    unused = sorted(name for name in left if _is_free(name, names))
    if unused and cards:
        note(f"no network card is left for {', '.join(unused)}, which the guest configures")
    if guessed and len(cards) > 1:
        text = ", ".join(guessed)
        note(
            f"only the order of the names says which card is which: {text}; check the addresses after the first start"
        )


def _sequence(name: str) -> tuple[int, int, int, str]:
    """VMware's order of slots; see the head of this module."""
    if (match := _SLOT.fullmatch(name)) and int(match[1]) >= 160:
        return 1, int(match[1]) % 32, int(match[1]) // 32, name
    if (match := _BUS.fullmatch(name)) and int(match[1]) >= 3:
        return 1, (int(match[1]) - 3) % 8, (int(match[1]) - 3) // 8, name
    numbers = [int(digits) for digits in re.findall(r"\d{1,9}", name)]
    return 0, numbers[0] if numbers else 0, numbers[-1] if numbers else 0, name


def _nameless(claims: Iterable[NameClaim], cards: Sequence[Card], is_used: bool) -> list[NamedCard]:
    """Cards that are known by their MAC only: with the name that they had, or one of ours. It is used when the MAC goes."""
    macs = {normal_mac(claim.mac) for claim in claims} - {""}
    known = [card for card in cards if normal_mac(card.mac) in macs]
    return [NamedCard(card, next(iter(slot_names(card.slot)), f"net{card.order}"), is_used) for card in known]
