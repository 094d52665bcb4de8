"""Extent arithmetic against sets of bytes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.model import Extent
from connector.transfer import extents as ranges

SIZE = 64
lists = st.lists(st.builds(Extent, st.integers(0, SIZE - 1), st.integers(0, 12)), max_size=8)


def bits(extents: list[Extent]) -> set[int]:
    return {at for start, length in extents for at in range(start, start + length)}


def tidy(extents: list[Extent]) -> bool:
    return all(e.length > 0 for e in extents) and all(a.end < b.start for a, b in pairwise(extents))


@given(lists, lists)
def test_set_operations_are_those_of_sets(a: list[Extent], b: list[Extent]) -> None:
    for found, wanted in (
        (ranges.normalise(a), bits(a)),
        (ranges.union(a, b), bits(a) | bits(b)),
        (ranges.intersect(a, b), bits(a) & bits(b)),
        (ranges.subtract(a, b), bits(a) - bits(b)),
        (ranges.clip(a, 40), bits(a) & set(range(40))),
    ):
        assert bits(found) == wanted and tidy(found) and ranges.covered(found) == len(wanted)


@given(lists, st.integers(0, SIZE), st.integers(1, 30))
def test_what_lies_within_an_extent(a: list[Extent], start: int, length: int) -> None:
    tidy_list, extent = ranges.normalise(a), Extent(start, length)
    assert ranges.within(tidy_list, extent) == ranges.intersect(tidy_list, [extent])


@given(lists, st.integers(1, SIZE), st.sampled_from([1, 4, 8]))
def test_align_names_whole_units_and_nothing_else(a: list[Extent], capacity: int, unit: int) -> None:
    units = {at // unit for at in bits(a)}
    wanted = {at for at in range(capacity) if at // unit in units}
    assert bits(ranges.align(a, capacity, unit)) == wanted


@given(lists, st.sampled_from([4, 16]))
def test_blocks_cover_the_same_and_cross_no_boundary(a: list[Extent], size: int) -> None:
    pieces = list(ranges.blocks(ranges.normalise(a), size))
    assert bits(pieces) == bits(a) and sum(p.length for p in pieces) == len(bits(a))
    assert all(p.start // size == (p.end - 1) // size for p in pieces)


@given(lists)
def test_json_round_trip(a: list[Extent]) -> None:
    tidy_list = ranges.normalise(a)
    assert ranges.from_json(ranges.to_json(tidy_list)) == tidy_list


@pytest.mark.parametrize(
    "body", [None, {}, [[1]], [[1, 0]], [[-1, 5]], [["0", 5]], [[0.5, 1]], [[True, 1]], [5]]
)
def test_json_that_is_no_extent_is_refused(body: object) -> None:
    with pytest.raises(ValueError, match="extent"):
        ranges.from_json(body)
