"""A bitmap in a shared mapping of a file: bit i is bit i%8 (least first) of byte i//8.

A set bit is visible to other processes at once and survives a killed process; only the kernel writes it back.
"""

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from simulator.estate.areas import merge

_EMPTY = bytes(4096)
_SOLID = re.compile(rb"\xff+|[^\x00\xff]+")


def _runs_of_byte(value: int) -> tuple[tuple[int, int], ...]:
    return tuple(merge((bit, bit + 1) for bit in range(8) if value >> bit & 1))


_BYTE_RUNS = tuple(_runs_of_byte(value) for value in range(256))


def byte_size(bits: int) -> int:
    """Length in bytes of a file that holds `bits` bits; never 0, because nothing cannot be mapped."""
    return max(1, -(-bits // 8))


def runs_in(data: bytes, first: int, last: int, origin: int = 0) -> Iterator[tuple[int, int]]:
    """Set runs (start, stop) among bits [first, last); `data` starts at bit `origin`, a multiple of 8."""
    for lo, hi in merge(_raw_runs(data, origin)):
        if hi > first and lo < last:
            yield max(lo, first), min(hi, last)


def _raw_runs(data: bytes, origin: int) -> Iterator[tuple[int, int]]:
    for page in range(0, len(data), len(_EMPTY)):
        if data[page : page + len(_EMPTY)] != _EMPTY:  # most of a large map is empty, and this is memcmp
            yield from _runs_of_page(data, page, min(page + len(_EMPTY), len(data)), origin)


def _runs_of_page(data: bytes, first: int, last: int, origin: int) -> Iterator[tuple[int, int]]:
    for match in _SOLID.finditer(data, first, last):
        if data[match.start()] == 0xFF:
            yield origin + 8 * match.start(), origin + 8 * match.end()
            continue
        for index in range(match.start(), match.end()):
            at = origin + 8 * index
            for lo, hi in _BYTE_RUNS[data[index]]:
                yield at + lo, at + hi


class Bitmap:
    """A mapped bitmap file of at least `bits` bits, created or grown as needed. Not locked: the owner
    locks.
    """

    def __init__(self, path: Path, bits: int) -> None:
        self.path = path
        self.bits = bits
        self._map = _mapped(path, byte_size(bits))

    def set(self, first: int, last: int) -> None:
        """Set bits [first, last)."""
        if first >= last:
            return
        low, high = first // 8, (last - 1) // 8
        head = 0xFF << first % 8 & 0xFF
        tail = 0xFF >> 7 - (last - 1) % 8
        if low == high:
            self._map[low] |= head & tail
            return
        self._map[low] |= head
        self._map[low + 1 : high] = b"\xff" * (high - low - 1)
        self._map[high] |= tail

    def runs(self, first: int = 0, last: int | None = None) -> Iterator[tuple[int, int]]:
        """Set runs (start, stop) within [first, last), as they are now."""
        end = self.bits if last is None else min(last, self.bits)
        if first >= end:
            return iter(())
        low = first // 8
        return runs_in(self._map[low : byte_size(end)], first, end, low * 8)

    def data(self) -> bytes:
        return self._map[:]

    def grow(self, bits: int) -> None:
        """Make room for more bits, which start unset."""
        self._map.close()
        self.bits = bits
        self._map = _mapped(self.path, byte_size(bits))

    def close(self) -> None:
        self._map.close()


def _mapped(path: Path, size: int) -> mmap.mmap:
    with open(path, "a+b") as file:
        if file.seek(0, 2) < size:
            file.truncate(size)
        return mmap.mmap(file.fileno(), size)
