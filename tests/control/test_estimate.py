"""How long it may take: the formula, and what is known of a source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.control.domain.entities import Outcome
from connector.control.domain.refusals import OutOfRange
from connector.control.service import forecast as estimate
from connector.control.service.forecast import forecast
from tests.control import fresh
from tests.control.house import House

GIB, MIB = 1 << 30, 1 << 20
SIZES = st.lists(st.integers(0, 1 << 44), min_size=1, max_size=20)


@pytest.fixture
def house(quick_folder: Path) -> Iterator[House]:
    made = House(fresh.sqlite(quick_folder / "x.sqlite"), quick_folder)
    yield made
    made.store.close()


def test_r13_the_known_example() -> None:
    """Ten GiB at ten times 2^20 bits a second."""
    found = estimate.one(10 * GIB, 10 * MIB / 8)
    assert found.transfer == 8192
    assert round(found.image) == 341


@given(SIZES, st.floats(1e3, 1e10), st.integers(1, 30), st.integers(0, 1 << 44), st.integers(0, 19))
def test_r13_it_grows_with_the_number_of_machines_and_with_their_data(
    data: list[int], rate: float, at_once: int, more: int, which: int
) -> None:
    now = estimate.many(data, rate, at_once)
    grown = [size + (more if n == which % len(data) else 0) for n, size in enumerate(data)]
    for larger in (grown, [*data, more]):
        then = estimate.many(larger, rate, at_once)
        for part in ("before", "transfer", "image", "after", "total"):
            assert getattr(then, part) >= getattr(now, part) * (1 - 1e-12)
    assert estimate.many(data, rate * 2, at_once).total <= now.total
    assert estimate.many(data, rate, at_once + 1).total <= now.total * (1 + 1e-12)


@given(st.integers(0, 1 << 44), st.floats(1e3, 1e10))
def test_r13_one_machine_alone_is_a_wave_of_one(data: int, rate: float) -> None:
    assert estimate.many([data], rate, 5) == estimate.one(data, rate)


def test_r13_r14_a_test_migration_shows_the_rate_and_the_data(house: House) -> None:
    job = house.job("a")
    house.job("b")
    a, b = house.sources["a"], house.sources["b"]
    known = {source.id: source for source in house.store.sources.all()}
    with pytest.raises(OutOfRange, match="migrate a small machine first"):
        forecast(house.store, [known[a]], None, 2)
    house.service.start(job)
    house.turn()
    found = house.take()
    assert found is not None
    disks = [{"planned": 3 * GIB, "seconds": 100.0}, {"planned": 1 * GIB, "seconds": 50.0}, {"planned": "x"}]
    house.finish(found.id, house.appliance, Outcome.DONE, None, {"disks": disks})
    house.turn()
    seen = forecast(house.store, [known[a], known[b]], None, 2)
    assert (seen.rate, seen.measured) == (4 * GIB / 100.0, True)
    shares = [(share.source.id, share.data, share.measured) for share in seen.shares]
    assert shares == [(a, 4 * GIB, True), (b, 20 * GIB, False)]
    given = forecast(house.store, [known[a]], 1e6, 1)
    assert (given.measured, given.period.transfer) == (False, 4 * GIB / 1e6)
    assert given.period == given.shares[0].period
