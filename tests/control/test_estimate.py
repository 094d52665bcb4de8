"""How long it may take: the formula, and what is known of a source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.appliance.control_client import ControlConnection
from connector.control import estimate
from connector.control.forecast import forecast
from connector.control.store.rows import Outcome
from connector.errors import BadInput, NotFound
from tests.control.conftest import Plane, machine
from tests.control.house import House

GIB, MIB = 1 << 30, 1 << 20
SIZES = st.lists(st.integers(0, 1 << 44), min_size=1, max_size=20)


@pytest.fixture
def house(quick_folder: Path) -> Iterator[House]:
    made = House(f"sqlite:///{quick_folder / 'x.sqlite'}", quick_folder)
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
    with pytest.raises(BadInput, match="migrate a small machine first"):
        forecast(house.store, [a], None, 2)
    house.service.start(job)
    house.turn()
    found = house.take()
    assert found is not None
    disks = [{"planned": 3 * GIB, "seconds": 100.0}, {"planned": 1 * GIB, "seconds": 50.0}, {"planned": "x"}]
    house.service.finish(found.id, house.appliance, Outcome.DONE, None, {"disks": disks})
    house.turn()
    seen = forecast(house.store, [a, "b", b], None, 2)
    assert (seen["rate"], seen["rate_is"]) == (4 * GIB / 100.0, "measured")
    known = [(source["id"], source["bytes"], source["bytes_are"]) for source in seen["sources"]]
    assert known == [(a, 4 * GIB, "measured"), (b, 20 * GIB, "capacity")]
    given = forecast(house.store, [a], 1e6, 1)
    assert (given["rate_is"], given["transfer"]) == ("given", 4 * GIB / 1e6)
    with pytest.raises(NotFound):
        forecast(house.store, ["nobody"], 1e6, 1)


def test_r13_people_ask_over_the_job_api(shared_plane: Plane) -> None:
    member = shared_plane.enrol("estimator", "https://estimate")
    shared_plane.client(member).put_sources([machine("vm-e", "estimate-me", 1)], {})
    body = {"sources": ["estimate-me"], "bandwidth_limit": 100}
    people = ControlConnection(shared_plane.url, shared_plane.thumbprint, shared_plane.token)
    answer = people.call("POST", "/v1/estimate", body)
    assert answer["transfer"] == 10 * GIB / 12.5e6
    assert answer["total"] > answer["transfer"]
    with pytest.raises(BadInput):
        people.call("POST", "/v1/estimate", body | {"bandwidth_limit": 0})
