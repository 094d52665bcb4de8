"""The soak's lot: the same for the same seed, and told when something fails."""

from __future__ import annotations

import pytest

from tests.faults.matrix import CELLS
from tests.soak.draw import Length, fault, traced


def test_the_same_seed_draws_the_same_faults_whatever_the_length() -> None:
    short, long = Length(7, passes=10), Length(7, passes=5000)
    assert [fault(short, n) for n in range(10)] == [fault(long, n) for n in range(10)]
    assert [fault(Length(8), n) for n in range(40)] != [fault(long, n) for n in range(40)]


def test_every_cell_is_drawn_in_the_long_run_and_half_of_the_passes_are_peaceful() -> None:
    drawn = [fault(Length(), number) for number in range(5000)]
    assert set(drawn) == {*CELLS, None}
    assert 0.45 < sum(cell is None for cell in drawn) / len(drawn) < 0.55


def test_a_failure_says_how_to_have_it_again() -> None:
    told = r"seed 7, pass 3, fault network-cut_at_byte_n-middle: bytes differ \(SOAK_SEED=7 SOAK_PASSES=3 "
    cell = next(one for one in CELLS if one.id == "network-cut_at_byte_n-middle")
    with pytest.raises(AssertionError, match=told), traced(Length(7), 3, cell):
        raise ValueError("bytes differ")


def test_the_environment_sets_the_length_and_empty_values_are_the_defaults() -> None:
    assert Length.told({"SOAK_SEED": "5", "SOAK_SECONDS": "1.5", "SOAK_PASSES": ""}) == Length(5, 200, 1.5)
    assert Length.told({}) == Length()
