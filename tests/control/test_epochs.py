"""A database that was put back to an older copy is recognised by whoever knows more, and begins nothing until it is confirmed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from connector.control.domain.access import Role, TokenStatus
from connector.control.domain.entities import Outcome
from connector.control.engine.stamp import DatabaseStamp
from connector.control.state.access_keys import AccessKeys
from connector.control.state.epoch import RestoreDetector, confirm
from connector.control.state.vault import Vault
from connector.control.store import Quotas, Store, tables
from connector.epoch import EpochMemory, read
from connector.errors import AuthenticationFailed, Conflict, StateRestored
from tests.control.house import DAY, House


@dataclass
class Bench:
    """A control plane on either database that can be put back. `kept` is what a backup holds."""

    house: House
    folder: Path

    def __post_init__(self) -> None:
        self.vault = Vault(self.folder / "key")
        self.restore_detector = self.begin()

    def begin(self) -> RestoreDetector:
        return RestoreDetector(self.house.store, self.vault, EpochMemory(self.folder / "epoch"))

    def backup(self) -> dict[str, list[dict[str, Any]]]:
        with self.house.store._database.read() as connection:
            return {
                table.name: [dict(row._mapping) for row in connection.execute(sa.select(table))]
                for table in tables.metadata.sorted_tables
            }

    def put_back(self, kept: dict[str, list[dict[str, Any]]]) -> None:
        """Every row as it was, while no process has the database open."""
        database = self.house.store._database
        with database.write(counted=False) as connection:
            for table in reversed(tables.metadata.sorted_tables):
                connection.execute(table.delete())
            for table in tables.metadata.sorted_tables:
                if kept[table.name]:
                    connection.execute(table.insert(), kept[table.name])

    def restart(self) -> None:
        self.house.crash()
        self.restore_detector = self.begin()

    def told(self) -> str:
        """What anybody is told now."""
        assert self.restore_detector.look() == ""
        return self.restore_detector.say()


@pytest.fixture
def context(url: str, quick_folder: Path) -> Iterator[Bench]:
    house = House(url, quick_folder, Quotas())
    yield Bench(house, quick_folder)
    house.store.close()


def test_every_write_with_consequences_counts_and_no_other(context: Bench) -> None:
    house = context.house
    job = house.job()
    before = house.store.epochs.current().sequence
    for _ in range(3):
        house.turn()
        house.store.appliances.beat(house.appliance.id)
        house.store.jobs.note(job, "x", "y")
    assert house.store.epochs.current().sequence == before
    house.service.start(job)
    after_start = house.store.epochs.current().sequence
    assert after_start > before
    house.turn()
    taken = house.take()
    assert taken is not None
    house.prove(taken.id, house.appliance)
    evidence = house.store.epochs.current().sequence
    assert evidence > after_start
    house.service.finish(taken.id, house.appliance, Outcome.DONE, None, {})
    assert house.store.epochs.current().sequence > evidence


def _appliance(context: Bench, mark: str) -> None:
    context.restore_detector.hear(mark, "appliance a-1")


def _directory(context: Bench, mark: str) -> None:
    (context.folder / "epoch").write_text(mark)
    context.restore_detector = context.begin()


@pytest.mark.parametrize("tell", [_appliance, _directory])
def test_a_database_that_was_put_back_is_recognised_although_it_has_gone_on(
    context: Bench, tell: Callable[[Bench, str], None]
) -> None:
    house = context.house
    job = house.incremental()
    kept = context.backup()
    context.restart()
    house.service.start(job)
    mark = context.told()
    context.put_back(kept)
    (context.folder / "epoch").unlink()  # a whole directory went back with it
    context.restart()
    for name in "abcdef":  # the fork has come further than what is remembered
        house.store.tokens.create(name, "", count=1, days=1)
    assert context.restore_detector.look() == ""
    tell(context, mark)
    assert "does not hold" in context.restore_detector.look()
    assert context.restore_detector.say() == ""
    with pytest.raises(StateRestored) as refused:
        house.service.start(job)
    assert "connector control confirm" in str(refused.value)
    context.restart()
    assert context.restore_detector.look()


def test_while_it_is_held_nothing_is_begun_given_out_ended_or_let_in(context: Bench) -> None:
    house = context.house
    waiting, expiring = house.incremental("a"), house.job("b", valid_until=house.clock() + 8 * DAY)
    running = house.job("c")
    house.service.start(running)
    house.run(waiting) if house.service.start(waiting) else None
    house.store.epochs.hold("a test says so")
    refused: list[Callable[[], Any]] = [
        lambda: house.service.start(expiring),
        lambda: house.service.cutover(waiting, last_sync=True, changes={}),
        lambda: house.service.delete(waiting),
        lambda: house.service.stop(waiting),
        lambda: house.enrol("a2"),
        lambda: house.store.tokens.create("t", "", count=1, days=1),
        lambda: house.steps.instances.release(waiting, keep_disks=False, unless_running=True),
        lambda: house.planner.look() or house.store.epochs.must_not_be_held(),
    ]
    before = {job: (house.get(job).state, house.get(job).changed) for job in (waiting, expiring, running)}
    instances = dict(house.cloud.instances)
    house.clock.advance(9 * DAY)
    for deed in refused:
        with pytest.raises(StateRestored):
            deed()
    assert house.service.order(house.appliance) is None
    assert house.service.heard(house.appliance, set()) == []
    assert {job: (house.get(job).state, house.get(job).changed) for job in before} == before
    assert house.cloud.instances == instances


def test_after_the_confirmation_work_goes_on_and_every_job_compares(context: Bench) -> None:
    house = context.house
    job = house.incremental()
    house.service.start(job)
    house.turn()
    taken = house.take()
    assert taken is not None
    mark = context.told()
    house.store.epochs.hold("a test says so")
    context.restart()
    with pytest.raises(StateRestored):
        context.restore_detector.now()
    before = house.store.epochs.current()
    point = confirm(house.store, keep_credentials=True)
    assert (point.number, point.restored) == (before.number + 1, "")
    assert house.get(job).compare_reason
    again = house.store.passes.newest([job])[job]
    assert (again.attempt, str(again.state)) == (2, "Offered")
    assert house.store.passes.to_stop(house.appliance, [taken.id]) == [taken.id]
    assert context.restore_detector.look() == ""
    context.restore_detector.hear(mark, "appliance a-1")  # of before: known
    assert context.restore_detector.look() == ""
    house.run(job)
    assert house.get(job).compare_reason == ""
    with pytest.raises(Conflict, match="nothing was restored"):
        confirm(house.store)


def _heard(context: Bench, mark: str) -> None:
    context.restore_detector.hear(mark, "appliance a-1")


def _looked(context: Bench, _mark: str) -> None:
    context.restore_detector.look()


def _wrote(context: Bench, _mark: str) -> None:
    with pytest.raises(StateRestored):
        context.house.store.tokens.create("t", "", count=1, days=1)


@pytest.mark.parametrize("noticed", [_heard, _looked, _wrote])
def test_a_restore_that_is_confirmed_while_it_is_noticed_once_more_is_not_held_anew(
    context: Bench, noticed: Callable[[Bench, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To find a reason and to hold for it are two transactions: somebody else holds and confirms between them."""
    house = context.house
    kept = context.backup()
    house.service.start(house.job())
    mark = context.told()
    context.put_back(kept)  # under the living process
    if noticed is _heard:
        context.restart()
    database = house.store._database
    hold, reasons = database.hold, list[str]()

    def late(why: str, *more: Any, **named: Any) -> None:
        monkeypatch.setattr(database, "hold", hold)
        hold("somebody else was faster", 0)
        confirm(house.store)
        reasons.append(why)
        hold(why, *more, **named)

    monkeypatch.setattr(database, "hold", late)
    noticed(context, mark)
    assert len(reasons) == 1
    assert not house.store.epochs.current().restored
    house.store.epochs.hold("another restore")
    assert house.store.epochs.current().restored


def test_a_confirmation_that_was_lost_is_recognised_and_its_number_not_given_again(context: Bench) -> None:
    house = context.house
    kept = context.backup()
    house.store.epochs.hold("once")
    confirm(house.store)
    mark = context.told()
    context.put_back(kept)
    context.restart()
    (context.folder / "epoch").unlink(missing_ok=True)
    context.restore_detector.hear(mark, "appliance a-1")
    assert "never had" in context.restore_detector.look()
    known = read(mark)
    assert known is not None
    assert confirm(house.store).number == known.number + 1
    context.restore_detector.hear(
        mark, "appliance a-1"
    )  # it still remembers that epoch: a person knows of it now
    assert context.restore_detector.look() == ""


def test_a_failover_that_loses_the_last_writes_is_noticed_by_the_process_that_made_them(
    context: Bench,
) -> None:
    house = context.house
    job = house.job()
    kept = context.backup()
    house.service.start(job)
    context.put_back(kept)  # under the living process
    with pytest.raises(StateRestored):
        house.service.start(job)
    assert context.restore_detector.look()
    confirm(house.store)
    assert context.restore_detector.look() == ""
    house.service.start(job)


def test_what_a_restore_brings_back_must_be_approved_again(context: Bench) -> None:
    house = context.house
    keys = AccessKeys(house.store.keys, context.vault)
    key, _ = keys.create("night shift", Role.OPERATOR)
    token, code = house.store.tokens.create("t", "", count=5, days=5)
    house.store.epochs.hold("a test says so")
    confirm(house.store)
    found = house.store.keys.find(key.id)
    assert found is not None
    assert not found.approved
    assert house.store.tokens.get(token.id).status is TokenStatus.DISABLED
    with pytest.raises(AuthenticationFailed, match=f"brought back by a restore; approve it: .* {token.id} "):
        house.store.tokens.redeem(code)
    assert house.store.epochs.approve([key.id]) == [key.id]
    assert house.store.epochs.approve(None) == [token.id]
    found = house.store.keys.find(key.id)
    assert found is not None
    assert found.approved
    assert house.store.tokens.redeem(code).id == token.id


def test_what_this_control_plane_never_said_holds_nothing(context: Bench, tmp_path: Path) -> None:
    house = context.house
    house.job()
    (tmp_path / "other").mkdir()
    foreign = RestoreDetector(
        house.store, Vault(tmp_path / "other" / "key"), EpochMemory(tmp_path / "other" / "epoch")
    )
    foreign.look()
    own = context.told()
    forged = own.replace(own.split(".")[1], str(10**6), 1) if own.split(".")[1] != "1" else own + "0"
    for mark in (foreign.say(), forged, "", "nonsense", own[:-1], "1.2.3"):
        context.restore_detector.hear(mark, "a liar")
        assert context.restore_detector.look() == ""


@pytest.fixture
def stamped(context: Bench) -> tuple[Bench, Callable[[], DatabaseStamp]]:
    url = context.house.store.url
    if url.startswith("sqlite"):
        url = f"sqlite:///{context.folder / 'engine.sqlite'}"
    else:
        with context.house.store._database.write(counted=False) as connection:
            connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS dbos"))
    return context, lambda: DatabaseStamp(context.house.store, url)


def test_an_engines_database_that_was_put_back_alone_is_recognised(
    stamped: tuple[Bench, Callable[[], DatabaseStamp]],
) -> None:
    context, stamp = stamped
    context.house.job("a")
    stamp().check()
    stamp().write()
    old = stamp()._read()
    context.house.job("b")
    stamp().write()
    stamp().check()
    assert old is not None
    _rewrite(stamp(), *old)
    with pytest.raises(StateRestored, match="engine"):
        stamp().check()
    confirm(context.house.store)
    stamp().check()
    assert stamp()._read() is None  # nothing of it is believed


def test_a_database_that_is_older_than_its_engines_is_recognised(
    stamped: tuple[Bench, Callable[[], DatabaseStamp]],
) -> None:
    context, stamp = stamped
    context.house.job("a")
    stamp().write()
    found = stamp()._read()
    assert found is not None
    _rewrite(stamp(), found[0], found[1] + 1)
    with pytest.raises(StateRestored, match="engine"):
        stamp().check()
    assert context.house.store.epochs.current().restored


def test_an_engines_database_of_an_epoch_that_was_lost_holds_the_state_once(
    stamped: tuple[Bench, Callable[[], DatabaseStamp]],
) -> None:
    context, stamp = stamped
    context.house.job("a")
    stamp().write()
    _rewrite(stamp(), "f" * 32, 7)
    with pytest.raises(StateRestored, match="never had"):
        stamp().check()
    confirm(context.house.store)
    stamp().check()
    assert stamp()._read() is None
    assert not context.house.store.epochs.current().restored


def _rewrite(stamp: DatabaseStamp, epoch: str, sequence: int) -> None:
    engine = sa.create_engine(stamp._url)
    with engine.begin() as connection:
        connection.execute(stamp._table.update().values(epoch=epoch, sequence=sequence))
    engine.dispose()


def test_two_processes_count_together(url: str) -> None:
    first, second = Store(url), Store(url)
    try:
        for number in range(4):
            (first, second)[number % 2].tokens.create(f"t{number}", "", count=1, days=1)
            assert first.epochs.look().sequence == second.epochs.look().sequence == number + 1
    finally:
        first.close()
        second.close()
