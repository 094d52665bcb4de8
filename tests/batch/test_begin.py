"""The start of a wave by hand, and the rows of machines that have no job."""

from __future__ import annotations

from typing import Any

import pytest

from connector.batch.apply import Apply
from connector.batch.begin import begin
from connector.batch.earlier import finished_elsewhere
from connector.batch.resolve import resolve
from connector.batch.status import status
from connector.errors import BadInput
from tests.batch.conftest import HEAD, Estate, wave
from tests.control.house import House

MANUAL = (
    HEAD + "  incremental: {every: 6h, keep: 3}\nschedule: {start: manual}\nmachines:\n  - selector: name:*\n"
)


def _applied(estate: Estate, *names: str) -> dict[str, Any]:
    """Jobs by the name of their machine."""
    estate.has(*names)
    assert not Apply(estate.plane, estate.plan(wave(MANUAL)), clock=estate.house.clock).run().failures
    machines = {source.id: source.name for source in estate.plane.sources()}
    return {machines[job.source]: job for job in estate.plane.jobs("w1")}


def _stopped_in_its_cutover(house: House, job: str) -> None:
    """Before the source was shut down."""
    house.service.start(job)
    house.run(job)
    house.service.cutover(job, last_sync=True, changes={})
    house.turn()
    house.service.stop(job)
    house.turn()
    assert house.status(job) == "Stopped" and house.get(job).down_since is None


def test_it_starts_what_begins_by_hand_and_no_cutover(estate: Estate) -> None:
    jobs = _applied(estate, "web", "db", "app")
    # every robot of the house works for its first appliance
    estate.house.appliance = estate.appliance
    _stopped_in_its_cutover(estate.house, jobs["db"].id)
    begun = begin(estate.plane, "w1")
    assert (set(begun.started), begun.left, begun.failed) == ({"web", "app"}, ("db",), ())
    assert estate.house.status(jobs["db"].id) == "Stopped"
    again = begin(estate.plane, "w1")
    assert again.started == ()
    assert dict(again.others).keys() == {"web", "app"} and all(
        "Running" in state for _, state in again.others
    )


def test_one_that_is_refused_stops_no_other(estate: Estate) -> None:
    jobs = _applied(estate, "web", "db")
    estate.loses("db")
    begun = begin(estate.plane, "w1")
    assert begun.started == ("web",)
    assert [name for name, _ in begun.failed] == ["db"]
    assert estate.house.status(jobs["db"].id) == "Ready"


def test_one_that_is_refused_for_good_stops_no_other(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a target instance that runs: waiting does not help."""
    jobs = _applied(estate, "web", "db")
    begins = estate.plane.start

    def refuse_one(job: str) -> None:
        if job == jobs["db"].id:
            raise BadInput("the target instance is running", on="i-1", remedy="stop it")
        begins(job)

    monkeypatch.setattr(estate.plane, "start", refuse_one)
    begun = begin(estate.plane, "w1")
    assert begun.started == ("web",)
    assert begun.failed == (("db", "i-1: the target instance is running; stop it"),)


def test_a_machine_of_the_manifest_without_a_job_is_missing(estate: Estate) -> None:
    jobs = _applied(estate, "web", "db")
    estate.house.service.delete(jobs["db"].id)
    estate.house.turn()
    sources = estate.plane.sources()
    shown = status("w1", estate.plane.jobs("w1"), sources, resolve(wave(MANUAL), sources).placements)
    (row,) = [row for row in shown.rows if row.machine == "db"]
    assert (row.status, row.job) == ("missing", "") and "batch apply" in row.note
    assert shown.counts == {"Ready": 1, "missing": 1}
    assert shown.settled and not shown.finished


def test_a_machine_that_another_wave_finished_is_noted(estate: Estate) -> None:
    estate.has("web", "db")
    estate.house.appliance = estate.appliance
    earlier = wave(MANUAL.replace("w1", "w0").replace("name:*", "name:web"))
    assert not Apply(estate.plane, estate.plan(earlier), clock=estate.house.clock).run().failures
    [job] = estate.plane.jobs("w0")
    estate.house.service.start(job.id)
    estate.house.run(job.id)
    estate.house.service.cutover(job.id, last_sync=False, changes={})
    estate.house.run(job.id)
    [job] = estate.plane.jobs("w0")
    assert job.status == "Finished" and job.image
    assert {passed.downtime for passed in estate.plane.passes(job.id)} == {None}, "it was not shut down"
    by = f"finished by wave w0 ({job.id}), image {job.image}"
    [warning] = estate.plan(wave(MANUAL)).warnings
    assert warning.what == f"web was {by}: it would be migrated again"
    sources = estate.plane.sources()
    placements = resolve(wave(MANUAL), sources).placements
    elsewhere = finished_elsewhere(estate.plane, placements, ())
    rows = {row.machine: row for row in status("w1", [], sources, placements, elsewhere).rows}
    assert rows["web"].note == f"{by}; `connector batch apply` would migrate it again"
    assert rows["db"].note.startswith("no job of this wave")
