"""The audit of CBT: a fair draw that a seed repeats, and nothing but real differences is told."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.model import Extent
from connector.transfer import digest
from connector.transfer import extents as ranges
from connector.transfer.audit import FEW, audit, sample
from connector.transfer.source import FileSource
from tests.transfer.conftest import CELL, MIB, make_disk

CELLS = 300
CAPACITY = CELLS * CELL - 512
numbers = st.sets(st.integers(0, CELLS - 1))


def to_extents(cells: set[int]) -> list[Extent]:
    return ranges.clip(ranges.normalise(Extent(n * CELL, CELL) for n in cells), CAPACITY)


@given(numbers, st.floats(0, 1), st.integers(0, 1 << 63))
def test_the_sample_is_of_the_size_that_was_asked_for(cells: set[int], share: float, seed: int) -> None:
    found = list(sample(to_extents(cells), CAPACITY, share, seed))
    wanted = 0 if share == 0 else min(len(cells), max(FEW, round(len(cells) * share)))
    assert len(found) == wanted
    assert {e.start // CELL for e in found} <= cells
    assert found == sorted(found)
    assert all(e.end <= CAPACITY and e.length == min(CELL, CAPACITY - e.start) for e in found)
    assert found == list(sample(to_extents(cells), CAPACITY, share, seed))


@given(numbers)
def test_all_of_it_is_all_of_it(cells: set[int]) -> None:
    assert {e.start // CELL for e in sample(to_extents(cells), CAPACITY, 1.0, 0)} == cells


def test_every_cell_has_the_same_chance() -> None:
    seen = [0] * CELLS
    for seed in range(2000):
        for extent in sample([Extent(0, CAPACITY)], CAPACITY, 0.05, seed):
            seen[extent.start // CELL] += 1
    assert sum(seen) == 2000 * 15
    assert all(60 <= times <= 140 for times in seen)  # 100 expected, four standard deviations


def test_a_huge_disk_is_sampled_without_listing_it() -> None:
    capacity = 62 << 40
    found = list(sample([Extent(0, capacity)], capacity, 1e-6, 1))
    assert len(found) == round(capacity // CELL * 1e-6)


class Target:
    """Answers as an instance does: `table` may say something else than what is there."""

    def __init__(self, content: bytes, lies: dict[int, bytes] | None = None) -> None:
        self._content, self._lies = content, lies or {}
        self.asked: list[tuple[int, bool]] = []

    def __call__(self, extents: Sequence[Extent], look: bool) -> bytes:
        self.asked.append((len(extents), look))
        found = b""
        for start, length in extents:
            truth = digest.cells(memoryview(self._content)[start : start + length])
            found += truth if look else self._lies.get(start, truth)
        return found


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return make_disk(tmp_path / "source.raw", CAPACITY, seed=3)


def test_everything_is_found_at_a_hundred_per_cent_and_nothing_else(disk: Path) -> None:
    content = bytearray(disk.read_bytes())
    places = sorted(random.Random(1).sample(range(CELLS), 12))
    for number in places:
        content[number * CELL + 9] ^= 1
    done = audit(FileSource(disk), Target(bytes(content)), [Extent(0, CAPACITY)], 1.0, 5)
    assert done.missed == to_extents(set(places))
    assert done.cells == CELLS
    assert done.read < CAPACITY  # holes were not read


def test_bytes_where_the_source_has_nothing_are_a_difference(tmp_path: Path) -> None:
    empty = tmp_path / "empty.raw"
    with empty.open("wb") as out:
        out.truncate(CAPACITY)
    content = bytes(7 * CELL) + b"x" * CELL + bytes(CAPACITY - 8 * CELL)
    done = audit(FileSource(empty), Target(content), [Extent(0, CAPACITY)], 1.0, 5)
    assert (done.missed, done.read) == ([Extent(7 * CELL, CELL)], 0)


def test_a_table_that_rotted_is_no_fault_of_cbt(disk: Path) -> None:
    target = Target(disk.read_bytes(), {4 * CELL: b"\x01" * 32})
    assert audit(FileSource(disk), target, [Extent(0, CAPACITY)], 1.0, 5).missed == []
    assert target.asked[-1] == (1, True)


def test_only_what_is_called_unchanged_is_looked_at(disk: Path) -> None:
    content = bytearray(disk.read_bytes())
    content[20 * CELL] ^= 1
    unchanged = ranges.subtract([Extent(0, CAPACITY)], [Extent(20 * CELL, CELL)])
    assert audit(FileSource(disk), Target(bytes(content)), unchanged, 1.0, 5).missed == []


def test_a_small_share_reads_little(disk: Path) -> None:
    done = audit(FileSource(disk), Target(disk.read_bytes()), [Extent(0, CAPACITY)], 0.001, 5)
    assert (done.cells, done.missed) == (FEW, [])
    assert done.read <= FEW * CELL < MIB
