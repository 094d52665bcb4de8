"""The listener over real sockets: what it answers, what it refuses, and that no client keeps the others waiting."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from connector.errors import BadInput, PortInUse, TargetFailed
from connector.metrics import address
from connector.metrics.exposition import Exposition
from connector.metrics.listener import CONNECTIONS, MetricsListener
from connector.metrics.rows import SERIES
from connector.metrics.samples import Samples, Tally
from connector.metrics.tables import APPLIANCE, INSTANCE
from connector.service_manager import ServiceManager
from tests.metrics.scrape import Scrape, scrape, status
from tests.waiting import PATIENCE


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def manager(clock: Clock) -> ServiceManager:
    return ServiceManager(clock=clock)


@pytest.fixture
def exposition(manager: ServiceManager) -> Exposition:
    return Exposition("instance", manager, {"instance": 2_000_000_000.0})


@pytest.fixture
def url(exposition: Exposition, manager: ServiceManager) -> Iterator[str]:
    with MetricsListener(address.parse("0"), exposition, manager) as listener:
        yield listener.url


def test_a_scrape_has_the_service_and_its_process(url: str) -> None:
    assert url.startswith("http://127.0.0.1:")
    seen = scrape(url)
    assert seen.labelled("connector_build_info", "role") == {"instance": 1.0}
    assert seen.value("connector_threads") >= 2  # type: ignore[operator]
    ends = "connector_certificate_not_after_timestamp_seconds"
    assert seen.value(ends, certificate="instance") == 2_000_000_000.0
    assert seen.value("process_resident_memory_bytes") > 1 << 20  # type: ignore[operator]
    assert 3 < seen.value("process_open_fds") < seen.value("process_max_fds")  # type: ignore[operator]
    assert seen.value("process_cpu_seconds_total") > 0 and seen.kinds["process_cpu_seconds"] == "counter"  # type: ignore[operator]


def test_the_process_is_seen_where_a_unit_hides_the_rest_of_proc() -> None:
    """As ProcSubset=pid of our units does."""
    look = (
        "from connector.metrics.exposition import Exposition;"
        "from connector.service_manager import ServiceManager;"
        "print(Exposition('instance', ServiceManager(), {}).text().decode())"
    )
    script = 'mount -t proc -o subset=pid proc /proc && exec "$0" -c "$1"'
    words = ["unshare", "--mount", "sh", "-c", script, sys.executable, look]
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "mount:" in done.stderr:
        pytest.skip(f"may not mount: {done.stderr}")
    seen = Scrape(done.stdout)
    assert seen.value("process_resident_memory_bytes") > 1 << 20  # type: ignore[operator]
    assert seen.value("process_open_fds") >= 3  # type: ignore[operator]


@pytest.mark.parametrize("path", ["/", "/metrics/", "/console", "/../etc/passwd", "/healthz/x"])
def test_nothing_else_is_there(url: str, path: str) -> None:
    assert status(url.replace("/metrics", path))[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(url: str, method: str) -> None:
    assert status(url, method) == (405, "only GET\n")


def test_an_answer_names_no_program(url: str) -> None:
    host, port = re.findall(r"//([^:]+):(\d+)", url)[0]
    with socket.create_connection((host, int(port)), PATIENCE) as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        answer = client.makefile("rb").read().decode()
    assert "Server: connector\r\n" in answer and "Python" not in answer


def test_health_and_readiness_are_what_the_service_manager_is_told(
    url: str, manager: ServiceManager, clock: Clock
) -> None:
    ready, healthy = (url.replace("metrics", word) for word in ("readyz", "healthz"))
    assert status(ready)[0] == 503
    clock.now += 3600  # a start may take its time
    assert status(healthy) == (200, "ok\n")
    manager.ready("serves")
    assert (status(ready)[0], status(healthy)[0]) == (200, 200)
    turned = manager.loop("the runner", 60.0)
    clock.now += 61
    manager.alive()
    assert status(healthy) == (503, "the runner hangs\n")
    assert scrape(url).value("connector_healthy") == 0
    turned()
    assert status(healthy)[0] == 200
    clock.now += 121
    turned()
    assert status(healthy) == (503, "the main loop hangs\n")
    with manager.longer(3600):
        clock.now += 60
        turned()
        assert status(healthy)[0] == 200
    manager.stopping()
    assert (status(ready)[0], status(healthy)[0]) == (503, 200)


def test_silent_clients_keep_nobody_waiting(url: str) -> None:
    host, port = re.findall(r"//([^:]+):(\d+)", url)[0]
    silent = [socket.create_connection((host, int(port)), PATIENCE) for _ in range(2 * CONNECTIONS)]
    try:
        assert scrape(url).value("connector_healthy") == 1
    finally:
        for client in silent:
            client.close()


def test_a_port_that_is_taken_and_an_address_of_another_machine_are_refused_in_one_line(
    url: str, exposition: Exposition, manager: ServiceManager
) -> None:
    with pytest.raises(PortInUse, match="cannot listen: Address already in use"):
        MetricsListener(address.parse(re.findall(r":(\d+)/", url)[0]), exposition, manager)
    with pytest.raises(BadInput, match="give an address of this machine"):
        MetricsListener(address.parse("192.0.2.1:0"), exposition, manager)


@pytest.mark.parametrize(
    ("text", "host", "port", "alone"),
    [
        ("9471", "127.0.0.1", 9471, True),
        ("10.0.0.5:9471", "10.0.0.5", 9471, False),
        ("[::1]:9471", "::1", 9471, True),
        ("localhost:1", "localhost", 1, True),
        ("0.0.0.0:1", "0.0.0.0", 1, False),
    ],
)
def test_an_address_is_this_computer_unless_it_says_otherwise(
    text: str, host: str, port: int, alone: bool
) -> None:
    parsed = address.parse(text)
    assert (parsed, parsed.is_loopback) == ((host, port), alone)


@pytest.mark.parametrize("text", ["", "host", "host:", ":9471", "1.2.3.4:70000", "a:b:1", "host:-1"])
def test_what_is_no_address_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match="is no address"):
        address.parse(text)


def test_a_source_that_fails_leaves_out_only_its_own_figures(url: str, exposition: Exposition) -> None:
    def broken(_: Samples) -> None:
        raise TargetFailed("storage failed", on="/srv")

    exposition.add(broken, lambda samples: samples.set("connector_instance_disks", 3))
    assert scrape(url).value("connector_instance_disks") == 3


def test_too_many_series_are_cut_and_counted(exposition: Exposition, manager: ServiceManager) -> None:
    wide = Exposition("control", manager, {})
    metric = "connector_control_source_down_at_rest"
    wide.add(lambda samples: [samples.set(metric, 1, job_id=f"j-{n}") for n in range(10_000)])  # type: ignore[arg-type,return-value]
    seen = Scrape(wide.text().decode())
    assert len(seen.samples[metric]) == SERIES
    assert seen.value("connector_metric_series_left_out", metric=metric) == 10_000 - SERIES


def test_a_label_is_one_short_line() -> None:
    exposition = Exposition("control", ServiceManager(), {})
    hostile = 'a"b\\c\n# TYPE x counter\u202e' + "x" * 500
    exposition.add(lambda samples: samples.set("connector_control_job_info", 1, job_id="j", name=hostile))
    seen = Scrape(exposition.text().decode())
    (name,) = seen.labelled("connector_control_job_info", "name")
    assert len(name) <= 128 and "\n" not in name and "\u202e" not in name
    assert "x" not in seen.kinds


def test_counters_begin_with_zero_and_histograms_have_cumulative_buckets() -> None:
    tally = Tally(APPLIANCE)
    for seconds in (0.2, 0.25, 4.0, 1000.0):
        tally.observe("connector_appliance_snapshot_create_seconds", seconds)
    exposition = Exposition("appliance", ServiceManager(), {})
    exposition.add(tally.collect)
    seen = Scrape(exposition.text().decode())
    assert seen.value("connector_appliance_read_bytes_total") == 0
    buckets = seen.labelled("connector_appliance_snapshot_create_seconds_bucket", "le")
    assert (buckets["0.1"], buckets["0.25"], buckets["5.0"], buckets["300.0"], buckets["+Inf"]) == (
        0,
        2,
        3,
        3,
        4,
    )
    assert seen.value("connector_appliance_snapshot_create_seconds_sum") == pytest.approx(1004.45)


def test_a_metric_or_a_label_without_a_row_is_a_defect() -> None:
    with pytest.raises(KeyError):
        Tally(INSTANCE).add("connector_instance_other_total")
    with pytest.raises(AssertionError):
        Tally(INSTANCE).add("connector_instance_durable_bytes_total", 1, kind="data")
