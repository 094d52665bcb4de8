"""Ids of runs and passes: random, never given twice, and of no meaning for any order."""

from __future__ import annotations

import re

from connector.control.domain.entities import Outcome
from connector.control.store import tables
from tests.control.house import House

RUN = re.compile(r"r-[0-9a-f]{20}")
PASS = re.compile(r"p-[0-9a-f]{20}")


def _forget(house: House, job_id: str) -> None:
    """What a backup from before the run does not hold."""
    with house.store._database.write() as connection:
        for table in (tables.passes, tables.runs):
            connection.execute(table.delete().where(table.c.job_id == job_id))
        values = {"status": "Waiting", "business": ""}
        connection.execute(tables.jobs.update().where(tables.jobs.c.id == job_id).values(**values))


def test_a_database_that_forgot_a_run_gives_other_ids_to_the_next_one(house: House) -> None:
    job = house.incremental()
    seen = set()
    for _ in range(3):
        house.service.start(job)
        house.turn()
        (made,) = house.store.passes.of(job)
        assert RUN.fullmatch(made.run_id)
        assert PASS.fullmatch(made.id)
        seen |= {made.run_id, made.id}
        _forget(house, job)
    assert len(seen) == 6


def test_attempts_of_one_moment_stay_in_their_order(house: House) -> None:
    job = house.job()
    house.service.start(job)
    house.turn()
    given = []
    for _ in range(12):  # the clock stands still
        taken = house.take()
        assert taken is not None
        given.append(taken.id)
        house.store.pass_ends.lose(lambda found: True, "lost")
    assert [found.id for found in house.store.passes.of(job)][:12] == given
    last = house.store.passes.newest([job])[job]
    assert last.attempt == 13
    assert [found.id for found in house.store.passes.before(last)] == given


def test_evidence_is_in_the_order_of_its_passes_whatever_the_clock_did(house: House) -> None:
    job = house.incremental()
    given = []
    for _ in range(8):
        house.service.start(job)
        house.turn()
        taken = house.carry()
        assert taken is not None
        given.append(taken.id)
        house.run(job)
        house.clock.advance(-10.0)
    assert [entry.pass_id for entry in house.store.evidence.of(job)] == given


def test_a_comparison_that_was_demanded_is_done_with_when_a_pass_has_read(house: House) -> None:
    first, other = house.incremental("a"), house.incremental("b")
    house.store.jobs.demand_compare("the database was restored")
    assert {house.get(job).compare_reason for job in (first, other)} == {"the database was restored"}
    house.service.start(first)
    house.turn()
    house.carry(Outcome.FAILED)
    assert house.get(first).compare_reason
    house.turn()
    house.service.start(first)
    house.run(first)
    assert house.get(first).compare_reason == ""
    assert house.get(other).compare_reason
    house.store.jobs.demand_compare("a person asked for it", [first])
    assert house.get(first).compare_reason == "a person asked for it"
