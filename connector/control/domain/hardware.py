"""What the image of a source needs around it, by the facts that an appliance reported. What is missing gets a usual value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

_MAC: Final = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_MOST_CARDS: Final = 32
_MEMORY: Final = 1 << 30


class SourceHardware(NamedTuple):
    """`memory` in bytes; `cards`: MAC and network of each network card, in their order."""

    firmware: str
    secure_boot: bool
    cpus: int
    memory: int
    cards: tuple[tuple[str, str], ...]


def hardware(facts: Mapping[str, Any]) -> SourceHardware:
    """The hardware of a source."""
    traits = facts.get("traits")
    traits = traits if isinstance(traits, dict) else {}
    return SourceHardware(
        "efi" if facts.get("firmware") == "efi" else "bios",
        traits.get("secure_boot") is True,
        _count(facts.get("cpus"), 1),
        _count(facts.get("memory"), _MEMORY),
        tuple(_cards(traits.get("nics"))),
    )


def _count(value: object, usual: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else usual


def _cards(nics: object) -> list[tuple[str, str]]:
    rows = [nic for nic in nics if isinstance(nic, dict)] if isinstance(nics, list) else []
    cards = [(str(nic.get("mac")).lower(), str(nic.get("network", ""))[:200]) for nic in rows[:_MOST_CARDS]]
    return [card for card in cards if _MAC.fullmatch(card[0])]
