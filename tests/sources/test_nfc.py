"""Our NFC reader against the simulated hosts, which were written from the protocol's description and not from our client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from connector.backoff import Backoff
from connector.errors import BadInput, ConnectorError, ReaderFailed, TrustFailed
from connector.model import DiskAccess, Extent
from connector.sources.nfc import NfcReader, NfcSettings
from connector.sources.reader import (
    HostOverloaded,
    HostUnavailable,
    SourceChanged,
    is_overloaded,
    is_unplaced,
)
from connector.transfer.policies import Retrying
from connector.transfer.source import BlockSource
from connector.vcenter.client import Snapshot, VCenter
from simulator.nfc import Switches
from simulator.vcenter import host_calls
from tests.vcenter.imaginary import MIB, World, world
from tests.vcenter.ledger import Memory
from tests.waiting import eventually


class Lab:
    """A machine with a snapshot; its second disk holds `content`."""

    def __init__(self, place: World, vcenter: VCenter, snapshot: Snapshot, content: bytes) -> None:
        self.place, self.vcenter, self.snapshot, self.content = place, vcenter, snapshot, content

    def access(self, **changes: Any) -> DiskAccess:
        access = self.vcenter.disk_access(self.place.vm, self.snapshot, self.snapshot.disks[1])
        return replace(access, **changes)

    def open(self, settings: NfcSettings | None = None, **changes: Any) -> BlockSource:
        return NfcReader(settings).open(self.access(**changes), 4)

    def switch(self, **values: Any) -> None:
        hosts = self.place.server.center.nfc
        assert hosts is not None
        hosts.switches = replace(Switches(), **values)

    def whole(self, source: BlockSource) -> bytes:
        data = bytearray(source.capacity)
        for block in source.read([Extent(0, source.capacity)]):
            data[block.offset : block.offset + len(block.data)] = block.data
            block.release()
        return bytes(data)


@pytest.fixture(scope="module")
def _lab() -> Iterator[Lab]:
    with (
        world() as place,
        VCenter(place.settings(), owner="site-a", ledger=Memory()) as vcenter,
    ):
        disk = place.estate.storage.disk(place.estate.inventory.vm(place.vm).disks[1].storage)
        dice = Random(3)
        content = dice.randbytes(3 * MIB) + bytes(2 * MIB) + dice.randbytes(512) + bytes(3 * MIB - 512)
        disk.write(0, content[: 3 * MIB])
        disk.write(5 * MIB, content[5 * MIB : 5 * MIB + 512])
        with vcenter.snapshot(place.vm, "p1") as snapshot:
            disk.write(0, b"\xee" * 8192)  # after the snapshot
            yield Lab(place, vcenter, snapshot, content)


@pytest.fixture
def lab(_lab: Lab) -> Iterator[Lab]:
    yield _lab
    _lab.switch()
    _lab.place.estate.faults.replace(())


@pytest.mark.parametrize("compression", ["none", "zlib", "skipz"])
@pytest.mark.parametrize(
    "switches", [{}, {"shuffle": 8}, {"compression": False}, {"buffer_size": 65536}], ids=str
)
def test_every_byte_of_the_snapshot(lab: Lab, compression: str, switches: dict[str, Any]) -> None:
    lab.switch(**switches)
    with closing(lab.open(NfcSettings(compression=compression))) as source:
        assert source.capacity == len(lab.content)
        assert lab.whole(source) == lab.content
        allocated = source.allocated(Extent(0, source.capacity))
        covered = bytearray(source.capacity)
        for extent in allocated:
            covered[extent.start : extent.end] = b"\1" * extent.length
    assert covered.count(0)
    assert not any(byte for byte, known in zip(lab.content, covered, strict=True) if not known)


def test_nothing_is_left_on_the_host(lab: Lab) -> None:
    hosts = lab.place.server.center.nfc
    assert hosts is not None
    with closing(lab.open()) as source:
        lab.whole(source)
        assert hosts.connections == 1
    hosts_are_idle(lab)


def hosts_are_idle(lab: Lab) -> None:
    hosts = lab.place.server.center.nfc
    assert hosts is not None
    eventually(lambda: hosts.connections == 0 and hosts.memory == 0, "an idle host")


def test_two_disks_at_once_have_tickets_of_their_own(lab: Lab) -> None:
    with closing(lab.open()) as first, closing(lab.open()) as second:
        assert lab.whole(first) == lab.whole(second) == lab.content


@pytest.mark.parametrize(
    "damage", ["magic", "id", "compression", "length", "overlap", "missing", "outside", "total"]
)
def test_a_damaged_answer_is_an_error_and_never_a_wrong_byte(lab: Lab, damage: str) -> None:
    lab.switch(damage=damage)
    with closing(lab.open(NfcSettings(buffer=65536, silence=2.0))) as source, pytest.raises(ReaderFailed):
        lab.whole(source)
    hosts_are_idle(lab)


@pytest.mark.parametrize(
    ("switches", "kind", "words"),
    [
        ({"first_certificate": "other"}, TrustFailed, "the first TLS layer, but the ticket names"),
        ({"second_certificate": "other", "digest_of": "first"}, TrustFailed, "the second TLS layer"),
        ({"ticket_seconds": 0.0}, ReaderFailed, "refused the ticket"),
        ({"banner": "220 VMware Authentication Daemon Version 1.10"}, ReaderFailed, "does not require TLS"),
        ({"banner": "HTTP/1.1 400 Bad Request"}, ReaderFailed, "a web server answers"),
        ({"nfc_version": 2}, ReaderFailed, "below 3"),
        ({"memory": 0}, HostOverloaded, "memory"),
        ({"capacity_added": 512}, ReaderFailed, "vCenter says 8388608"),
        ({"cut_after": 0}, ReaderFailed, "was cut"),
    ],
    ids=str,
)
def test_what_a_host_may_answer(
    lab: Lab, switches: dict[str, Any], kind: type[ConnectorError], words: str
) -> None:
    lab.switch(**switches)
    with pytest.raises(kind, match=words) as refused:
        lab.open()
    assert lab.access().path in str(refused.value)
    hosts_are_idle(lab)


def test_a_pin_of_the_user_is_checked_too(lab: Lab) -> None:
    host = lab.vcenter.nfc_ticket(lab.place.vm).host
    with pytest.raises(TrustFailed, match=r"the pin .*nfc\.pins\["):
        lab.open(NfcSettings(pins={host: "ab" * 32}))
    hosts = lab.place.server.center.nfc
    assert hosts is not None
    right = hosts.certificate("host").sha256
    with closing(lab.open(NfcSettings(pins={host.upper(): right}))) as source:
        assert source.capacity


def test_an_authority_of_the_user_must_have_signed(lab: Lab) -> None:
    hosts = lab.place.server.center.nfc
    assert hosts is not None
    with closing(lab.open(NfcSettings(authority=hosts.certificate("host").certificate))) as source:
        assert source.capacity
    with pytest.raises(TrustFailed, match=r"does not vouch for .*correct nfc\.authority"):
        lab.open(NfcSettings(authority=hosts.certificate("other").certificate))
    hosts_are_idle(lab)


def test_an_authority_that_cannot_be_read_is_said_at_the_start(tmp_path: Path) -> None:
    missing = tmp_path / "authority.pem"
    with pytest.raises(BadInput, match=r"authority\.pem has no certificates"):
        NfcReader(NfcSettings(authority=missing)).check("8.0.3")


def test_a_full_host_and_a_host_that_does_not_serve_are_known_for_what_they_are(lab: Lab) -> None:
    lab.switch(memory=0)
    with pytest.raises(HostOverloaded) as full:
        lab.open()
    lab.switch()
    host = lab.place.estate.inventory.vm(lab.place.vm).host
    host_calls.change(lab.place.server.center, host, in_maintenance=True)
    try:
        with pytest.raises(HostUnavailable) as away:
            lab.open()
    finally:
        host_calls.change(lab.place.server.center, host, in_maintenance=False)
    assert is_overloaded(full.value)
    assert is_unplaced(away.value) and away.value.retryable


def test_the_disk_that_the_machine_writes_to_is_refused(lab: Lab) -> None:
    live = lab.place.estate.inventory.vm(lab.place.vm).disks[1].path
    with pytest.raises(ReaderFailed, match="lock"):
        lab.open(path=live)


def test_without_a_vcenter_that_gives_tickets(lab: Lab) -> None:
    with pytest.raises(BadInput, match="no tickets"):
        lab.open(routes=None)


#: Bytes that the host sends before each of its messages while a disk is opened, and into its answers to reads.
OPENING = (0, 1, 100, 200, 300, 420, 500, 700, 900, 1200, 1300, 1340, 1400, 1500, 1600)
READING = (2_000, 70_000, 1_500_000, 5_000_001)


@pytest.mark.parametrize("cut_after", [*OPENING, *READING])
def test_a_connection_that_is_cut_anywhere_is_followed_by_another_one(lab: Lab, cut_after: int) -> None:
    """Each failure can be retried, the next connection gets a ticket of its own, and no byte is wrong."""
    lab.switch(cut_after=cut_after)
    cuts: list[ConnectorError] = []

    def healed(error: ConnectorError) -> None:
        cuts.append(error)
        lab.switch()

    def opened() -> BlockSource:
        try:
            return lab.open()
        except ReaderFailed as cut:
            assert cut.retryable, cut
            healed(cut)
            return lab.open()

    with closing(Retrying(opened(), backoff=Backoff(0.001, 0.001), reopen=opened, failed=healed)) as source:
        assert lab.whole(source) == lab.content
    assert len(cuts) == 1
    hosts_are_idle(lab)


def test_bytes_of_a_snapshot_that_is_gone_count_for_nothing(lab: Lab) -> None:
    """Another product removes all snapshots, and takes one of its own: the file has its name again, and other bytes."""
    place, vcenter = lab.place, lab.vcenter
    estate, other = place.estate, place.other()
    storage = estate.storage.disk(estate.inventory.vm(other).disks[1].storage)
    with vcenter.snapshot(other, "p9") as snapshot:
        access = vcenter.disk_access(other, snapshot, snapshot.disks[1])
        reader = NfcReader()
        reader.open(access, 4).close()
        storage.write(0, b"\xcc" * MIB)
        estate.snapshots.remove(other, snapshot.moref)
        foreign = estate.snapshots.create(other, "nightly backup")
        assert access.path in {disk.path for disk in estate.inventory.vm(other).snapshot(foreign).disks}
        with pytest.raises(SourceChanged, match="cannot be trusted"):
            reader.open(access, 4)
        estate.snapshots.remove(other, foreign)


def test_a_snapshot_that_goes_while_its_last_bytes_are_read_is_noticed(lab: Lab) -> None:
    place, vcenter = lab.place, lab.vcenter
    other = place.other()
    with vcenter.snapshot(other, "p10") as snapshot:
        access = vcenter.disk_access(other, snapshot, snapshot.disks[1])
        with closing(NfcReader().open(access, 4)) as source:
            reading = source.read([Extent(0, MIB)])
            next(reading).release()
            place.estate.snapshots.remove(other, snapshot.moref)
            with pytest.raises(SourceChanged):
                list(reading)
