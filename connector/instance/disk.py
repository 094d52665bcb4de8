"""One target disk: contents and journal, written by sessions of the running pass and by nobody else."""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from connector.errors import Conflict, TransferFailed
from connector.instance.contents import DATA, TABLE, Contents, Rot, damage
from connector.instance.journal import DamagedJournal, Journal, JournalReader
from connector.instance.nodes import UNKNOWN, NodeArray
from connector.instance.records import (
    IDENTITY,
    Discard,
    DoubtRecord,
    Grown,
    Pages,
    PassBegin,
    PassEnd,
    Ranges,
    Record,
    Root,
    Spoiled,
    TargetRecord,
)
from connector.instance.records import NodeRecord as PageNodes
from connector.instance.state import ONWARD, DiskState, account
from connector.instance.table import CheckedTable
from connector.instance.window import Pending, extent_of
from connector.kinds import RangeState
from connector.model import Extent
from connector.transfer import digest, tree
from connector.transfer import extents as ranges
from connector.transfer.extents import CELL
from connector.transfer.tiling import Piece

FENCE = 30.0  # seconds that sessions of an older pass get in order to leave
AREAS = 1 << 18  # in one journal record, at most
NODES = 1 << 18  # likewise
JOURNAL, ABOUT = "journal", "disk.json"
log = logging.getLogger(__name__)


class Disk:
    """Thread-safe. `_changed` guards the state, the journal and the set of sessions; data is written outside
    of it.
    """

    def __init__(
        self, directory: Path, key: str, capacity: int, label: str = "", device: Path | None = None
    ) -> None:
        """`capacity` is that of a new disk; the journal of one that is there knows its own."""
        if not directory.is_dir():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory, self.key, self.label = directory, key, label
        self._state, self._nodes = DiskState(capacity), NodeArray(capacity)
        self._journal = self._opened(device)
        self._sessions: set[WriteSession] = set()
        self._changed = threading.Condition()
        self._held = 0  # proofs and images that read the settled disk
        #: A write may have reached the target and not the table, or the reverse: only reading tells.
        self._torn = self._state.touched and not self._state.settled
        self._rot = Rot()  # of what was mended since the last proof that failed
        try:
            if not self._state.target:
                self._note(TargetRecord(secrets.token_hex(IDENTITY)))
            self.contents = Contents(directory, self._state.capacity, device)
        except BaseException:
            self._journal.close()
            raise
        self._table = CheckedTable(self.contents, self._nodes)

    def _opened(self, device: Path | None) -> Journal:
        """The journal, read. Damage makes it a new one that says why: then the next pass compares (never a fresh start).

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
            strangers = any((self.directory / name).exists() for name in (ABOUT, TABLE, DATA))
            return "its journal was missing" if strangers else ""
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
            self._note(Grown(capacity))
            self._torn = self._state.touched  # the last cell may have become longer
            self.contents.grow(capacity)

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
                "touched": state.touched,
                "dirty": state.touched or not self.contents.blank,
                "settled": state.settled,
                "doubt": state.doubt,
                "spoiled": ranges.to_json(state.spoiled),
                "rot": asdict(self._rot),
                **_lineage(state),
            }

    def lineage(self) -> dict[str, object]:
        """Which target it is, which pass it shows, and the roots at its end and before."""
        with self._changed:
            return _lineage(self._state)

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
            self._torn |= self._state.touched and not self._state.settled
            self._note(begin)

    def finish(self, pass_id: str, cover: list[Extent], todo: list[Extent]) -> list[Extent]:
        """Make the pass the base (invariant 2); returns what is missing, and changes nothing unless that is
        empty.

        `cover` must be named by the attempts together, `todo` by this attempt itself. Repeating it is
        harmless.
        """
        with self._changed:
            state = self._state
            if state.base is not None and state.base.pass_id == pass_id and not state.attempts:
                return []
            plan = ranges.union(cover, todo)
            if ranges.clip(plan, self.capacity) != plan:
                raise Conflict(
                    "the plan reaches beyond the disk", on=self.key, remedy="read the capacity again"
                )
            missing = state.missing(pass_id, cover, todo)
            if not missing:
                self._fence("")
                self._note(self._end(pass_id))
                self._torn = False
            return missing

    def discard(self) -> None:
        """Forget interrupted attempts. The base stays: a delta from it names everything that they wrote."""
        with self._changed:
            if self._state.attempts:
                self._fence("")
                self._note(Discard())

    def doubt(self, reason: str) -> None:
        """No delta goes on from this base any more. Repeating it is harmless."""
        with self._changed:
            if self._state.base is not None and not self._state.doubt:
                self._note(DoubtRecord(reason[:1000]))

    def spoil(self, areas: Sequence[Extent]) -> None:
        """A proof found that the target differs there from what was sent: no image until it is mended."""
        with self._changed:
            self._rot = Rot()
            for record in _spoiled(areas):
                self._note(record)

    def digests(self, extents: Sequence[Extent], *, look: bool = False) -> bytes:
        """The marked digests of these ranges of whole cells, one after the other.

        From the table, unless it cannot be trusted there (or `look` wants the target read): then from the target.
        """
        found = []
        for extent in extents:
            listed = None if look or self._unsure(extent) else self._table.listed(extent)
            if listed is None:
                listed = digest.marked(extent.length, self.contents.read_back(extent))
            found.append(listed)
        return b"".join(found)

    def node(self, page: int) -> bytes:
        """The node that a page of the digest table must have. The caller holds the disk."""
        return self._nodes.get(page)

    def adopt(self, root: bytes) -> None:
        """A full proof has read everything, of a disk whose pass left no root: this is its root from now on.

        The caller holds the disk. Repeating it is harmless.
        """
        with self._changed:
            if self._state.unknown and self._state.base is not None:
                self._know()
                if self._nodes.root == root:
                    self._note(Root(root))

    def _end(self, pass_id: str) -> PassEnd:
        """With roots, unless the pass goes on from one of an older release, which had none."""
        state = self._state
        if state.unknown:
            if state.current(pass_id).begin.kind in ONWARD:
                return PassEnd(pass_id)
            self._know()
        return PassEnd(pass_id, self._nodes.root, state.previous if state.is_mending else state.root)

    def _know(self) -> None:
        """Pages of which the journal says nothing are as the table has them."""
        found: list[Pages] = []
        for page in range(tree.count(self.capacity)):
            if self._nodes.get(page) == UNKNOWN:
                node = tree.node(self._table.before(page, list)[0])
                found.append(Pages(page, 1, b"" if node == tree.BLANK else node))
        for at in range(0, len(found), NODES):
            self._note(PageNodes(tuple(found[at : at + NODES])))

    def hold(self) -> PassBegin:
        """The finished pass that the target shows; no pass begins until `release`. Raises Conflict
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

    def account(self) -> list[Piece]:
        """Every byte with the reason why the target holds it, as of the last finished pass."""
        with self._changed:
            return account(self._state)

    def release(self) -> None:
        with self._changed:
            self._held -= 1

    def settle(self) -> None:
        """Everything that was written is where a snapshot of the storage will find it. The caller holds the disk."""
        self.contents.settle()

    def open_session(self, pass_id: str, capacity: int, cancel: Callable[[], None]) -> WriteSession:
        """Admit a writer of the running pass. `cancel` must make it leave soon. Raises Conflict."""
        with self._changed:
            self._state.current(pass_id)
            if capacity != self.capacity:
                raise Conflict(f"has {self.capacity} bytes, not {capacity}", on=self.key, remedy="plan again")
            session = WriteSession(self, pass_id, cancel)
            self._sessions.add(session)
            return session

    def retire(self) -> None:
        """Close for good, unless somebody reads the settled disk: Conflict."""
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
        self, session: WriteSession, found: list[tuple[Extent, RangeState]], pending: Pending
    ) -> None:
        """Target, then journal, then digests: only then may the caller acknowledge (invariant 1).

        The journal has the nodes of the pages before the table has the entries: what is lost in between can be told
        from the target, and is recognised by its node.
        """
        self.contents.target.flush()
        with self._changed:
            if session not in self._sessions:
                raise Conflict(f"pass {session.pass_id} was superseded", on=self.key, remedy="begin again")
            wrong: list[Extent] = []
            change = pending.change(self.capacity, lambda page: self._before(page, pending, wrong))
            self._note(*_spoiled(wrong), change.record(), Ranges(tuple(found)))
            self.contents.change(change)
        self.contents.table.flush()

    def _before(self, page: int, pending: Pending, wrong: list[Extent]) -> bytes:
        """The entries of a page before a window changes some of them. The caller holds the lock.

        Those of a page that cannot be trusted are `wrong`, all that the window does not bring anew.
        """
        entries, trusted = self._table.before(page, self._state.durable)
        if not trusted:
            where = extent_of(page, self.capacity)
            log.warning("disk %s: the digest table is not what it must be at %s", self.key, where.start)
            wrong += ranges.subtract([where], ranges.union(pending.cells(where), self._state.spoiled))
        return entries

    def _confirm(self, extent: Extent, root: bytes) -> bytes | None:
        """What is said to be the same is, by the table; or by the target: then its entries are answered."""
        listed = None if self._unsure(extent) else self._table.listed(extent)
        if listed is not None and digest.root(digest.unmarked(extent.length, listed)) == root:
            return None
        held = self.contents.read_back(extent)
        if digest.root(held) == root:
            return digest.marked(extent.length, held)
        self._torn = True  # whoever asks for digests now gets them from the target
        raise TransferFailed(
            f"the target does not hold what was said to be the same at {extent.start}",
            on=f"disk {self.key}",
            remedy="it is compared again",
        )

    def _blame(self, extent: Extent, digests: bytes) -> None:
        """What of the range was known to be wrong is about to be mended: find out what had rotted."""
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
        """What of a range is known to be wrong; whole cells."""
        with self._changed:
            return ranges.within(self._state.spoiled, Extent(offset, length))

    def _unsure(self, extent: Extent) -> bool:
        return self._torn or self._state.unknown or bool(self._wrong(extent.start, extent.length))

    def _note(self, *records: Record) -> None:
        """Durable first, then true. The caller holds the lock."""
        self._journal.append(*records)
        for record in records:
            self._take(record)

    def _take(self, record: Record) -> None:
        if isinstance(record, PageNodes):
            self._nodes.put(record.runs)
        else:
            self._state.apply(record)
            self._nodes.apply(record, self._state)

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


class WriteSession:
    """The writing end of one connection (the receiver's sink)."""

    def __init__(self, disk: Disk, pass_id: str, cancel: Callable[[], None]) -> None:
        self._disk, self.pass_id, self.cancel = disk, pass_id, cancel
        self._loose = False  # something was written that is not yet in the journal
        self._pending = Pending()  # its digests

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

    def commit(self, found: list[tuple[Extent, RangeState]]) -> None:
        self._disk._commit(self, found, self._pending)
        self._pending.clear()
        self._loose = False

    def close(self) -> None:
        self._disk._leave(self, torn=self._loose)


def _spoiled(areas: Sequence[Extent]) -> list[Spoiled]:
    """As few records as can hold them."""
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
        "pass_id": begin.pass_id,
        "kind": begin.kind,
        "snapshot": begin.snapshot,
        "change_id": begin.change_id,
        "base_change_id": begin.base_change_id,
        "identity": json.loads(begin.identity) if begin.identity else None,
    }
