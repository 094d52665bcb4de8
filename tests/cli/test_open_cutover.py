"""Only a cutover resumes a cutover: what `connector migrate` refuses before its appliance starts. Against the real operations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from connector.batch.report import report as wave_report
from connector.batch.smc_plane import SmcPlane
from connector.cli import records
from connector.cli.job_view import complete, resources
from connector.cli.migrate import image_lines
from connector.cli.migration import refuse_open_cutovers
from connector.cli.report import report
from connector.clients.smc import SmcClient
from connector.control.domain.entities import Outcome, Task
from connector.errors import Conflict
from connector.model import Machine
from connector.specification.images import rolled_back
from tests.batch.conftest import Desk
from tests.control import fresh
from tests.control.conftest import machine, quick_folder
from tests.control.house import House

__all__ = ["quick_folder"]

J: Machine = machine("vm-j", "j")


@pytest.fixture
def house(quick_folder: Path) -> Iterator[House]:
    found = House(fresh.sqlite(quick_folder / "control.sqlite"), quick_folder)
    yield found
    found.store.close()


def refuse(house: House, *machines: Machine) -> None:
    refuse_open_cutovers(cast("SmcClient", Desk(house)), machines)


def waiting(house: House, **new_job: Any) -> str:
    job = house.incremental(**new_job)
    house.service.start(job)
    house.run(job)
    return job


@pytest.mark.parametrize("shut_down", [True, False])
def test_a_cutover_that_was_stopped_is_open_until_it_is_resumed_or_rolled_back(
    house: House, shut_down: bool
) -> None:
    job = waiting(house)
    refuse(house, J)
    house.service.cutover(job, last_sync=True, changes={})
    house.turn()
    final = house.take()
    assert final is not None and final.task is Task.FINAL
    if shut_down:
        house.store.cutovers.going_down(job, final.id)
    down = (
        "^j: SOURCE IS DOWN since .*; an interrupted cutover"
        if shut_down
        else "^j: an interrupted cutover is"
    )
    with pytest.raises(Conflict, match=down):
        refuse(house, J)  # the stack was killed: the job is Running
    house.finish(final.id, house.appliance, Outcome.FAILED, {"error": "x", "what": "broken"}, {})
    house.turn()
    with pytest.raises(Conflict, match=down) as refused:
        refuse(house, machine("vm-other", "other"), J)
    assert refused.value.on == "j"
    assert refused.value.remedy == "--cutover resumes it, --rollback takes it back"
    house.service.rollback(job)
    house.turn()
    house.carry(power_tasks=True)
    house.turn()
    assert str(house.get(job).status) == "Stopped"
    refuse(house, J)


def test_a_cutover_that_is_done_is_not_open(house: House) -> None:
    job = waiting(house)
    house.service.cutover(job, last_sync=True, changes={})
    assert str(house.run(job).status) == "Finished"
    refuse(house, J)


@pytest.mark.parametrize(
    ("runs", "cut_over", "stale"),
    [
        ("Manual m-1, Manual m-2", True, ""),
        ("Manual m-1, Manual m-2, Rollback", False, "m-2"),
        ("Manual m-1, Manual m-2, Rollback, Manual, Manual m-3", True, "m-2"),
        ("Manual m-1, Manual, Rollback", False, ""),  # the cutover was stopped before it made an image
        (
            "Manual m-1, Manual m-2, Rollback, Rollback",
            True,
            "",
        ),  # the rollback fails: the cutover still holds
        ("Manual m-1, Manual m-2, Rollback, Rollback", False, "m-2"),
    ],
)
def test_the_image_of_a_cutover_is_stale_when_a_rollback_has_ended(
    runs: str, cut_over: bool, stale: str
) -> None:
    pairs = [(kind, image) for kind, _, image in (run.partition(" ") for run in runs.split(", "))]
    assert rolled_back(pairs, cut_over=cut_over) == set(stale.split())


def test_after_a_second_cutover_it_is_said_which_image_to_use(house: House) -> None:
    client = cast("SmcClient", Desk(house))
    job = waiting(house)
    for again in (False, True):
        house.service.cutover(job, last_sync=True, changes={})
        assert str(house.run(job).status) == "Finished"
        if not again:
            house.service.rollback(job)
            house.turn()
            house.carry(power_tasks=True)
            house.turn()
            house.service.start(job)
            assert str(house.run(job).status) == "Waiting"
    (row,) = Desk(house).call("DescribeReplicationJobProgress", JobId=[job])["ReplicationJobs"][
        "ReplicationJob"
    ]
    made = report(client, row)
    places = {image["rolled_back"]: image["details"]["location"] for image in made.images}
    lines = image_lines(made)
    assert lines[-1] == f"j: use this image: {places[False]}"
    assert f"j: image of a cutover that was rolled back: {places[True]}" in lines
    assert sum("use this image" in line for line in lines) == 1
    assert all(line.startswith("j: older image: ") for line in lines[:-1] if "CYCLE" in line)
    shown = resources(complete(client, records.find(client, records.JOB, job)))
    assert [one["Note"] for one in shown if one["Note"]] == [
        "of a cutover that was rolled back",
        "use this image",
    ]
    newest = next(image for image in reversed(made.images) if not image["rolled_back"])
    newest["details"]["note"] = "a copy boots: login prompt after 31 s"  # what a conversion leaves there
    assert image_lines(made)[-1] == "j:   a copy boots: login prompt after 31 s"
    newest["details"] |= {"location": "m-base", "converted": newest["id"]}  # of a cloud
    assert image_lines(made)[-2] == f"j: use this image: {newest['id']}, converted from m-base"
    (view,) = SmcPlane(lambda: Desk(house)).jobs_by_id([job])
    (line,) = wave_report("w1", [view], [], {}, 0.0).lines
    assert (line.image, {line.rolled_back}) == (view.image, view.rolled_back_images)
    assert line.image not in view.rolled_back_images


def test_an_image_that_made_room_is_not_named_any_more(house: House) -> None:
    job = waiting(house, max_images=1)
    for again in (False, True):
        house.service.cutover(job, last_sync=True, changes={})
        assert str(house.run(job).status) == "Finished"
        if not again:
            house.service.rollback(job)
            house.turn()
            house.carry(power_tasks=True)
            house.turn()
            house.service.start(job)
            assert str(house.run(job).status) == "Waiting"
    house.turn()
    plane = SmcPlane(lambda: Desk(house))
    (view,) = plane.jobs_by_id([job])
    files = plane.image_files(job)
    assert "" in files.values()
    (line,) = wave_report("w1", [view], [], {}, 0.0, files=files).lines
    assert (line.image, line.rolled_back) == (view.image, "")
    (row,) = Desk(house).call("DescribeReplicationJobProgress", JobId=[job])["ReplicationJobs"][
        "ReplicationJob"
    ]
    assert len(image_lines(report(cast("SmcClient", Desk(house)), row))) == 1
