"""Migration jobs as people see and move them: requirements by number."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connector.control.domain.access import Role
from connector.control.domain.entities import Outcome
from tests.console.conftest import Console
from tests.control.house import DAY, HOUR

JOBS = "/console/jobs"


def text(console: Console, job: str, id: str) -> str:
    return console.job_page(job).page.one(id=id).text


def test_r76_a_job_in_error_keeps_its_source(console: Console) -> None:
    job = _failed(console)
    source = console.store.jobs.get(job).source_id
    visitor = console.visitor(Role.OPERATOR)
    refused = visitor.post("/console/new-job", {"SourceId": source, "RegionId": "r"})
    assert (refused.status, "unfinished job" in refused.banner) == (400, True)


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
    for action in ("stop", "delete"):
        assert visitor.post(f"{JOBS}/{job}/{action}").status == 400
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
    image = console.store.resources.images(job)[0]
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


@pytest.mark.parametrize("action, cutover, last_sync", [("cutover", True, True), ("close", True, False)])
def test_cutover_asks_once_more_and_says_what_happens(
    console: Console, action: str, cutover: bool, last_sync: bool
) -> None:
    job = _waiting(console)
    visitor = console.visitor(Role.OPERATOR)
    page = visitor.get(f"{JOBS}/{job}").page
    (button,) = [f for f in page.all("button", form="act") if f["formaction"].endswith(f"/{action}")]
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
    for action in ("stop", "cutover", "close"):
        refused = visitor.post(f"{JOBS}/{job}/{action}")
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
    assert "disk d-2001" in listed
    console.house.run(job)
    over = text(console, job, "resources")
    assert "Nothing billable in the cloud now, apart from its images" in over
    assert over.count("released") == 3


def test_speed_and_compression_change_while_the_source_is_read(console: Console) -> None:
    job = console.house.job(definition={"ReplicationParameters": '{"bandwidth_limit":50,"checksum":1}'})
    visitor = console.visitor(Role.OPERATOR)
    console.house.service.start(job)
    console.house.turn()
    page = visitor.get(f"{JOBS}/{job}").page
    assert page.one("input", name="bandwidth_limit")["value"] == "50"

    def change(**form: str) -> dict[str, Any]:
        assert visitor.post(f"{JOBS}/{job}/modify", {"Name": "job-j"} | form).status == 303
        found: dict[str, Any] = json.loads(console.store.jobs.get(job).definition["ReplicationParameters"])
        return found

    assert change(bandwidth_limit="200", compress_level="3") == {
        "bandwidth_limit": 200,
        "checksum": 1,
        "compress_level": 3,
    }
    assert change(bandwidth_limit="", compress_level="3") == {"checksum": 1, "compress_level": 3}
    assert change(bandwidth_limit="", compress_level="3") == {"checksum": 1, "compress_level": 3}
    assert console.store.audit.page(subject=job).total == 3
    wrong = visitor.post(f"{JOBS}/{job}/modify", {"Name": "job-j", "compress_level": "11"})
    assert (wrong.status, wrong.page.one("input", name="compress_level")["value"]) == (400, "11")
    console.house.carry()
    console.house.turn()
    assert not visitor.get(f"{JOBS}/{job}").page.has("input", name="bandwidth_limit")


def test_a_disk_that_is_not_ticked_stays_behind(console: Console) -> None:
    job = console.house.job()
    visitor = console.visitor(Role.OPERATOR)
    page = visitor.get(f"{JOBS}/{job}").page
    boxes = [found for found in page.all("input", type="checkbox") if found["name"].startswith("disk-")]
    assert [box["name"] for box in boxes] == ["disk-2001"]  # the system disk cannot be left out
    visitor.post(f"{JOBS}/{job}/disks")
    assert console.store.jobs.get(job).left_out == (2001,)
    assert (
        "Stay behind Hard disk 2"
        in visitor.get(f"{JOBS}/{job}").page.one("section", aria_labelledby="t-facts").text
    )
    visitor.post(f"{JOBS}/{job}/start")
    console.house.turn()
    assert "2 billable resources" in text(console, job, "resources")  # an instance and one disk
    refused = visitor.post(f"{JOBS}/{job}/disks", {"disk-2001": "1"})
    assert (refused.status, "cannot be changed while Running" in refused.banner) == (400, True)
    assert not refused.page.has("input", name="disk-2001")


def test_progress_is_shown_disk_by_disk(console: Console) -> None:
    job = console.house.job()
    console.house.service.start(job)
    console.house.turn()
    found = console.house.take()
    assert found is not None
    disk = {"label": "Hard disk 1", "key": 1, "capacity": 20 << 30, "wanted": 10 << 30, "done": 5 << 30}
    fast = disk | {"rate": float(100 << 20), "bottleneck": "reading", "state": "full", "reader": "nfc"}
    slow = disk | {
        "label": "Hard disk 2",
        "done": 1 << 30,
        "rate": float(10 << 20),
        "bottleneck": "network",
        "state": "full",
    }
    console.store.pass_ends.progress(found.id, console.house.appliance, "copying", [fast, slow])
    page = console.job_page(job).page
    progress = page.one(id="progress")
    rows = [row.text for row in progress.one("tbody").all("tr")]
    assert "50.0 %" in rows[0]
    assert "100 MiB/s" in rows[0]
    assert "51 s" in rows[0]
    assert "reading" in rows[0]
    assert "read by nfc" in rows[0] and "read by" not in rows[1]
    assert "15 min 21 s" in rows[1]
    assert "network" in rows[1]
    summary = progress.one("dl").text
    assert "6 GiB of 20 GiB" in summary
    assert "110 MiB/s" in summary
    assert "15 min 21 s" in summary
    assert "network" in summary
    line = console.visitor().get(JOBS).page.one("tr", id=f"line-{job}").text
    assert "30.0 %" in line
    assert "limited by the network" in line


def test_a_new_run_does_not_show_the_progress_of_the_one_before(console: Console) -> None:
    job = _waiting(console)
    visitor = console.visitor(Role.OPERATOR)
    console.house.clock.advance(1)
    console.house.service.start(job)
    assert visitor.get(JOBS).states == ["Preparing"]
    assert not visitor.get(JOBS).page.one("tr", id=f"line-{job}").has("progress")
    assert "No pass has read anything yet" in text(console, job, "progress")


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
