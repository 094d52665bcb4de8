"""The contents of a disk: its target and the digest table over the same cells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connector.instance.device import DeviceTarget
from connector.instance.digest_table import DigestTable, resize
from connector.instance.window import TableChange, extent_of
from connector.model import Extent
from connector.transfer import digest
from connector.transfer import extents as ranges
from connector.transfer.extents import BLOCK
from connector.transfer.target import RawFileTarget

DATA: Final = "disk.raw"
TABLE: Final = "digests"


@dataclass(frozen=True, slots=True)
class Rot:
    """Numbers of cells that a proof found wrong, by the side that had rotted; `unclear`: the source changed meanwhile."""

    target: int = 0
    table: int = 0
    unclear: int = 0

    def __add__(self, other: Rot) -> Rot:
        return Rot(self.target + other.target, self.table + other.table, self.unclear + other.unclear)


def _rot(new: bytes, entry: bytes, actual: bytes) -> Rot:
    if new == entry:  # equal when a whole page was in doubt
        return Rot() if new == actual else Rot(target=1)
    return Rot(table=1) if new == actual else Rot(unclear=1)


class Contents:
    """The target and the table of one disk. Several threads may use disjoint ranges at once. Raises TargetFailed."""

    def __init__(self, directory: Path, capacity: int, device: Path | None = None) -> None:
        self._device = device
        self.path, self._table_path = device or directory / DATA, directory / TABLE
        self._fit(capacity)
        self._open(capacity)

    @property
    def blank(self) -> bool:
        """True when it is certain, without reading, that every byte is zero and the table says so."""
        return self.target.blank and self.table.blank

    def change(self, change: TableChange) -> None:
        """Write a window's changes to the table; the caller flushes the table."""
        for extent in change.blank():
            self.table.zero(*extent)
        for page, entries in change.pages():
            where = extent_of(page, self.target.capacity)
            if any(entries):
                self.table.write(where.start, entries)
            else:
                self.table.zero(*where)

    def settle(self) -> None:
        """Put everything that was written where a snapshot of the storage will contain it."""
        if isinstance(self.target, DeviceTarget):
            self.target.settle()
        else:
            self.target.flush()

    def page(self, page: int) -> bytes:
        """The entries of one page of the table."""
        return self.table.read(*extent_of(page, self.target.capacity))

    def read_back(self, extent: Extent) -> bytes:
        """The digests of the target's bytes, read now."""
        if self.target.reads_as_zero(extent):
            return digest.unmarked(extent.length, digest.MARK * digest.count(extent.length))
        room = memoryview(bytearray(BLOCK))
        digests = []
        for start, length in ranges.blocks([extent]):
            self.target.read_into(start, room[:length])
            digests.append(digest.cells(room[:length]))
        return b"".join(digests)

    def blame(self, extent: Extent, digests: bytes) -> Rot:
        """What had rotted in cells that a proof found wrong and that are now written with these digests.

        Where the table has the new digest, the target was wrong. Where the target has it, the table was wrong.
        """
        sent = digest.unmarked(extent.length, digests)
        listed = digest.unmarked(extent.length, self.table.read(extent.start, extent.length))
        rot = Rot()
        for new, entry, actual in zip(
            digest.each(sent), digest.each(listed), digest.each(self.read_back(extent)), strict=True
        ):
            rot += _rot(new, entry, actual)
        return rot

    def grow(self, capacity: int) -> None:
        """Enlarge the disk; its contents stay."""
        self.close()
        self._fit(capacity)
        self._open(capacity)

    def close(self) -> None:
        self.target.close()
        self.table.close()

    def _fit(self, capacity: int) -> None:
        """Give existing files their right size. Power may have failed while they were enlarged, or they are damaged."""
        if self._device is None:
            resize(self.path, capacity)
        resize(self._table_path, digest.count(capacity) * digest.SIZE)

    def _open(self, capacity: int) -> None:
        kind = RawFileTarget if self._device is None else DeviceTarget
        self.target = kind(self.path, capacity)
        self.table = DigestTable(self._table_path, capacity)


def damage(directory: Path, capacity: int, device: Path | None) -> str:
    """Which file of a disk is missing or has a wrong size, although a pass wrote it; empty when none."""
    expected = [("its digest table", directory / TABLE, digest.count(capacity) * digest.SIZE)]
    if device is None:
        expected.append(("its data file", directory / DATA, capacity))
    for name, path, size in expected:
        try:
            actual = path.stat().st_size
        except OSError:
            return f"{name} was missing"
        if actual != size:
            return f"{name} had {actual} bytes, not {size}"
    return ""
