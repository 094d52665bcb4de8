"""One contract for all sources, then what is particular to policies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from connector.backoff import Backoff
from connector.errors import ConnectorError, Interrupted, ReaderFailed
from connector.model import DiskAccess, Extent
from connector.sources.https import HttpsReader
from connector.sources.nfc import NfcReader
from connector.sources.reader import Reader
from connector.sources.vddk import VddkReader
from connector.transfer import extents as ranges
from connector.transfer.policies import Delayed, Failing, Retrying
from connector.transfer.source import BlockSource, FileSource
from connector.vcenter.client import VCenter
from tests.transfer.conftest import CELL, MIB, SIZE, make_disk
from tests.vcenter.imaginary import world
from tests.vcenter.ledger import Memory

THUMBPRINT = ":".join(["AB"] * 20)
VMDK = "[datastore1] web/web.vmdk"


def disk_access(**changes: object) -> DiskAccess:
    fields: dict[str, object] = {"server": "vcenter", "port": 443, "thumbprint": THUMBPRINT, "user": "svc"}
    fields |= {"secret": "hunter2", "secret_is_cookie": False, "vm": "vm-1", "snapshot": "s-1", "path": VMDK}
    return DiskAccess(**fields | changes)  # type: ignore[arg-type]


def vddk_installation(home: Path, disk: Path, **switches: object) -> Path:
    library = pytest.importorskip("simulator.vixdisklib")
    view = home / "estate" / "vm-1" / "s-1"
    view.mkdir(parents=True, exist_ok=True)
    (home / "estate" / "sessions").mkdir(exist_ok=True)
    (home / "estate" / "access").write_text(f"thumbprint={THUMBPRINT}\nuser=svc\npassword=hunter2\n")
    line = [VMDK, str(disk.stat().st_size), "lsilogic", "uuid", "persistent", str(disk)]
    (view / "disks").write_text("\t".join(line) + "\n")
    return library.install(home / "vddk", home / "estate", **switches)


MAKERS: dict[str, Callable[[Path, Path], BlockSource]] = {
    "file": lambda disk, _: FileSource(disk, 8),
    "vddk": lambda disk, home: VddkReader(vddk_installation(home, disk)).open(disk_access(), 4),
    "retrying": lambda disk, _: Retrying(FileSource(disk, 8)),
    "delayed": lambda disk, _: Delayed(FileSource(disk, 8), 0.0),
    "failing": lambda disk, _: Failing(FileSource(disk, 8), lambda _: None),
}


#: Readers that need a vCenter: they read the same disk there.
READERS: dict[str, Callable[[], Reader]] = {"nfc": NfcReader, "https": HttpsReader}


@pytest.fixture(scope="module")
def open_snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Reader], BlockSource]]:
    """Opens a disk with the content of `disk` under a snapshot, with CBT on."""
    path = make_disk(tmp_path_factory.mktemp("disk") / "source.raw", SIZE)
    with world(machines=1) as place, VCenter(place.settings(), owner="site-a", ledger=Memory()) as vcenter:
        place.estate.hardware.add_disk(place.vm, 1000, 2, SIZE)
        storage = place.estate.storage.disk(place.estate.inventory.vm(place.vm).disks[2].storage)
        with closing(FileSource(path)) as content:
            for start, length in content.allocated(Extent(0, SIZE)):
                storage.write(start, path.read_bytes()[start : start + length])
        vcenter.ensure_tracking(place.vm, "cbt")
        with vcenter.snapshot(place.vm, "p1") as snapshot:
            storage.write(0, b"\xee" * MIB)  # after the snapshot
            frozen = snapshot.disks[2]
            yield lambda reader: reader.open(vcenter.disk_access(place.vm, snapshot, frozen), 4)


@pytest.fixture(params=[*MAKERS, *READERS])
def source(request: pytest.FixtureRequest, disk: Path, tmp_path: Path) -> Iterator[BlockSource]:
    if request.param in READERS:
        made = request.getfixturevalue("open_snapshot")(READERS[request.param]())
    else:
        made = MAKERS[request.param](disk, tmp_path)
    yield made
    made.close()
    made.close()


def collect(source: BlockSource, extents: list[Extent]) -> dict[int, bytes]:
    found = {}
    for block in source.read(extents):
        assert block.offset not in found
        found[block.offset] = bytes(block.data)
        block.release()
    return found


def test_contract_blocks_are_the_bytes_of_the_extents(source: BlockSource, disk: Path) -> None:
    content = disk.read_bytes()
    assert source.capacity == len(content)
    extents = [Extent(0, 3 * CELL), Extent(MIB - CELL, 5 * MIB), Extent(source.capacity - 512, 512)]
    found = collect(source, extents)
    assert all(offset // MIB == (offset + len(data) - 1) // MIB for offset, data in found.items())
    assert all(content[offset : offset + len(data)] == data for offset, data in found.items())
    assert ranges.normalise(Extent(o, len(d)) for o, d in found.items()) == ranges.normalise(extents)


def test_contract_what_is_not_allocated_reads_as_zeros(source: BlockSource, disk: Path) -> None:
    everything = ranges.whole(source.capacity)
    holes = ranges.subtract(everything, source.allocated(Extent(0, source.capacity)))
    assert holes
    content = disk.read_bytes()
    assert not any(any(content[e.start : e.end]) for e in holes)


def test_contract_a_window_of_allocation_is_clipped(source: BlockSource) -> None:
    window = Extent(3 * MIB, 2 * MIB)
    assert ranges.intersect(source.allocated(window), [window]) == source.allocated(window)


def test_contract_buffers_are_bounded_and_waiting_for_one_can_be_halted(source: BlockSource) -> None:
    halt, held = threading.Event(), []
    timer = threading.Timer(0.4, halt.set)
    timer.start()
    with pytest.raises(Interrupted):
        for block in source.read(ranges.whole(source.capacity), halt):
            held.append(block)
    assert 0 < len(held) <= 4 + 16  # what is in flight and what may be held
    for block in held:
        block.release()
    timer.join()
    assert len(collect(source, [Extent(0, 4 * MIB)])) == 4


def test_contract_closing_the_iterator_gives_everything_back(source: BlockSource) -> None:
    for _ in range(20):
        reading = source.read(ranges.whole(source.capacity))
        next(reading).release()
        reading.close()  # type: ignore[attr-defined]
    assert len(collect(source, [Extent(0, 20 * MIB)])) == 20


def test_truncated_file_is_an_error_not_zeros(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "d", 4 * MIB)
    source = FileSource(disk, 8)
    with disk.open("r+b") as out:
        out.truncate(2 * MIB)
    with pytest.raises(ReaderFailed, match="before its capacity"):
        collect(source, [Extent(MIB, 2 * MIB)])


def test_retry_reads_only_what_is_left(disk: Path) -> None:
    failed: list[int] = []

    def once_each(offset: int) -> ReaderFailed | None:
        if offset in failed:
            return None
        failed.append(offset)
        return ReaderFailed("NFC error 5", retryable=True)

    source = Retrying(Failing(FileSource(disk, 8), once_each), tries=3, backoff=Backoff(0.001, 0.001))
    found = collect(source, ranges.whole(source.capacity))
    assert b"".join(found[key] for key in sorted(found)) == disk.read_bytes()


def test_retry_gives_up_and_never_repeats_what_cannot_help(disk: Path) -> None:
    seen: list[int] = []

    for retryable, times in ((True, 3), (False, 1)):
        seen.clear()

        def always(offset: int, retryable: bool = retryable) -> ReaderFailed:
            seen.append(offset)
            return ReaderFailed("gone", retryable=retryable)

        with pytest.raises(ReaderFailed, match="gone"):
            collect(
                Retrying(Failing(FileSource(disk, 8), always), tries=3, backoff=Backoff(0.001, 0.001)),
                [Extent(0, MIB)],
            )
        assert len(seen) == times


class Cut(FileSource):
    """Its question which areas are in use fails with `errors`, one after the other."""

    def __init__(self, disk: Path, errors: list[ReaderFailed]) -> None:
        super().__init__(disk, 8)
        self.errors = errors

    def allocated(self, extent: Extent) -> list[Extent]:
        if self.errors:
            raise self.errors.pop(0)
        return super().allocated(extent)


def test_a_question_for_what_is_in_use_is_repeated_as_a_read_is(disk: Path) -> None:
    """On a large disk it is hundreds of messages to the host, and any of them may be cut."""
    errors = [ReaderFailed("cut", retryable=True) for _ in range(2)]
    opened, told = [0], list[str]()

    def reopen() -> BlockSource:
        opened[0] += 1
        return Cut(disk, errors)

    source = Retrying(
        Cut(disk, errors),
        tries=3,
        backoff=Backoff(0.001, 0.001),
        reopen=reopen,
        failed=lambda error: told.append(error.what),
    )
    with closing(source):
        assert source.allocated(Extent(0, SIZE)) == FileSource(disk).allocated(Extent(0, SIZE))
    assert (opened, told) == ([2], ["cut", "cut"])


def test_a_question_for_what_is_in_use_goes_to_another_source_when_no_try_helps(disk: Path) -> None:
    errors = [ReaderFailed("gone")]
    asked = list[str]()

    def other_source(error: ConnectorError) -> bool:
        asked.append(error.what)
        return len(asked) == 1

    wrapped = Retrying(
        Cut(disk, errors),
        backoff=Backoff(0.001, 0.001),
        reopen=lambda: Cut(disk, errors),
        other_source=other_source,
    )
    assert wrapped.allocated(Extent(0, SIZE)) and asked == ["gone"]
    errors.append(ReaderFailed("gone as well"))
    with pytest.raises(ReaderFailed, match="gone as well"):
        wrapped.allocated(Extent(0, SIZE))
    wrapped.close()


def test_a_stop_ends_the_pause_before_a_question_is_repeated(disk: Path) -> None:
    halt = threading.Event()
    halt.set()
    errors = [ReaderFailed("cut", retryable=True)]
    source = Retrying(Cut(disk, errors), backoff=Backoff(60.0, 60.0), halt=halt)
    with closing(source), pytest.raises(Interrupted):
        source.allocated(Extent(0, SIZE))


def test_vddk_failures_become_ours(disk: Path, tmp_path: Path) -> None:
    from connector.errors import AuthenticationFailed, ConnectorError

    installation = vddk_installation(tmp_path, disk)
    with pytest.raises(AuthenticationFailed) as caught:
        VddkReader(installation).open(disk_access(secret="wrong-secret"))
    assert "wrong-secret" not in str(caught.value)
    with pytest.raises(ConnectorError, match=r"other\.vmdk"):
        VddkReader(installation).open(disk_access(path="[datastore1] web/other.vmdk"))
    with pytest.raises(ReaderFailed, match="libvixDiskLib"):
        VddkReader(tmp_path / "nothing").open(disk_access())


def test_vddk_worker_that_dies_is_a_retryable_reader_failure(disk: Path, tmp_path: Path) -> None:
    import os
    import signal

    source = VddkReader(vddk_installation(tmp_path, disk)).open(disk_access(), 2)
    reading = source.read(ranges.whole(source.capacity))
    next(reading).release()
    os.kill(source._disk.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    with pytest.raises(ReaderFailed) as caught:
        for block in reading:
            block.release()
    assert caught.value.retryable
    source.close()
