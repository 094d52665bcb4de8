"""Room within a limit that counts machines of all vCenters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from connector.control.domain.entities import Outcome, Pass
from connector.control.store import Store
from connector.control.store.limits import Quotas
from tests.control import fresh
from tests.control.house import House


def test_a_younger_pass_of_another_vcenter_takes_no_room_that_an_application_waits_for(
    make_house: Callable[[Quotas], House],
) -> None:
    house = make_house(Quotas(passes=2))
    other = house.enrol("a2", "https://other")
    jobs = {name: house.incremental(name) for name in ("a", "b")}
    for job in jobs.values():
        house.service.start(job)
        house.run(job)
    house.sources |= zip("xy", house.register("x", "y", by=other), strict=True)
    held, younger = house.job("x"), house.job("y")
    house.service.start(held)
    house.turn()
    running = house.take(other)
    assert running is not None and running.job_id == held
    house.applications.put("shop", dict.fromkeys(jobs.values(), 0))
    house.clock.advance(1)
    house.applications.start("shop", {})
    house.turn()
    house.clock.advance(1)
    house.service.start(younger)
    house.turn()
    assert house.take() is None, "there is no room for the whole application"
    assert house.take(other) is None, "there is room for one, but the older application waits for it"
    assert house.get(younger).waiting.startswith("waits its turn behind the older pass of job job-")
    house.finish(running.id, other, Outcome.DONE, None, {})
    house.turn()
    assert {attempt.job_id for attempt in (house.take(), house.take()) if attempt} == set(jobs.values())


def test_a_pass_of_a_vcenter_that_is_offline_keeps_no_room_free(
    make_house: Callable[[Quotas], House],
) -> None:
    house = make_house(Quotas(passes=1))
    other = house.enrol("a2", "https://other")
    house.sources |= zip("x", house.register("x", by=other), strict=True)
    first, away = house.job("a"), house.job("x")
    house.service.start(first)
    house.turn()
    running = house.take()
    assert running is not None
    house.service.start(away)
    house.turn()
    house.clock.advance(1)
    younger = house.job("b")
    house.service.start(younger)
    house.turn()
    house.service.revoke(other.id)
    house.turn()
    house.finish(running.id, house.appliance, Outcome.DONE, None, {})
    house.turn()
    last = house.take()
    assert last is not None and last.job_id == younger


def test_a_pass_that_another_process_takes_in_between_is_no_failure(
    postgres_server: str, tmp_path: Path
) -> None:
    """On PostgreSQL each query sees what was written before it: one look is one query."""
    url = fresh.postgres(postgres_server)
    house = House(url, tmp_path, Quotas())
    jobs = {house.job(name) for name in ("a", "b")}
    for job in sorted(jobs):
        house.service.start(job)
        house.turn()
        house.clock.advance(1)
    engine, taken = house.store._database._engine, list[object]()

    def steal(
        connection: object,
        _cursor: object,
        statement: str,
        _parameters: object,
        _context: object,
        _many: bool,
    ) -> None:
        if not taken and statement.startswith("SELECT passes.") and "passes.state" in statement:
            taken.append(connection)
            other = Store(house.store._database.url, house.clock)
            try:
                taken.append(other.pass_queue.take(house.appliance))
            finally:
                other.close()

    sa.event.listen(engine, "after_cursor_execute", steal)
    mine = house.take()
    sa.event.remove(engine, "after_cursor_execute", steal)
    theirs = taken[1]
    assert isinstance(theirs, Pass)
    assert mine is not None
    assert {mine.job_id, theirs.job_id} == jobs
    house.store.close()
    fresh.drop(url)
