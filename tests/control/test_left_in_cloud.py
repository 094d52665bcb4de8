"""What the cloud refuses after a run is proved does not change how the run ends; it is said, and tried again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.cloud.provider import Health
from connector.control.domain.entities import Outcome
from connector.control.engine.scheduler import TIDYING
from connector.control.store.provider_ledger import instance_token
from connector.errors import TargetFailed
from tests.control import fresh
from tests.control.house import House


@pytest.fixture
def house(quick_folder: Path) -> Iterator[House]:
    found = House(fresh.sqlite(quick_folder / "control.sqlite"), quick_folder)
    yield found
    found.store.close()


def _texts(house: House, job: str, kind: str) -> list[str]:
    return [entry.text for entry in house.store.jobs.history(job) if entry.kind == kind]


def _failed(house: House) -> str:
    job = house.incremental()
    house.service.start(job)
    house.turn()
    house.carry(Outcome.FAILED)
    return job


REFUSED = TargetFailed("Forbidden.RAM", remedy="give the user DeleteSecurityGroup", retryable=False)


@pytest.mark.parametrize("last", ["once", "cutover"])
def test_a_release_that_is_refused_does_not_fail_a_proven_run(house: House, last: str) -> None:
    job = house.job() if last == "once" else house.incremental()
    house.service.start(job)
    if last == "cutover":
        house.run(job)
        house.service.cutover(job, last_sync=True, changes={})
    house.cloud.stuck = REFUSED
    assert house.run(job).status == "Finished"
    assert (
        "could not be released whole and goes on costing: Forbidden.RAM; give the user"
        in house.get(job).waiting
    )
    house.later(TIDYING)
    assert len(_texts(house, job, "left")) == 1  # said once, however often it is tried
    house.cloud.stuck = None
    house.later(TIDYING)
    assert not house.cloud.instances
    assert house.get(job).waiting == ""
    assert len(_texts(house, job, "mended")) == 1
    assert not house.store.resources.left_in_cloud()


def test_what_is_left_after_the_instance_is_gone_is_released_and_a_new_start_is_no_lie(house: House) -> None:
    """Half of the release succeeded: the provider records the instance as gone at once."""
    job = house.job()
    house.service.start(job)
    house.cloud.stuck = REFUSED
    house.run(job)
    token = instance_token(job)
    house.cloud.instances.clear()
    house.store.resources.record(job, token, place="cloud", kind="instance", removed=True)
    house.later(TIDYING)
    assert "Forbidden.RAM" in house.get(job).waiting
    assert [r.kind for r in house.store.resources.of(job, "cloud") if r.trouble] == ["disk"]
    assert not house.steps.instances.was_created(job)
    house.cloud.stuck = None
    house.later(TIDYING)
    assert all(r.removed for r in house.store.resources.of(job, "cloud") if r.kind != "image")


def test_a_job_that_went_on_keeps_its_disks_from_a_release_that_comes_late(house: House) -> None:
    """Between the look at the job and the release, somebody rolled its cutover back or started it again."""
    job = house.incremental()
    house.service.start(job)
    house.run(job)
    assert house.status(job) == "Waiting"
    house.steps.instances.release(job, keep_disks=False, unless_running=True)
    assert instance_token(job) in house.cloud.instances
    assert not [r for r in house.store.resources.of(job, "cloud") if r.kind == "disk" and r.removed]


def test_an_old_image_that_cannot_be_removed_now_does_not_fail_the_run(house: House) -> None:
    job = house.incremental(max_images=1)
    house.service.start(job)
    house.run(job)
    house.service.cutover(job, last_sync=True, changes={})
    house.cloud.kept = TargetFailed("the cloud is busy", retryable=True)
    assert house.run(job).status == "Finished"
    assert house.cloud.images == ["job-j_CYCLE_1", "job-j"]
    assert "the old image job-j_CYCLE_1 could not be removed and goes on costing" in house.get(job).waiting
    house.cloud.kept = None
    house.later(TIDYING)
    assert house.cloud.images == ["job-j"]
    assert house.get(job).waiting == ""


def test_an_instance_that_could_not_be_stopped_is_stopped_later(house: House) -> None:
    house.cloud.stuck = TargetFailed("the cloud does not answer", retryable=True)
    job = _failed(house)
    house.turn()
    token = instance_token(job)
    assert house.status(job) == "InError"
    assert house.cloud.instances[token] is Health.RUNNING
    (said,) = _texts(house, job, "left")
    assert "its instance could not be stopped and goes on costing: the cloud does not answer" in said
    assert house.get(job).waiting == said
    house.crash()
    house.cloud.stuck = None
    house.turn()
    assert house.cloud.instances[token] is Health.STOPPED
    assert house.get(job).waiting == ""


def test_a_job_that_was_started_again_keeps_its_instance(house: House) -> None:
    house.cloud.stuck = TargetFailed("the cloud does not answer", retryable=True)
    job = _failed(house)
    house.turn()
    house.service.start(job)
    house.cloud.stuck = None
    house.later(TIDYING)
    assert house.cloud.instances[instance_token(job)] is Health.RUNNING
    assert house.run(job).status == "Waiting"
    assert house.cloud.instances[instance_token(job)] is Health.STOPPED
    assert not house.store.resources.left_in_cloud()
