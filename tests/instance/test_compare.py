"""Comparing passes: only what differs crosses the network, and what is compared equal counts no sooner than it is true."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import Conflict, Interrupted, TransferFailed
from connector.instance.disk import Disk
from connector.instance.proof import prove
from connector.instance.records import PassBegin
from connector.kinds import PassKind, RangeState
from connector.model import Extent
from connector.settings import TransferSettings
from connector.transfer import digest, tree
from connector.transfer import extents as ranges
from connector.transfer.disk_pass import DiskPass, copy_disk
from connector.transfer.plan import InterruptedAttempt, plan
from connector.transfer.policies import Delayed
from connector.transfer.source import FileSource
from connector.transfer.target_digests import STRETCH, TargetDigests
from tests.instance.test_pass import StopAfter, order, same
from tests.transfer.conftest import CELL, MIB, Instance, make_disk
from tests.waiting import PATIENCE

SMALL = TransferSettings(in_flight=2 * MIB, compression="none")


def compare(path: Path, **changes: object) -> DiskPass:
    fresh = {"reading_id": "pass-2", "kind": PassKind.COMPARE, "snapshot": "snapshot-2", "change_id": "new/1"}
    return order(path, **(fresh | changes))


def scribble(path: Path, places: dict[int, bytes]) -> None:
    with path.open("r+b") as out:
        for at, data in places.items():
            out.seek(at)
            out.write(data)


def test_only_what_differs_is_sent(instance: Instance, disk: Path) -> None:
    first = copy_disk(FileSource(disk), instance.endpoint, order(disk), settings=SMALL)
    noise = random.Random(2)
    changes = {5 * CELL + 7: noise.randbytes(100), 9 * MIB: noise.randbytes(CELL), 12 * MIB: bytes(2 * CELL)}
    scribble(disk, changes)
    result = copy_disk(FileSource(disk), instance.endpoint, compare(disk), settings=SMALL, prove=True)
    assert same(disk, instance.disk("2000"))
    assert result.sent <= 5 * CELL
    assert result.wire < result.sent + first.wire // 100 + 10_000
    assert result.same + result.sent + result.zero == result.read == result.wanted
    assert result.proved == result.capacity


def test_what_the_source_gave_back_is_zeroed(instance: Instance, tmp_path: Path) -> None:
    """Unallocated at the source, not zero at the target: it costs a frame, no bytes."""
    full, empty = make_disk(tmp_path / "a", 8 * MIB, 1), tmp_path / "b"
    with empty.open("wb") as out:
        out.truncate(8 * MIB)
    copy_disk(FileSource(full), instance.endpoint, order(full))
    result = copy_disk(FileSource(empty), instance.endpoint, compare(empty), prove=True)
    assert same(empty, instance.disk("2000"))
    assert result.read == 0
    assert result.wire < 2000


def test_a_disk_that_grew_is_compared_and_gets_its_tail(instance: Instance, disk: Path) -> None:
    """Its last cell was short and is not any more."""
    old = disk.stat().st_size
    assert old % CELL
    copy_disk(FileSource(disk), instance.endpoint, order(disk))
    with disk.open("r+b") as out:
        out.truncate(32 * MIB)
        out.seek(old + 100)
        out.write(b"in the new part of a cell that was there before")
        out.seek(31 * MIB)
        out.write(b"and in a new one")
    result = copy_disk(FileSource(disk), instance.endpoint, compare(disk), settings=SMALL, prove=True)
    assert same(disk, instance.disk("2000"))
    assert result.sent <= 2 * CELL
    assert instance.endpoint.disk("2000")["base"]["change_id"] == "new/1"  # type: ignore[index]


def test_the_base_is_gone_from_the_moment_a_comparing_pass_begins(instance: Instance, disk: Path) -> None:
    """Half of the target may show another instant: no delta goes on from there."""
    copy_disk(FileSource(disk), instance.endpoint, order(disk))
    stop = threading.Event()
    with pytest.raises(Interrupted):
        slow = Delayed(StopAfter(FileSource(disk), 8 * MIB, stop.set), 0.02)
        copy_disk(slow, instance.endpoint, compare(disk), settings=SMALL, stop=stop)
    assert instance.endpoint.disk("2000")["base"] is None
    with pytest.raises(Conflict, match="the base is missing"):
        delta = order(disk, reading_id="pass-3", kind=PassKind.DELTA, base_change_id="id/1", snapshot="s3")
        copy_disk(FileSource(disk), instance.endpoint, delta, list)


def test_invariant_9_a_comparing_pass_killed_in_the_middle_goes_on_where_it_was(
    start: Callable[..., Instance], tmp_path: Path
) -> None:
    disk = make_disk(tmp_path / "big.raw", 64 * MIB, seed=7)
    first = start()
    copy_disk(FileSource(disk), first.endpoint, order(disk), settings=SMALL)
    noise = random.Random(3)
    scribble(disk, {at * MIB + 5: noise.randbytes(9000) for at in range(0, 64, 3)})
    allocated = ranges.align(FileSource(disk).allocated(Extent(0, 64 * MIB)), 64 * MIB)
    total = ranges.covered(allocated)

    def durable() -> int:
        """Bytes that need not be read again."""
        (attempt,) = first.endpoint.disk("2000")["attempts"]  # type: ignore[misc]
        return ranges.covered(ranges.intersect(ranges.from_json(attempt["durable"]), allocated))

    seen: list[int] = []
    stop = threading.Event()

    def kill() -> None:
        """As soon as something is acknowledged, which takes a second at most."""
        deadline = time.monotonic() + PATIENCE
        while not (found := durable()) and time.monotonic() < deadline:
            time.sleep(0.05)
        seen.append(found)
        first.kill()
        stop.set()

    with pytest.raises((Interrupted, TransferFailed)):
        source = StopAfter(FileSource(disk), total * 2 // 3, kill)
        copy_disk(source, first.endpoint, compare(disk), settings=SMALL, stop=stop)
    second = start()
    at = allocated[0].start + 100
    scribble(disk, {at: b"written under the next snapshot"})
    again = compare(disk, reading_id="pass-3", snapshot="snapshot-3", change_id="new/2")
    asked: list[str] = []

    def changed_since(change_id: str) -> list[Extent]:
        asked.append(change_id)
        return [Extent(at, 40)]

    result = copy_disk(
        FileSource(disk),
        second.endpoint,
        again,
        changed_since=changed_since,
        settings=SMALL,
        prove=True,
    )
    assert same(disk, second.disk("2000"))
    assert seen[0] > 0
    assert asked == ["new/1"]
    assert result.read <= total - seen[0] + 2 * CELL


def test_a_claim_that_the_target_does_not_bear_out_is_refused(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "d", "2000", 4 * CELL)
    disk.begin(PassBegin("p", "compare", "s", "c", ""))
    session = disk.open_session("p", 4 * CELL, lambda: None)
    wrong = digest.root(digest.cells(memoryview(b"x" * CELL)))
    with pytest.raises(TransferFailed, match="does not hold"):
        session.confirm(CELL, CELL, wrong)
    session.confirm(CELL, 2 * CELL, digest.root(digest.zeros(CELL) * 2))
    session.close()
    disk.close()


def test_pages_are_few_and_asked_for_once() -> None:
    capacity = 20 * STRETCH + 5 * CELL
    asked: list[Extent] = []

    def fetch(extents: list[Extent]) -> bytes:
        asked.extend(extents)
        return b"".join(bytes([e.start // STRETCH] * digest.SIZE) * digest.count(e.length) for e in extents)

    held = TargetDigests(fetch, capacity)  # type: ignore[arg-type]
    for extent in ranges.blocks([Extent(0, capacity)]):
        number = extent.start // STRETCH
        assert held(extent) == bytes([number] * digest.SIZE) * digest.count(extent.length)
    assert asked == list(ranges.blocks([Extent(0, capacity)], STRETCH))
    assert len(held._kept) <= 8


CELLS = 12
CAPACITY = CELLS * CELL - 512


def cell(content: int, number: int) -> bytes:
    return bytes([content]) * min(CELL, CAPACITY - number * CELL)


def extents(numbers: set[int]) -> list[Extent]:
    return ranges.clip((Extent(n * CELL, CELL) for n in numbers), CAPACITY)


MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # every record is flushed, hundreds of them


class Died(Exception):
    """The instance lost its power here."""


class Half:
    """Stands in for the contents' target or table: after power was lost, some of what was not flushed is as before."""

    def __init__(self, disk: Disk, data: st.DataObject) -> None:
        self.disk, self.data = disk, data

    def lose(self, number: int, before: tuple[bytes, bytes]) -> None:
        """`before`: what the cell held and what its entry was, before the frame that was not acknowledged."""
        held, entry = before
        keeps = self.data.draw(st.sampled_from(["both", "target", "table", "neither"]))
        if keeps in ("table", "neither"):
            self.disk.contents.target.write(number * CELL, memoryview(held))
        if keeps in ("target", "neither"):
            self.disk.contents.table.write(number * CELL, entry)


def snapshot_of(disk: Disk, number: int) -> tuple[bytes, bytes]:
    room = bytearray(len(cell(0, number)))
    disk.contents.target.read_into(number * CELL, memoryview(room))
    return bytes(room), disk.contents.table.read(number * CELL, len(room))


def run_pass(
    disk: Disk,
    source: dict[int, int],
    begin: PassBegin,
    changed: dict[str, set[int]],
    data: st.DataObject,
    may_die: bool,
) -> None:
    """What an appliance and a receiver do, cell by cell; dies where the test says so."""
    disk.begin(begin)
    state = disk.describe()
    allocated = {n for n, content in source.items() if content}
    attempts = [
        InterruptedAttempt(
            ranges.from_json(a["durable"]),
            () if a["pass_id"] == begin.reading_id else extents(changed[str(a["change_id"])]),
        )
        for a in state["attempts"]  # type: ignore[attr-defined]
    ]
    made = plan(CAPACITY, extents(allocated), attempts, dirty=True)
    held = TargetDigests(lambda asked: disk_digests(disk, asked), CAPACITY)
    session = disk.open_session(begin.reading_id, CAPACITY, lambda: None)
    loose: dict[int, tuple[bytes, bytes]] = {}
    found: list[tuple[Extent, RangeState]] = []
    for number in sorted(n for e in made.todo for n in range(e.start // CELL, -(-e.end // CELL))):
        if may_die and data.draw(st.integers(0, 9)) == 9:
            for n, before in loose.items():
                Half(disk, data).lose(n, before)
            session.close()
            raise Died
        extent = extents({number})[0]
        loose[number] = snapshot_of(disk, number)
        plain = memoryview(cell(source[number], number))
        own = digest.cells(plain)
        if extent in made.zero or ranges.intersect([extent], made.zero):
            session.zero(*extent)
            found.append((extent, RangeState.HOLE))
        else:
            ((_, _, run),) = digest.runs(len(plain), own, held(extent))
            if run is RangeState.SAME:
                session.confirm(*extent, digest.root(own))
            elif run is RangeState.ZERO:
                session.zero(*extent)
            else:
                session.write(extent.start, plain, own)
            found.append((extent, run))
        if data.draw(st.booleans()):
            session.commit(found)
            if (
                may_die and data.draw(st.integers(0, 9)) == 9
            ):  # the journal has it, the table not yet, or in part
                for n in data.draw(st.sets(st.sampled_from(sorted(loose)), min_size=1)):
                    disk.contents.table.write(n * CELL, loose[n][1])
                session.close()
                raise Died
            found, loose = [], {}
    if found:
        session.commit(found)
    session.close()
    end(disk, source, begin.reading_id, made.cover)


def end(disk: Disk, source: dict[int, int], reading_id: str, cover: list[Extent]) -> None:
    """What was found wrong meanwhile is sent besides, as `disk_pass` does it."""
    for _ in range(4):
        if not (missing := disk.finish(reading_id, cover, [])):
            return
        send(disk, source, reading_id, missing)
    raise AssertionError(f"the pass does not end: {missing}")


def send(disk: Disk, source: dict[int, int], reading_id: str, wanted: list[Extent]) -> None:
    """Deliver these cells, whatever the target holds."""
    session = disk.open_session(reading_id, CAPACITY, lambda: None)
    for number in sorted(n for e in wanted for n in range(e.start // CELL, -(-e.end // CELL))):
        plain = memoryview(cell(source[number], number))
        session.write(number * CELL, plain, digest.cells(plain))
        session.commit([(extents({number})[0], RangeState.DATA)])
    session.close()


def disk_digests(disk: Disk, asked: object) -> bytes:
    (extent,) = list(asked)  # type: ignore[call-overload]
    return digest.unmarked(extent.length, disk.digests([extent]))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_invariants_6_and_9_a_comparing_pass_ends_equal_however_often_power_is_lost(
    data: st.DataObject,
) -> None:
    """Between attempts the source changes and may change back, and what was not acknowledged is half lost."""
    contents = st.integers(0, 3)
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        home = Path(directory, "d")
        disk = Disk(home, "2000", CAPACITY)
        source = {n: data.draw(contents) for n in range(CELLS)}
        changed: dict[str, set[int]] = {}
        run_to_the_end(disk, source, data, changed)
        for n in data.draw(st.sets(st.integers(0, CELLS - 1))):
            source[n] = data.draw(contents)
        number = 1
        while True:
            change_id = f"c/{number}"
            changed[change_id] = set()
            begin = PassBegin(f"p-{number}", "compare", f"s-{number}", change_id, "")
            try:
                run_pass(disk, source, begin, changed, data, may_die=number < 4)
                break
            except Died:
                disk.close()
                disk = Disk(home, "2000", CAPACITY)
            for n in data.draw(st.sets(st.integers(0, CELLS - 1), max_size=3)):
                source[n] = data.draw(contents)
                for since in changed.values():
                    since.add(n)
            number += 1
        want = b"".join(cell(source[n], n) for n in range(CELLS))
        assert disk.path.read_bytes() == want
        assert disk_digests(disk, [Extent(0, CAPACITY)]) == digest.cells(memoryview(want))
        entries = digest.marked(CAPACITY, digest.cells(memoryview(want)))
        assert disk.describe()["root"] == tree.root(CAPACITY, tree.nodes(entries)).hex()
        assert prove(disk.contents.target, disk.contents.table, node=disk.node).mismatched == 0
        disk.close()


def run_to_the_end(
    disk: Disk, source: dict[int, int], data: st.DataObject, changed: dict[str, set[int]]
) -> None:
    """A first pass that nothing disturbs."""
    begin = PassBegin("p-0", "full", "s-0", "c/0", "")
    disk.begin(begin)
    session = disk.open_session("p-0", CAPACITY, lambda: None)
    for n in range(CELLS):
        plain = memoryview(cell(source[n], n))
        if source[n]:
            session.write(n * CELL, plain, digest.cells(plain))
        else:
            session.zero(n * CELL, len(plain))
        session.commit([(extents({n})[0], RangeState.DATA)])
    session.close()
    assert disk.finish("p-0", [Extent(0, CAPACITY)], []) == []
