"""The dialog that makes a job: requirements by number."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest

from connector.control.console.new_job import asked
from connector.control.domain.access import Role
from connector.control.smc.catalogue import Denied
from connector.control.store import JobFilter
from tests.console.conftest import Console
from tests.console.test_sources import job_of, register
from tests.console.visitor import Answer, Visitor
from tests.control.conftest import machine
from tests.control.house import DAY

JOBS = "/console/jobs"


def make(console: Console, **form: str) -> tuple[Visitor, Answer]:
    """The dialog filled in and sent, for a fresh source."""
    (source,) = console.house.register("web-01")
    visitor = console.visitor(Role.OPERATOR)
    visitor.get(f"/console/new-job?source={source}")
    return visitor, visitor.post("/console/new-job", {"SourceId": source, "RegionId": "cn-hangzhou"} | form)


def only(console: Console) -> Any:
    (job,) = console.store.jobs.page(JobFilter(), 1, 9).rows
    return job


def test_r84_a_new_job_is_ready_and_can_be_started(console: Console) -> None:
    visitor, made = make(console, Name="move-web", ImageName="web-image", Description="the shop")
    page = visitor.get(made.moved)
    assert page.states[0] == "Ready"
    assert "The job is created" in page.banner
    assert set(page.buttons()) == {"Start", "Delete: move-web"}
    job = only(console)
    assert (job.name, job.image_name, job.description, job.region) == (
        "move-web",
        "web-image",
        "the shop",
        "cn-hangzhou",
    )
    assert (job.run_once, job.job_type) == (True, 3)
    visitor.press(page, "Start")
    assert console.house.status(job.id) == "Running/Preparing"


def test_the_same_dialog_sent_twice_makes_one_job(console: Console) -> None:
    (source,) = console.house.register("web-01")
    visitor = console.visitor(Role.OPERATOR)
    dialog = visitor.get(f"/console/new-job?source={source}").page
    form = {
        "SourceId": source,
        "RegionId": "r",
        "ClientToken": dialog.one("input", name="ClientToken")["value"],
    }
    assert visitor.post("/console/new-job", form).moved == visitor.post("/console/new-job", form).moved


def test_a_refused_dialog_comes_back_as_it_was_filled_in(console: Console) -> None:
    _, refused = make(console, Name="1 2", RunOnce="false", Frequency="5", MaxNumberOfImageToKeep="2")
    assert refused.status == 400
    assert "Name" in refused.banner
    page = refused.page
    assert page.one("input", name="Name")["aria-invalid"] == "true"
    assert page.one("input", name="Name")["value"] == "1 2"
    assert page.one("input", name="Frequency")["value"] == "5"
    assert [f["value"] for f in page.all("input", name="RunOnce") if "checked" in f] == ["false"]


def test_incremental_jobs_say_their_rhythm(console: Console) -> None:
    visitor, made = make(console, RunOnce="false", Frequency="6", MaxNumberOfImageToKeep="2")
    job = only(console)
    assert (job.run_once, job.frequency, job.max_images) == (False, 6, 2)
    assert "every 6 hours, 2 images kept" in visitor.get(made.moved).page.text


@pytest.mark.parametrize(
    "form, field",
    [
        ({"RunOnce": "false", "Frequency": "169", "MaxNumberOfImageToKeep": "1"}, "Hours between two runs"),
        ({"RunOnce": "false", "Frequency": "1", "MaxNumberOfImageToKeep": "0"}, "Images to keep"),
        ({"RunOnce": "false"}, "Hours between two runs"),
        ({"RegionId": ""}, "Destination region"),
        ({"NetMode": "2"}, "vSwitch"),
        ({"SystemDiskSize": "9"}, "System disk, GiB"),
        ({"DataDisk.1.Size": "x"}, "Data disk 1, GiB"),
        ({"ScheduledStartTime": "tomorrow"}, "Scheduled start, UTC"),
        ({"ScheduledStartTime": "2019-01-01T00:00"}, "Scheduled start, UTC"),
        ({"LicenseType": "OEM"}, "Licence"),
        ({"compress_level": "11"}, "Compression level"),
    ],
)
def test_the_public_api_judges_the_dialog(console: Console, form: dict[str, str], field: str) -> None:
    _, refused = make(console, **form)
    assert (refused.status, f"“{field}”" in refused.banner) == (400, True), refused.banner
    assert console.store.jobs.page(JobFilter(), 1, 9).total == 0


def test_all_that_the_dialog_asks_reaches_the_job(console: Console) -> None:
    about = {
        "SystemDiskSize": "40",
        "DataDisk.1.Size": "50",
        "LicenseType": "BYOL",
        "NetMode": "2",
        "VSwitchId": "vsw-1",
        "InstanceType": "small",
        "bandwidth_limit": "100",
        "compress_level": "0",
    }
    make(console, **about)
    asked_for = only(console).definition
    assert asked_for["SystemDiskSize"] == 40
    assert asked_for["DataDisk"] == [{"Index": 1, "Size": 50}]
    assert asked_for["ReplicationParameters"] == '{"bandwidth_limit":100,"compress_level":0}'
    for name in ("LicenseType", "VSwitchId", "InstanceType"):
        assert asked_for[name] == about[name]


def test_a_start_is_scheduled_in_utc(console: Console) -> None:
    wanted = console.house.clock() + DAY
    typed = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(wanted))
    visitor, made = make(console, ScheduledStartTime=typed)
    assert only(console).scheduled_start == wanted - wanted % 60
    assert "starts by itself" in visitor.get(made.moved).page.text


def test_r13_the_dialog_says_how_long_it_may_take(console: Console) -> None:
    small, large = register(console, machine("vm-1", "small", 1), machine("vm-2", "large", 4))
    visitor = console.visitor(Role.OPERATOR)
    said = visitor.get(f"/console/new-job?source={small}").page.text
    assert "about 35 min 00 s at 11.9 MiB/s, about 22 min 07 s at 119 MiB/s" in said
    assert "10 GiB at most" in said
    assert "about 1 h 35 min" in visitor.get(f"/console/new-job?source={large}").page.text


def test_r22_r64_blocks_are_copied_and_nothing_can_be_excluded(console: Console) -> None:
    (source,) = console.house.register("web-01")
    dialog = console.visitor(Role.OPERATOR).get(f"/console/new-job?source={source}").page
    (box,) = [
        f for f in dialog.all("input", type="checkbox") if f.parent and "Block replication" in f.parent.text
    ]
    assert "checked" in box
    assert "disabled" in box
    assert "nothing can be excluded" in dialog.text
    for name in ("Excludes", "Block", "SystemDiskPart.1.Block"):
        _, refused = make(console, **{name: "false"})
        assert (refused.status, name in refused.banner) == (400, True)


def test_r23_r25_a_windows_licence_of_ones_own_is_warned_of(console: Console) -> None:
    guest = {"guest_id": "windows9Server64Guest", "guest_name": "Microsoft Windows Server 2016 (64-bit)"}
    windows, linux = register(
        console, dataclasses.replace(machine("vm-1", "win"), **guest), machine("vm-2", "lin")
    )
    visitor = console.visitor(Role.OPERATOR)
    dialog = visitor.get(f"/console/new-job?source={windows}").page
    assert {f["value"] for f in dialog.all("input", name="LicenseType")} == {"", "BYOL"}
    assert "dedicated host" in dialog.text
    assert "dedicated host" not in visitor.get(f"/console/new-job?source={linux}").page.text
    made = visitor.post(
        "/console/new-job", {"SourceId": windows, "RegionId": "r", "LicenseType": "BYOL"}
    ).moved
    page = visitor.get(made).page
    assert "dedicated host" in page.one(id="log").text
    assert "BYOL" in page.text


def test_r45_r46_r47_a_target_instance_is_named_and_must_be_within_reach(console: Console) -> None:
    """The dialog says the target type itself; this target has no instances to choose from."""
    _, refused = make(console, TargetType="TargetInstance")
    assert (refused.status, "TargetType" in refused.banner) == (400, True)
    _, refused = make(console, InstanceId="i-1")
    assert refused.status == 400
    assert "this provider makes images" in refused.banner
    assert console.house.store.jobs.all() == []


def test_r77_r78_the_console_shows_when_a_job_expires_and_does_not_let_it_be_changed(
    console: Console,
) -> None:
    (source,) = console.house.register("web-01")
    visitor = console.visitor(Role.OPERATOR)
    expires = time.strftime("%Y-%m-%d", time.gmtime(console.house.clock() + 30 * DAY))
    assert f"valid until {expires}" in visitor.get(f"/console/new-job?source={source}").page.text
    _, refused = make(console, ValidTime="2030-01-01T00:00:00Z")
    assert (refused.status, "ValidTime" in refused.banner) == (400, True)
    _, made = make(console)
    job = job_of(made.moved)
    page = visitor.get(f"{JOBS}/{job}").page
    assert expires in page.one("section", aria_labelledby="t-facts").text
    assert not any("Valid" in found["name"] for found in page.all("input"))
    visitor.post(f"{JOBS}/{job}/modify", {"ValidTime": "2030-01-01T00:00:00Z", "Name": "other"})
    assert only(console).valid_until == console.house.clock() + 30 * DAY


@pytest.mark.parametrize("name", ["ValidTime", "Disks.System.Size", "JobType", "Tag.1.Key", "<b>"])
def test_the_dialog_takes_its_own_fields_only(name: str) -> None:
    with pytest.raises(Denied) as refused:
        asked({"SourceId": "s", name: "1"})
    assert refused.value.code == "UnknownParameter"
    assert "<" not in refused.value.message
