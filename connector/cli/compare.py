"""A comparison reads both disks again, byte for byte, and uses no record of the transfer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from blake3 import blake3

CHUNK = 4 << 20

Reader = Callable[[int, int], bytes]
"""`(offset, length) -> bytes` of exactly that length."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result for one disk. `first_difference` is None if every byte is equal. `digest`: BLAKE3 of the source's bytes."""

    capacity: int
    digest: str
    first_difference: int | None

    @property
    def equal(self) -> bool:
        return self.first_difference is None


def compare(source: Reader, target: Reader, capacity: int) -> Comparison:
    """Read `capacity` bytes of both sides."""
    digest = blake3()
    first: int | None = None
    for offset in range(0, capacity, CHUNK):
        length = min(CHUNK, capacity - offset)
        ours, theirs = source(offset, length), target(offset, length)
        digest.update(ours)
        if first is None and ours != theirs:
            first = offset + _first_difference(ours, theirs)
    return Comparison(capacity, digest.hexdigest(), first)


def _first_difference(ours: bytes, theirs: bytes) -> int:
    for index, (ours_byte, theirs_byte) in enumerate(zip(ours, theirs, strict=False)):
        if ours_byte != theirs_byte:
            return index
    return min(len(ours), len(theirs))
