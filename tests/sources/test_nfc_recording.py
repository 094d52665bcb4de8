"""Recording a real reading of a simulated host: the file has nothing of the place, and our client can have it once more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest

from connector.errors import ConnectorError, Ineligible, ReaderFailed
from connector.model import DiskAccess, DiskBacking, Extent, FileRoute, NfcTicket
from connector.sources import nfc_recording
from connector.sources.nfc import new_ticket
from connector.sources.nfc_recording import NfcRecording
from connector.vcenter.client import VCenter
from connector.vcenter.record import new_scrubber
from connector.vcenter.scrub import Scrubber
from nfc.codec import KNOWN
from nfc.connection import connect
from nfc.disk import open_disk
from nfc.errors import HostError, NfcError, OutOfMemory, TicketRefused
from nfc.recording import Recording, document
from nfc.scrubbing import filler
from simulator.estate.estate import Estate
from simulator.faults import Rule
from simulator.nfc import Switches
from simulator.nfc.switches import BANNER
from tests.nfc.replay import ask_again, conversations, replaying, spec
from tests.vcenter.imaginary import MIB, World, change_vm, world
from tests.vcenter.ledger import Memory
from tests.waiting import eventually

STORE, FOLDER = "kundenlager-7", "Kunde_M\u00fcller"
SECRETS = (STORE, "kundenlager", FOLDER, "kunde", "ller", "esx-47", "lab.example", "10.47.11.8", "127.0.0.1")


def moved(estate: Estate) -> None:
    """The machine's disks lie in places that tell whose they are."""
    vm = estate.inventory.vm(min(estate.inventory.vms))
    disks = tuple(
        replace(disk, path=f"[{STORE}] {FOLDER}/{FOLDER}_{number}.vmdk")
        for number, disk in enumerate(vm.disks)
    )
    change_vm(estate, vm.moref, name=FOLDER, disks=disks)


@dataclass
class Spied:
    """The routes of a disk; it keeps the tickets that they gave. See `DiskRoutes`."""

    routes: Any
    tickets: list[NfcTicket] = field(default_factory=list)

    def nfc_ticket(self) -> NfcTicket:
        self.tickets.append(self.routes.nfc_ticket())
        return self.tickets[-1]

    def snapshot_file(self) -> str:
        return str(self.routes.snapshot_file())

    def file(self, path: str, host_port: int = 0) -> FileRoute:
        raise AssertionError((path, host_port))

    def backing(self) -> DiskBacking:
        raise AssertionError

    def in_use(self) -> tuple[Extent, ...]:
        raise AssertionError


@dataclass(frozen=True)
class Lab:
    """A machine with a snapshot, whose second disk holds `content`."""

    place: World
    access: DiskAccess
    spied: Spied
    content: bytes
    scrubber: Scrubber

    def switch(self, **values: Any) -> None:
        hosts = self.place.server.center.nfc
        assert hosts is not None
        hosts.switches = replace(Switches(), **values)

    def record(self) -> NfcRecording:
        return nfc_recording.record(self.access, self.scrubber)

    def assert_discreet(self, text: str) -> None:
        """Neither names nor tickets, digests or content, as text or in hexadecimal."""
        hosts = self.place.server.center.nfc
        assert hosts is not None
        shown = hosts.certificate("host")
        tickets = [ticket.session_id for ticket in self.spied.tickets]
        bare = "".join(text.split()).lower()
        for secret in (*SECRETS, *tickets, shown.sha1, shown.sha256, self.access.path):
            assert secret.lower() not in text.lower(), secret
            assert secret.encode().hex() not in bare, secret
            assert re.sub(r"[:-]", "", secret).lower() not in bare, secret
        read = {self.content[at : at + 8].hex() for at in range(65536)} - {bytes(8).hex()}
        assert not read & {bare[at : at + 16] for at in range(len(bare))}


@pytest.fixture(scope="module")
def _lab() -> Iterator[Lab]:
    with world(prepare=moved) as place, VCenter(place.settings(), owner="site-a", ledger=Memory()) as vcenter:
        disk = place.estate.storage.disk(place.estate.inventory.vm(place.vm).disks[1].storage)
        dice = Random(3)
        text = b"kundenname geheim " * 100
        content = text + dice.randbytes(30_000) + bytes(10_000) + b"\x11\x22\x33\x44\x55\x66\x77" * 5000
        disk.write(0, content)
        disk.write(4 * MIB, dice.randbytes(4096))
        disk.write(8 * MIB - 4096, dice.randbytes(4096))
        with vcenter.snapshot(place.vm, "p1") as snapshot:
            access = vcenter.disk_access(place.vm, snapshot, snapshot.disks[1])
            assert STORE in access.path
            spied = Spied(access.routes)
            whole = content.ljust(65536, b"\0")
            yield Lab(place, replace(access, routes=spied), spied, whole, new_scrubber())


@pytest.fixture
def lab(_lab: Lab) -> Iterator[Lab]:
    yield _lab
    _lab.switch()
    _lab.place.estate.faults.replace(())
    hosts = _lab.place.server.center.nfc
    assert hosts is not None
    eventually(lambda: hosts.connections == 0 and hosts.memory == 0, "an idle host")


@pytest.mark.parametrize("switches", [{}, {"shuffle": 8}, {"compression": False}], ids=str)
def test_what_is_recorded_is_replayed_byte_by_byte(lab: Lab, switches: dict[str, Any]) -> None:
    lab.switch(banner=f"{BANNER}, esx-47.lab.example (10.47.11.8)", **switches)
    done = lab.record()
    assert (done.connections, done.trouble) == (len(KNOWN), "")
    lab.assert_discreet(done.text)
    scripts = conversations(done.text)
    with replaying(scripts) as host:
        for script, compression in zip(scripts, KNOWN, strict=True):
            buffer = 1 << 20 if compression == "none" else 16384
            disk = spec(host, script, compression=compression, buffer=buffer, buffers=4)
            with open_disk(disk) as played:
                assert played.info.capacity == lab.access.capacity
                nfc_recording.look(played)
    with replaying(scripts[:1]) as host:
        *_, first, middle, last, _, _ = ask_again(host, scripts[0])
    assert (first, middle, last) == (
        filler(0, 65536),
        filler(4 * MIB, 16384),
        filler(8 * MIB - 4096, 4096),
    )


def test_tickets_differ_and_words_are_equal(lab: Lab) -> None:
    scripts = conversations(lab.record().text)
    assert len({script.session for script in scripts}) == len(scripts)
    (path,) = {script.path for script in scripts}
    assert re.fullmatch(r"\[n\w+-7\] n\w+/[\w-]+\.vmdk", path)
    assert len(path.encode()) == len(lab.access.path.encode())
    assert path == lab.scrubber.fitted(lab.access.path)


def test_a_ticket_that_was_used_is_recorded(lab: Lab) -> None:
    ticket = new_ticket(lab.access)
    connect(ticket, None, nfc_recording.PATIENCE).close()
    recording = Recording(lab.scrubber, "used")
    with pytest.raises(TicketRefused):
        connect(ticket, None, nfc_recording.PATIENCE, recording)
    recording.finish("the client ended with TicketRefused")
    text = document([recording])
    lab.assert_discreet(text)
    assert 'S "530 Login incorrect."' in text
    (script,) = conversations(text)
    with replaying([script]) as host:
        (outcome,) = ask_again(host, script)
    assert isinstance(outcome, TicketRefused)


@pytest.mark.parametrize(
    ("rule", "words", "kind"),
    [
        (
            Rule("nfc.open", "fault", message="esx-47.lab.example has no memory for kunde"),
            "no memory",
            OutOfMemory,
        ),
        (Rule("nfc.read", "fault", message="disk of kunde is gone"), "IO of", HostError),
        (Rule("nfc.read", "cut", skip=2, bytes=40), "was cut", NfcError),
        (Rule("nfc.read", "cut", skip=4, bytes=4000), "was cut", NfcError),
    ],
    ids=str,
)
def test_an_error_is_a_part_of_the_recording(lab: Lab, rule: Rule, words: str, kind: type[NfcError]) -> None:
    lab.place.estate.faults.replace([rule])
    done = lab.record()
    assert words in done.trouble
    lab.assert_discreet(done.text)
    scripts = conversations(done.text)
    with replaying(scripts) as host:
        outcomes = [ask_again(host, script) for script in scripts]
    assert [one for one in outcomes[-1] if isinstance(one, kind)]


@pytest.mark.parametrize("damage", ["magic", "id", "compression", "length", "overlap", "outside", "total"])
def test_a_host_that_makes_no_sense_is_recorded_up_to_there(lab: Lab, damage: str) -> None:
    lab.switch(damage=damage)
    done = lab.record()
    assert done.trouble and "# cut here" in done.text
    lab.assert_discreet(done.text)
    assert conversations(done.text)


@pytest.mark.parametrize("cut_after", [1, 100, 300, 500, 900, 1300, 1400, 1600, 30_000])
def test_a_conversation_that_is_cut_leaves_a_readable_file(lab: Lab, cut_after: int) -> None:
    lab.switch(cut_after=cut_after)
    done = lab.record()
    assert "was cut" in done.trouble
    lab.assert_discreet(done.text)
    assert "# the client ended with SessionCut" in done.text
    assert conversations(done.text)


def test_a_host_that_says_nothing_is_no_recording(lab: Lab) -> None:
    lab.switch(cut_after=0)
    with pytest.raises(ReaderFailed, match="was cut"):
        lab.record()


def test_what_vcenter_answers_instead_of_a_ticket_is_raised(lab: Lab) -> None:
    class Without(Spied):
        def nfc_ticket(self) -> NfcTicket:
            raise Ineligible("it names no NfcService")

    with pytest.raises(ConnectorError, match="no NfcService"):
        nfc_recording.record(replace(lab.access, routes=Without(None)), lab.scrubber)


def test_a_ticket_that_is_none_is_said_as_an_error_of_ours(lab: Lab) -> None:
    class Odd(Spied):
        def nfc_ticket(self) -> NfcTicket:
            return NfcTicket("h", 902, "ab", "vpxa-nfc", "x")

    with pytest.raises(ConnectorError, match="thumbprint"):
        nfc_recording.record(replace(lab.access, routes=Odd(None)), lab.scrubber)


@pytest.mark.parametrize("capacity", [512, 4096, 5120, 65536, 65536 + 512, 1 << 40])
def test_what_is_read_lies_inside(capacity: int) -> None:
    for place in nfc_recording.places(capacity):
        assert not place.start % 512 and not place.length % 512
        assert 0 <= place.start < place.start + place.length <= capacity
