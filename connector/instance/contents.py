"""What a disk of the instance holds: its target and the digest table, which speaks of the same cells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from connector.instance.device import DeviceTarget
from connector.instance.digests import DigestTable, grow
from connector.model import Extent
from connector.transfer import digest
from connector.transfer import extents as ranges
from connector.transfer.extents import BLOCK
from connector.transfer.target import RawFileTarget


@dataclass(frozen=True, slots=True)
class Rot:
    """Cells that a proof found wrong, by what had rotted; `unclear` when the source has changed since."""

    target: int = 0
    table: int = 0
    unclear: int = 0

    def __add__(self, other: Rot) -> Rot:
        return Rot(self.target + other.target, self.table + other.table, self.unclear + other.unclear)


class Contents:
    """Several threads may use it at once on ranges that do not overlap. Raises TargetFailed."""

    def __init__(self, directory: Path, capacity: int, device: Path | None = None) -> None:
        self._device = device
        self.path, self._table_path = device or directory / "disk.raw", directory / "digests"
        if self._table_path.exists():  # it was enlarged, and then the power failed
            self._stretch(capacity)
        self._open(capacity)

    @property
    def blank(self) -> bool:
        """True when it is certain, without reading, that every byte is zero and the table says so."""
        return self.target.blank and self.table.blank

    def write(self, offset: int, data: memoryview, digests: bytes) -> None:
        self.target.write(offset, data)
        self.table.write(offset, digests)

    def zero(self, offset: int, length: int) -> None:
        self.target.zero(offset, length)
        self.table.zero(offset, length)

    def flush(self) -> None:
        """Target, then table: what was written is on stable storage."""
        self.target.flush()
        self.table.flush()

    def settle(self) -> None:
        """Everything that was written is where a snapshot of the storage will find it."""
        if isinstance(self.target, DeviceTarget):
            self.target.settle()
        else:
            self.target.flush()

    def listed(self, extents: Iterable[Extent]) -> bytes:
        """The entries of the table for these ranges of whole cells, marks included."""
        return b"".join(self.table.read(start, length) for start, length in extents)

    def read_back(self, extent: Extent) -> bytes:
        """The digests of what the target really holds; reads it."""
        if self.target.reads_as_zero(extent):
            return digest.unmarked(extent.length, digest.MARK * digest.count(extent.length))
        room = memoryview(bytearray(BLOCK))
        found = []
        for start, length in ranges.blocks([extent]):
            self.target.read_into(start, room[:length])
            found.append(digest.cells(room[:length]))
        return b"".join(found)

    def holds(self, extent: Extent, root: bytes, *, look: bool) -> bool:
        """Whether the cells of a range have digests with this root: by the table, or with `look` by reading.

        What was read goes into the table.
        """
        if not look:
            entries = self.table.read(extent.start, extent.length)
            if digest.root(digest.unmarked(extent.length, entries)) == root:
                return True
        found = self.read_back(extent)
        if digest.root(found) != root:
            return False
        self.table.write(extent.start, digest.marked(extent.length, found))
        return True

    def blame(self, extent: Extent, digests: bytes) -> Rot:
        """Of cells that were found wrong and are about to be written with these digests: what had rotted.

        Cells. Where the table has the new digest the target was wrong, where the target has it the table was.
        """
        wanted = digest.unmarked(extent.length, digests)
        listed = digest.unmarked(extent.length, self.table.read(extent.start, extent.length))
        rot = Rot()
        for new, entry, found in zip(
            digest.each(wanted), digest.each(listed), digest.each(self.read_back(extent)), strict=True
        ):
            rot += Rot(target=1) if new == entry else Rot(table=1) if new == found else Rot(unclear=1)
        return rot

    def grow(self, capacity: int) -> None:
        """Enlarge; what is there stays."""
        self.close()
        self._stretch(capacity)
        self._open(capacity)

    def close(self) -> None:
        self.target.close()
        self.table.close()

    def _stretch(self, capacity: int) -> None:
        if self._device is None and self.path.exists():
            grow(self.path, capacity)
        grow(self._table_path, digest.count(capacity) * digest.SIZE)

    def _open(self, capacity: int) -> None:
        kind = RawFileTarget if self._device is None else DeviceTarget
        self.target = kind(self.path, capacity)
        self.table = DigestTable(self._table_path, capacity)
