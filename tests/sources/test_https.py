"""Our reader of files against the simulated vCenter, which was written from the description of /folder."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from connector.backoff import Backoff
from connector.errors import (
    BadInput,
    ConnectorError,
    Ineligible,
    NotPermitted,
    ReaderFailed,
    TrustFailed,
)
from connector.model import DiskAccess, DiskBacking, Extent, FileRoute, NfcTicket
from connector.sources.https import DatastoreFileSource, HttpsReader, HttpsSettings, unused_cells
from connector.sources.reader import (
    HostClosed,
    HostOverloaded,
    SourceChanged,
    is_overloaded,
    is_source_changed,
)
from connector.transfer.policies import Retrying
from connector.transfer.source import BlockSource
from connector.vcenter.client import Snapshot, VCenter
from simulator.faults import Rule
from simulator.vcenter.folder import PRIVILEGE
from tests.vcenter.imaginary import MIB, World, change_vm, world
from tests.vcenter.ledger import Memory

_DICE = Random(3)
CONTENT = _DICE.randbytes(3 * MIB) + bytes(2 * MIB) + _DICE.randbytes(512) + bytes(3 * MIB - 512)


class Lab:
    """A machine with a snapshot; its second disk holds CONTENT."""

    def __init__(self, place: World, vcenter: VCenter, snapshot: Snapshot) -> None:
        self.place, self.vcenter, self.snapshot = place, vcenter, snapshot

    def access(self, **changes: Any) -> DiskAccess:
        access = self.vcenter.disk_access(self.place.vm, self.snapshot, self.snapshot.disks[1])
        return replace(access, **changes)

    def open(self, settings: HttpsSettings | None = None, **changes: Any) -> DatastoreFileSource:
        return HttpsReader(settings).open(self.access(**changes), 4)

    def rules(self, *rules: Rule) -> None:
        self.place.estate.faults.replace(rules)

    @property
    def flat(self) -> str:
        return self.snapshot.disks[1].path.partition("] ")[2].replace(".vmdk", "-flat.vmdk")


def whole(source: BlockSource) -> bytes:
    data = bytearray(source.capacity)
    for block in source.read([Extent(0, source.capacity)]):
        data[block.offset : block.offset + len(block.data)] = block.data
        block.release()
    return bytes(data)


@contextmanager
def laboratory(track: bool = False) -> Iterator[Lab]:
    with world() as place, VCenter(place.settings(), owner="site-a", ledger=Memory()) as vcenter:
        disk = place.estate.storage.disk(place.estate.inventory.vm(place.vm).disks[1].storage)
        disk.write(0, CONTENT[: 3 * MIB])
        disk.write(5 * MIB, CONTENT[5 * MIB : 5 * MIB + 512])
        if track:
            vcenter.ensure_tracking(place.vm, "cbt")
        with vcenter.snapshot(place.vm, "p1") as snapshot:
            disk.write(0, b"\xee" * 8192)  # after the snapshot
            yield Lab(place, vcenter, snapshot)
            place.estate.faults.replace(())


@pytest.fixture(scope="module")
def _lab() -> Iterator[Lab]:
    with laboratory() as made:
        yield made


@pytest.fixture
def lab(_lab: Lab) -> Iterator[Lab]:
    yield _lab
    _lab.rules()


@pytest.mark.parametrize("connections", [1, 4])
def test_every_byte_of_the_snapshot(lab: Lab, connections: int) -> None:
    with closing(lab.open(HttpsSettings(connections=connections))) as source:
        assert source.capacity == len(CONTENT)
        assert whole(source) == CONTENT
        assert whole(source) == CONTENT  # over the same connections
        assert source.allocated(Extent(0, source.capacity)) == [Extent(0, source.capacity)]  # CBT is off


def test_what_cbt_calls_unused_is_not_read() -> None:
    with laboratory(track=True) as tracked, closing(tracked.open()) as source:
        areas = source.allocated(Extent(0, source.capacity))
        assert areas == [Extent(0, 3 * MIB), Extent(5 * MIB, 1 << 16)]
        assert source.allocated(Extent(MIB, 3 * MIB)) == [Extent(MIB, 2 * MIB)]


def test_what_cbt_wrongly_calls_unused_is_noticed(lab: Lab) -> None:
    routes = Answers(lab, in_use=(Extent(0, 64 << 10),))
    with closing(lab.open(routes=routes)) as source:
        assert source.allocated(Extent(0, source.capacity)) == [Extent(0, source.capacity)]


class Answers:
    """The routes of a disk, with some answers replaced."""

    def __init__(self, lab: Lab, **answers: Any) -> None:
        routes = lab.access().routes
        assert routes is not None
        self._routes, self._answers, self.asked = routes, answers, 0

    def nfc_ticket(self) -> NfcTicket:
        return self._routes.nfc_ticket()

    def file(self, path: str, host_port: int = 0) -> FileRoute:
        self.asked += 1
        route = self._routes.file(path, host_port)
        cookie = self._answers["cookies"].pop(0) if self._answers.get("cookies") else ""
        return replace(route, cookie=cookie or route.cookie, **self._answers.get("file", {}))

    def backing(self) -> DiskBacking:
        return replace(self._routes.backing(), **self._answers.get("backing", {}))

    def in_use(self) -> tuple[Extent, ...]:
        areas: tuple[Extent, ...] = self._answers.get("in_use") or self._routes.in_use()
        return areas


def answer(**values: Any) -> Rule:
    return Rule("folder.read", "answer", object="*-flat.vmdk", skip=1, answer=values)


@pytest.mark.parametrize(
    ("rule", "kind", "words"),
    [
        (answer(ranges=False), ReaderFailed, "answers 200"),
        (answer(content_range="bytes 0-99/8388608"), ReaderFailed, r"the server answers \[0, 100\)"),
        (answer(content_range="bytes 0-1048575/9388608"), SourceChanged, "has 9388608 bytes"),
        (answer(content_range="bytes 0-1048575/*"), ReaderFailed, "does not say which range"),
        (answer(last_modified="Mon, 01 Jan 2024 00:00:00 GMT"), SourceChanged, "Last-Modified"),
        (answer(length_added=7), ReaderFailed, "has 1048583"),
        (answer(length_added=-7), ReaderFailed, "has 1048569"),
        (answer(status=302, location="https://elsewhere/"), ReaderFailed, "not followed"),
        (answer(status=404), ReaderFailed, "no such file"),
        (answer(status=503), HostOverloaded, "busy"),
        (answer(status=500), ReaderFailed, "HTTP 500"),
        (Rule("folder.read", "cut", object="*-flat.vmdk", skip=1, bytes=0), ReaderFailed, "connection broke|ended"),
        (Rule("folder.read", "cut", object="*-flat.vmdk", skip=1, bytes=70000), ReaderFailed, "ended after|broke"),
    ],
    ids=lambda value: str(getattr(value, "answer", "")) or None,
)  # fmt: skip
def test_an_answer_that_is_not_what_was_asked_for(
    lab: Lab, rule: Rule, kind: type[ConnectorError], words: str
) -> None:
    lab.rules(rule)
    with closing(lab.open(HttpsSettings(connections=1))) as source:
        with pytest.raises(kind, match=words) as failed:
            whole(source)
        assert lab.flat in failed.value.on
        assert is_overloaded(failed.value) == (kind is HostOverloaded)
        assert is_source_changed(failed.value) == (kind is SourceChanged)
        if kind is not SourceChanged:
            assert whole(source) == CONTENT


@pytest.mark.parametrize("cut", [0, 1, 4096, MIB - 1])
def test_a_connection_that_is_cut_costs_no_byte(lab: Lab, cut: int) -> None:
    lab.rules(Rule("folder.read", "cut", object="*-flat.vmdk", skip=2, times=2, bytes=cut))
    with closing(Retrying(lab.open(), backoff=Backoff(0.001, 0.001), reopen=lab.open)) as source:
        assert whole(source) == CONTENT


def test_a_slow_server_is_waited_for_until_it_is_silent(lab: Lab) -> None:
    lab.rules(Rule("folder.read", "delay", object="*-flat.vmdk", skip=1, seconds=1.0))
    with (
        closing(lab.open(HttpsSettings(silence=0.3))) as source,
        pytest.raises(ReaderFailed, match="no answer in time") as failed,
    ):
        whole(source)
    assert failed.value.retryable


def test_an_answer_that_comes_in_drops_ends_too(lab: Lab) -> None:
    lab.rules(Rule("folder.read", "answer", object="*-flat.vmdk", skip=1, answer={"rate": 700 << 10}))
    with (
        closing(lab.open(HttpsSettings(connections=1, silence=0.5))) as source,
        pytest.raises(ReaderFailed, match="no answer in time"),
    ):
        whole(source)


def test_a_session_that_was_renewed_goes_on(lab: Lab) -> None:
    stale = ["vmware_soap_session=old", "", "vmware_soap_session=old", ""]
    routes = Answers(lab, cookies=stale)
    with closing(lab.open(routes=routes)) as source:
        assert whole(source) == CONTENT
    assert not stale


def test_without_the_privilege(lab: Lab) -> None:
    authority = lab.place.server.center.authority
    authority.deny(PRIVILEGE)
    try:
        with pytest.raises(NotPermitted, match=PRIVILEGE.replace(".", r"\.")):
            lab.open()
    finally:
        authority.allow(PRIVILEGE)


def test_a_server_that_accepts_no_connection_is_waited_for_by_whoever_has_no_other_reader(lab: Lab) -> None:
    with socket.socket() as taken:  # it does not listen
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(HostClosed, match="refused") as failed:
            lab.open(routes=Answers(lab, file={"host": "127.0.0.1", "port": taken.getsockname()[1]}))
    assert failed.value.retryable


def test_a_server_with_another_certificate_gets_no_cookie(lab: Lab) -> None:
    with pytest.raises(TrustFailed, match="thumbprint"):
        lab.open(routes=Answers(lab, file={"pin": "ab" * 32}))


@pytest.mark.parametrize(
    ("backing", "words"),
    [
        ({"encrypted": True}, "encrypted"),
        ({"kind": "SeSparse"}, "SEsparse"),
        ({"kind": "RawDiskMappingVer1"}, "raw device mapping"),
        ({"kind": "FlatVer9"}, "FlatVer9"),
        ({"store": "vsan"}, "vsan"),
        ({"store": "VVOL"}, "VVOL"),
        ({"store": ""}, "unknown"),
    ],
    ids=str,
)
def test_what_has_no_flat_file_is_refused_with_the_reason(
    lab: Lab, backing: dict[str, Any], words: str
) -> None:
    with pytest.raises(Ineligible, match=f"cannot be read as a file: .*{words}.*another reader"):
        lab.open(routes=Answers(lab, backing=backing))


def test_a_capacity_that_differs_from_vcenters(lab: Lab) -> None:
    with pytest.raises(ReaderFailed, match="says 8388608 bytes, vCenter says 4096"):
        lab.open(capacity=4096)


def test_without_a_vcenter_that_serves_files(lab: Lab) -> None:
    with pytest.raises(BadInput, match="no files"):
        lab.open(routes=None)


def test_without_a_snapshot(lab: Lab) -> None:
    machine = lab.vcenter.find(lab.place.other())
    access = lab.vcenter.disk_access(machine.moref, None, machine.disks[1])
    with pytest.raises(Ineligible, match="without a snapshot"):
        HttpsReader().open(access)


def test_older_snapshots_beneath_are_refused() -> None:
    with laboratory() as layered, layered.vcenter.snapshot(layered.place.vm, "p2") as second:
        access = layered.vcenter.disk_access(layered.place.vm, second, second.disks[1])
        with pytest.raises(Ineligible, match="older snapshots are beneath"):
            HttpsReader().open(access)


@pytest.mark.parametrize("delivered", [1, 8])
def test_when_the_snapshots_change_nothing_that_was_read_counts(delivered: int) -> None:
    """Seen at intervals while something is read, and in the end when all was read."""
    with laboratory() as lab:
        settings = HttpsSettings(connections=1, every=0.0 if delivered < 8 else 1e9)
        with closing(lab.open(settings)) as source:
            reading = source.read([Extent(0, source.capacity)])
            for _ in range(delivered):
                next(reading).release()
            lab.place.estate.snapshots.remove(lab.place.vm, lab.snapshot.moref)  # as another product does
            with pytest.raises(SourceChanged, match="snapshots changed") as failed:
                for block in reading:
                    block.release()
        assert is_source_changed(failed.value) and not failed.value.retryable
        assert failed.value.id == "ReaderFailed"
        with pytest.raises(
            SourceChanged, match="gone"
        ):  # nor does a new opening trust what the first one read
            lab.open()


def test_a_file_that_is_rewritten_is_noticed_before_vcenter_says_so(lab: Lab) -> None:
    """The bytes and the time of the file differ, the snapshots do not yet."""
    with closing(lab.open()) as source:
        lab.rules(
            Rule(
                "folder.read", "answer", times=None, answer={"last_modified": "Tue, 02 Jan 2024 00:00:00 GMT"}
            )
        )
        with pytest.raises(SourceChanged):
            whole(source)


def test_a_task_on_the_snapshots_is_waited_for(lab: Lab) -> None:
    with pytest.raises(ReaderFailed, match="task") as busy:
        lab.open(routes=Answers(lab, backing={"work": "a task of vCenter works on it"}))
    assert busy.value.retryable and not is_source_changed(busy.value)


def test_closing_ends_requests_that_are_under_way(lab: Lab) -> None:
    lab.rules(Rule("folder.read", "delay", object="*-flat.vmdk", skip=1, times=None, seconds=0.5))
    source = lab.open()
    reading = source.read([Extent(0, source.capacity)])
    source._disk.submit(0, memoryview(bytearray(MIB)), 0)
    source.close()
    source.close()
    reading.close()  # type: ignore[attr-defined]
    with pytest.raises(ReaderFailed, match="closed"):
        whole(source)


def test_a_disk_moved_to_another_name_is_noticed(lab: Lab) -> None:
    vm = lab.place.estate.inventory.vm(lab.place.vm)
    with closing(lab.open()) as source:
        moved = replace(vm.disks[1], parents=("[elsewhere] web/web.vmdk",))
        change_vm(lab.place.estate, vm.moref, disks=(vm.disks[0], moved))
        try:
            with pytest.raises(SourceChanged, match="in other files"):
                whole(source)
        finally:
            change_vm(lab.place.estate, vm.moref, disks=vm.disks)


def at_host(lab: Lab, **changes: Any) -> HttpsSettings:
    """Settings to read straight from the host, which listens at a port of its own in the simulator."""
    folders = lab.place.server.center.host_folders
    assert folders is not None
    return HttpsSettings(host_port=folders.port(lab.place.estate.inventory.vm(lab.place.vm).host), **changes)


@pytest.mark.parametrize("uses", [1, 2, 1 << 30])
def test_straight_from_the_host_with_tickets(lab: Lab, uses: int) -> None:
    tickets = lab.place.server.center.service_tickets
    tickets.uses, before = uses, tickets.issued
    try:
        with closing(lab.open(at_host(lab, connections=2))) as source:
            assert whole(source) == CONTENT
    finally:
        tickets.uses = 1 << 30
    if uses > 2:
        assert tickets.issued - before <= 3  # one for the descriptor, one for each connection


def test_a_ticket_that_expires_is_renewed(lab: Lab) -> None:
    tickets = lab.place.server.center.service_tickets
    tickets.seconds = 0.05
    try:
        with closing(lab.open(at_host(lab, connections=1))) as source:
            reading = source.read([Extent(0, source.capacity)])
            next(reading).release()
            time.sleep(0.1)
            for block in reading:
                block.release()
    finally:
        tickets.seconds = 60.0


def test_the_users_own_pin_of_a_host_counts(lab: Lab) -> None:
    server = lab.place.server
    with pytest.raises(TrustFailed, match=r"SHA256 thumbprint .* and AB:AB:.* under `https.pins`"):
        lab.open(at_host(lab, pins={server.host: "ab" * 32}))
    with pytest.raises(BadInput, match="no thumbprint"):
        lab.open(at_host(lab, pins={server.host: "abc"}))
    with closing(lab.open(at_host(lab, pins={server.host: server.thumbprint_sha256}))) as source:
        assert source.capacity == len(CONTENT)


def test_cells_that_are_read_to_believe_cbt() -> None:
    capacity, cell = 10 * MIB + 512, 1 << 16
    areas = [Extent(0, cell + 1), Extent(MIB, 8 * MIB)]
    cells = unused_cells(areas, capacity, 10_000)
    assert cells == [*(Extent(at, cell) for at in range(2 * cell, MIB, cell)),
                     *(Extent(at, cell) for at in range(9 * MIB, 10 * MIB, cell)), Extent(10 * MIB, 512)]  # fmt: skip
    assert len(unused_cells(areas, capacity, 3)) <= 3
    assert unused_cells([Extent(0, capacity)], capacity, 3) == []
