"""One target disk, with contents and journal; only write sessions of the running pass write to it."""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from connector.errors import Conflict, TransferFailed
from connector.instance.checked_table import CheckedTable
from connector.instance.contents import DATA, TABLE, Contents, Rot, damage
from connector.instance.journal import DamagedJournal, Journal, JournalReader
from connector.instance.nodes import UNKNOWN, NodeArray
from connector.instance.records import (
    IDENTITY,
    Discard,
    DoubtRecord,
    Grown,
    NodeRecord,
    Pages,
    PassBegin,
    PassEnd,
    Ranges,
    Record,
    Root,
    Spoiled,
    TargetRecord,
)
from connector.instance.state import ONWARD, DiskState, account
from connector.instance.tally import InstanceTally
from connector.instance.window import Pending, extent_of
from connector.kinds import RangeState
from connector.model import Extent
from connector.transfer import digest, tree
from connector.transfer import extents as ranges
from connector.transfer.extents import CELL
from connector.transfer.reasons import Piece

FENCE = 30.0  # seconds within which sessions of an older pass must end
AREAS = 1 << 18  # of one journal record, at most
NODES = 1 << 18  # likewise
JOURNAL, ABOUT = "journal", "disk.json"
log = logging.getLogger(__name__)


class Disk:
    """Thread-safe. `_changed` guards the state, the journal and the set of sessions; data is written without it."""

    def __init__(
        self,
        directory: Path,
        key: str,
        capacity: int,
        label: str = "",
        device: Path | None = None,
        tally: InstanceTally | None = None,
    ) -> None:
        """`capacity` is for a new disk; the journal of an existing disk knows its own."""
        self._tally = tally or InstanceTally()
        if not directory.is_dir():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory, self.key, self.label = directory, key, label
        self._state, self._nodes = DiskState(capacity), NodeArray(capacity)
        self._journal = self._opened(device)
        self._sessions: set[WriteSession] = set()
        self._changed = threading.Condition()
        self._held = 0  # proofs and images that read the settled disk
        #: A write may have reached the target and not the table, or the reverse: only reading shows it.
        self._torn = self._state.touched and not self._state.settled
        self._rot = Rot()  # of what was repaired since the last proof that failed
        try:
            if not self._state.target:
                self._note(TargetRecord(secrets.token_hex(IDENTITY)))
            self.contents = Contents(directory, self._state.capacity, device)
        except BaseException:
            self._journal.close()
            raise
        self._table = CheckedTable(self.contents, self._nodes)

    def _opened(self, device: Path | None) -> Journal:
        """The journal, read. A damaged journal is replaced by a new one that says why: then the next pass compares.

        Raises Conflict for the journal of a newer release.
        """
        try:
            journal = self._read()
        except DamagedJournal as damaged:
            reason = f"its journal could not be used: {damaged.what}"
        else:
            reason = self._damage(journal, device)
            if not reason:
                return journal
            journal.close()
        log.warning("disk %s is compared in its next pass: %s", self.key, reason)
        target = TargetRecord(secrets.token_hex(IDENTITY), reason[:1000])
        Journal.renew(self.directory / JOURNAL, self.key, self._state.capacity, target)
        return self._read()

    def _read(self) -> Journal:
        def reader(capacity: int) -> JournalReader:
            self._state, self._nodes = DiskState(capacity), NodeArray(capacity)
            return JournalReader(self._take, self._nodes.put, self._state.name)

        return Journal(self.directory / JOURNAL, self.key, self._state.capacity, reader)

    def _damage(self, journal: Journal, device: Path | None) -> str:
        state = self._state
        if not journal.version:
            files = any((self.directory / name).exists() for name in (ABOUT, TABLE, DATA))
            return "its journal was missing" if files else ""
        if state.settled and state.root and self._nodes.root != state.root:
            return "its journal contradicts itself"
        return damage(self.directory, state.capacity, device) if state.touched else ""

    @property
    def capacity(self) -> int:
        return self._state.capacity

    @property
    def path(self) -> Path:
        return self.contents.path

    def grow(self, capacity: int) -> None:
        """Enlarge the disk. It has no base then, because CBT does not survive a resize. Shrinking raises Conflict."""
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
            self._note(Grown(capacity))
            self._torn = self._state.touched  # the last cell may be longer now
            self.contents.grow(capacity)

    def describe(self) -> dict[str, object]:
        """The answer to GET /disks/{key}."""
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
                "touched": state.touched,
                "dirty": state.touched or not self.contents.blank,
                "settled": state.settled,
                "doubt": state.doubt,
                "spoiled": ranges.to_json(state.spoiled),
                "rot": asdict(self._rot),
                **_lineage(state),
            }

    def lineage(self) -> dict[str, object]:
        """The target's id and generation, and the roots at the end of the base and before it."""
        with self._changed:
            return _lineage(self._state)

    def begin(self, begin: PassBegin) -> None:
        """Start an attempt, unless it runs already. Sessions of other passes are ended first. Raises Conflict."""
        with self._changed:
            if not self._state.check_begin(begin):
                return
            self._require_free()
            self._fence(begin.reading_id)
            if not self._state.check_begin(begin):  # another request began it meanwhile
                return
            self._torn |= self._state.touched and not self._state.settled
            self._note(begin)

    def finish(self, reading_id: str, cover: list[Extent], todo: list[Extent]) -> list[Extent]:
        """Make the reading the base (invariant 2). Returns the missing ranges, and changes nothing if there are any.

        The attempts together must have delivered `cover`, and this attempt `todo`. May be repeated.
        """
        with self._changed:
            state = self._state
            if state.base is not None and state.base.reading_id == reading_id and not state.attempts:
                return []
            plan = ranges.union(cover, todo)
            if ranges.clip(plan, self.capacity) != plan:
                raise Conflict(
                    "the plan reaches beyond the disk", on=self.key, remedy="read the capacity again"
                )
            missing = state.missing(reading_id, cover, todo)
            if not missing:
                self._fence("")
                self._note(self._end(reading_id))
                self._torn = False
            return missing

    def discard(self) -> None:
        """Forget interrupted attempts. The base stays: a delta from it delivers what they wrote. What they repaired is
        known to be wrong again.
        """
        with self._changed:
            if self._state.attempts:
                self._fence("")
                self._note(Discard())

    def doubt(self, reason: str) -> None:
        """Let no delta continue from this base. May be repeated."""
        with self._changed:
            if self._state.base is not None and not self._state.doubt:
                self._note(DoubtRecord(reason[:1000]))

    def spoil(self, areas: Sequence[Extent]) -> None:
        """Record that a proof found these areas wrong. The disk makes no image until they are repaired."""
        with self._changed:
            self._rot = Rot()
            for record in _spoiled(areas):
                self._note(record)

    def digests(self, extents: Sequence[Extent], *, look: bool = False) -> bytes:
        """The marked digests of these ranges of whole cells, in their order.

        They come from the table. Where it cannot be trusted, or with `look`, the target is read.
        """
        digests = []
        for extent in extents:
            listed = None if look or self._unsure(extent) else self._table.listed(extent)
            if listed is None:
                listed = digest.marked(extent.length, self.contents.read_back(extent))
            digests.append(listed)
        return b"".join(digests)

    def node(self, page: int) -> bytes:
        """The node that a page of the digest table must have. The caller has called `hold`."""
        return self._nodes.get(page)

    def adopt(self, root: bytes) -> None:
        """Record the root that a full proof has computed, for a base that has none.

        The caller has called `hold`. May be repeated.
        """
        with self._changed:
            if self._state.unknown and self._state.base is not None:
                self._record_nodes()
                if self._nodes.root == root:
                    self._note(Root(root))

    def _end(self, reading_id: str) -> PassEnd:
        """The end of a reading. It has no roots when it continues from a base of an older release, which had none."""
        state = self._state
        if state.unknown:
            if state.current(reading_id).begin.kind in ONWARD:
                return PassEnd(reading_id)
            self._record_nodes()
        return PassEnd(reading_id, self._nodes.root, state.previous if state.is_mending else state.root)

    def _record_nodes(self) -> None:
        """Record the nodes of pages that the journal does not know, as the table has them."""
        runs: list[Pages] = []
        for page in range(tree.count(self.capacity)):
            if self._nodes.get(page) == UNKNOWN:
                node = tree.node(self._table.before(page, list)[0])
                runs.append(Pages(page, 1, b"" if node == tree.BLANK else node))
        for at in range(0, len(runs), NODES):
            self._note(NodeRecord(tuple(runs[at : at + NODES])))

    def hold(self) -> PassBegin:
        """The finished reading that the target shows; no pass begins until `release`. Raises Conflict
        (invariant 10).
        """
        with self._changed:
            if self._state.spoiled:
                raise Conflict(
                    f"{ranges.covered(self._state.spoiled)} bytes of it are known to be wrong",
                    on=f"disk {self.key}",
                    remedy="run a pass: it reads them again",
                )
            if not self._state.settled or self._state.base is None:
                raise Conflict(
                    "its last pass is not finished", on=f"disk {self.key}", remedy="finish it first"
                )
            self._held += 1
            return self._state.base

    def wrong_at_rest(self) -> list[Extent]:
        """Where the target is known to be wrong, between two passes. Empty while a pass is unfinished."""
        with self._changed:
            state = self._state
            return [] if state.base is None or state.attempts else list(state.spoiled)

    def account(self) -> list[Piece]:
        """Every byte with its reason, as of the last finished reading."""
        with self._changed:
            return account(self._state)

    def release(self) -> None:
        with self._changed:
            self._held -= 1

    def settle(self) -> None:
        """Put everything where a snapshot of the storage will contain it. The caller has called `hold`."""
        self.contents.settle()

    def open_session(self, reading_id: str, capacity: int, cancel: Callable[[], None]) -> WriteSession:
        """Admit a writer of the running pass. `cancel` must end it soon. Raises Conflict."""
        with self._changed:
            self._state.current(reading_id)
            if capacity != self.capacity:
                raise Conflict(f"has {self.capacity} bytes, not {capacity}", on=self.key, remedy="plan again")
            session = WriteSession(self, reading_id, cancel)
            self._sessions.add(session)
            return session

    def retire(self) -> None:
        """Close for good. Raises Conflict while a proof or an image reads the disk."""
        with self._changed:
            self._require_free()
        self.close()

    def close(self) -> None:
        with self._changed:
            for session in self._sessions:
                session.cancel()
            self._changed.wait_for(lambda: not self._sessions, FENCE)
            self.contents.close()
            self._journal.close()

    def _commit(
        self, session: WriteSession, ranges_written: list[tuple[Extent, RangeState]], pending: Pending
    ) -> None:
        """Make a window durable: target, journal, digest table. Only then may the caller acknowledge (invariant 1).

        The journal gets the nodes of the pages before the table gets the entries. After a crash in between, the target
        shows the lost entries, and their node confirms them.
        """
        began = time.monotonic()
        self.contents.target.flush()
        self._tally.flushed(time.monotonic() - began)
        with self._changed:
            if session not in self._sessions:
                raise Conflict(f"pass {session.reading_id} was superseded", on=self.key, remedy="begin again")
            wrong: list[Extent] = []
            change = pending.change(self.capacity, lambda page: self._before(page, pending, wrong))
            began = time.monotonic()
            self._note(*_spoiled(wrong), change.record(), Ranges(tuple(ranges_written)))
            self._tally.appended(time.monotonic() - began)
            self.contents.change(change)
        self.contents.table.flush()
        self._tally.durable(ranges_written)

    def _before(self, page: int, pending: Pending, wrong: list[Extent]) -> bytes:
        """The entries of a page before a window changes some of them. The caller has the lock.

        If the page cannot be trusted, all its cells that the window does not write are added to `wrong`.
        """
        entries, trusted = self._table.before(page, self._state.durable)
        if not trusted:
            where = extent_of(page, self.capacity)
            log.warning("disk %s: the digest table is not what it must be at %s", self.key, where.start)
            wrong += ranges.subtract([where], ranges.union(pending.cells(where), self._state.spoiled))
        return entries

    def _confirm(self, extent: Extent, root: bytes) -> bytes | None:
        """Check a range of state "same": None when the table confirms it, the entries when only the target does."""
        listed = None if self._unsure(extent) else self._table.listed(extent)
        if listed is not None and digest.root(digest.unmarked(extent.length, listed)) == root:
            return None
        actual = self.contents.read_back(extent)
        if digest.root(actual) == root:
            return digest.marked(extent.length, actual)
        self._torn = True  # from now on digests are read from the target
        raise TransferFailed(
            f"the target does not hold at {extent.start} what the appliance calls the same",
            on=f"disk {self.key}",
            remedy="it is compared again",
        )

    def _blame(self, extent: Extent, digests: bytes) -> None:
        """Find out what had rotted in the known wrong parts of a range that is written now."""
        for part in self._wrong(extent.start, extent.length):
            first = (part.start - extent.start) // CELL * digest.SIZE
            last = first + digest.count(part.length) * digest.SIZE
            rot = self.contents.blame(part, digests[first:last])
            with self._changed:
                self._rot += rot

    def _leave(self, session: WriteSession, *, torn: bool) -> None:
        with self._changed:
            self._torn |= torn
            self._sessions.discard(session)
            self._changed.notify_all()

    def _wrong(self, offset: int, length: int) -> list[Extent]:
        """The parts of a range that are known to be wrong; whole cells."""
        with self._changed:
            return ranges.within(self._state.spoiled, Extent(offset, length))

    def _unsure(self, extent: Extent) -> bool:
        return self._torn or self._state.unknown or bool(self._wrong(extent.start, extent.length))

    def _note(self, *records: Record) -> None:
        """Append to the journal, and then apply. The caller has the lock."""
        self._journal.append(*records)
        for record in records:
            self._take(record)

    def _take(self, record: Record) -> None:
        if isinstance(record, NodeRecord):
            self._nodes.put(record.runs)
        else:
            self._state.apply(record)
            self._nodes.apply(record, self._state)

    def _require_free(self) -> None:
        if self._held:
            raise Conflict(
                "is being proved or imaged", on=f"disk {self.key}", remedy="wait for it", retryable=True
            )

    def _fence(self, reading_id: str) -> None:
        """End the sessions of all other passes: late blocks of an older pass must not overwrite newer blocks."""
        foreign = [session for session in self._sessions if session.reading_id != reading_id]
        for session in foreign:
            session.cancel()
        if not self._changed.wait_for(lambda: not any(s in self._sessions for s in foreign), FENCE):
            raise Conflict("an older connection does not end", on=self.key, remedy="try again in a minute")


class WriteSession:
    """The writing end of one connection (the receiver's sink)."""

    def __init__(self, disk: Disk, reading_id: str, cancel: Callable[[], None]) -> None:
        self._disk, self.reading_id, self.cancel = disk, reading_id, cancel
        self._loose = False  # something was written that is not yet in the journal
        self._pending = Pending()  # the digests of it

    @property
    def capacity(self) -> int:
        return self._disk.capacity

    def write(self, offset: int, data: memoryview, digests: bytes) -> None:
        self._loose = True
        extent = Extent(offset, len(data))
        self._disk._blame(extent, digests)
        self._disk.contents.target.write(offset, data)
        self._pending.write(extent, digest.marked(extent.length, digests))

    def zero(self, offset: int, length: int) -> None:
        self._loose = True
        for start, part in ranges.blocks(self._disk._wrong(offset, length)):
            self._disk._blame(Extent(start, part), digest.MARK * digest.count(part))
        self._disk.contents.target.zero(offset, length)
        self._pending.zero(Extent(offset, length))

    def confirm(self, offset: int, length: int, root: bytes) -> None:
        extent = Extent(offset, length)
        entries = self._disk._confirm(extent, root)
        if entries is not None:
            self._pending.write(extent, entries)

    def commit(self, ranges: list[tuple[Extent, RangeState]]) -> None:
        self._disk._commit(self, ranges, self._pending)
        self._pending.clear()
        self._loose = False

    def close(self) -> None:
        self._disk._leave(self, torn=self._loose)


def _spoiled(areas: Sequence[Extent]) -> list[Spoiled]:
    """The areas in as few records as possible."""
    return [Spoiled(tuple(areas[at : at + AREAS])) for at in range(0, len(areas), AREAS)]


def _lineage(state: DiskState) -> dict[str, object]:
    root = state.base_root
    return {
        "target": state.target,
        "generation": state.generation,
        "root": root.hex(),
        "previous_root": state.previous.hex() if root else "",
    }


def _pass_json(begin: PassBegin) -> dict[str, object]:
    return {
        "pass_id": begin.reading_id,
        "kind": begin.kind,
        "snapshot": begin.snapshot,
        "change_id": begin.change_id,
        "base_change_id": begin.base_change_id,
        "identity": json.loads(begin.identity) if begin.identity else None,
    }
