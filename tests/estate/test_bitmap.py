"""Bitmaps and areas against the plainest model there is: a set of numbers."""

import time
from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.estate.areas import rounded, subtract, union
from simulator.estate.bitmap import Bitmap

SPAN = st.tuples(st.integers(0, 20_000), st.integers(0, 20_000)).map(lambda pair: tuple(sorted(pair)))
SPANS = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 40)).map(lambda p: (p[0], p[0] + p[1])), max_size=8
)


def members(spans: list[tuple[int, int]]) -> set[int]:
    return {n for lo, hi in spans for n in range(lo, hi)}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(SPAN, max_size=6), SPAN)
def test_a_bitmap_is_a_set(room: Path, spans, window):
    (room / "bits").unlink(missing_ok=True)
    bits = Bitmap(room / "bits", 20_000)
    for span in spans:
        bits.set(*span)
    wanted = members(spans)
    runs = list(bits.runs())
    assert members(runs) == wanted
    assert all(a[1] < b[0] for a, b in pairwise(runs)), "coalesced"
    assert members(list(bits.runs(*window))) == wanted & set(range(*window))
    bits.close()
    again = Bitmap(room / "bits", 30_000)
    assert members(list(again.runs())) == wanted
    again.close()


@given(SPANS, SPANS, st.integers(1, 50))
def test_areas_are_sets(some, others, unit):
    assert members(union(some, others)) == members(some) | members(others)
    assert members(subtract(union(some), union(others))) == members(some) - members(others)
    wide = rounded(union(some), unit, 320)
    assert members([(a.start, a.stop) for a in wide]) == {
        n for n in range(320) if members(some) & set(range(n // unit * unit, (n // unit + 1) * unit))
    }


def test_a_map_of_a_huge_disk_is_read_quickly(room: Path):
    bits = Bitmap(room / "bits", 1 << 29)  # 2 TiB in grains
    for at in range(0, 1 << 29, 1 << 18):
        bits.set(at, at + 3)
    began = time.process_time()  # a busy machine does not count
    assert len(list(bits.runs())) == 2048
    assert time.process_time() - began < 1
    bits.close()
