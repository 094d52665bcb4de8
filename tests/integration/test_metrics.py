"""Control plane and appliance as programs, scraped while a machine is migrated; what they say is what the job says."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from connector import child
from tests.integration.house import MIB, House, Shape
from tests.metrics.scrape import scrape, status, until
from tests.people import People, owner
from tests.waiting import eventually

CONTROL, APPLIANCE = "connector_control_", "connector_appliance_"


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    return make_house(Shape("web-01", ((8 * MIB, 4 * MIB),)))


@pytest.fixture
def services(house: House, tmp_path: Path) -> Iterator[tuple[People, str, str]]:
    """Somebody who works with jobs, and where the metrics of control plane and appliance are."""
    with ExitStack() as stack:
        state = tmp_path / "state"
        words = ["--state", str(state), "--images", str(house.out), "--metrics", "0", "--exit-with-stdin"]
        control = stack.enter_context(
            child.start("connector.control", words, name="control", log=tmp_path / "control.log")
        )
        configuration: dict[str, object] = {
            "vcenter": {
                "url": house.server.url,
                "password": house.password,
                "thumbprint": house.server.thumbprint,
            },
            "control": {
                "url": control.ready["url"],
                "thumbprint": control.ready["thumbprint"],
                "activation_code_file": control.ready["activation_code_file"],
            },
            "vddk": str(house.vddk),
            "state": str(tmp_path / "appliance"),
            "watch": False,
            "governor": {"every": 0.2},
            "metrics": {"listen": 0},
        }
        appliance = stack.enter_context(
            child.start(
                "connector.appliance",
                ["--exit-with-stdin"],
                name="appliance",
                configuration=configuration,
                log=tmp_path / "appliance.log",
            )
        )
        people = owner(control.ready)
        stack.callback(people.close)
        yield people, str(control.ready["metrics"]), str(appliance.ready["metrics"])


def _figures(state: Path) -> list[dict[str, int]]:
    """The figures of all disks of all passes, as the control plane keeps them."""
    with closing(sqlite3.connect(state / "control.sqlite")) as database:
        results = [json.loads(row[0]) for row in database.execute("SELECT result FROM passes")]
    return [disk for result in results for disk in result["disks"]]


def test_a_migration_as_monitoring_sees_it(
    house: House, services: tuple[People, str, str], tmp_path: Path
) -> None:
    people, control, appliance = services
    for url in (control, appliance):
        assert url.startswith("http://127.0.0.1:")
        ready, healthy = (url.replace("metrics", word) for word in ("readyz", "healthz"))
        until(url, lambda one: one.value("connector_ready") == 1, "it is ready")
        assert status(ready)[0] == status(healthy)[0] == 200
    house.reader(bandwidth=2 * MIB)
    people.create("web-01", "web", image_format="raw")
    people.start("web")
    job = people.id("web")
    running = until(
        appliance,
        lambda one: (one.value(APPLIANCE + "pass_rate_bytes_per_second", job_id=job) or 0) > 0,
        "the pass moves",
    )
    assert running.value(APPLIANCE + "passes", task="read") == 1
    opened = until(
        appliance, lambda one: APPLIANCE + "open_snapshot_seconds" in one.samples, "its snapshot is watched"
    )
    assert 0 < opened.value(APPLIANCE + "datastore_free_ratio", job_id=job) <= 1  # type: ignore[operator]
    seen = until(control, lambda one: one.value(CONTROL + "open_snapshots") == 1, "the snapshot is recorded")
    assert seen.value(CONTROL + "passes", state="Taken", task="read") == 1
    assert seen.value(CONTROL + "job_info", job_id=job, name="web") == 1
    house.reader()
    eventually(lambda: people.status("web")["status"] == "Finished", "the job is finished")
    disks = _figures(tmp_path / "state")
    ended = until(appliance, lambda one: one.value(APPLIANCE + "passes", task="read") == 0, "no pass runs")
    assert disks and sum(disk["read"] for disk in disks) >= 4 * MIB
    for metric, figure in (("read", "read"), ("sent", "sent"), ("wire", "wire")):
        assert ended.value(f"{APPLIANCE}{metric}_bytes_total") == sum(disk[figure] for disk in disks), metric
    assert ended.value(APPLIANCE + "not_sent_bytes_total", reason="zero") == sum(d["zero"] for d in disks)
    ends = ended.labelled("connector_certificate_not_after_timestamp_seconds", "certificate")
    assert ends.keys() == {"vcenter"} and ends["vcenter"] > time.time()
    assert ended.value(APPLIANCE + "snapshot_remove_seconds_count") == 1
    finished = scrape(control)
    assert finished.value(CONTROL + "jobs", status="Finished", business="") == 1
    assert finished.value(CONTROL + "open_snapshots") == 0 and job not in finished.text
    for text in (ended.text, finished.text):
        assert house.password not in text and "web-01" not in text
    assert finished.value("process_start_time_seconds") < time.time()  # type: ignore[operator]
