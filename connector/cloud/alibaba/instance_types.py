"""Instance types are tried in the service's own order (R61, R62). Pure: a function answers what is in stock.

For x86 small types come first, for ARM a list of types, then anything that is cheap.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Offer:
    """One type that is in stock in one zone."""

    zone: str
    type: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A step of the order: cores and GiB, or a family, or one type. All empty: any type."""

    cores: int | None = None
    memory: float | None = None
    family: str = ""
    type: str = ""

    def __str__(self) -> str:
        if self.cores is not None:
            return f"{self.cores} vCPU and {self.memory:g} GiB"
        return self.type or (f"family {self.family}" if self.family else "any other")


#: Answers the offers for cores and memory, or for a type; it is never asked for a family.
Ask = Callable[[Wanted], Sequence[Offer]]

X86: Final = (
    Wanted(1, 2.0),
    Wanted(1, 4.0),
    Wanted(2, 2.0),
    Wanted(2, 4.0),
    Wanted(family="ecs.t6"),
    Wanted(family="ecs.t5"),
    Wanted(2, 8.0),
)
ARM64: Final = tuple(
    Wanted(type=f"ecs.{name}")
    for name in (
        *("c6r.large", "g6r.large", "c6r.xlarge", "g6r.xlarge"),
        *("c6r.2xlarge", "g6r.2xlarge", "c6r.4xlarge"),
    )
)

_NAME: Final = re.compile(r"ecs\.(?P<family>[a-z]+[0-9]*[a-z]*)(?:-[a-z0-9]+)?\.(?P<size>[a-z0-9]+)\Z")
#: GPU, FPGA, bare metal, clusters, local disks, much memory: never a cheap way to write disks.
_DEAR: Final = re.compile(r"(gn|vgn|sgn|ga|gi|f[0-9]|ebm|scc|video|d[0-9]|i[0-9]|re[0-9]|se[0-9]|vfx|hf)")
_ARM: Final = re.compile(r"(c6r|g6r|[a-z]+[0-9]+y)\Z")
_SIZES: Final = ("nano", "tiny", "small", "medium", "large", "xlarge")
_FAMILIES: Final = ("t6", "t5", "n4", "e", "u1", "c", "g", "mn4", "r")


def candidates(architecture: str, type_name: str, ask: Ask) -> Iterator[Offer]:
    """The offers to try, best first, each once. If a type was asked for by name, only that type."""
    arm = architecture == "arm64"
    if type_name:
        yield from ask(Wanted(type=type_name))
        return
    tried: set[Offer] = set()
    for step in (*(ARM64 if arm else X86), Wanted()):
        for offer in _offers(step, ask, arm=arm):
            if offer not in tried:
                tried.add(offer)
                yield offer


def _offers(step: Wanted, ask: Ask, *, arm: bool) -> list[Offer]:
    if step.type:
        return list(ask(step))
    wanted_type = Wanted() if step.family else step
    fit = [
        offer for offer in ask(wanted_type) if _is_arm(offer.type) is arm and _rank(offer.type) is not None
    ]
    if step.family:
        return [offer for offer in fit if _family(offer.type) == step.family.removeprefix("ecs.")]
    if step == Wanted():
        fit.sort(key=lambda offer: _rank(offer.type) or ())
    return fit


def _is_arm(name: str) -> bool:
    return _ARM.match(_family(name)) is not None


def _family(name: str) -> str:
    match = _NAME.match(name)
    return match["family"] if match else ""


def _rank(name: str) -> tuple[int, int] | None:
    """How expensive a type is: by its size, then by its family. None for an unknown type or one that is never cheap."""
    match = _NAME.match(name)
    if match is None or _DEAR.match(match["family"]):
        return None
    number, _, size = re.sub(r"([0-9]*)(.*)", r"\1 \2", match["size"], count=1).partition(" ")
    if size not in _SIZES:
        return None
    plain = re.sub(r"[0-9].*", "", match["family"])
    family = next(
        (n for n, known in enumerate(_FAMILIES) if known in (match["family"], plain)), len(_FAMILIES)
    )
    return _SIZES.index(size) + int(number or 0), family
