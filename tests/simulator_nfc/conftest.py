"""One estate for all tests: a running machine with a snapshot, one without, one that is off. Switches are put back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest

from simulator import certificate
from simulator.estate.build import SCSI
from simulator.estate.estate import Estate
from simulator.nfc import Hosts, Switches
from tests.simulator.conftest import opened_estate
from tests.simulator_nfc.raw import Client

MIB = 1 << 20
RUNNING, BARE, OFF = "vm-101", "vm-102", "vm-103"


@dataclass
class Site:
    """The estate, its hosts, and the path of the file that the running machine's snapshot keeps."""

    estate: Estate
    hosts: Hosts
    snapshot: str
    path: str

    def client(self, vm: str = RUNNING, size: int = 0, count: int = 0) -> Client:
        """A session with a ticket of its own."""
        return Client(self.hosts.issue(vm)).begin(size, count)

    def truth(self, offset: int, length: int) -> bytes:
        """Bytes of the snapshot's first disk."""
        storage = self.estate.inventory.vm(RUNNING).disks[0].storage
        return self.estate.storage.disk(storage).read(offset, length, self.snapshot)

    def set(self, **values: Any) -> None:
        self.hosts.switches = replace(self.hosts.switches, **values)


def _filled(estate: Estate, vm: str) -> None:
    disk = estate.storage.disk(estate.inventory.vm(vm).disks[0].storage)
    random = Random(14)
    disk.write(0, random.randbytes(MIB))
    disk.write(3 * MIB + 4096, random.randbytes(65536) + bytes(8192) + b"text of a guest " * 4096)
    disk.write(disk.chain.capacity - 4096, random.randbytes(4096))


@pytest.fixture(scope="package")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("nfc")
    with opened_estate(root / "estate") as estate:
        estate.hardware.add_disk(OFF, SCSI, 0, 8 * MIB)
        for vm in (RUNNING, OFF):
            _filled(estate, vm)
        snapshot = estate.snapshots.create(RUNNING, "kept")
        disk = estate.inventory.vm(RUNNING).disks[0]
        estate.storage.disk(disk.storage).write(0, b"\xee" * 8192)
        hosts = Hosts(estate, certificate.load_or_create(estate.directory / "certificate"))
        path = estate.inventory.vm(RUNNING).snapshot(snapshot).disks[0].path
        try:
            yield Site(estate, hosts, snapshot, path)
        finally:
            hosts.close()


@pytest.fixture
def site(_site: Site) -> Iterator[Site]:
    _site.hosts.switches = Switches()
    _site.estate.faults.replace(())
    yield _site
