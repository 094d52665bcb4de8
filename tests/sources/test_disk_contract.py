"""A disk over NFC keeps the contract of the disks of VDDK, with the bytes of the same estate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import pytest

from nfc.disk import open_disk
from nfc.spec import DiskSpec, Ticket
from simulator import certificate
from simulator.estate.build import SCSI
from simulator.nfc import Hosts
from tests.simulator.conftest import opened_estate
from tests.vddk.contract import DEPTH, OF_EVERY_DISK, UUID
from tests.vddk.estate import CAPACITY, GRAIN, Estate, build

VM = "vm-103"  # it is off, so the disk opens without a snapshot


class Place:
    """A disk with the content of an estate for VDDK, behind a host that serves NFC."""

    def __init__(self, hosts: Hosts, path: str, estate: Estate) -> None:
        self.hosts, self.path, self.estate = hosts, path, estate

    def spec(self, compression: str) -> DiskSpec:
        issued = self.hosts.issue(VM)
        ticket = Ticket(issued.address, issued.thumbprint, issued.session_id, issued.port, issued.service)
        return DiskSpec(ticket, self.path, compression=compression, depth=DEPTH)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("nfc-contract")
    estate = build(home / "vddk")
    with opened_estate(home / "estate") as opened:
        disk = opened.hardware.add_disk(VM, SCSI, 5, CAPACITY, uuid=UUID)
        storage = opened.storage.disk(disk.storage)
        for start in range(0, CAPACITY, GRAIN):
            grain = estate.truth[start : start + GRAIN]
            if any(grain):
                storage.write(start, grain)
        with closing(Hosts(opened, certificate.load_or_create(home / "certificate"))) as hosts:
            yield Place(hosts, disk.path, estate)


@pytest.mark.parametrize("compression", ["none", "zlib", "skipz"])
@pytest.mark.parametrize("name", OF_EVERY_DISK)
def test_over_nfc(name: str, compression: str, place: Place) -> None:
    with open_disk(place.spec(compression)) as disk:
        OF_EVERY_DISK[name](cast(Any, disk), place.estate)
