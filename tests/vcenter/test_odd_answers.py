"""What a real vCenter sends and no simulator does: it costs one machine a finding, never the others anything."""

from __future__ import annotations

import gzip
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from connector.errors import ChangesUnknown, ConnectorError, NotFound, VCenterFault
from connector.model import PowerState
from connector.vcenter import inventory, properties
from connector.vcenter.answer import PropertyRow
from connector.vcenter.bodies import Body
from connector.vcenter.changes import ChangedAreas, covered
from connector.vcenter.characters import Replacer
from connector.vcenter.devices import disks
from connector.vcenter.eligibility import check
from connector.vcenter.machines import Context, machine
from connector.vcenter.power import _state
from connector.vcenter.properties import _row
from connector.vcenter.reading import UnreadableValue, value_of
from connector.vcenter.session import Session
from connector.vcenter.sound import LONGEST_NAME, MOST, sound
from connector.vcenter.trust import PinnedConnection, VCenterTrust
from connector.vcenter.values import text
from connector.vcenter.vmomi import vim, vmodl
from simulator.faults import Rule
from tests.vcenter.imaginary import World, world
from tests.vcenter.test_answer import RESULT, objects, rows


@pytest.fixture(scope="module")
def place() -> Iterator[World]:
    with world() as made:
        yield made


VCLS = Path(__file__).parents[2] / "fixtures" / "answers" / "vcls.xml"
OBJECT = '<obj type="VirtualMachine">%s</obj>'
PLAIN = OBJECT % "vm-2" + '<propSet><name>name</name><val xsi:type="xsd:string">quiet</val></propSet>'


def test_the_cluster_service_machines_of_vcenter_8_are_read() -> None:
    """Empty objects in the guest's stack, cards and disks: vCLS, on every cluster with DRS or HA."""
    ((row,), _) = rows(VCLS.read_bytes())
    seen = machine(row, Context())
    assert seen == machine(sound(row), Context())
    assert seen.name.startswith("vCLS-") and seen.power is PowerState.ON and len(seen.disks) == 1
    assert not seen.traits.guest.gateway and seen.traits.managed_by == "com.vmware.vim.eam"
    assert {"V3", "V28"} <= {one.check for one in check(seen)}


def test_both_readers_see_the_same_cluster_service_machine() -> None:
    ((row,), _) = rows(VCLS.read_bytes())
    answer = value_of(io.BytesIO(VCLS.read_bytes()).read, RESULT, None)
    (theirs,) = map(_row, answer.objects)
    assert theirs.refused == {} and machine(theirs, Context()) == machine(row, Context())


def prop(path: str, value: str) -> str:
    return f"<propSet><name>{path}</name>{value}</propSet>"


def seen(*parts: str | bytes) -> tuple[PropertyRow, PropertyRow]:
    """An odd machine, and the quiet one behind it, as the fast reader and the tables give them."""
    document = objects(OBJECT % "vm-1" + "PARTS", PLAIN)
    whole = b"".join(one.encode() if isinstance(one, str) else one for one in parts)
    (odd, quiet), _ = rows(document.replace(b"PARTS", whole))
    assert (quiet.moref, quiet.get("name")) == ("vm-2", "quiet") and not sound(quiet).doubts
    return sound(odd), quiet


def by_pyvmomi(*parts: str | bytes) -> PropertyRow:
    whole = b"".join(one.encode() if isinstance(one, str) else one for one in parts)
    document = objects(OBJECT % "vm-1" + "PARTS", PLAIN).replace(b"PARTS", whole)
    odd, quiet = map(_row, value_of(io.BytesIO(document).read, RESULT, None).objects)
    assert quiet.values == {"name": "quiet"} and quiet.refused == {}
    return odd


UNSOUND = {
    "no UTF-8": b"no\xfftes",
    "half a character": b"no\xc3tes",
    "control character": b"no\x08tes",
    "zero byte": b"no\x00tes",
    "U+FFFF": "no\uffffte".encode(),
    "lone surrogate": b"no\xed\xa0\x80tes",
    "reference to a control character": b"no&#8;tes",
    "reference to a surrogate": b"no&#xD800;tes",
    "reference beyond Unicode": b"no&#x110000;tes",
    "endless reference": b"no&#99999999999999;tes",
}


@pytest.mark.parametrize("what", UNSOUND)
def test_unsound_characters_are_replaced_and_named(what: str) -> None:
    parts = ('<propSet><name>name</name><val xsi:type="xsd:string">', UNSOUND[what], "</val></propSet>")
    odd, _ = seen(*parts)
    assert odd.values["name"].startswith("no\ufffd")
    assert [(one.path, one.lost) for one in odd.doubts] == [("name", False)]
    assert any(one.check == "V30" for one in check(machine(odd, Context())))
    assert by_pyvmomi(*parts).values["name"] == odd.values["name"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "windows-1252"])
@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
def test_a_document_is_read_in_the_encoding_that_it_declares(encoding: str, piece: int) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n<a b="&#228;&amp;">\u00e4 &#x10FFFF; &lt;</a>'
    replacer, data = Replacer(), text.encode(encoding)
    pieces = [replacer.feed(data[at : at + piece]) for at in range(0, len(data), piece)]
    said = b"".join([*pieces, replacer.feed(b"", True)]).decode()
    assert said.partition("?>")[2].strip() == text.partition("?>")[2].strip()


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_reference_that_is_cut_in_two_is_replaced_too(cut: int) -> None:
    replacer, data = Replacer(), b'<a>>no&#x0008;tes "\xff" &amp; more</a>'
    said = replacer.feed(data[:cut]) + replacer.feed(data[cut:]) + replacer.feed(b"", True)
    assert said.decode() == '<a>>no\ufffdtes "\ufffd" &amp; more</a>'


ODD = {
    "unset text": (prop("name", "<val/>"), None),
    "unset by nil": (
        prop("config.bootOptions", '<val xsi:type="VirtualMachineBootOptions" xsi:nil="true"/>'),
        None,
    ),
    "number in words": (
        prop("config.hardware.numCPU", '<val xsi:type="xsd:int">many</val>'),
        "no whole number",
    ),
    "huge number": (
        prop("config.hardware.numCPU", f'<val xsi:type="xsd:int">{"9" * 40}</val>'),
        "beyond every",
    ),
    "endless number": (
        prop("config.hardware.numCPU", f'<val xsi:type="xsd:int">{"9" * 9000}</val>'),
        "no whole",
    ),
    "unset number": (prop("config.hardware.numCPU", '<val xsi:type="xsd:int"></val>'), None),
    "strange switch": (
        prop("config.template", '<val xsi:type="xsd:boolean">maybe</val>'),
        "neither true nor false",
    ),
    "strange word": (
        prop("runtime.powerState", '<val xsi:type="VirtualMachinePowerState">hibernating</val>'),
        "not known here",
    ),
    "object for a text": (
        prop("name", '<val xsi:type="Future"><deep>1</deep></val>'),
        "is no text but Future",
    ),
    "text for an object": (
        prop("config.bootOptions", '<val xsi:type="xsd:string">none</val>'),
        "VirtualMachineBoot",
    ),
    "text for a list": (prop("guest.net", '<val xsi:type="xsd:string">none</val>'), "no GuestNicInfo"),
    "another object": (
        prop("config.bootOptions", '<val xsi:type="ManagedByInfo"><type>x</type></val>'),
        "no VirtualMachineBootOptions",
    ),
    "text for a reference": (prop("runtime.host", '<val xsi:type="xsd:string">host-1</val>'), "no reference"),
    "strange time": (
        prop(
            "snapshot",
            '<val xsi:type="VirtualMachineSnapshotInfo"><rootSnapshotList><snapshot type="VirtualMachineSnapshot">'
            "snapshot-1</snapshot><name>n</name><createTime>yesterday</createTime></rootSnapshotList></val>",
        ),
        "rootSnapshotList.createTime is no time",
    ),
    "5 MB text": (
        prop("config.guestFullName", f'<val xsi:type="xsd:string">{"x" * 5_000_000}</val>'),
        "too long",
    ),
    "5 MB name": (
        prop("name", f'<val xsi:type="xsd:string">{"x" * 5_000_000}</val>'),
        "too long to be believed",
    ),
    "long name": (prop("name", f'<val xsi:type="xsd:string">{"x" * 5_000}</val>'), "longer than 512"),
    "deep nesting": (
        prop("guest.net", "<val>" + "<a>" * 5000 + "</a>" * 5000 + "</val>"),
        "nested too deeply",
    ),
    "deep tree": (
        prop(
            "snapshot",
            '<val xsi:type="VirtualMachineSnapshotInfo"><rootSnapshotList>'
            + "<childSnapshotList>" * 400
            + "<name>n</name>"
            + "</childSnapshotList>" * 400
            + "</rootSnapshotList></val>",
        ),
        "nested too deeply",
    ),
    "many values": (prop("guest.net", "<val>" + "<a/>" * 1_000_001 + "</val>"), "too many values"),
}


@pytest.mark.parametrize("what", ODD)
def test_what_cannot_be_understood_costs_one_machine_a_doubt(what: str) -> None:
    parts, said = ODD[what]
    odd, _ = seen(parts)
    told = [one.what for one in odd.doubts]
    assert (len(told) == 1 and said in told[0]) if said else told == [], told
    assert all(len(one) < 200 and one.isprintable() for one in told)
    one = machine(odd, Context())
    assert one.moref == "vm-1" and len(one.name) <= LONGEST_NAME
    assert bool(said) == any(each.check == "V30" for each in check(one))


DISK = (
    '<VirtualDevice xsi:type="%s"><key>2000</key><deviceInfo><label>Hard disk 1</label></deviceInfo>'
    '<backing xsi:type="%s"><fileName>[ds] a/a.vmdk</fileName><diskMode>persistent</diskMode>'
    "<port><portgroupKey>p</portgroupKey></port></backing><controllerKey>1000</controllerKey>"
    "<unitNumber>0</unitNumber><capacityInKB>4</capacityInKB><capacityInBytes>%s</capacityInBytes></VirtualDevice>"
)


@pytest.mark.parametrize(
    ("kind", "backing", "capacity", "blocks"),
    [
        ("VirtualDisk", "VirtualDiskFlatVer2BackingInfo", "4096", False),
        ("VirtualDisk", "VirtualDiskQuantumBackingInfo", "4096", False),
        ("VirtualDisk", "VirtualDiskFlatVer2BackingInfo", "9" * 30, True),
        ("VirtualQuantumDisk", "VirtualDiskFlatVer2BackingInfo", "4096", True),
        ("VirtualQuantumDisk", "", "", True),
    ],
)
def test_a_disk_that_cannot_be_understood_blocks_its_machine(
    kind: str, backing: str, capacity: str, blocks: bool
) -> None:
    devices = DISK % (kind, backing, capacity)
    odd, _ = seen(prop("config.hardware.device", f'<val xsi:type="ArrayOfVirtualDevice">{devices}</val>'))
    findings = check(machine(odd, Context()))
    assert any(one.check == "V30" and one.severity == "block" for one in findings) is blocks
    assert (odd.doubts == ()) is (kind == "VirtualDisk" and "Quantum" not in backing and not blocks)


MANY = MOST + 5
HARMLESS = DISK % ("VirtualDisk", "VirtualDiskQuantumBackingInfo", "4096")
UNKNOWN_DISK = DISK % ("VirtualQuantumDisk", "", "4096")
NOTES = prop("disabledMethod", f'<val xsi:type="ArrayOfString">{"<string>no&#0;</string>" * MANY}</val>')
LOST_NOTES = prop("disabledMethod", f'<val xsi:type="ArrayOfString">{"<string><a/></string>" * MANY}</val>')


@pytest.mark.parametrize(
    ("before", "devices"),
    [("", HARMLESS * MANY), (NOTES, ""), (LOST_NOTES, ""), (NOTES + LOST_NOTES, HARMLESS * MANY)],
    ids=["devices of unknown backing", "odd characters elsewhere", "lost values elsewhere", "all of them"],
)
def test_no_number_of_other_doubts_hides_a_disk_that_cannot_be_understood(before: str, devices: str) -> None:
    devices = f'<val xsi:type="ArrayOfVirtualDevice">{devices}{UNKNOWN_DISK}</val>'
    odd, _ = seen(before, prop("config.hardware.device", devices))
    (finding,) = (one for one in check(machine(odd, Context())) if one.check == "V30")
    assert finding.severity == "block" and "VirtualQuantumDisk" in finding.message


def test_pyvmomi_reads_on_where_its_own_reader_gives_up() -> None:
    row = by_pyvmomi(
        prop("config.hardware.numCPU", '<val xsi:type="xsd:int">many</val>'),
        prop("config.template", '<val xsi:type="xsd:boolean">maybe</val>'),
        prop("runtime.powerState", '<val xsi:type="VirtualMachinePowerState">hibernating</val>'),
        prop("config.bootOptions", '<val xsi:type="FutureOptions"><deep><er>1</er></deep></val>'),
        prop("config.hardware.memoryMB", '<val xsi:type="xsd:int"/>'),
        prop("guest.hostName", "<val/>"),
        prop("guest.guestId", "<val>untyped</val>"),
        prop(
            "config.hardware.device",
            f'<val xsi:type="ArrayOfVirtualDevice">{DISK % ("VirtualDisk", "New", "8")}</val>',
        ),
        prop("runtime.host", '<val type="FutureHost" xsi:type="ManagedObjectReference">host-1</val>'),
        prop("config.guestId", '<val xsi:type="xsd:string">debian</val>'),
    )
    unread = {path for path, why in row.refused.items() if isinstance(why, UnreadableValue)}
    assert unread == {"config.hardware.numCPU", "config.template", "config.bootOptions"}
    assert row.values.keys() == {
        "runtime.powerState",
        "guest.guestId",
        "config.hardware.device",
        "runtime.host",
        "config.guestId",
    }
    assert str(row.values["runtime.powerState"]) == "hibernating" and row.values["guest.guestId"] == "untyped"
    assert disks(row.values["config.hardware.device"])[0].capacity == 8


FAULT = (
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><soapenv:Fault>'
    "<faultcode>ServerFaultCode</faultcode><faultstring>why</faultstring>%s</soapenv:Fault></soapenv:Body>"
    "</soapenv:Envelope>"
)


@pytest.mark.parametrize(
    ("detail", "kind"),
    [
        ("", vmodl.RuntimeFault),
        ("<detail/>", vmodl.RuntimeFault),
        (
            "<detail><FutureFault xmlns='urn:vim25'><when>now</when></FutureFault></detail>",
            vmodl.RuntimeFault,
        ),
        (
            "<detail><NewFault xmlns='urn:vim25' xsi:type='FileLocked'><file>f</file></NewFault></detail>",
            vim.fault.FileLocked,
        ),
        ("<detail><FileLockedFault xmlns='urn:vim25' xsi:type='FileLocked'/></detail>", vim.fault.FileLocked),
    ],
)
def test_a_fault_is_raised_whatever_is_in_it(detail: str, kind: Any) -> None:
    with pytest.raises(kind) as raised:
        value_of(io.BytesIO((FAULT % detail).encode()).read, RESULT, None)
    assert type(raised.value) is kind and text(raised.value.msg) == "why"


def test_an_answer_without_the_object_does_not_say_that_it_is_gone(place: World) -> None:
    """Of an object that is gone vCenter says so; what is left out may be hidden from this user."""
    answer = {"status": 200, "body": objects().decode(), "contentType": "text/xml"}
    with Session(place.settings()) as session:
        machine = session.managed(vim.VirtualMachine, place.vm)
        for ask in (properties.read, properties.glance):
            place.estate.faults.replace([Rule("RetrievePropertiesEx", "answer", answer=answer)])
            with pytest.raises(VCenterFault, match="does not show it now") as told:
                ask(session, machine, ("name",), "web-01")
            assert told.value.retryable
            with pytest.raises(NotFound):
                ask(session, session.managed(vim.VirtualMachine, "vm-99999"), ("name",), "web-01")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "HTTP 500"),
        ("<html><body>no</body></html>", "HTTP 500"),
        ('{"error": "no"}', "HTTP 500"),
        ("<!DOCTYPE html><html>", "HTTP 500"),
        (objects(PLAIN).decode(), "HTTP 500"),
        (FAULT % "", "vCenter answered with a fault (RuntimeFault: why)"),
        (FAULT % "<detail/>", "vCenter answered with a fault (RuntimeFault: why)"),
        (FAULT % "<detail><a><b/></a></detail>", "vCenter answered with a fault (RuntimeFault: why)"),
    ],
)
def test_a_refusal_without_a_fault_is_told_in_one_line(place: World, body: str, said: str) -> None:
    """Of a call that pyVmomi's values come from, and of the hot one."""
    with Session(place.settings()) as session:
        for call, work in (
            ("CreateContainerView", lambda: inventory.whole(session)),
            ("RetrievePropertiesEx", lambda: inventory.refresh(session, place.vm)),
        ):
            answer = {"status": 500, "body": body, "contentType": "text/xml"}
            place.estate.faults.add(Rule(call, "answer", times=None, answer=answer))
            with pytest.raises(ConnectorError) as told:
                work()
            place.estate.faults.replace([])
            assert said in str(told.value) and "\n" not in str(told.value)
        assert inventory.whole(session).machines


@pytest.mark.parametrize("said", ["", "hibernating"])
def test_a_machine_whose_power_state_is_not_known_is_not_off(said: str) -> None:
    with pytest.raises(VCenterFault, match="does not say"):
        _state(PropertyRow("VirtualMachine", "vm-1", {"runtime.powerState": said} if said else {}))


def test_an_answer_that_is_no_answer_is_told() -> None:
    with pytest.raises(VCenterFault, match="cannot be understood"):
        value_of(io.BytesIO(b"<html><body/></html>").read, RESULT, None)


def test_no_more_is_told_of_a_machine_than_somebody_reads() -> None:
    many = "".join(f"<string>no&#0;{n}</string>" for n in range(100))
    odd, _ = seen(prop("disabledMethod", f'<val xsi:type="ArrayOfString">{many}</val>'))
    assert 1 <= len(odd.doubts) <= MOST


def test_an_answer_ends_at_last() -> None:
    class Endless(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            return b"x" * size

    body = Body(Endless(), most=1 << 20)
    with pytest.raises(Exception, match="never ends"):
        while body.read(1 << 16):
            pass
    packed = Body(io.BytesIO(gzip.compress(b"x" * (4 << 20))), packed=True, most=1 << 20)
    with pytest.raises(Exception, match="never ends"):
        while packed.read(1 << 16):
            pass


def test_an_answer_that_comes_in_drops_has_an_end() -> None:
    """Each drop comes in time; the whole does not: headers and body alike."""
    for beginning in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n"):
        ours, theirs = socket.socketpair()
        ended = threading.Event()

        def drip(
            theirs: socket.socket = theirs, ended: threading.Event = ended, first: bytes = beginning
        ) -> None:
            with suppress(OSError):
                theirs.sendall(first)
                while not ended.wait(0.01):
                    theirs.sendall(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        connection = PinnedConnection("vcenter", 443, trust=VCenterTrust("00" * 20), whole=0.3)
        with ours, theirs, pytest.raises(TimeoutError):
            answer = connection._response(ours)
            try:
                answer.begin()
                answer.read()
            finally:
                ended.set()
                answer.close()
        dripping.join()


def test_pages_without_end_have_an_end(place: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token after token without an object, and object after object."""
    monkeypatch.setattr(properties, "MOST_PAGES", 30)
    again = "<token>t</token>%s</returnval></RetrievePropertiesExResponse>"
    for some in ("", f"<objects>{PLAIN}</objects>"):
        head, _, tail = objects(PLAIN).decode().partition("<objects>")
        body = head + again % some + tail.partition("</RetrievePropertiesExResponse>")[2]
        with Session(place.settings()) as session:
            answer = {"status": 200, "body": body, "contentType": "text/xml"}
            place.estate.faults.replace(
                [
                    Rule("RetrievePropertiesEx", "answer", times=None, answer=answer),
                    Rule("ContinueRetrievePropertiesEx", "answer", times=None, answer=answer),
                ]
            )
            try:
                with pytest.raises(VCenterFault, match="no end after"):
                    properties.stream(session, {vim.VirtualMachine: ("name",)}, lambda row: row)
                with pytest.raises(VCenterFault, match="no end after"):
                    properties.sweep(session, {vim.VirtualMachine: ("name",)})
            finally:
                place.estate.faults.replace([])


def test_windows_that_cover_next_to_nothing_have_an_end() -> None:
    with pytest.raises(ChangesUnknown, match="answers cover"):
        covered(1 << 40, lambda start: ChangedAreas(start, 1, ()))
