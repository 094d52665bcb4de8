"""Migration jobs as people make, see and move them: requirements by number."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest

from connector.control.console.new_job import asked
from connector.control.smc.catalogue import Denied
from connector.control.store import JobFilter
from connector.control.store.rows import Outcome, Role
from tests.console.conftest import Console
from tests.console.test_sources import job_of, register
from tests.console.visitor import Answer, Visitor
from tests.control.conftest import machine
from tests.control.house import DAY, HOUR

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


def text(console: Console, job: str, id: str) -> str:
    return console.job_page(job).page.one(id=id).text


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
        ({"RunOnce": "false", "Frequency": "169", "MaxNumberOfImageToKeep": "1"}, "Frequency"),
        ({"RunOnce": "false", "Frequency": "1", "MaxNumberOfImageToKeep": "0"}, "MaxNumberOfImageToKeep"),
        ({"RunOnce": "false"}, "Frequency"),
        ({"RegionId": ""}, "RegionId"),
        ({"NetMode": "2"}, "VSwitchId"),
        ({"SystemDiskSize": "9"}, "SystemDiskSize"),
        ({"DataDisk.1.Size": "x"}, "DataDisk.1.Size"),
        ({"ScheduledStartTime": "tomorrow"}, "ScheduledStartTime"),
        ({"ScheduledStartTime": "2019-01-01T00:00"}, "ScheduledStartTime"),
        ({"LicenseType": "OEM"}, "LicenseType"),
        ({"compress_level": "11"}, "ReplicationParameters"),
    ],
)
def test_the_public_api_judges_the_dialog(console: Console, form: dict[str, str], field: str) -> None:
    _, refused = make(console, **form)
    assert (refused.status, field in refused.banner) == (400, True), refused.banner
    assert console.store.jobs.page(JobFilter(), 1, 9).total == 0


def test_all_that_the_dialog_asks_reaches_the_job(console: Console) -> None:
    about = {
        "SystemDiskSize": "40",
        "DataDisk.1.Size": "50",
        "LicenseType": "BYOL",
        "NetMode": "2",
        "VSwitchId": "vsw-1",
        "InstanceType": "ecs.t6-c1m2.large",
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


def test_r45_r46_r47_no_instance_is_offered_as_a_target(console: Console) -> None:
    """So none of another system, region or account can be chosen: every job makes an image."""
    for name in ("InstanceId", "TargetType"):
        _, refused = make(console, **{name: "x"})
        assert (refused.status, name in refused.banner) == (400, True)


def test_r76_a_job_in_error_keeps_its_source(console: Console) -> None:
    job = _failed(console)
    source = console.store.jobs.get(job).source_id
    visitor = console.visitor(Role.OPERATOR)
    refused = visitor.post("/console/new-job", {"SourceId": source, "RegionId": "r"})
    assert (refused.status, "unfinished job" in refused.banner) == (400, True)


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


def test_r85_while_it_runs_the_status_column_says_what_it_does(console: Console) -> None:
    job = console.house.job()
    visitor = console.visitor(Role.OPERATOR)
    console.house.service.start(job)
    assert visitor.get(JOBS).states == ["Preparing"]
    console.house.turn()
    assert visitor.get(JOBS).states == ["Syncing"]
    chips = visitor.get(JOBS).page.one("nav", id="counts").text
    assert "Running 1" in chips


def test_r86_r87_a_running_job_can_be_stopped_while_it_syncs_and_never_deleted(console: Console) -> None:
    job = console.house.job()
    visitor = console.visitor(Role.OPERATOR)
    console.house.service.start(job)
    page = visitor.get(f"{JOBS}/{job}")
    assert page.buttons() == {}
    assert "Nothing can be done while Preparing" in page.page.text
    for deed in ("stop", "delete"):
        assert visitor.post(f"{JOBS}/{job}/{deed}").status == 400
    console.house.turn()
    page = visitor.get(f"{JOBS}/{job}")
    assert set(page.buttons()) == {"Stop"}
    refused = visitor.post(f"{JOBS}/{job}/delete")
    assert (refused.status, "stop it first" in refused.banner) == (400, True)
    console.house.take()
    stopped = visitor.press(page, "Stop")
    assert stopped.buttons() == {}
    assert "Stop is asked for" in stopped.banner


def test_r88_a_stopped_job_is_started_again_or_deleted(console: Console) -> None:
    job = console.house.job()
    console.house.service.start(job)
    console.house.turn()
    console.house.service.stop(job)
    console.house.turn()
    page = console.job_page(job)
    assert page.states[0] == "Stopped"
    assert set(page.buttons()) == {"Start again", "Delete: job-j"}


def _failed(console: Console) -> str:
    job = console.house.job()
    console.house.service.start(job)
    console.house.turn()
    console.house.carry(Outcome.FAILED)
    console.house.turn()
    return job


def test_r32_r69_a_failed_job_says_why_and_shows_its_log(console: Console) -> None:
    job = _failed(console)
    page = console.job_page(job)
    assert page.states[0] == "InError"
    assert "broken" in page.banner
    assert "TargetFailed" in page.banner
    assert "Running/Syncing -> InError: broken" in page.page.one(id="log").text
    assert "broken" in console.visitor().get(JOBS).page.one("tr", id=f"line-{job}").text


def test_r89_an_offline_source_comes_back_first(console: Console) -> None:
    job = _failed(console)
    console.house.clock.advance(120)
    console.house.watch.look()
    page = console.job_page(job)
    assert "Start the appliance of its vCenter first, then the job" in page.banner
    assert set(page.buttons()) == {"Delete: job-j"}
    refused = console.visitor(Role.OPERATOR).post(f"{JOBS}/{job}/start")
    assert (refused.status, "not available" in refused.banner) == (400, True)
    assert console.house.status(job) == "InError"


def test_r41_r90_a_finished_job_says_its_image_and_what_to_check(console: Console) -> None:
    job = console.house.job()
    console.house.service.start(job)
    console.house.run(job)
    page = console.job_page(job)
    image = console.store.things.images(job)[0]
    assert page.states[0] == "Finished"
    assert f"The image {image.name} exists" in page.banner
    for word in ("pay-as-you-go instance", "system disk", "host name", "network", "services"):
        assert word in page.banner
    assert "exists" in page.page.one(id="images").text
    assert set(page.buttons()) == {"Delete: job-j"}


def test_r34_r75_a_finished_source_takes_a_new_job(console: Console) -> None:
    job = console.house.job()
    console.house.service.start(job)
    console.house.run(job)
    source = console.store.jobs.get(job).source_id
    page = console.visitor(Role.OPERATOR).get(f"/console/sources/{source}").page
    assert page.one("a", class_="primary")["href"] == f"/console/new-job?source={source}"


def _waiting(console: Console) -> str:
    job = console.house.incremental()
    console.house.service.start(job)
    console.house.run(job)
    assert console.house.status(job) == "Waiting"
    return job


def test_r91_r101_a_waiting_job_runs_now_stops_changes_completes_or_goes(console: Console) -> None:
    job = _waiting(console)
    visitor = console.visitor(Role.OPERATOR)
    page = visitor.get(f"{JOBS}/{job}")
    assert set(page.buttons()) == {
        "Run incremental now",
        "Stop the schedule",
        "Cut over: job-j",
        "Complete without a last pass: job-j",
        "Delete: job-j",
    }
    before = console.store.jobs.get(job).next_run
    assert "the next start stays as it is" in page.page.one(id="h-Frequency").text
    changed = visitor.post(
        f"{JOBS}/{job}/modify", {"Name": "job-j", "Frequency": "1", "MaxNumberOfImageToKeep": "5"}
    )
    assert "The change is saved" in visitor.get(changed.moved).banner
    found = console.store.jobs.get(job)
    assert (found.frequency, found.max_images, found.next_run) == (1, 5, before)
    visitor.press(visitor.get(f"{JOBS}/{job}"), "Run incremental now")
    assert console.store.runs.of(job)[-1].kind == "Manual"
    console.house.run(job)
    assert console.store.jobs.get(job).next_run == console.house.clock() + HOUR
    runs = visitor.get(f"{JOBS}/{job}").page.one(id="runs")
    assert len(list(runs.one("tbody").all("tr"))) == 2
    assert len(list(visitor.get(f"{JOBS}/{job}").page.one(id="images").one("tbody").all("tr"))) == 2


@pytest.mark.parametrize("deed, cutover, last_sync", [("cutover", True, True), ("close", True, False)])
def test_cutover_asks_once_more_and_says_what_happens(
    console: Console, deed: str, cutover: bool, last_sync: bool
) -> None:
    job = _waiting(console)
    visitor = console.visitor(Role.OPERATOR)
    page = visitor.get(f"{JOBS}/{job}").page
    (button,) = [f for f in page.all("button", form="act") if f["formaction"].endswith(f"/{deed}")]
    panel = button.parent
    assert panel is not None
    assert panel.parent is not None
    assert panel.parent.tag == "details"
    assert ("shut down" in panel.text) == last_sync
    visitor.post(button["formaction"])
    found = console.store.jobs.get(job)
    assert (found.cutover, found.last_sync) == (cutover, last_sync)
    console.house.run(job)
    assert console.house.status(job) == "Finished"


def test_what_does_not_fit_the_state_is_refused_and_changes_nothing(console: Console) -> None:
    job = console.house.job()
    visitor = console.visitor(Role.OPERATOR)
    for deed in ("stop", "cutover", "close"):
        refused = visitor.post(f"{JOBS}/{job}/{deed}")
        assert (refused.status, f"{job}:" in refused.banner) == (400, True)
        assert refused.states[0] == "Ready"
    assert visitor.post(f"{JOBS}/{job}/fly").status == 404
    assert console.house.status(job) == "Ready"
    assert console.store.audit.page(subject=job).total == 0


def test_r93_an_expired_job_can_only_be_deleted(console: Console) -> None:
    job = console.house.job()
    console.house.later(31 * DAY)
    page = console.job_page(job)
    assert page.states[0] == "Expired"
    assert "It can only be deleted" in page.banner
    assert set(page.buttons()) == {"Delete: job-j"}


def test_r92_a_deleted_job_goes_and_its_source_takes_another(console: Console) -> None:
    job = console.house.job()
    visitor = console.visitor(Role.OPERATOR)
    visitor.press(visitor.get(f"{JOBS}/{job}"), "Delete: job-j")
    assert visitor.get(f"{JOBS}/{job}").states[0] == "Deleting"
    source = console.store.jobs.get(job).source_id
    assert "Create job" in visitor.get(f"/console/sources/{source}").page.text
    console.house.turn()
    assert visitor.get(f"{JOBS}/{job}").status == 404


def test_r1_every_billable_resource_is_listed_until_it_is_released(console: Console) -> None:
    job = console.house.job()
    console.house.service.start(job)
    console.house.turn()
    listed = text(console, job, "resources")
    assert "3 billable resources" in listed  # an instance and two disks
    assert "Hard disk 2, 10 GiB" in listed
    console.house.run(job)
    over = text(console, job, "resources")
    assert "Nothing billable in the cloud now, apart from its images" in over
    assert over.count("released") == 3


def test_progress_is_shown_disk_by_disk(console: Console) -> None:
    job = console.house.job()
    console.house.service.start(job)
    console.house.turn()
    found = console.house.take()
    assert found is not None
    disk = {"label": "Hard disk 1", "key": 1, "capacity": 20 << 30, "wanted": 10 << 30, "done": 5 << 30}
    fast = disk | {"rate": float(100 << 20), "bottleneck": "reading", "state": "full"}
    slow = disk | {
        "label": "Hard disk 2",
        "done": 1 << 30,
        "rate": float(10 << 20),
        "bottleneck": "network",
        "state": "full",
    }
    console.store.passes.progress(found.id, console.house.appliance, "copying", [fast, slow])
    page = console.job_page(job).page
    progress = page.one(id="progress")
    rows = [row.text for row in progress.one("tbody").all("tr")]
    assert "50.0 %" in rows[0]
    assert "100 MiB/s" in rows[0]
    assert "51 s" in rows[0]
    assert "reading" in rows[0]
    assert "15 min 21 s" in rows[1]
    assert "network" in rows[1]
    summary = progress.one("dl").text
    assert "6 GiB of 20 GiB" in summary
    assert "110 MiB/s" in summary
    assert "15 min 21 s" in summary
    assert "network" in summary
    line = console.visitor().get(JOBS).page.one("tr", id=f"line-{job}").text
    assert "30.0 %" in line
    assert "limited by network" in line


def test_jobs_are_found_by_status_and_exactly_by_name_and_ids(console: Console) -> None:
    first, second = console.house.job("web-01"), console.house.job("web-02")
    console.house.service.start(first)
    visitor = console.visitor(Role.READER)

    def found(query: str) -> list[str]:
        return sorted(f.text for f in visitor.get(f"{JOBS}?{query}").page.all("a", class_="name"))

    assert found("status=Ready") == ["job-web-02"]
    assert found("status=Running") == ["job-web-01"]
    assert found("status=nonsense") == ["job-web-01", "job-web-02"]
    assert found(f"item=id&value={second}") == ["job-web-02"]
    assert found(f"item=source&value={console.house.sources['vm-web-01']}") == ["job-web-01"]
    assert found("item=name&value=job-web-01") == ["job-web-01"]
    assert found("item=name&value=job-web-0") == []
    assert found("item=name&value=job-web-01&status=Ready") == []


@pytest.mark.parametrize("name", ["ValidTime", "Disks.System.Size", "JobType", "Tag.1.Key", "<b>"])
def test_the_dialog_takes_its_own_fields_only(name: str) -> None:
    with pytest.raises(Denied) as refused:
        asked({"SourceId": "s", name: "1"})
    assert refused.value.code == "UnknownParameter"
    assert "<" not in refused.value.message
