"""What happens to an instance under a running pass: it moves, it stops, it cannot be reached; nothing hangs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.cloud.provider import Health
from connector.control.domain.entities import Outcome, Pass, PassState
from connector.control.engine.background import Background
from connector.errors import Conflict, ConnectorError, TargetFailed, TransferFailed
from tests.control import fresh
from tests.control.house import House
from tests.waiting import PATIENCE

TOKEN = "instance-{}"


@pytest.fixture
def house(quick_folder: Path) -> Iterator[House]:
    made = House(fresh.sqlite(quick_folder / "house.sqlite"), quick_folder)
    yield made
    made.store.close()


def reading(house: House) -> tuple[str, Pass]:
    """A job whose pass an appliance has taken."""
    job = house.job()
    house.service.start(job)
    house.turn()
    taken = house.take()
    assert taken is not None
    return job, taken


def lost_way(house: House, taken: Pass) -> None:
    """The appliance says that it could not reach the instance."""
    error = TransferFailed("connection refused", on="127.0.0.9:8080").to_json()
    house.finish(taken.id, house.appliance, Outcome.FAILED, error, {})


def test_r55_an_instance_that_moved_is_followed_and_its_pass_given_out_again(house: House) -> None:
    job, taken = reading(house)
    house.cloud.hosts[f"instance-{job}"] = "127.0.0.10"
    house.watch.look()
    assert house.get(job).instance.host == "127.0.0.10"  # type: ignore[union-attr]
    assert house.service.heard(house.appliance, {taken.id}) == [taken.id]
    again = house.take()
    assert again is not None
    assert (again.run_id, again.slot, again.attempt) == (taken.run_id, taken.slot, 2)
    assert "is now reached at 127.0.0.10" in str(house.store.jobs.history(job))
    house.finish(again.id, house.appliance, Outcome.DONE, None, {})
    house.turn()
    assert house.status(job) == "Finished"


def test_r55_a_pass_that_breaks_before_anybody_looked_is_given_out_again_not_failed(house: House) -> None:
    job, taken = reading(house)
    house.cloud.hosts[f"instance-{job}"] = "127.0.0.10"
    with pytest.raises(Conflict, match="not yours any more"):
        lost_way(house, taken)
    again = house.take()
    assert again is not None
    assert house.get(job).instance.host == "127.0.0.10"  # type: ignore[union-attr]
    assert house.status(job) == "Running/Syncing"


def test_r57_a_pass_that_breaks_because_its_instance_was_stopped_waits_for_it(house: House) -> None:
    job, taken = reading(house)
    house.cloud.instances[f"instance-{job}"] = Health.STOPPED
    with pytest.raises(Conflict):
        lost_way(house, taken)
    house.watch.look()
    assert house.cloud.instances[f"instance-{job}"] is Health.RUNNING
    (entry,) = [e for e in house.store.jobs.history(job) if e.kind == "TransitionInstance.Stopped"]
    assert entry.text == "the intermediate instance was started again"
    house.run(job)
    assert house.status(job) == "Finished"


def test_r57_an_instance_that_cannot_be_started_again_fails_the_job_with_a_code_of_its_own(
    house: House,
) -> None:
    job, taken = reading(house)
    house.cloud.instances[f"instance-{job}"] = Health.STOPPED
    house.cloud.refusal = TargetFailed("no stock", remedy="try later", retryable=False)
    house.watch.look()
    house.cloud.refusal = None
    house.turn()
    found = house.get(job)
    assert (str(found.state), found.error_code) == ("InError", "TransitionInstance.Stopped")
    assert found.error is not None
    assert "stopped by somebody else and cannot be started: no stock" in found.error["what"]
    assert house.store.passes.owned(taken.id, house.appliance).state is PassState.FINISHED
    house.service.start(job)
    assert str(house.run(job).state) == "Finished"


def test_what_may_pass_is_looked_at_again(house: House) -> None:
    job, _ = reading(house)
    house.cloud.instances[f"instance-{job}"] = Health.STOPPED
    house.cloud.refusal = TargetFailed("no answer", retryable=True)
    house.watch.look()
    assert house.status(job) == "Running/Syncing"
    house.cloud.refusal = None
    house.watch.look()
    assert house.cloud.instances[f"instance-{job}"] is Health.RUNNING


def test_a_broken_line_to_an_instance_that_stands_still_fails_the_pass(house: House) -> None:
    job, taken = reading(house)
    lost_way(house, taken)
    house.turn()
    assert house.status(job) == "InError"


def test_r35_a_released_instance_is_told_although_the_pass_broke_first(house: House) -> None:
    job, taken = reading(house)
    house.cloud.instances.clear()
    house.watch.look()
    lost_way(house, taken)
    house.turn()
    assert house.get(job).error_code == "TransitionInstance.Released"


def test_a_deleted_job_that_cannot_be_released_says_why_until_it_can(house: House) -> None:
    job = house.job()
    house.service.start(job)
    house.turn()
    house.carry(Outcome.FAILED)
    house.turn()
    house.service.delete(job)
    house.cloud.stuck = TargetFailed("protected against deletion", remedy="switch that off")
    with pytest.raises(TargetFailed):
        house.sweep()
    found = house.get(job)
    assert found.status == "Deleting"
    assert found.waiting.endswith("cannot be released: protected against deletion; switch that off")
    house.cloud.stuck = None
    house.sweep()
    assert house.get(job).status == "Deleted"


def test_work_aside_is_done_once_at_a_time_and_survives_what_it_raises() -> None:
    aside, go, done = Background(), threading.Event(), threading.Semaphore(0)
    count = []

    def work() -> None:
        count.append(1)
        go.wait(PATIENCE)
        done.release()
        raise ConnectorError("broken")

    aside.once("a", work)
    aside.once("a", work)
    go.set()
    assert done.acquire(timeout=PATIENCE)
    assert len(count) == 1
    ended = threading.Event()
    while not ended.is_set():
        aside.once("a", ended.set)
