"""The metrics of an appliance against what its passes really did: real sources, a real instance, the real agent."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from connector.appliance.agent import Agent
from connector.appliance.inventory import PEERS
from connector.appliance.metrics import ApplianceMetrics
from connector.appliance.passes.dispatch import carry
from connector.appliance.passes.give_back import GivenBack
from connector.appliance.passes.order import Order, PassControl
from connector.appliance.progress import DiskProgress, MovedBytes, PassProgress
from connector.appliance.snapshot_care.governor import Thresholds
from connector.appliance.snapshot_care.guard import Guard
from connector.appliance.tally import ApplianceTally
from connector.errors import ControlFailed, ReaderFailed
from connector.metrics import address
from connector.metrics.exposition import Exposition
from connector.metrics.listener import MetricsListener
from connector.model import DatastoreLoad, Pressure
from connector.outages import Outages
from connector.service_manager import ServiceManager
from tests.appliance import context
from tests.appliance.test_agent import Carry, Plane, order
from tests.metrics.scrape import collected, scrape, until
from tests.transfer.conftest import Job
from tests.waiting import PATIENCE

P = "connector_appliance_"


@contextmanager
def watched(plane: Plane, work: Carry) -> Iterator[str]:
    """An agent that works, with its metrics served; their address."""
    stop, tally, outages = threading.Event(), ApplianceTally(), Outages(logging.getLogger(__name__), PEERS)
    metrics, manager = ApplianceMetrics(tally, outages), ServiceManager()
    exposition = Exposition("appliance", manager, {})
    exposition.add(metrics.collect)
    with MetricsListener(address.parse("0"), exposition, manager) as listener:
        assert scrape(listener.url).value(P + "pass_limit") is None  # it waits for approval
        metrics.agent = Agent(
            lambda: plane, work, 2, stop, heartbeat=0.02, outages=outages, manager=manager, tally=tally
        )
        running = threading.Thread(target=metrics.agent.run)
        running.start()
        try:
            yield listener.url
        finally:
            stop.set()
            running.join(PATIENCE)


@pytest.fixture
def bench(tmp_path: Path, job: Job) -> Iterator[context.Bench]:
    with context.context(tmp_path, job) as made:
        yield made


def test_the_bytes_are_those_of_the_passes(bench: context.Bench) -> None:
    results: list[Mapping[str, Any]] = []

    def work(_: Order, board: PassProgress, control: PassControl) -> Mapping[str, Any]:
        results.append(carry(bench.work, bench.order(), board, control))
        return results[-1]

    plane = Plane([order(1)])
    with watched(plane, work) as url:
        plane.until(lambda: len(plane.ends) == 1)
        bench.instance.endpoint.doubt("2000", "a test")  # so the next pass compares: most is the same
        plane.orders.append(order(2))
        plane.until(lambda: len(plane.ends) == 2)
        seen = until(url, lambda one: one.value(P + "passes", task="read") == 0, "no pass runs")
    disks = [disk for result in results for disk in result["disks"]]

    def summed(figure: str) -> int:
        return sum(disk[figure] for disk in disks)

    assert summed("read") > 4 << 20 and summed("same") > 1 << 20
    assert seen.value(P + "read_bytes_total") == summed("read")
    assert seen.value(P + "sent_bytes_total") == summed("sent")
    assert seen.value(P + "wire_bytes_total") == summed("wire")
    assert seen.value(P + "not_sent_bytes_total", reason="zero") == summed("zero")
    assert seen.value(P + "not_sent_bytes_total", reason="same") == summed("same")
    assert seen.value(P + "passes_ended_total", task="read", outcome="done") == 2
    for part in ("create", "remove"):
        costs = [result["toll"][part] for result in results]
        assert seen.value(f"{P}snapshot_{part}_seconds_count") == 2
        assert seen.value(f"{P}snapshot_{part}_seconds_sum") == pytest.approx(sum(costs))
    assert P + "open_snapshot_seconds" not in seen.samples


def test_a_running_pass_shows_its_rate_its_bottleneck_and_its_snapshot() -> None:
    free, looks = threading.Event(), iter(range(1, 1000))

    def look() -> Pressure:
        stores = (DatastoreLoad("ds-1", 100, 50), DatastoreLoad("ds-2", 100, 20))
        return Pressure(stores, 1000 * next(looks))

    def work(_: Order, board: PassProgress, __: PassControl) -> Mapping[str, Any]:
        for key, wanted in ((1, 100), (2, 900)):
            board.add(DiskProgress(key, f"disk {key}", 1000))
            board.update(key, wanted=wanted, done=10, bottleneck="network" if key == 2 else "reading")
        with Guard(look, Thresholds(every=0.01), board, running=True, disks=1 << 30, age=50.0):
            free.wait(PATIENCE)
        return {}

    with watched(Plane([order(1)]), work) as url:
        seen = until(
            url, lambda one: (one.value(P + "open_snapshot_bytes", job_id="j") or 0) > 1000, "it grows"
        )
        assert seen.value(P + "passes", task="read") == 1
        assert seen.value(P + "pass_limit") == 2
        assert seen.value(P + "open_snapshot_seconds", job_id="j") >= 50  # type: ignore[operator]
        assert seen.value(P + "datastore_free_ratio", job_id="j") == 0.2
        assert seen.value(P + "pass_bottleneck", job_id="j", bottleneck="network") == 1
        assert seen.value(P + "pass_rate_bytes_per_second", job_id="j") is not None
        assert "web-1" not in seen.text and "ds-2" not in seen.text
        free.set()


def test_ends_are_counted_by_outcome_and_error() -> None:
    errors = [
        ReaderFailed("a bad sector"),
        GivenBack("the datastore is full", on="web-1", rest=1.0),
        ValueError("x"),
    ]

    def work(*_: Any) -> Mapping[str, Any]:
        raise errors.pop(0)

    plane = Plane([order(n) for n in range(3)])
    with watched(plane, work) as url:
        plane.until(lambda: len(plane.ends) == 3)
        seen = until(url, lambda one: one.value(P + "passes", task="read") == 0, "all have ended")
    assert seen.labelled(P + "errors_total", "error") == {
        "ReaderFailed": 1,
        "Interrupted": 1,
        "ConnectorError": 1,
    }
    assert seen.value(P + "passes_ended_total", task="read", outcome="failed") == 2
    assert seen.value(P + "passes_ended_total", task="read", outcome="stopped") == 1


def test_a_peer_that_does_not_answer_is_down_until_it_answers() -> None:
    class Silent(Plane):
        silent = True

        def take(self, wait: float, power_tasks: bool = False) -> dict[str, Any] | None:
            if self.silent:
                raise ControlFailed("no answer", retryable=True)
            return super().take(wait, power_tasks)

        def heartbeat(self, passes: Any) -> Any:
            if self.silent:
                raise ControlFailed("no answer", retryable=True)
            return super().heartbeat(passes)

    plane = Silent()
    with watched(plane, lambda *_: {}) as url:
        peer = {"peer": "the control plane"}
        seen = until(url, lambda one: one.value(P + "peer_up", **peer) == 0, "it is silent")
        assert seen.value(P + "peer_silence_seconds", **peer) > 0  # type: ignore[operator]
        assert seen.value(P + "peer_up", peer="vCenter") == 1
        plane.silent = False
        seen = until(url, lambda one: one.value(P + "peer_up", **peer) == 1, "it answers")
        assert seen.value(P + "peer_silence_seconds", **peer) == 0


def test_a_copy_that_begins_again_counts_what_it_moves_again() -> None:
    counted: list[MovedBytes] = []
    board = PassProgress(counted.append)
    for read in (0, 10, 25, 0, 5):
        board.moved(1, MovedBytes(read=read))
    board.moved(2, MovedBytes(read=7))
    assert sum(one.read for one in counted) == 25 + 5 + 7


def test_tasks_of_a_later_release_are_one_word() -> None:
    tally = ApplianceTally()
    for number in range(50):
        tally.ended(f"task-{number}", "failed", None, {})
    series = collected("appliance", tally.collect).values[P + "passes_ended_total"]
    assert series == {("unknown", "failed"): 50.0}
