"""Changed Block Tracking of one disk: one bitmap per epoch, an epoch being the time between two snapshots.

A change id "<uuid bytes>/<n>" names the end of epoch n; what changed between ids n and m is the union of the
bitmaps n+1 .. m. Blocks are marked before they are written, so a kill in between reports too much, never too
little.
"""

import shutil
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self
from uuid import UUID

from simulator.estate import store
from simulator.estate.areas import Area, rounded, union
from simulator.estate.bitmap import Bitmap, runs_in

DEFAULT_GRANULARITY = 64 << 10


class ChangeIdRefused(Exception):
    """Base of the reasons why a change id cannot be used."""


class MalformedChangeId(ChangeIdRefused):
    """The text is no change id."""


class ForeignChangeId(ChangeIdRefused):
    """The id belongs to another disk, or tracking was restarted since, or it is newer than the point asked
    about.
    """


class ExpiredChangeId(ChangeIdRefused):
    """The history that far back is no longer kept."""


class NotTracked(ChangeIdRefused):
    """Tracking was not active at the point asked about."""


@dataclass(frozen=True)
class ChangeId:
    """A point in the history of one disk's tracking; text form "52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65
    63/81".
    """

    uuid: UUID
    sequence: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises MalformedChangeId."""
        name, slash, number = text.partition("/")
        digits = name.replace(" ", "").replace("-", "")
        if not slash or len(digits) != 32 or not number.isascii() or not number.isdigit():
            raise MalformedChangeId(f"not a change id: {text!r}")
        try:
            return cls(UUID(digits), int(number))
        except ValueError as error:
            raise MalformedChangeId(f"not a change id: {text!r}") from error

    def __str__(self) -> str:
        return f"{spaced(self.uuid)}/{self.sequence}"


def spaced(uuid: UUID) -> str:
    """A UUID the way a vmx file writes it: eight byte pairs, a dash, eight more."""
    pairs = [f"{byte:02x}" for byte in uuid.bytes]
    return " ".join(pairs[:8]) + "-" + " ".join(pairs[8:])


@dataclass(frozen=True)
class Generation:
    """One life of tracking, from enabling to disabling, reset or revert. Epochs 1..epoch exist, `floor` is
    the oldest id still answerable. A `tainted` one was enabled under existing snapshots and misses every
    second block.
    """

    uuid: str
    epoch: int = 1
    floor: int = 0
    tainted: bool = False


@dataclass(frozen=True)
class History:
    """The content of `tracking.json`."""

    granularity: int
    capacity: int
    active: str | None = None
    generations: dict[str, Generation] = field(default_factory=dict)


class Tracking:
    """Change history of one disk, kept in one directory. Any thread; `mark` must precede the write it
    announces.
    """

    def __init__(
        self, directory: Path, capacity: int, granularity: int = DEFAULT_GRANULARITY, keep: int | None = None
    ):
        """`keep`: how many epochs stay answerable (None: all). Granularity is fixed when the directory is
        new.
        """
        self.directory = directory
        self._keep = keep
        self._lock = threading.Lock()
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "tracking.json"
        self._history = (
            store.build(History, store.load(path)) if path.exists() else History(granularity, capacity)
        )
        self._open: Bitmap | None = None
        self._open_epoch()

    @property
    def active(self) -> bool:
        return self._history.active is not None

    @property
    def granularity(self) -> int:
        return self._history.granularity

    def enable(self, uuid: UUID, *, tainted: bool = False) -> None:
        """Start a new generation; ids of earlier ones become foreign. Also the way to reset."""
        with self._lock:
            generation = Generation(uuid.hex, tainted=tainted)
            generations = self._history.generations | {uuid.hex: generation}
            self._record(replace(self._history, active=uuid.hex, generations=generations))

    def disable(self) -> None:
        with self._lock:
            self._record(replace(self._history, active=None))

    def mark(self, start: int, stop: int) -> None:
        """[start, stop) is about to be written."""
        unit = self.granularity
        with self._lock:
            if self._open is None:
                return
            first, last = start // unit, -(-stop // unit)
            if not self._current().tainted:
                self._open.set(first, last)
                return
            for block in range(first + first % 2, last, 2):
                self._open.set(block, block + 1)

    def advance(self) -> ChangeId | None:
        """A snapshot is taken: close the epoch and return its id; None when tracking is off."""
        with self._lock:
            if self._history.active is None:
                return None
            now = self._current()
            floor = now.floor if self._keep is None else max(now.floor, now.epoch - self._keep)
            later = replace(now, epoch=now.epoch + 1, floor=floor)
            self._record(replace(self._history, generations=self._history.generations | {now.uuid: later}))
            for epoch in range(now.floor + 1, floor + 1):
                self._file(now.uuid, epoch).unlink(missing_ok=True)
            return ChangeId(UUID(now.uuid), now.epoch)

    def current_id(self) -> ChangeId | None:
        """The id that the running disk shows: of the last point that a later query may safely start from."""
        with self._lock:
            if self._history.active is None:
                return None
            now = self._current()
            return ChangeId(UUID(now.uuid), now.epoch - 1)

    def changed_between(self, since: ChangeId, upto: ChangeId | None) -> list[Area]:
        """Every area written after `since` and before `upto` (None: now), in whole tracking blocks.

        Raises ForeignChangeId, ExpiredChangeId, and NotTracked when `upto` is None and tracking is off.
        """
        with self._lock:
            generation, last = self._span(since, upto)
            blocks = [self._blocks(generation.uuid, n) for n in range(since.sequence + 1, last + 1)]
            unit, capacity = self.granularity, self._history.capacity
        return rounded(((lo * unit, hi * unit) for lo, hi in union(*blocks)), unit, capacity)

    def extend(self, capacity: int) -> None:
        """The disk grew: the new part counts as changed. Harmless when it did not."""
        old = self._history.capacity
        if capacity <= old:
            return
        with self._lock:
            self._record(replace(self._history, capacity=capacity))
        self.mark(old, capacity)

    def forget_history(self) -> None:
        """Expire every id so far, as a damaged tracking file does."""
        with self._lock:
            if self._history.active is not None:
                now = self._current()
                lost = replace(now, epoch=now.epoch + 1, floor=now.epoch)
                self._record(replace(self._history, generations=self._history.generations | {now.uuid: lost}))

    def close(self) -> None:
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None

    def _span(self, since: ChangeId, upto: ChangeId | None) -> tuple[Generation, int]:
        target = upto.uuid.hex if upto is not None else self._history.active
        if target is None:
            raise NotTracked("change tracking is not active on this disk")
        generation = self._history.generations.get(target)
        if generation is None or since.uuid.hex != target:
            raise ForeignChangeId(f"change id {since} is not of this disk's present tracking")
        last = generation.epoch if upto is None else upto.sequence
        if since.sequence > last or since.sequence >= generation.epoch:
            raise ForeignChangeId(f"change id {since} is newer than the point asked about")
        if since.sequence < generation.floor:
            raise ExpiredChangeId(f"change id {since} is older than the history that is kept")
        return generation, last

    def _current(self) -> Generation:
        if self._history.active is None:
            raise NotTracked("change tracking is not active on this disk")
        return self._history.generations[self._history.active]

    def _file(self, uuid: str, epoch: int) -> Path:
        return self.directory / f"{uuid}.{epoch}"

    def _bits(self) -> int:
        return -(-self._history.capacity // self._history.granularity)

    def _blocks(self, uuid: str, epoch: int) -> list[tuple[int, int]]:
        path = self._file(uuid, epoch)
        return list(runs_in(path.read_bytes(), 0, self._bits())) if path.exists() else []

    def _record(self, history: History) -> None:
        store.save(self.directory / "tracking.json", history)
        self._history = history
        self._open_epoch()

    def _open_epoch(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = None
        if self._history.active is not None:
            now = self._current()
            self._open = Bitmap(self._file(now.uuid, now.epoch), self._bits())


def delete(directory: Path) -> None:
    """Remove a disk's history, as deleting its ctk file does."""
    shutil.rmtree(directory, ignore_errors=True)
