"""What a disk of the instance holds: its target and the digest table, which speaks of the same cells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connector.instance.device import DeviceTarget
from connector.instance.digests import DigestTable, resize
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
    """Cells that a proof found wrong, by what had rotted; `unclear` when the source has changed since."""

    target: int = 0
    table: int = 0
    unclear: int = 0

    def __add__(self, other: Rot) -> Rot:
        return Rot(self.target + other.target, self.table + other.table, self.unclear + other.unclear)


def _rot(new: bytes, entry: bytes, found: bytes) -> Rot:
    if new == entry:  # both, where a whole page was in doubt
        return Rot() if new == found else Rot(target=1)
    return Rot(table=1) if new == found else Rot(unclear=1)


class Contents:
    """Several threads may use it at once on ranges that do not overlap. Raises TargetFailed."""

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
        """Bring the table up to date after a window; see `flush`."""
        for extent in change.blank():
            self.table.zero(*extent)
        for page, entries in change.pages():
            where = extent_of(page, self.target.capacity)
            if any(entries):
                self.table.write(where.start, entries)
            else:
                self.table.zero(*where)

    def settle(self) -> None:
        """Everything that was written is where a snapshot of the storage will find it."""
        if isinstance(self.target, DeviceTarget):
            self.target.settle()
        else:
            self.target.flush()

    def page(self, page: int) -> bytes:
        """The entries of one page of the table."""
        return self.table.read(*extent_of(page, self.target.capacity))

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
            rot += _rot(new, entry, found)
        return rot

    def grow(self, capacity: int) -> None:
        """Enlarge; what is there stays."""
        self.close()
        self._fit(capacity)
        self._open(capacity)

    def close(self) -> None:
        self.target.close()
        self.table.close()

    def _fit(self, capacity: int) -> None:
        """What is there gets its right size: it was enlarged, and then the power failed; or it is damaged."""
        if self._device is None:
            resize(self.path, capacity)
        resize(self._table_path, digest.count(capacity) * digest.SIZE)

    def _open(self, capacity: int) -> None:
        kind = RawFileTarget if self._device is None else DeviceTarget
        self.target = kind(self.path, capacity)
        self.table = DigestTable(self._table_path, capacity)


def damage(directory: Path, capacity: int, device: Path | None) -> str:
    """What of a disk that a pass has touched is not there as it was left; empty when everything is."""
    expected = [("its digest table", directory / TABLE, digest.count(capacity) * digest.SIZE)]
    if device is None:
        expected.append(("its data file", directory / DATA, capacity))
    for what, path, size in expected:
        try:
            held = path.stat().st_size
        except OSError:
            return f"{what} was missing"
        if held != size:
            return f"{what} had {held} bytes, not {size}"
    return ""
