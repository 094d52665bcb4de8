"""One target disk: raw file, digest table and journal, written by sessions of the running pass and by nobody
else.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

from connector.errors import Conflict
from connector.instance.device import DeviceTarget
from connector.instance.digests import DigestTable, grow
from connector.instance.journal import Discard, Grown, Journal, PassBegin, PassEnd, RangeKind, Ranges
from connector.instance.state import State
from connector.model import Extent
from connector.transfer import digest
from connector.transfer import extents as ranges
from connector.transfer.target import RawFileTarget

FENCE = 30.0  # seconds that sessions of an older pass get in order to leave


class Disk:
    """Thread-safe. `lock` guards the state, the journal and the set of sessions; data is written outside of
    it.
    """

    def __init__(
        self, directory: Path, key: str, capacity: int, label: str = "", device: Path | None = None
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory, self.key, self.label, self._device = directory, key, label, device
        self._journal = Journal(directory / "journal", key, capacity)
        self._state = State.fold(self._journal.capacity, self._journal.records)
        self._journal.records = []
        self._sessions: set[Session] = set()
        self._changed = threading.Condition()
        self._held = 0  # proofs and images that read the settled disk
        self._open(self._state.capacity)
        if capacity > self._state.capacity:
            self.grow(capacity)

    @property
    def capacity(self) -> int:
        return self._state.capacity

    @property
    def path(self) -> Path:
        return self._device or self.directory / "disk.raw"

    def grow(self, capacity: int) -> None:
        """Enlarge; the base is gone then, because change tracking does not survive a resize. Shrinking is a
        Conflict.
        """
        with self._changed:
            if capacity == self._state.capacity:
                return
            if capacity < self._state.capacity:
                raise Conflict(
                    f"has {self._state.capacity} bytes and cannot shrink to {capacity}",
                    on=self.key,
                    remedy="remove the disk first",
                )
            self._require_free()
            self._fence("")
            self._journal.append(record := Grown(capacity))
            self._state.apply(record)
            self._close_files()
            self._open(capacity)

    def describe(self) -> dict[str, object]:
        """The disk as GET /disks/{key} answers it."""
        with self._changed:
            state = self._state
            return {
                "key": self.key,
                "label": self.label,
                "capacity": state.capacity,
                "base": None if state.base is None else _pass_json(state.base),
                "attempts": [
                    _pass_json(attempt.begin) | {"durable": ranges.to_json(attempt.durable)}
                    for attempt in state.attempts
                ],
                "dirty": state.touched,
                "settled": state.settled,
            }

    def begin(self, begin: PassBegin) -> None:
        """Start an attempt, or find it running already. Sessions of other passes are ended first. Raises
        Conflict.
        """
        with self._changed:
            if not self._state.check_begin(begin):
                return
            self._require_free()
            self._fence(begin.pass_id)
            if not self._state.check_begin(begin):  # another request began it while this one waited
                return
            self._journal.append(begin)
            self._state.apply(begin)

    def finish(self, pass_id: str, cover: list[Extent], todo: list[Extent]) -> list[Extent]:
        """Make the pass the base (invariant 2); returns what is missing, and changes nothing unless that is
        empty.

        `cover` must be named by the attempts together, `todo` by this attempt itself. Repeating it is
        harmless.
        """
        with self._changed:
            if (
                self._state.base is not None
                and self._state.base.pass_id == pass_id
                and not self._state.attempts
            ):
                return []
            attempt = self._state.current(pass_id)
            together = ranges.union(*(a.durable for a in self._state.attempts))
            wanted = ranges.clip(ranges.union(cover, todo), self.capacity)
            if wanted != ranges.union(cover, todo):
                raise Conflict(
                    "the plan reaches beyond the disk", on=self.key, remedy="read the capacity again"
                )
            missing = ranges.union(ranges.subtract(cover, together), ranges.subtract(todo, attempt.durable))
            if not missing:
                self._fence("")
                self._journal.append(record := PassEnd(pass_id))
                self._state.apply(record)
            return missing

    def discard(self) -> None:
        """Forget interrupted attempts. The base stays: a delta from it names everything that they wrote."""
        with self._changed:
            if self._state.attempts:
                self._fence("")
                self._journal.append(record := Discard())
                self._state.apply(record)

    def hold(self) -> PassBegin:
        """The finished pass that the target shows; no pass begins until `release`. Raises Conflict
        (invariant 10).
        """
        with self._changed:
            if not self._state.settled or self._state.base is None:
                raise Conflict(
                    "its last pass is not finished", on=f"disk {self.key}", remedy="finish it first"
                )
            self._held += 1
            return self._state.base

    def release(self) -> None:
        with self._changed:
            self._held -= 1

    def settle(self) -> None:
        """Everything that was written is where a snapshot of the storage will find it. The caller holds the disk."""
        if isinstance(self.target, DeviceTarget):
            self.target.settle()
        else:
            self.target.flush()

    def open_session(self, pass_id: str, capacity: int, cancel: Callable[[], None]) -> Session:
        """Admit a writer of the running pass. `cancel` must make it leave soon. Raises Conflict."""
        with self._changed:
            self._state.current(pass_id)
            if capacity != self.capacity:
                raise Conflict(f"has {self.capacity} bytes, not {capacity}", on=self.key, remedy="plan again")
            session = Session(self, pass_id, cancel)
            self._sessions.add(session)
            return session

    def commit(self, session: Session, found: list[tuple[Extent, RangeKind]]) -> None:
        """Target, then digests, then journal: only then may the caller acknowledge (invariant 1)."""
        self.target.flush()
        self.table.flush()
        with self._changed:
            if session not in self._sessions:
                raise Conflict(f"pass {session.pass_id} was superseded", on=self.key, remedy="begin again")
            self._journal.append(record := Ranges(tuple(found)))
            self._state.apply(record)

    def leave(self, session: Session) -> None:
        with self._changed:
            self._sessions.discard(session)
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            for session in self._sessions:
                session.cancel()
            self._changed.wait_for(lambda: not self._sessions, FENCE)
            self._close_files()
            self._journal.close()

    def _require_free(self) -> None:
        if self._held:
            raise Conflict(
                "is being proved or imaged", on=f"disk {self.key}", remedy="wait for it", retryable=True
            )

    def _fence(self, pass_id: str) -> None:
        """Nobody but `pass_id` writes once this returns: late blocks of an older pass must not land on newer
        ones.
        """
        foreign = [session for session in self._sessions if session.pass_id != pass_id]
        for session in foreign:
            session.cancel()
        if not self._changed.wait_for(lambda: not any(s in self._sessions for s in foreign), FENCE):
            raise Conflict("an older connection does not end", on=self.key, remedy="try again in a minute")

    def _open(self, capacity: int) -> None:
        table = self.directory / "digests"
        if self._device is None and self.path.exists() and table.exists():
            grow(self.path, capacity)
        if table.exists():
            grow(table, digest.count(capacity) * digest.SIZE)
        if self._device is None:
            self.target = RawFileTarget(self.path, capacity)
        else:
            self.target = DeviceTarget(self._device, capacity)
        self.table = DigestTable(table, capacity)

    def _close_files(self) -> None:
        self.target.close()
        self.table.close()


class Session:
    """The writing end of one connection (the receiver's sink)."""

    def __init__(self, disk: Disk, pass_id: str, cancel: Callable[[], None]) -> None:
        self._disk, self.pass_id, self.cancel = disk, pass_id, cancel

    @property
    def capacity(self) -> int:
        return self._disk.capacity

    def write(self, offset: int, data: memoryview, digests: bytes) -> None:
        self._disk.target.write(offset, data)
        self._disk.table.write(offset, digests)

    def zero(self, offset: int, length: int) -> None:
        self._disk.target.zero(offset, length)
        self._disk.table.zero(offset, length)

    def commit(self, found: list[tuple[Extent, bool]]) -> None:
        kinds = [(extent, RangeKind.ZERO if zero else RangeKind.DATA) for extent, zero in found]
        self._disk.commit(self, kinds)

    def close(self) -> None:
        self._disk.leave(self)


def _pass_json(begin: PassBegin) -> dict[str, object]:
    return {
        "pass_id": begin.pass_id,
        "kind": begin.kind,
        "snapshot": begin.snapshot,
        "change_id": begin.change_id,
        "base_change_id": begin.base_change_id,
        "identity": json.loads(begin.identity) if begin.identity else None,
    }
