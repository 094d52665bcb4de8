"""A whole pass against a real instance process."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from connector.errors import Conflict, Interrupted, ProofFailed, TargetFull, TransferFailed
from connector.kinds import PassKind
from connector.model import Extent
from connector.settings import TransferSettings
from connector.transfer.disk_pass import FRUITLESS, DiskPass, copy_disk
from connector.transfer.extents import to_json, whole
from connector.transfer.policies import Delayed, Wrapper
from connector.transfer.sender import SendProgress
from connector.transfer.source import FileSource
from tests.transfer.conftest import CELL, MIB, Instance, make_disk
from tests.waiting import PATIENCE

SMALL = TransferSettings(in_flight=2 * MIB)


def order(path: Path, **changes: object) -> DiskPass:
    made = DiskPass(
        "2000", "pass-1", path.stat().st_size, PassKind.FULL, "snapshot-1", "id/1", label="Hard disk 1"
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def same(source: Path, target: Path) -> bool:
    return source.read_bytes() == target.read_bytes()


def test_x22_full_pass_then_delta_then_image(instance: Instance, disk: Path) -> None:
    result = copy_disk(FileSource(disk), instance.endpoint, order(disk), prove=True)
    assert same(disk, instance.disk("2000"))
    assert result.proved == result.capacity and result.root
    assert result.sent + result.zero == result.read
    with disk.open("r+b") as out:
        out.seek(7 * CELL + 100)
        out.write(b"changed" * 1000)
        out.seek(20 * MIB)
        out.write(bytes(3 * CELL))
    changed = [Extent(7 * CELL + 100, 7000), Extent(20 * MIB, 3 * CELL)]
    delta = order(
        disk,
        reading_id="pass-2",
        kind=PassKind.DELTA,
        change_id="id/2",
        base_change_id="id/1",
        snapshot="s-2",
    )
    second = copy_disk(FileSource(disk), instance.endpoint, delta, lambda: changed, prove=True)
    assert same(disk, instance.disk("2000"))
    assert second.read == 4 * CELL and second.proved == second.capacity and second.root != result.root
    image = instance.endpoint.make_image("web-01", "raw", "run-1")
    assert image["state"] == "ready" and same(disk, Path(str(image["files"][0]["path"])))  # type: ignore[index]


def damage(target: Path) -> None:
    """One byte of a block that holds data."""
    content = target.read_bytes()
    at = next(n for n, byte in enumerate(content) if byte)
    with target.open("r+b") as out:
        out.seek(at)
        out.write(bytes([content[at] ^ 1]))


def test_a_proof_that_exists_is_enough_unless_reading_again_is_asked_for(
    instance: Instance, disk: Path
) -> None:
    copy_disk(FileSource(disk), instance.endpoint, order(disk), prove=True)
    damage(instance.disk("2000"))
    instance.endpoint.prove("2000")
    with pytest.raises(ProofFailed):
        instance.endpoint.prove("2000", fresh=True)


def test_several_connections_and_compression_deliver_the_same(instance: Instance, disk: Path) -> None:
    settings = TransferSettings(connections=3, compression="3", in_flight=4 * MIB)
    result = copy_disk(FileSource(disk), instance.endpoint, order(disk), settings=settings, prove=True)
    assert same(disk, instance.disk("2000")) and result.wire < result.sent


class BreaksAfterEachBlock(Wrapper):
    """One block arrives, then the connection breaks."""

    def __init__(self, source: FileSource) -> None:
        super().__init__(source)
        self.arrived, self.breaks, self.durable = threading.Event(), 0, 0

    def allocated(self, extent: Extent) -> list[Extent]:
        return [extent]

    def read(self, extents, halt=None):  # type: ignore[no-untyped-def]
        self.arrived.clear()
        yield next(iter(self._source.read(extents)))
        assert self.arrived.wait(PATIENCE)
        self.breaks += 1
        raise TransferFailed("the connection broke", retryable=True)

    def report(self, seen: SendProgress) -> None:
        if seen.durable > self.durable:
            self.durable = seen.durable
            self.arrived.set()


def test_connections_that_deliver_only_zeros_are_not_fruitless(instance: Instance, tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "zeros", (FRUITLESS + 1) * MIB)
    disk.write_bytes(bytes(disk.stat().st_size))
    source = BreaksAfterEachBlock(FileSource(disk))
    copy_disk(source, instance.endpoint, order(disk), progress=source.report, prove=True)
    assert source.breaks == FRUITLESS + 1


def test_delta_needs_its_base(instance: Instance, disk: Path) -> None:
    delta = order(disk, kind=PassKind.DELTA, base_change_id="id/0")
    with pytest.raises(Conflict, match="run a comparing pass"):
        copy_disk(FileSource(disk), instance.endpoint, delta, lambda: [Extent(0, CELL)])


class StopAfter(Wrapper):
    """Sets an event once so many bytes were read."""

    def __init__(self, source: FileSource, limit: int, act: Callable[[], None]) -> None:
        super().__init__(source)
        self._left, self._act = limit, act

    def read(self, extents, halt=None):  # type: ignore[no-untyped-def]
        for block in self._source.read(extents, halt):
            self._left -= len(block.data)
            if self._left <= 0:
                self._act()
                self._act = lambda: None
            yield block


def test_invariant_1_killed_instance_resumes_and_sends_no_more_than_a_window_twice(
    start: Callable[..., Instance], tmp_path: Path
) -> None:
    disk = make_disk(tmp_path / "big.raw", 96 * MIB, seed=7)
    first = start()
    source = Delayed(StopAfter(FileSource(disk), 40 * MIB, first.kill), 0.002)
    settings = TransferSettings(in_flight=8 * MIB, compression="none")
    seen = []
    with pytest.raises(TransferFailed):
        endpoint = first.endpoint
        copy_disk(
            source, endpoint, order(disk), settings=settings, progress=seen.append, stop=_soon_stopped(first)
        )
    second = start()
    state = second.endpoint.disk("2000")
    durable = sum(length for _, length in state["attempts"][0]["durable"])  # type: ignore[index]
    assert durable > 0
    result = copy_disk(FileSource(disk), second.endpoint, order(disk), settings=settings, prove=True)
    total = sum(e.length for e in FileSource(disk).allocated(Extent(0, disk.stat().st_size)))
    assert same(disk, second.disk("2000"))
    assert result.read <= total - durable + 64 * CELL
    assert result.read < total


def _soon_stopped(instance: Instance) -> threading.Event:
    """Keeps the pass from retrying against a dead instance: an event that is set once the instance is gone."""

    class Gone(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if instance.process.poll() is not None:
                raise TransferFailed("the instance is gone")
            return super().wait(timeout)

    return Gone()


def test_stop_leaves_no_thread_and_resumes(instance: Instance, disk: Path) -> None:
    stop = threading.Event()
    before = set(threading.enumerate())
    slow = StopAfter(FileSource(disk), 4 * MIB, stop.set)
    with pytest.raises(Interrupted):
        copy_disk(Delayed(slow, 0.05), instance.endpoint, order(disk), settings=SMALL, stop=stop)
    assert set(threading.enumerate()) <= before
    copy_disk(FileSource(disk), instance.endpoint, order(disk), prove=True)
    assert same(disk, instance.disk("2000"))


def test_invariant_9_new_snapshot_sends_what_is_missing_and_what_changed(
    instance: Instance, disk: Path
) -> None:
    stop = threading.Event()
    with pytest.raises(Interrupted):
        slow = Delayed(StopAfter(FileSource(disk), 12 * MIB, stop.set), 0.05)
        copy_disk(slow, instance.endpoint, order(disk), settings=SMALL, stop=stop)
    done = instance.endpoint.disk("2000")["attempts"][0]["durable"]  # type: ignore[index]
    assert done
    at = done[0][0]
    with disk.open("r+b") as out:
        out.seek(at + 10)
        out.write(b"after the first snapshot")
    again = order(disk, reading_id="pass-2", snapshot="snapshot-2", change_id="id/2")
    asked = []

    def changed_since(change_id: str) -> list[Extent]:
        asked.append(change_id)
        return [Extent(at + 10, 24)]

    result = copy_disk(FileSource(disk), instance.endpoint, again, changed_since=changed_since, prove=True)
    assert asked == ["id/1"] and same(disk, instance.disk("2000"))
    total = sum(e.length for e in FileSource(disk).allocated(Extent(0, disk.stat().st_size)))
    assert result.read < total


def test_unallocated_cells_of_a_later_full_pass_are_zeroed(instance: Instance, tmp_path: Path) -> None:
    first, second = make_disk(tmp_path / "a", 8 * MIB, 1), make_disk(tmp_path / "b", 8 * MIB, 2)
    copy_disk(FileSource(first), instance.endpoint, order(first))
    copy_disk(
        FileSource(second), instance.endpoint, order(second, reading_id="pass-2", snapshot="s-2"), prove=True
    )
    assert same(second, instance.disk("2000"))


@pytest.mark.parametrize("left", ["disk.raw", "digests", "both"])
def test_a_fresh_target_that_does_not_read_as_zero_is_zeroed_where_the_source_has_nothing(
    start: Callable[..., Instance], tmp_path: Path, disk: Path, left: str
) -> None:
    """Files of somebody else lie where the instance makes its own."""
    home = tmp_path / "instance" / "disks" / "2000"
    home.mkdir(parents=True)
    capacity = disk.stat().st_size
    if left != "digests":
        (home / "disk.raw").write_bytes(b"\xee" * (capacity - 100))
    if left != "disk.raw":
        (home / "digests").write_bytes(b"\xdd" * (capacity // CELL * 32))
    fresh = start()
    fresh.endpoint.put_disk("2000", capacity)
    assert fresh.endpoint.disk("2000")["dirty"] is True
    result = copy_disk(FileSource(disk), fresh.endpoint, order(disk), prove=True)
    assert same(disk, fresh.disk("2000"))
    assert result.proved == capacity


def test_a_fresh_target_that_reads_as_zero_is_not_touched_where_the_source_has_nothing(
    instance: Instance, disk: Path
) -> None:
    instance.endpoint.put_disk("2000", disk.stat().st_size)
    assert instance.endpoint.disk("2000")["dirty"] is False


def test_invariant_2_finish_names_what_is_missing(instance: Instance, disk: Path) -> None:
    endpoint = instance.endpoint
    endpoint.put_disk("2000", disk.stat().st_size)
    endpoint.begin_pass("2000", {"pass_id": "p", "kind": "full", "snapshot": "s", "change_id": "c"})
    with pytest.raises(Conflict) as caught:
        endpoint.finish_pass("2000", "p", [Extent(0, CELL), Extent(MIB, MIB)])
    assert to_json(caught.value.missing) == [[0, CELL], [MIB, MIB]]  # type: ignore[attr-defined]
    assert endpoint.disk("2000")["base"] is None


def test_invariant_10_no_image_in_the_middle_of_a_pass(instance: Instance, disk: Path) -> None:
    endpoint = instance.endpoint
    copy_disk(FileSource(disk), endpoint, order(disk))
    body = {"pass_id": "p2", "kind": "delta", "snapshot": "s", "change_id": "c", "base_change_id": "id/1"}
    endpoint.begin_pass("2000", body)
    with pytest.raises(Conflict, match="not finished"):
        endpoint.make_image("early", "raw", "run")
    endpoint.discard_attempts("2000")  # the delta may be half applied: still no image
    with pytest.raises(Conflict, match="not finished"):
        endpoint.make_image("early", "raw", "run")
    with pytest.raises(Conflict, match="not finished"):
        endpoint.prove("2000")


def test_invariant_10_disks_of_different_passes_make_no_image(instance: Instance, disk: Path) -> None:
    copy_disk(FileSource(disk), instance.endpoint, order(disk))
    copy_disk(FileSource(disk), instance.endpoint, order(disk, key="2001", reading_id="other"))
    with pytest.raises(Conflict, match="different passes"):
        instance.endpoint.make_image("mixed", "raw", "run")
    assert instance.endpoint.make_image("mixed", "raw", "run", same_pass=False)["state"] == "ready"


def test_invariant_8_every_control_call_may_be_repeated(instance: Instance, disk: Path) -> None:
    endpoint = instance.endpoint
    copy_disk(FileSource(disk), endpoint, order(disk))
    state = endpoint.disk("2000")
    begin = {"pass_id": "pass-2", "kind": "full", "snapshot": "s2", "change_id": "id/1"}
    assert endpoint.begin_pass("2000", begin) == endpoint.begin_pass("2000", begin)
    endpoint.discard_attempts("2000")
    assert endpoint.discard_attempts("2000")["attempts"] == []
    copy_disk(FileSource(disk), endpoint, order(disk, reading_id="pass-2", snapshot="s2"))
    assert endpoint.finish_pass("2000", "pass-2", whole(disk.stat().st_size))["settled"] is True
    assert endpoint.put_disk("2000", disk.stat().st_size)["base"] != state["base"]


def test_proof_finds_a_flipped_byte_and_a_filled_hole(instance: Instance, disk: Path) -> None:
    copy_disk(FileSource(disk), instance.endpoint, order(disk), prove=True)
    target = instance.disk("2000")
    data, hole = _first(target, os.SEEK_DATA), _first(target, os.SEEK_HOLE)
    with target.open("r+b") as out:
        for at in (data + 5, hole + 5):
            out.seek(at)
            byte = out.read(1)
            out.seek(at)
            out.write(bytes([byte[0] ^ 1]))
    with pytest.raises(ProofFailed, match=f"{2 * CELL} bytes differ"):
        instance.endpoint.prove("2000", fresh=True)


def _first(path: Path, what: int) -> int:
    with path.open("rb") as file:
        return os.lseek(file.fileno(), 0, what)


def test_full_target_is_told_and_keeps_what_was_acknowledged(
    start: Callable[..., Instance], disk: Path
) -> None:
    import resource

    limit = 6 * MIB
    small = start(preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit * 8, limit * 8)))
    big = make_disk(disk.with_name("wide.raw"), 64 * MIB, 3)
    with pytest.raises(TargetFull, match="no space left"):
        copy_disk(FileSource(big), small.endpoint, order(big), settings=SMALL)


def test_disk_never_shrinks_but_grows(instance: Instance, disk: Path) -> None:
    copy_disk(FileSource(disk), instance.endpoint, order(disk))
    with pytest.raises(Conflict, match="cannot shrink"):
        instance.endpoint.put_disk("2000", MIB)
    grown = instance.endpoint.put_disk("2000", 32 * MIB)
    assert grown["capacity"] == 32 * MIB and grown["base"] is None
    about = json.loads(instance.disk("2000").with_name("disk.json").read_text())
    assert about["capacity"] == 32 * MIB  # it counts when the journal is lost
