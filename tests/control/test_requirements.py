"""Requirements of the control plane that need no process: what exists and costs, what is asked for, what is said."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.cloud import licences
from connector.cloud.provider import Health, Placement
from connector.control.domain.entities import Outcome
from connector.control.domain.refusals import OutOfRange, RefusalCode, StateRefusal
from connector.control.http import views
from connector.control.smc import extension_shapes as show
from connector.control.store import NewJob
from tests.control import fresh
from tests.control.conftest import machine
from tests.control.house import House


@pytest.fixture
def house(quick_folder: Path) -> Iterator[House]:
    made = House(fresh.sqlite(quick_folder / "x.sqlite"), quick_folder)
    yield made
    made.store.close()


def costs(house: House, job: str) -> list[str]:
    shown = [show.resource(resource, {}, billed=True) for resource in house.store.resources.of(job)]
    return sorted(row["Kind"] for row in shown if row["Billable"] and not row["Released"])


def test_r1_r60_what_a_job_costs_is_listed_until_nothing_is_left(house: House) -> None:
    job = house.job()
    assert costs(house, job) == []
    house.service.start(job)
    house.turn()
    assert costs(house, job) == ["disk", "disk", "instance"]
    house.carry(Outcome.FAILED)
    house.turn()
    assert house.status(job) == "InError"
    assert costs(house, job) == ["disk", "disk", "instance"]  # a failed job keeps its position, and costs
    assert list(house.cloud.instances.values()) == [Health.STOPPED]
    house.service.start(job)
    house.run(job)
    assert house.status(job) == "Finished"
    assert costs(house, job) == ["image"]


def test_r1_r92_a_deleted_job_leaves_nothing(house: House) -> None:
    job = house.job()
    house.service.start(job)
    house.turn()
    house.service.stop(job)
    house.turn()
    house.service.delete(job)
    assert house.status(job) == "Deleting"
    house.turn()
    assert (costs(house, job), house.cloud.instances) == ([], {})


def test_r1_x14_between_its_runs_an_incremental_job_costs_its_instance_and_images(house: House) -> None:
    job = house.incremental()
    house.service.start(job)
    house.run(job)
    assert costs(house, job) == ["disk", "disk", "image", "instance"]
    house.service.cutover(job, last_sync=False, changes={})
    house.run(job)
    assert costs(house, job) == ["image"]


def test_r94_r95_r96_r97_the_business_status_says_what_is_being_done(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, seen = house.job(), {}
    cloud = house.cloud

    def watched(name: str) -> None:
        work = getattr(cloud, name)

        def call(*arguments: Any, **named: Any) -> Any:
            seen.setdefault(name, house.status(job))
            return work(*arguments, **named)

        monkeypatch.setattr(cloud, name, call)

    for name in ("create_instance", "make_image", "release"):
        watched(name)
    house.service.start(job)
    assert house.status(job) == "Running/Preparing"
    house.turn()
    assert house.status(job) == "Running/Syncing"
    house.run(job)
    assert seen == {
        "create_instance": "Running/Preparing",
        "make_image": "Running/Processing",
        "release": "Running/Cleaning",
    }


def test_r86_r87_a_running_job_is_neither_deleted_nor_stopped_outside_of_syncing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, refused = house.job(), []
    work = house.cloud.make_image

    def make_image(*arguments: Any) -> Any:
        for new_job in (house.service.stop, house.service.delete, house.service.start):
            with pytest.raises(StateRefusal, check=lambda r: r.code == RefusalCode.JOB_STATUS):
                new_job(job)
            refused.append(house.status(job))
        return work(*arguments)

    monkeypatch.setattr(house.cloud, "make_image", make_image)
    house.service.start(job)
    for new_job in (house.service.stop, house.service.delete):
        with pytest.raises(StateRefusal):
            new_job(job)
    house.turn()
    with pytest.raises(StateRefusal):
        house.service.delete(job)
    house.run(job)
    assert refused == ["Running/Processing"] * 3
    assert house.status(job) == "Finished"


PLACED = {
    "InstanceType": "small",
    "NetMode": 2,
    "VpcId": "vpc-1",
    "VSwitchId": "vsw-1",
    "InstanceRamRole": "role",
    "LaunchTemplateId": "lt-1",
    "LaunchTemplateVersion": "3",
}


def test_the_provider_is_asked_for_what_the_job_names(house: House) -> None:
    definition = PLACED | {"SystemDiskSize": 40, "Disks": {"Data": [{"DiskId": "1", "Size": 11}]}}
    job = house.job(definition=definition, region="cn-hangzhou")
    house.service.start(job)
    house.turn()
    (request,) = house.cloud.requests.values()
    assert request.placement == Placement(
        "cn-hangzhou", "small", "x86_64", 2, "vpc-1", "vsw-1", "role", "lt-1", "3"
    )
    assert [disk.size for disk in request.disks] == [40 << 30, 11 << 30]


def test_r50_without_a_wish_the_provider_rounds_up_and_never_gets_less_than_the_source(house: House) -> None:
    plain, small = house.job("a"), house.job("b", definition={"DataDisk": [{"Index": 1, "Size": 5}]})
    for job in (plain, small):
        house.service.start(job)
    house.turn()
    sizes = [[disk.size for disk in house.cloud.requests[f"instance-{job}"].disks] for job in (plain, small)]
    assert sizes == [[0, 0], [0, 10 << 30]]


def test_x4_an_instance_type_that_cannot_be_had_makes_no_job(house: House) -> None:
    with pytest.raises(OutOfRange) as refused:
        house.job(definition={"InstanceType": "huge"})
    assert refused.value.code == "InvalidParameter.InstanceType"
    assert house.store.jobs.all() == []
    job = house.job(definition={"InstanceType": "small"})
    with pytest.raises(OutOfRange):
        house.service.modify(job, {"InstanceType": "huge"})
    assert house.get(job).definition["InstanceType"] == "small"


def test_x19_runs_are_remembered_with_their_kind_and_progress_is_a_share(house: House) -> None:
    job = house.incremental(frequency=1)
    house.service.start(job)
    house.turn()
    found = house.take()
    assert found is not None
    disks = [{"key": 1, "wanted": 100, "done": 25}, {"key": 2, "wanted": 300, "done": 75}]
    house.store.pass_ends.progress(found.id, house.appliance, "copying", disks)
    assert views.percent(house.get(job), house.store.passes.of(job)) == 25.0
    house.finish(found.id, house.appliance, Outcome.DONE, None, {})
    house.run(job)
    house.later(3600)
    house.run(job)
    runs = house.store.runs.of(job)
    assert [run.kind for run in runs] == ["Manual", "Schedule"]
    assert all(run.ended is not None and run.ended >= run.started for run in runs)


@pytest.mark.parametrize(
    ("guest", "licence", "says"),
    [
        ("windows2019srv_64Guest", "", []),
        ("windows2019srvNext_64Guest", "", []),
        ("windows9Server64Guest", "", []),
        ("windows8Server64Guest", "", []),
        ("windows9Server64Guest", "BYOL", ["dedicated host"]),
        ("windows7Server64Guest", "", ["2008 R2 is not supported by Microsoft"]),
        ("winNetEnterprise64Guest", "BYOL", ["dedicated host", "2003 is not supported"]),
        ("windows9_64Guest", "", ["licence mobility"]),
        ("windows2022srvNext_64Guest", "", ["Windows Server 2025"]),
        ("rhel9_64Guest", "BYOL", []),
        ("", "", []),
    ],
)
def test_r25_r29_licences_that_need_a_thought_are_warned_of(
    guest: str, licence: str, says: list[str]
) -> None:
    found = licences.warnings(guest, licence)
    assert len(found) == len(says)
    assert all(part in text for part, text in zip(says, found, strict=True))


def test_r29_the_warning_stands_in_the_jobs_log_and_beside_the_source(house: House) -> None:
    old = dataclasses.replace(machine("vm-old", "old"), guest_id="winLonghorn64Guest")
    body = dataclasses.asdict(old) | {"findings": []}
    (source,) = house.store.sources.put(house.appliance.vcenter, [body], house.appliance).values()
    (finding,) = show.findings(house.store.sources.get(source))["Findings"]["Finding"]
    warning = finding["Message"]
    assert "2008 is not supported" in warning
    assert (finding["Check"], finding["Severity"]) == ("licence", "warn")
    for _ in range(2):  # the same wish again is the same job, and says nothing twice
        job = house.service.create(NewJob(source, "x", client_token="t"))
    log = [entry.text for entry in house.store.jobs.history(job.id) if entry.kind == "warning"]
    assert log == [warning]


def test_r35_start_on_a_job_whose_instance_is_gone_says_what_to_do(house: House) -> None:
    job = house.job()
    house.service.start(job)
    house.turn()
    house.cloud.instances.clear()
    house.turn()
    found = house.get(job)
    assert found.error is not None
    assert found.error["remedy"] == "delete this job and create a new one"


def test_r41_a_finished_job_names_the_image_that_can_be_tried(house: House) -> None:
    job = house.job()
    house.service.start(job)
    done = house.run(job)
    (image,) = house.store.resources.images(job)
    assert done.image_id == image.id
    assert image.details["location"] == f"cloud:{image.name}"
    assert image.name in [kept.name for kept in house.cloud.list_images()]
