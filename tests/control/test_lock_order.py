"""On PostgreSQL every transaction locks rows in one order, so that no two wait for each other."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

from connector.control.domain.entities import Outcome, PassState
from connector.control.store import NewJob, Store, job_rows, pass_rows, runs
from connector.control.store.database import LOCK_ORDER, TransactionUndone
from connector.errors import Conflict, ConnectorError
from tests.control import fresh
from tests.control.house import House
from tests.control.test_applications import RANKS
from tests.waiting import PATIENCE, eventually

_LOCKS: Final = re.compile(r"^UPDATE (\w+)|^SELECT .*\sFROM (\w+)\b.*FOR (?:NO KEY )?UPDATE", re.DOTALL)
_TABLES: Final = [table.name for table in LOCK_ORDER]


class Recorder:
    """The tables of each transaction, in the order in which it first locked a row of each."""

    def __init__(self, store: Store) -> None:
        self.transactions: list[list[str]] = []
        engine = store._database._engine
        sa.event.listen(engine, "begin", self._begin)
        sa.event.listen(engine, "before_cursor_execute", self._execute)

    def _begin(self, connection: sa.Connection) -> None:
        connection.info["locked"] = []
        self.transactions.append(connection.info["locked"])

    def _execute(self, connection: sa.Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if match := _LOCKS.match(statement):
            table = match[1] or match[2]
            if table in _TABLES and table not in connection.info["locked"]:
                connection.info["locked"].append(table)

    def disordered(self) -> list[list[str]]:
        return [locked for locked in self.transactions if locked != sorted(locked, key=_TABLES.index)]


@pytest.fixture
def house(postgres_server: str, quick_folder: Path) -> Iterator[House]:
    url = fresh.postgres(postgres_server)
    made = House(url, quick_folder)
    yield made
    made.store.close()
    fresh.drop(url)


def test_every_transaction_of_a_job_s_life_locks_in_one_order(house: House) -> None:
    recorder = Recorder(house.store)
    house.register(*RANKS)
    made = {name: house.incremental(name) for name in RANKS}
    for job in made.values():
        house.service.start(job)
        house.run(job)
    lost = made["web"]
    house.service.start(lost)
    house.turn()
    assert house.take() is not None
    house.store.pass_ends.lose(lambda _: True, "lost")
    taken = house.take()
    assert taken is not None
    house.finish(taken.id, house.appliance, Outcome.STOPPED, None, {})  # given back
    house.run(lost)
    house.service.start(lost)
    house.turn()
    house.service.stop(lost)
    house.turn()
    house.service.start(lost)
    house.run(lost)
    house.applications.put("shop", {made[name]: rank for name, rank in RANKS.items()})
    house.applications.cutover("shop", {})
    house.turn()
    while house.carry(power_tasks=True) is not None:
        house.turn()
    house.carry(Outcome.FAILED)
    for _ in range(6):
        house.turn()
        house.carry(power_tasks=True)
    assert {house.status(job) for job in made.values()} == {"Stopped"}
    house.service.revoke(house.appliance.id)
    house.service.delete(made["web"])
    house.turn()
    house.service.delete_source(house.sources["db"], force=True)
    house.turn()
    assert recorder.transactions
    assert recorder.disordered() == []


def _waits_for_a_lock(store: Store) -> bool:
    query = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with store._database.read() as connection:
        return bool(connection.execute(query).scalar_one())


def _in_background(work: Any) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []

    def carry_out() -> None:
        try:
            results.append(work())
        except ConnectorError as failed:
            results.append(failed)

    thread = threading.Thread(target=carry_out)
    thread.start()
    return thread, results


def test_a_report_that_waited_while_its_pass_was_given_up_changes_nothing(house: House) -> None:
    (source,) = house.register("web")
    job = house.service.create(NewJob(source, "j")).id
    house.service.start(job)
    house.turn()
    taken = house.take()
    assert taken is not None
    store = house.store
    with store._database.write() as connection:
        run = runs.locked(connection, taken.run_id)
        thread, results = _in_background(
            lambda: store.pass_ends.finish(taken.id, house.appliance, Outcome.FAILED, None, {})
        )
        eventually(lambda: _waits_for_a_lock(store), "the report waits for the run")
        pass_rows.renew(store._database, connection, taken)
        assert run.ended is None
    thread.join(PATIENCE)
    (refused,) = results
    assert isinstance(refused, Conflict) and "not yours any more" in refused.what
    attempts = store.passes.of(job)
    assert [attempt.state for attempt in attempts] == [PassState.LOST, PassState.OFFERED]


def test_two_that_wait_for_each_other_are_told_to_repeat_and_not_that_the_database_is_gone(
    house: House,
) -> None:
    ids = [
        house.service.create(NewJob(source, f"j{n}")).id for n, source in enumerate(house.register("a", "b"))
    ]
    store = house.store

    def second() -> None:
        with store._database.write() as connection:
            job_rows.locked(connection, ids[1])
            job_rows.locked(connection, ids[0])

    results: list[Any] = []
    try:
        with store._database.write() as connection:
            job_rows.locked(connection, ids[0])
            thread, results = _in_background(second)
            eventually(lambda: _waits_for_a_lock(store), "the second one waits for the first")
            job_rows.locked(connection, ids[1])
    except TransactionUndone as undone:
        results.append(undone)
    thread.join(PATIENCE)
    (undone,) = [result for result in results if result is not None]
    assert isinstance(undone, TransactionUndone) and undone.retryable
    assert "disk" not in str(undone) and "repeat" in undone.remedy
