"""The metrics of an instance: what it counted (`tally`), its disks, its space and its connections."""

from __future__ import annotations

import os
from typing import Final

from connector.instance.blocks import CONNECTIONS, BlockServer
from connector.instance.store import DiskStore
from connector.metrics.samples import Samples
from connector.transfer.target import explained, free_space

_P: Final = "connector_instance_"


class InstanceMetrics:
    """A source of all figures."""

    def __init__(self, store: DiskStore, blocks: BlockServer) -> None:
        self._store, self._blocks = store, blocks

    def collect(self, samples: Samples) -> None:
        """See `Source`."""
        self._store.tally.collect(samples)
        disks, unusable, capacity = self._store.figures()
        samples.set(_P + "disks", disks)
        samples.set(_P + "unusable_disks", unusable)
        samples.set(_P + "capacity_bytes", capacity)
        samples.set(_P + "connections", self._blocks.connections)
        samples.set(_P + "connection_limit", CONNECTIONS)
        directory = self._store.directory
        with explained(directory):
            system = os.statvfs(directory)
            samples.set(_P + "size_bytes", system.f_blocks * system.f_frsize)
            samples.set(_P + "free_bytes", free_space(directory))
