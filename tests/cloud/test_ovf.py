"""The OVF beside an image is read by two programs that we did not write: govc reads it, and a vCenter makes a machine of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.cloud import ovf
from connector.cloud.machine_files import ImageDisk, MachineDescription, NetworkCard
from connector.specification.image_formats import BY_NAME, FORMATS
from tests.vcenter.witness import PASSWORD, USER, vcsim
from tests.waiting import PATIENCE

HOME = Path.home() / "go" / "bin" / "govc"
GOVC = shutil.which("govc") or (str(HOME) if HOME.exists() else None)
NEEDS_GOVC = pytest.mark.skipif(
    GOVC is None, reason="needs govc (go install github.com/vmware/govmomi/govc@v0.46.3)"
)
NEEDS_QEMU = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="needs qemu-img (Debian package qemu-utils)"
)
VMDK = BY_NAME["vmdk"]
NS = {
    "ovf": "http://schemas.dmtf.org/ovf/envelope/1",
    "rasd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData",
    "vmw": "http://www.vmware.com/schema/ovf",
}
MIB = 1 << 20
MACHINE = MachineDescription(
    "web-01",
    (ImageDisk("2000.vmdk", "vmdk", 3 * MIB + 512), ImageDisk("2016.vmdk", "vmdk", MIB)),
    firmware="efi",
    secure_boot=True,
    guest_id="debian12_64Guest",
    cpus=4,
    memory=8 << 30,
    cards=(
        NetworkCard("00:50:56:01:02:03", "VM Network"),
        NetworkCard("00:50:56:01:02:04", "<b> & \"'"),
        NetworkCard("00:50:56:01:02:05"),
    ),
)


def envelope(machine: MachineDescription) -> xml.Element:
    sizes = {disk.file: 1000 + place for place, disk in enumerate(machine.disks)}
    return xml.fromstring(ovf.document(machine, VMDK.ovf, sizes))


def attribute(element: xml.Element, name: str, space: str = "ovf") -> str | None:
    return element.get(f"{{{NS[space]}}}{name}")


def items(root: xml.Element, kind: int) -> list[dict[str, str]]:
    """The items of a resource type: the texts of their elements."""
    rows = [
        {element.tag.partition("}")[2]: element.text or "" for element in item}
        for item in root.iterfind(".//ovf:Item", NS)
    ]
    return [row for row in rows if row["ResourceType"] == str(kind)]


def configuration(root: xml.Element) -> dict[str | None, str | None]:
    return {
        attribute(row, "key", "vmw"): attribute(row, "value", "vmw")
        for row in root.iterfind(".//vmw:Config", NS)
    }


def test_it_names_the_files_the_hardware_and_the_guest() -> None:
    root = envelope(MACHINE)
    files = root.findall("ovf:References/ovf:File", NS)
    assert [(attribute(f, "href"), attribute(f, "size")) for f in files] == [
        ("2000.vmdk", "1000"),
        ("2016.vmdk", "1001"),
    ]
    disks = root.findall("ovf:DiskSection/ovf:Disk", NS)
    assert [attribute(d, "fileRef") for d in disks] == [attribute(f, "id") for f in files]
    assert [attribute(d, "capacity") for d in disks] == [str(3 * MIB + 512), str(MIB)]
    assert {attribute(d, "format") for d in disks} == {
        "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
    }
    assert [row["VirtualQuantity"] for row in items(root, 3) + items(root, 4)] == ["4", "8192"]
    assert [(row["Address"], row["Connection"]) for row in items(root, 10)] == [
        (card.mac, card.network or "VM Network") for card in MACHINE.cards
    ]
    assert configuration(root) == {"firmware": "efi", "bootOptions.efiSecureBootEnabled": "true"}
    (system,) = root.iterfind(".//ovf:OperatingSystemSection", NS)
    assert (attribute(system, "id"), attribute(system, "osType", "vmw")) == ("96", "debian12_64Guest")


def test_disks_keep_their_order_on_as_many_controllers_as_they_need() -> None:
    disks = tuple(ImageDisk(f"{2000 + n}.vmdk", "vmdk", MIB) for n in range(32))
    root = envelope(replace(MACHINE, disks=disks))
    controllers = [row["InstanceID"] for row in items(root, 6)]
    rows = items(root, 17)
    places = [(controllers.index(row["Parent"]), int(row["AddressOnParent"])) for row in rows]
    assert places == sorted(places) and len(set(places)) == 32
    assert not any(unit == 7 for _, unit in places) and len(controllers) == 3
    assert [row["HostResource"] for row in rows] == [
        f"ovf:/disk/{attribute(d, 'diskId')}" for d in root.iterfind(".//ovf:Disk", NS)
    ]


@pytest.mark.parametrize(
    ("guest", "architecture", "number"),
    [
        ("ubuntu64Guest", "x86_64", "94"),
        ("rhel7Guest", "i386", "79"),
        ("sles15_64Guest", "x86_64", "101"),
        ("windows2019srv_64Guest", "x86_64", "102"),
        ("", "x86_64", "102"),
    ],
)
def test_the_guest_has_a_number_of_cim(guest: str, architecture: str, number: str) -> None:
    root = envelope(replace(MACHINE, guest_id=guest, architecture=architecture))
    (system,) = root.iterfind(".//ovf:OperatingSystemSection", NS)
    assert (attribute(system, "id"), attribute(system, "osType", "vmw")) == (number, guest or None)


@given(name=st.text(max_size=40), network=st.text(max_size=40), guest=st.text(max_size=40))
def test_no_name_of_the_source_breaks_it(name: str, network: str, guest: str) -> None:
    card = NetworkCard("00:50:56:01:02:03", network)
    root = envelope(replace(MACHINE, name=name, guest_id=guest, cards=(card, card)))
    shown = "".join(c for c in name if c.isprintable())
    assert (root.findtext("ovf:VirtualSystem/ovf:Name", namespaces=NS) or "") == shown
    networks = [attribute(row, "name") for row in root.iterfind(".//ovf:Network", NS)]
    assert networks == [items(root, 10)[0]["Connection"]]


def test_only_formats_that_importers_know_have_one() -> None:
    sizes = {disk.file: 1 for disk in MACHINE.disks}
    assert [form.name for form in FORMATS if ovf.files(MACHINE, form, sizes)] == ["vmdk", "vhd"]


def govc(*words: str, home: Path, **access: str) -> str:
    assert GOVC is not None
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "GOVC_PERSIST_SESSION": "false"} | access
    done = subprocess.run(
        [GOVC, *words], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def written(machine: MachineDescription, directory: Path) -> Path:
    """The descriptor beside real disks."""
    for disk in machine.disks:
        raw = directory / "disk.raw"
        with raw.open("wb") as file:
            file.truncate(disk.capacity)
        words = ["qemu-img", "convert", "-f", "raw", "-O", VMDK.driver, *VMDK.options]
        subprocess.run([*words, str(raw), str(directory / disk.file)], check=True)
    sizes = {disk.file: (directory / disk.file).stat().st_size for disk in machine.disks}
    for name, content in ovf.files(machine, VMDK, sizes).items():
        (directory / name).write_bytes(content)
    return directory / ovf.NAME


@NEEDS_GOVC
def test_govc_reads_it(tmp_path: Path) -> None:
    path = tmp_path / ovf.NAME
    path.write_bytes(ovf.document(MACHINE, VMDK.ovf, {disk.file: 1 for disk in MACHINE.disks}))
    spec = json.loads(govc("import.spec", str(path), home=tmp_path, GOVC_URL="https://127.0.0.1:1"))
    assert spec["Name"] in (None, "", "web-01")
    assert [row["Name"] for row in spec["NetworkMapping"]] == ["VM Network", "<b> & \"'"]


@NEEDS_GOVC
@NEEDS_QEMU
def test_a_vcenter_makes_the_machine_of_it(tmp_path: Path) -> None:
    descriptor = written(replace(MACHINE, cards=MACHINE.cards[:1]), tmp_path)
    with vcsim(tmp_path) as center:
        access = {
            "GOVC_URL": center.url,
            "GOVC_USERNAME": USER,
            "GOVC_PASSWORD": PASSWORD,
            "GOVC_TLS_CA_CERTS": str(center.identity.certificate),
        }
        place = ("-ds", "LocalDS_0", "-pool", "/DC0/host/DC0_C0/Resources")
        govc("import.ovf", *place, "-name", "moved", str(descriptor), home=tmp_path, **access)
        (moved,) = json.loads(govc("vm.info", "-json", "moved", home=tmp_path, **access))["virtualMachines"]
        devices = moved["config"]["hardware"]["device"]
    assert (moved["config"]["hardware"]["numCPU"], moved["config"]["hardware"]["memoryMB"]) == (4, 8192)
    capacities = [device["capacityInBytes"] for device in devices if "capacityInBytes" in device]
    assert capacities == [disk.capacity // 1024 * 1024 for disk in MACHINE.disks]  # vcsim counts in KiB
