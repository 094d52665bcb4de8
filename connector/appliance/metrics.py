"""The metrics of an appliance: what it counted (`tally`), and what its passes and their guards know now. It asks nobody."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from connector.appliance.agent import Agent, RunningPass
from connector.appliance.tally import ApplianceTally, known_task
from connector.metrics.samples import Samples
from connector.outages import Outages
from connector.specification.limited_by import LIMITS
from connector.vcenter.client import VCenter

_P: Final = "connector_appliance_"


class ApplianceMetrics:
    """A source of all figures. vCenter and the agent come later: an appliance that waits for approval has no agent."""

    def __init__(self, tally: ApplianceTally, outages: Outages) -> None:
        self._tally, self._outages = tally, outages
        self.agent: Agent | None = None
        self.vcenter: VCenter | None = None

    def collect(self, samples: Samples) -> None:
        """See `Source`."""
        self._tally.collect(samples)
        for peer, silence in self._outages.silences().items():
            samples.set(_P + "peer_up", silence == 0, peer=peer)
            samples.set(_P + "peer_silence_seconds", silence, peer=peer)
        if self.vcenter is not None and (ends := self.vcenter.certificate_ends) is not None:
            samples.set("connector_certificate_not_after_timestamp_seconds", ends, certificate="vcenter")
        if self.agent is not None:
            samples.set(_P + "pass_limit", self.agent.limit)
            _passes(self.agent.running(), samples)


def _passes(running: Sequence[RunningPass], samples: Samples) -> None:
    counts = Counter({"read": 0, "final": 0})
    counts.update(known_task(running_pass.task) for running_pass in running)
    for task, count in counts.items():
        samples.set(_P + "passes", count, task=task)
    for running_pass in running:
        _, disks = running_pass.board.read()
        samples.set(
            _P + "pass_rate_bytes_per_second",
            sum(float(d["rate"]) for d in _of(disks)),
            job_id=running_pass.job_id,
        )
        if (bottleneck := _bottleneck(_of(disks))) in LIMITS:
            samples.set(_P + "pass_bottleneck", 1, job_id=running_pass.job_id, bottleneck=bottleneck)
        _snapshot(running_pass, samples)


def _of(disks: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The disks that are not finished."""
    return [disk for disk in disks if disk["state"] != "proved"]


def _bottleneck(disks: Sequence[Mapping[str, Any]]) -> str:
    busy = [disk for disk in disks if disk["wanted"] > disk["done"]]
    return str(max(busy, key=lambda disk: disk["wanted"] - disk["done"])["bottleneck"]) if busy else ""


def _snapshot(running_pass: RunningPass, samples: Samples) -> None:
    snapshot = running_pass.board.snapshot
    if snapshot is None:
        return
    samples.set(_P + "open_snapshot_seconds", time.monotonic() - snapshot.born, job_id=running_pass.job_id)
    samples.set(_P + "open_snapshot_bytes", snapshot.delta, job_id=running_pass.job_id)
    if snapshot.free is not None:
        samples.set(_P + "datastore_free_ratio", snapshot.free, job_id=running_pass.job_id)
