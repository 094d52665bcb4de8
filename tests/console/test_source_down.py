"""A source that a cutover has shut down: every page says so, and its buttons say what they do."""

from __future__ import annotations

import pytest

from connector.control.console.streams import sheet_address
from connector.control.domain.access import Role
from connector.control.domain.entities import Outcome, Pass
from connector.control.domain.jobs import JobEvent
from connector.errors import TargetFailed
from tests.console.conftest import Console
from tests.console.test_live import Ear


def _cut_over(console: Console) -> tuple[str, Pass]:
    """A job whose cutover has shut its source down."""
    house = console.house
    job = house.incremental()
    house.service.start(job)
    house.run(job)
    house.service.cutover(job, last_sync=True, changes={"predicted_downtime": 300.0})
    house.turn()
    taken = house.take()
    assert taken is not None
    house.store.cutovers.going_down(job, taken.id)
    return job, taken


def test_every_page_says_that_a_source_is_down_until_it_is_not(console: Console) -> None:
    job, taken = _cut_over(console)
    visitor = console.visitor(Role.OPERATOR)
    for path in ("/console/jobs", f"/console/jobs/{job}", "/console/sources", "/console/groups"):
        assert "SOURCE IS DOWN" in visitor.get(path).page.text, path
    page = visitor.get(f"/console/jobs/{job}").page
    state = page.one(id="state").text
    assert "SOURCE IS DOWN since " in state
    assert "its last changes are being copied" in state
    assert "Cutover" in page.one(id="runs").text
    assert "stays down until the cutover is resumed" in page.one(id="actions").text

    error = TargetFailed("broken").to_json()
    console.house.finish(taken.id, console.house.appliance, Outcome.FAILED, error, {})
    console.house.turn()
    page = visitor.get(f"/console/jobs/{job}").page
    state = page.one(id="state").text
    assert "nothing is under way that brings it back" in state
    assert "Resume the cutover goes on where it stopped" in " ".join(state.split())
    assert "Roll back powers the source on again" in " ".join(state.split())
    assert "Resume the cutover" in page.one(id="actions").text

    visitor.post(f"/console/jobs/{job}/start")
    console.house.run(job)
    assert console.house.status(job) == "Finished"
    for path in ("/console/jobs", f"/console/jobs/{job}"):
        assert "SOURCE IS DOWN" not in visitor.get(path).page.text, path


def test_what_is_made_again_after_a_rollback_is_billable_again(console: Console) -> None:
    house = console.house
    job, taken = _cut_over(console)
    house.finish(taken.id, house.appliance, Outcome.DONE, None, {})
    house.turn()
    assert house.status(job) == "Finished"
    assert "Nothing billable" in console.job_page(job).page.one(id="resources").text
    house.service.rollback(job)
    house.turn()
    house.carry(power_tasks=True)
    house.turn()
    assert house.status(job) == "Stopped"
    house.service.start(job)
    house.turn()
    assert "Nothing billable" not in console.job_page(job).page.one(id="resources").text


@pytest.mark.parametrize("ago", [0.0, 100_000.0])
def test_a_cutover_that_takes_longer_than_predicted_says_so(console: Console, ago: float) -> None:
    job, _ = _cut_over(console)
    console.house.clock.advance(ago)
    console.house.store.appliances.beat(console.house.appliance.id)
    shown = console.job_page(job).page.one(id="state").text
    assert ("longer than predicted" in shown) == bool(ago), shown
    assert ("back in about" in shown) == (not ago), shown


def test_a_cutover_that_was_stopped_before_the_shutdown_warns_before_it_is_resumed(console: Console) -> None:
    house = console.house
    job = house.incremental()
    house.service.start(job)
    house.run(job)
    house.service.cutover(job, last_sync=True, changes={})
    house.turn()
    house.service.stop(job)
    house.turn()
    page = console.job_page(job).page
    assert "SOURCE IS DOWN" not in page.text
    actions = page.one(id="actions").text
    assert "Resume the cutover" in actions and "Start again" not in actions
    assert "The source is shut down now" in actions


def test_the_banner_of_an_open_page_goes_when_the_source_is_replaced(console: Console) -> None:
    job, taken = _cut_over(console)
    ear = Ear(console.visitor(Role.OPERATOR), sheet_address(job))

    def finish() -> None:
        console.house.finish(taken.id, console.house.appliance, Outcome.DONE, None, {})
        console.house.turn()

    ear.hear("down", "SOURCE IS DOWN")
    ear.hear("state", "Finished", then=finish)
    ear.hear("down", "")
    assert "SOURCE IS DOWN" not in ear.parts["down"]


def test_a_job_that_was_completed_without_a_last_pass_announces_no_shutdown(console: Console) -> None:
    """Also when its last step failed and it is started again."""
    house = console.house
    job = house.incremental()
    house.service.start(job)
    house.run(job)
    house.service.cutover(job, last_sync=False, changes={})
    run = house.store.runs.of(job)[-1]
    house.store.jobs.settle(run.id, JobEvent.FAILED, Outcome.FAILED, TargetFailed("broken").to_json())
    assert house.status(job) == "InError"
    actions = console.job_page(job).page.one(id="actions").text
    assert "Start again" in actions and "The source is shut down" not in actions


def _finished(console: Console) -> str:
    job, taken = _cut_over(console)
    console.house.finish(taken.id, console.house.appliance, Outcome.DONE, None, {})
    console.house.turn()
    assert console.house.status(job) == "Finished"
    return job


def test_a_finished_cutover_that_is_deleted_keeps_no_source_down(console: Console) -> None:
    job = _finished(console)
    visitor = console.visitor(Role.OPERATOR)
    page = visitor.press(visitor.get(f"/console/jobs/{job}"), "Delete: job-j")
    assert console.house.status(job) == "Deleting"
    assert "SOURCE IS DOWN" not in page.text


def test_an_abandoned_cutover_that_is_deleted_still_keeps_its_source_down(console: Console) -> None:
    job, taken = _cut_over(console)
    console.house.finish(
        taken.id, console.house.appliance, Outcome.FAILED, TargetFailed("broken").to_json(), {}
    )
    console.house.turn()
    console.visitor(Role.OPERATOR).post(f"/console/jobs/{job}/delete")
    assert console.house.status(job) == "Deleting"
    assert "SOURCE IS DOWN" in console.job_page(job).text


def test_after_a_rollback_the_image_is_marked_and_a_start_says_that_it_begins_anew(console: Console) -> None:
    job, house = _finished(console), console.house
    visitor = console.visitor(Role.OPERATOR)
    assert "last image" in visitor.get("/console/jobs").page.text
    assert "rolled back" not in console.job_page(job).page.one(id="images").text
    house.service.rollback(job)
    house.turn()
    house.carry(power_tasks=True)
    house.turn()
    assert house.status(job) == "Stopped"
    assert console.job_page(job).page.one(id="images").text.count("of a cutover that was rolled back") == 1
    assert "last image" not in visitor.get("/console/jobs").page.text
    asked = visitor.post("/console/bulk/start", {"back": "/console/jobs", f"job-{job}": "1"})
    assert "the source is synced anew" in asked.text and "where it stopped" not in asked.text


def test_a_provider_that_costs_nothing_speaks_of_no_bill_and_no_cloud(console: Console) -> None:
    console.house.cloud.billed = False
    console.app = console.process()
    job, taken = _cut_over(console)
    resources = console.job_page(job).page.one(id="resources").text
    assert "billable" not in resources and " cloud," not in resources
    assert "this computer" in resources
    console.house.finish(taken.id, console.house.appliance, Outcome.DONE, None, {})
    console.house.turn()
    state = console.job_page(job).page.one(id="state").text
    assert "pay-as-you-go" not in state and "connector machine check" in state


def test_a_cutover_that_found_nothing_to_copy_is_complete(console: Console) -> None:
    job, taken = _cut_over(console)
    disks = [{"key": 2000, "label": "a", "capacity": 1 << 30, "wanted": 0, "done": 0, "state": "proved"}]
    console.house.store.pass_ends.progress(taken.id, console.house.appliance, "proving", disks)
    meter = console.job_page(job).page.one(id="progress").all("progress")
    assert [bar["value"] for bar in meter] == ["100.0", "100.0"]


def test_a_finished_job_has_no_rhythm_any_more(console: Console) -> None:
    job = _finished(console)
    line = console.visitor().get("/console/jobs").page.one("tr", id=f"line-{job}").text
    assert "every" not in line
