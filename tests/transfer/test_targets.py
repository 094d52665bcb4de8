"""One contract for all targets."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.errors import TargetFailed, TargetFull
from connector.model import Extent
from connector.transfer.target import MemoryTarget, RawFileTarget, Target, overwrite_with_zeros
from tests.transfer.conftest import CELL, MIB

CAPACITY = 4 * MIB + 512


MAKERS: dict[str, Callable[[Path], Target]] = {
    "raw": lambda home: RawFileTarget(home / "disk.raw", CAPACITY),
    "memory": lambda _: MemoryTarget(CAPACITY),
}


@pytest.fixture(params=MAKERS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    return MAKERS[request.param](tmp_path)


def read(target: Target, offset: int, length: int) -> bytes:
    room = bytearray(b"?" * length)
    target.read_into(offset, memoryview(room))
    return bytes(room)


def test_contract_new_targets_read_as_zeros(target: Target) -> None:
    assert target.reads_as_zero(Extent(0, CAPACITY)) and not any(read(target, 0, CAPACITY))


def test_contract_what_is_written_is_read(target: Target) -> None:
    target.write(MIB - 3, memoryview(b"hello world"))
    target.write(CAPACITY - 4, memoryview(b"last"))
    target.flush()
    assert read(target, MIB - 3, 11) == b"hello world" and read(target, CAPACITY - 4, 4) == b"last"
    assert not target.reads_as_zero(Extent(0, CAPACITY))


def test_contract_zero_replaces_and_may_be_repeated(target: Target) -> None:
    target.write(0, memoryview(b"x" * CAPACITY))
    for _ in range(2):
        target.zero(CELL + 7, 2 * CELL)
        target.zero(CAPACITY - 512, 512)
    wanted = bytearray(b"x" * CAPACITY)
    wanted[CELL + 7 : 3 * CELL + 7] = bytes(2 * CELL)
    wanted[-512:] = bytes(512)
    assert read(target, 0, CAPACITY) == bytes(wanted)


@pytest.mark.parametrize(("offset", "length"), [(CAPACITY, 1), (CAPACITY - 1, 2), (-1, 1), (1 << 62, 1)])
def test_contract_nothing_outside_is_touched(target: Target, offset: int, length: int) -> None:
    for act in (
        lambda: target.write(offset, memoryview(bytes(length))),
        lambda: target.zero(offset, length),
        lambda: target.read_into(offset, memoryview(bytearray(length))),
    ):
        with pytest.raises(TargetFailed, match="outside"):
            act()


def test_a_file_that_was_there_before_is_not_taken_for_blank(tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(bytes(MIB - 1) + b"x")
    found = RawFileTarget(tmp_path / "d", CAPACITY)
    assert not found.blank
    found.zero(0, MIB)
    assert found.blank and not any(read(found, 0, CAPACITY))
    assert RawFileTarget(tmp_path / "new", CAPACITY).blank


def test_where_no_hole_can_be_punched_zeros_are_proved_by_reading_or_written(tmp_path: Path) -> None:
    path = tmp_path / "d"
    path.write_bytes(b"x" * MIB + bytes(2 * MIB) + b"y" * 100)
    before = path.stat().st_mtime_ns
    with path.open("r+b") as file:
        overwrite_with_zeros(file.fileno(), MIB, 2 * MIB)
        assert path.stat().st_mtime_ns == before  # nothing was written
        overwrite_with_zeros(file.fileno(), MIB - 10, 2 * MIB + 15)
    assert path.read_bytes() == b"x" * (MIB - 10) + bytes(2 * MIB + 15) + b"y" * 95


def test_memory_target_forgets_what_was_not_flushed() -> None:
    target = MemoryTarget(16)
    target.write(0, memoryview(b"kept"))
    target.flush()
    target.write(4, memoryview(b"lost"))
    target.crash()
    assert read(target, 0, 8) == b"kept\0\0\0\0"


def test_raw_file_is_sparse_and_punches_holes(tmp_path: Path) -> None:
    target = RawFileTarget(tmp_path / "d", 64 * MIB)
    assert (tmp_path / "d").stat().st_blocks == 0
    target.write(0, memoryview(os.urandom(4 * MIB)))
    target.flush()
    before = (tmp_path / "d").stat().st_blocks
    target.zero(MIB, 2 * MIB)
    target.flush()
    assert (tmp_path / "d").stat().st_blocks <= before - 2 * MIB // 512 + 64
    assert target.reads_as_zero(Extent(MIB, 2 * MIB))


def test_no_space_names_what_is_free(tmp_path: Path) -> None:
    target = RawFileTarget(tmp_path / "d", 8 * MIB)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MIB, hard))
    try:
        target.write(0, memoryview(bytes(4 * MIB)))
        with pytest.raises(TargetFull, match=r"no space left \(\d+ bytes free\)") as caught:
            target.write(4 * MIB, memoryview(b"x" * MIB))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.EFBIG


def test_a_larger_file_is_never_cut(tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(b"x" * MIB)
    with pytest.raises(TargetFailed, match="never shrink"):
        RawFileTarget(tmp_path / "d", 512)
    assert (tmp_path / "d").stat().st_size == MIB
