"""The metrics of an instance as a process of its own, against what a pass really delivered."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from connector.clients.endpoint import InstanceEndpoint
from connector.model import InstanceAddress
from connector.transfer.disk_pass import copy_disk
from connector.transfer.source import FileSource
from tests.instance.test_pass import order
from tests.metrics.scrape import scrape, status, until
from tests.transfer.conftest import Job
from tests.waiting import PATIENCE

P = "connector_instance_"


@pytest.fixture
def running(tmp_path: Path, job: Job) -> Iterator[tuple[str, InstanceEndpoint]]:
    """Where its metrics are, and its endpoint."""
    words = ["--directory", str(tmp_path / "i"), "--control-port", "0", "--block-port", "0", "--metrics", "0"]
    command = [sys.executable, "-m", "connector.instance", *words, "--credential-stdin", "--exit-with-stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps(asdict(job.instance)) + "\n")
        process.stdin.flush()
        ready = json.loads(process.stdout.readline())
        address = InstanceAddress("127.0.0.1", ready["control_port"], ready["block_port"])
        yield ready["metrics"], InstanceEndpoint(address, job.appliance)
        process.stdin.close()
        process.wait(PATIENCE)


def test_what_is_durable_is_what_the_pass_delivered(
    running: tuple[str, InstanceEndpoint], disk: Path, job: Job
) -> None:
    url, endpoint = running
    until(url, lambda one: one.value("connector_ready") == 1, "it is ready")
    assert status(url.replace("metrics", "readyz"))[0] == status(url.replace("metrics", "healthz"))[0] == 200
    assert scrape(url).value(P + "disks") == 0
    result = copy_disk(FileSource(disk), endpoint, order(disk))
    seen = until(url, lambda one: one.value(P + "connections") == 0, "the connection has ended")
    assert seen.value(P + "disks") == 1 and seen.value(P + "unusable_disks") == 0
    assert seen.value(P + "capacity_bytes") == result.capacity
    durable = seen.labelled(P + "durable_bytes_total", "delivered")
    assert durable["data"] == result.sent and durable["zero"] == result.zero
    assert sum(durable.values()) == result.wanted
    assert seen.value(P + "flush_seconds_count") == seen.value(P + "journal_seconds_count")
    assert seen.value(P + "flush_seconds_count") > 0  # type: ignore[operator]
    assert 0 < seen.value(P + "free_bytes") <= seen.value(P + "size_bytes")  # type: ignore[operator]
    assert seen.value(P + "connection_limit") == 128
    assert (
        seen.value("connector_certificate_not_after_timestamp_seconds", certificate="instance") > time.time()
    )  # type: ignore[operator]
    assert job.instance.key.splitlines()[1] not in seen.text
