"""The fast reader sees what pyVmomi's parser sees, and refuses in one line what no vCenter would send."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import VCenterFault
from connector.vcenter import answer, inventory, properties
from connector.vcenter.answer import PropertyRow, read_page
from connector.vcenter.bodies import Body
from connector.vcenter.devices import CONTROLLERS, NICS, disks
from connector.vcenter.machines import MACHINE, Context, machine
from connector.vcenter.reading import value_of
from connector.vcenter.session import Session
from connector.vcenter.values import DataObject, Reference, Unread, each
from connector.vcenter.vmomi import SoapResponseDeserializer, support, vim, vmodl
from tests.vcenter.imaginary import World, world
from tests.vcenter.witness import Witness, vcsim

XSI = "http://www.w3.org/2001/XMLSchema-instance"
ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<soapenv:Envelope'
    ' xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema"'
    f' xmlns:xsi="{XSI}"><soapenv:Body><RetrievePropertiesExResponse xmlns="urn:vim25"><returnval>'
    "%s</returnval></RetrievePropertiesExResponse></soapenv:Body></soapenv:Envelope>"
)
RESULT = vmodl.query.PropertyCollector._methodInfo["RetrievePropertiesEx"].result


def rows(document: bytes, *, packed: bool = False, piece: int = 1 << 16) -> tuple[list[PropertyRow], str]:
    found: list[PropertyRow] = []
    tokens: list[str] = []
    read_page(_Pieces(document, piece), found.append, tokens.append, packed=packed)
    return found, "".join(tokens)


class _Pieces(io.BytesIO):
    """A stream that answers in pieces of its own size, as sockets do."""

    def __init__(self, document: bytes, piece: int) -> None:
        super().__init__(document)
        self._piece = piece

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(self._piece, size if size and size > 0 else self._piece))


def objects(*bodies: str, token: str = "") -> bytes:
    told = "".join(f"<objects>{body}</objects>" for body in bodies)
    return (ENVELOPE % (f"<token>{token}</token>{told}" if token else told)).encode()


def by_pyvmomi(document: bytes) -> Any:
    return SoapResponseDeserializer(None).Deserialize(document, RESULT)


def plain(value: Any) -> Any:
    """What both parsers must agree on: pyVmomi's values without their types, ours without their order of arrival."""
    if isinstance(value, DataObject):
        return {name: plain(part) for name, part in value.parts.items()}
    if isinstance(value, Reference):
        return value.value
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value


def typed(value: Any) -> Any:
    """pyVmomi's value in the same shape: unset parts left out, scalars as text."""
    if isinstance(value, support.ManagedObject):
        return value._moId
    if isinstance(value, support.DataObject):
        parts = {info.name: getattr(value, info.name) for info in value._GetPropertyList()}
        return {
            name: typed(part)
            for name, part in parts.items()
            if part is not None and not (isinstance(part, list) and not part)
        }
    if isinstance(value, list):
        return [typed(one) for one in value]
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def same(ours: Any, theirs: Any) -> bool:
    """One element may stand for an array of one; a time may be spelled differently; an empty text is unset to us."""
    if ours is None:
        return bool(theirs == "")
    if isinstance(theirs, list):
        return len(each(ours)) == len(theirs) and all(map(same, each(ours), theirs))
    if isinstance(theirs, dict):
        ours = ours if isinstance(ours, dict) else {}
        told = {name for name, part in ours.items() if part not in ("", [], {})}
        return told <= theirs.keys() and all(same(ours.get(name, ""), part) for name, part in theirs.items())
    if ours != theirs and isinstance(theirs, str) and "T" in theirs:
        return datetime.fromisoformat(ours) == datetime.fromisoformat(theirs)
    return bool(ours == theirs)


@pytest.fixture(scope="module")
def imaginary() -> Iterator[World]:
    with world(machines=3) as place:
        place.estate.snapshots.create("vm-101", "one & <only>", "about \u00fc")
        yield place


@pytest.mark.parametrize("source", ["vcsim", "vcsim 6.5", "simulator"])
def test_both_parsers_read_the_same_machines(
    source: str, witness: Witness, imaginary: World, tmp_path: Any
) -> None:
    """Every property that the checks need, as sent by a vCenter that others wrote, an old one, and ours."""
    if source == "vcsim 6.5":
        with vcsim(tmp_path) as old:
            _compare(Session(old.settings()))
    else:
        _compare(Session((witness if source == "vcsim" else imaginary).settings()))


def _compare(unopened: Session) -> None:
    with unopened as session:
        wanted = properties._supported(session, {vim.VirtualMachine: MACHINE})
        theirs = {row.moref: row for row in properties.sweep(session, wanted)}
        ours = {row.moref: row for row in properties.stream(session, wanted, lambda row: row, page=2)}
    assert ours.keys() == theirs.keys() and len(ours) >= 2
    for moref, row in ours.items():
        assert row.values.keys() == theirs[moref].values.keys()
        for path, value in row.values.items():
            assert same(plain(value), typed(theirs[moref].values[path])), (moref, path)
        assert machine(row, Context()) == machine(theirs[moref], Context())


def test_a_sweep_does_not_depend_on_its_pages(session: Session) -> None:
    paths = {vim.VirtualMachine: inventory.IDENTITY}
    whole = properties.stream(session, paths, lambda row: row)
    for page in (1, 2, len(whole), 100):
        again = properties.stream(session, paths, lambda row: row, page=page)
        assert [row.moref for row in again] == [row.moref for row in whole]


# ---- documents made by hypothesis -----------------------------------------------------------------------------

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40).map(str.strip)
DISK = st.fixed_dictionaries(
    {
        "key": st.integers(-(1 << 31), (1 << 31) - 1),
        "label": WORDS,
        "file": WORDS,
        "mode": st.sampled_from(["persistent", "independent_persistent"]),
        "unit": st.integers(0, 63),
        "capacity": st.integers(0, 1 << 62),
        "thin": st.booleans(),
    }
)


def disk_xml(prefix: str, disk: Mapping[str, Any]) -> str:
    return (
        f'<VirtualDevice {prefix}:type="VirtualDisk"><key>{disk["key"]}</key><deviceInfo><label>'
        f"{escape(disk['label'])}</label><summary>x</summary></deviceInfo>"
        f'<backing {prefix}:type="VirtualDiskFlatVer2BackingInfo"><fileName>{escape(disk["file"])}</fileName>'
        f"<diskMode>{disk['mode']}</diskMode><thinProvisioned>{str(disk['thin']).lower()}</thinProvisioned>"
        f"</backing><controllerKey>1000</controllerKey><unitNumber>{disk['unit']}</unitNumber>"
        f"<capacityInKB>1</capacityInKB><capacityInBytes>{disk['capacity']}</capacityInBytes></VirtualDevice>"
    )


@given(
    name=WORDS,
    listed=st.lists(DISK, max_size=4),
    prefix=st.sampled_from(["xsi", "i", "XMLSchema-instance"]),
    piece=st.integers(1, 4000),
    packing=st.sampled_from(["", "gzip", "zlib"]),
)
def test_documents_of_any_shape_are_read_alike(
    name: str, listed: list[Mapping[str, Any]], prefix: str, piece: int, packing: str
) -> None:
    """Names in any script, any number of devices, any prefix, cut anywhere, compressed or not."""
    devices = "".join(disk_xml(prefix, disk) for disk in listed)
    document = objects(
        f'<obj type="VirtualMachine">vm-1</obj><propSet xmlns:{prefix}="{XSI}"><name>name</name>'
        f'<val {prefix}:type="xsd:string">{escape(name)}</val></propSet>'
        f'<propSet xmlns:{prefix}="{XSI}"><name>config.hardware.device</name>'
        f'<val {prefix}:type="ArrayOfVirtualDevice">{devices}</val></propSet>',
        token=str(piece),
    )
    pack: Callable[[bytes], bytes] = {"": bytes, "gzip": gzip.compress, "zlib": zlib.compress}[packing]
    ((row,), token) = rows(pack(document), packed=bool(packing), piece=piece)
    expected = by_pyvmomi(document)
    assert token == expected.token == str(piece)
    theirs = {one.name: one.val for one in expected.objects[0].propSet}
    assert row.values["name"] == theirs["name"]
    assert disks(row.values["config.hardware.device"]) == disks(theirs["config.hardware.device"])


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def in_members(data: bytes) -> bytes:
    """Several gzip members, an empty one and padding among them, as some proxies send."""
    cut = len(data) // 3
    parts = (data[:cut], b"", data[cut : 2 * cut], data[2 * cut :])
    return (
        b"".join(gzip.compress(part) for part in parts[:3]) + bytes(700) + gzip.compress(parts[3]) + bytes(9)
    )


@pytest.mark.parametrize(
    "pack", [raw_deflate, in_members, zlib.compress, gzip.compress], ids=lambda p: p.__name__
)
@pytest.mark.parametrize("piece", [1, 2, 3, 17, 1 << 16])
def test_every_way_to_pack_an_answer(pack: Callable[[bytes], bytes], piece: int) -> None:
    named = "x" * 70_000
    document = objects(
        f'<obj type="VirtualMachine">vm-1</obj><propSet><name>name</name><val>{named}</val></propSet>'
    )
    packed = pack(document)
    ((row,), _) = rows(packed, packed=True, piece=piece)
    assert row.values["name"] == named
    for cut in (1, 2, len(packed) // 2):
        with pytest.raises(ConnectionResetError, match="ended early"):
            rows(packed[:cut], packed=True, piece=piece)
    with pytest.raises(ConnectionResetError, match="ended early"):
        rows(b"", packed=True)


def test_packed_answers_that_never_end_are_refused() -> None:
    """Without end of data, and without end of members that hold nothing."""
    for endless in (gzip.compress(b""), b"\0\0\0\xff\xff"):
        body = Body(io.BytesIO(endless * (1 + (2 << 20) // len(endless))), packed=True, most=1 << 20)
        with pytest.raises((VCenterFault, ConnectionResetError)):
            while body.read():
                pass


def test_what_may_not_be_read_without_a_reason_is_not_taken_for_unset() -> None:
    """A proxy, or a vCenter under load, leaves the fault of a missing property out."""
    missing = "<missingSet><path>snapshot</path>{}</missingSet>"
    for fault in ("", "<fault/>", "<fault><localizedMessage>no</localizedMessage></fault>"):
        document = objects(f'<obj type="VirtualMachine">vm-1</obj>{missing.format(fault)}')
        ((row,), _) = rows(document)
        assert row.refused == {"snapshot": None} and not row.values
        (slow,) = properties._pages(_Answering(document), None, 1)
        assert "snapshot" in slow.refused and not slow.values
        told = str(properties._refusal("snapshot", slow.refused["snapshot"], "vm-1"))
        assert "no reason is given" in told or "(MethodFault: no)" in told


class _Answering:
    """A property collector with one answer."""

    def __init__(self, document: bytes) -> None:
        self._document = document

    def RetrievePropertiesEx(self, _filters: Any, _options: Any) -> Any:
        return value_of(io.BytesIO(self._document).read, RESULT, None)


@given(st.binary(max_size=400))
def test_noise_is_refused_and_nothing_else_happens(noise: bytes) -> None:
    with pytest.raises((VCenterFault, ConnectionResetError), match=r"no answer of a vCenter|ended early"):
        rows(noise)


@given(st.data())
def test_an_answer_cut_off_anywhere_is_a_broken_connection(data: st.DataObject) -> None:
    """Such a read is repeated once, as after any broken connection."""
    document = objects('<obj type="VirtualMachine">vm-1</obj>')
    cut = data.draw(st.integers(0, len(document) - 1))
    with pytest.raises(ConnectionResetError, match="ended early"):
        rows(document[:cut])
    packed = gzip.compress(document)
    with pytest.raises(ConnectionResetError, match="ended early"):
        rows(packed[: data.draw(st.integers(0, len(packed) - 1))], packed=True)


# ---- hostile documents ----------------------------------------------------------------------------------------

BOMB = (
    '<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    '<soapenv:Envelope xmlns:soapenv="x"><soapenv:Body>&b;</soapenv:Body></soapenv:Envelope>'
)
NAME = '<obj type="VirtualMachine">vm-7</obj><propSet><name>name</name><val>%s</val></propSet>'
HOSTILE = {
    "entity bomb": (BOMB, "declares a document type"),
    "web page": ("<!DOCTYPE html><html><body>Sign in</body></html>", "declares a document type"),
    "web page without a type": ("<html><head/><body/></html>", "begins with <html>"),
    "JSON": ('{"error": "no"}', "not XML"),
    "another answer": (
        "<e:Envelope xmlns:e='x'><e:Body><LoginResponse/></e:Body></e:Envelope>",
        "<LoginResponse> instead",
    ),
    "5 MB attribute": (
        objects(f"<obj type={quoteattr('x' * 5_000_000)}>vm-1</obj>"),
        "endless attribute|tag",
    ),
    "endless attribute": (objects(f'<obj type="{"x" * 9_000_000}'), "a tag is longer"),
    "5 MB element name": (objects(f"<{'x' * 5_000_000}/>"), "endless names|a tag is longer"),
    "endless names": (objects(NAME % "".join(f"<a{n}/>" for n in range(21_000))), "endless names"),
    "no object": (objects("<propSet><name>x</name></propSet>"), "not described as the API says"),
    "text for an object": (objects("hello"), "not described as the API says"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_answers_are_refused_in_one_line(what: str) -> None:
    document, said = HOSTILE[what]
    with pytest.raises(VCenterFault, match=said) as refused:
        rows(document if isinstance(document, bytes) else document.encode())
    assert len(str(refused.value)) < 400 and "\n" not in str(refused.value)


def test_a_compressed_bomb_costs_no_memory() -> None:
    """100 MB of one name in 100 kB: the machine is listed without it."""
    packed = gzip.compress(objects(NAME % ("x" * 100_000_000)), 1)
    tracemalloc.start()
    ((row,), _) = rows(packed, packed=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(row.values["name"], Unread) and peak < 8 << 20


def test_what_may_not_be_read_is_told_with_its_fault() -> None:
    missing = (
        '<missingSet><path>config</path><fault><fault xsi:type="NoPermission"><privilegeId>System.Read'
        "</privilegeId></fault><localizedMessage>no</localizedMessage></fault></missingSet>"
    )
    ((row,), token) = rows(objects(f'<obj type="VirtualMachine">vm-1</obj>{missing}'))
    assert row.refused["config"].kind == "NoPermission"
    assert (row.kind, row.moref, row.values, token) == ("VirtualMachine", "vm-1", {}, "")


# ---- tables against the API's own --------------------------------------------------------------------------------


def _below(base: Any) -> set[str]:
    kinds = (support.GetVmodlType(name) for name in _device_types())
    return {kind._wsdlName for kind in kinds if isinstance(kind, type) and issubclass(kind, base)}


def _device_types() -> Iterator[str]:
    return (name for name in support.ListDataTypes() if name.startswith("vim.vm.device."))


def test_the_tables_of_devices_are_those_of_the_api() -> None:
    device = vim.vm.device
    for base, word in (
        (device.VirtualIDEController, "ide"),
        (device.VirtualSCSIController, "scsi"),
        (device.VirtualSATAController, "sata"),
        (device.VirtualNVMEController, "nvme"),
    ):
        assert {name for name, (held, _) in CONTROLLERS.items() if held == word} == _below(base)
    assert _below(device.VirtualEthernetCard) == NICS


def test_only_properties_that_the_api_version_has_are_asked_for() -> None:
    known = properties.known
    assert known(vim.VirtualMachine, "config.sevEnabled", "vim.version.v8_0_3_0")
    assert not known(vim.VirtualMachine, "config.sevEnabled", "vim.version.version11")
    assert not known(vim.VirtualMachine, "config.nothing", "vim.version.v8_0_3_0")
    assert all(known(vim.VirtualMachine, path, "vim.version.v8_0_3_0") for path in MACHINE)
    assert answer.CHUNK < answer.LONGEST_TAG
