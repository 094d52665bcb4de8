"""Any disk, any order of reads: what arrives is what the disk holds, and what is not allocated is zero."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vddk.estate import CAPACITY, Estate, build
from vddk.spec import Installation
from vddk.worker import WorkerDisk

DEPTH = 5
SECTORS = CAPACITY // 512
READS = st.tuples(st.integers(0, SECTORS - 1), st.integers(1, 3000), st.booleans())


@pytest.fixture(scope="module", params=[11, 12])
def anywhere(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[WorkerDisk, Estate]:
    tmp: Path = tmp_path_factory.mktemp("any")
    estate = build(tmp / "root", seed=request.param)
    installation: Installation = estate.installation(tmp / "vddk", completion="mixed", jitter_us=300)
    disk = WorkerDisk(installation, estate.spec(), DEPTH, deadline=20)
    request.addfinalizer(disk.close)
    return disk, estate


@given(reads=st.lists(READS, max_size=20))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reads_in_any_order(anywhere: tuple[WorkerDisk, Estate], reads: list[tuple[int, int, bool]]) -> None:
    disk, estate = anywhere
    flying: dict[int, tuple[int, memoryview]] = {}

    def land() -> None:
        for token, error in disk.completions():
            offset, memory = flying.pop(token)
            assert error is None and memory == estate.truth[offset : offset + len(memory)]

    for token, (sector, count, waiting) in enumerate(reads):
        offset, length = sector * 512, min(count, SECTORS - sector) * 512
        memory = memoryview(bytearray(length))
        if waiting:
            disk.read_into(offset, memory)
            assert memory == estate.truth[offset : offset + length]
            continue
        while len(flying) == DEPTH:
            land()
        disk.submit(offset, memory, token)
        flying[token] = (offset, memory)
    while flying:
        land()


@given(window=st.tuples(st.integers(0, CAPACITY), st.integers(0, CAPACITY)))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_not_allocated_is_zero(anywhere: tuple[WorkerDisk, Estate], window: tuple[int, int]) -> None:
    disk, estate = anywhere
    start, end = sorted(window)
    position = start
    for extent in disk.allocated(start, end - start):
        assert not estate.truth[position : extent.start].strip(b"\0")
        position = extent.start + extent.length
    assert not estate.truth[position:end].strip(b"\0")
