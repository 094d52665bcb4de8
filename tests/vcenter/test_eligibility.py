"""Each rule fires for one machine and is silent for another."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from connector.cloud import factory
from connector.model import (
    Datastore,
    Device,
    Finding,
    Firmware,
    Guest,
    GuestNic,
    GuestVolume,
    Host,
    Inventory,
    Machine,
    MachineDisk,
    Network,
    Nic,
    PowerState,
    Severity,
    SnapshotNode,
    Traits,
    UnclearData,
)
from connector.vcenter.eligibility import (
    DISK_RULES,
    NIC_RULES,
    RULES,
    CheckContext,
    check,
    disk_set_changes,
    hardware_level,
    survey,
    trackable,
)
from tools.docs.checks import ELSEWHERE, document

PAGE = Path(__file__).parents[2] / "docs" / "checks.md"

DISK = MachineDisk(
    key=2000,
    label="Hard disk 1",
    capacity=8 << 30,
    path="[ds1] web/web.vmdk",
    datastore="ds1",
    backing="FlatVer2",
    mode="persistent",
    uuid="6000C29a",
    controller="scsi0",
)
NIC = Nic(4000, "Network adapter 1", "VirtualVmxnet3", "Network", "VM Network", "00:50:56:00:00:01")
ADDRESS = GuestNic("00:50:56:00:00:01", ("192.0.2.7",), ("manual",), (24,), True)
SOUND = Machine(
    moref="vm-1",
    name="web",
    instance_uuid="i",
    bios_uuid="b",
    power=PowerState.ON,
    firmware=Firmware.BIOS,
    guest_id="debian12_64Guest",
    guest_name="Debian",
    cpus=2,
    memory=4 << 30,
    hardware="vmx-19",
    host="host-1",
    path="/DC/vm/web",
    disks=(DISK,),
    cbt_enabled=True,
    tools_running=True,
    traits=Traits(
        tracking_keys=(("scsi0:0", True),),
        nics=(NIC,),
        guest=Guest(host_name="web", nics=(ADDRESS,), gateway=True),
    ),
)


def _chain(depth: int, name: str = "before update", description: str = "") -> tuple[SnapshotNode, ...]:
    return tuple(SnapshotNode(f"snapshot-{n}", name, description, 0.0, n) for n in range(depth))


def _disk(**changes: object) -> Machine:
    return replace(SOUND, disks=(replace(DISK, **changes),))  # type: ignore[arg-type]


B, W, N, INFO = Severity.BLOCK, Severity.WARM_BLOCK, Severity.WARN, Severity.INFO
Case = (
    tuple[Machine, Machine]
    | tuple[Machine, Machine, CheckContext]
    | tuple[Machine, Machine, CheckContext, CheckContext]
)
HOST = Host("host-1", "esx-1")
STORE = Datastore("datastore-1", "ds1", "VMFS", 1 << 40, 1 << 39)


def traits(**changes: object) -> Machine:
    return replace(SOUND, traits=replace(SOUND.traits, **changes))  # type: ignore[arg-type]


def _guest(**changes: object) -> Machine:
    return traits(guest=replace(SOUND.traits.guest, **changes))  # type: ignore[arg-type]


def _device(kind: str, backing: str = "", connected: bool = True) -> Machine:
    return traits(devices=(Device(1, kind, kind, backing, connected),))


def _nic(**changes: object) -> Machine:
    return traits(nics=(replace(NIC, **changes),))  # type: ignore[arg-type]


def _volume(path: str, free: int, filesystem: str = "ext4") -> Machine:
    return _guest(volumes=(GuestVolume(path, 8 << 30, free, filesystem),))


def _on(host: Host) -> CheckContext:
    return CheckContext(hosts={host.moref: host})


def _in(*stores: Datastore) -> CheckContext:
    return CheckContext(datastores={"ds1": stores})


def _address(**changes: object) -> Machine:
    return _guest(nics=(replace(ADDRESS, **changes),))  # type: ignore[arg-type]


#: What the targets really take: a rule about a target must fire at one of them.
ALIBABA, LOCAL = (CheckContext(factory.limits(name)) for name in ("alibaba", "local"))


def _aged(created: float) -> Machine:
    return replace(SOUND, snapshots=(replace(_chain(1)[0], created=created),))


# rule: a machine with the trouble, the closest machine without it; then what is around both, or around each
CASES: dict[str, Case] = {
    "S6 host connected": (SOUND, SOUND, _on(replace(HOST, connection="notResponding")), _on(HOST)),
    "S6 host in service": (SOUND, SOUND, _on(replace(HOST, maintenance=True)), _on(HOST)),
    "S6 host healthy": (SOUND, SOUND, _on(replace(HOST, quarantine=True)), _on(HOST)),
    "V1 configuration shown": (
        replace(SOUND, missing=("configuration",)),
        replace(SOUND, missing=("guest",)),
    ),
    "V1 reachable": (replace(SOUND, connection="inaccessible"), replace(SOUND, connection="connected")),
    "V2 no template": (replace(SOUND, template=True), replace(SOUND, template=False)),
    "V3 not owned by an extension": (traits(managed_by="com.vmware.vcDr"), SOUND),
    "V4 not suspended": (replace(SOUND, power=PowerState.SUSPENDED), replace(SOUND, power=PowerState.OFF)),
    "V5 no question": (traits(question="msg.uuid.altered: moved or copied?"), SOUND),
    "V6 snapshot calls allowed": (
        traits(disabled_methods=("Destroy_Task", "RemoveSnapshot_Task")),
        traits(disabled_methods=("Destroy_Task",)),
    ),
    "V6 snapshots not switched off": (traits(snapshots_disabled=True), SOUND),
    "V6 snapshots supported": (traits(snapshots_supported=False), SOUND),
    "V7 hardware version": (replace(SOUND, hardware="vmx-04"), replace(SOUND, hardware="vmx-07")),
    "V8 CBT supported": (replace(SOUND, cbt_supported=False), SOUND),
    "V8 CBT tells every write": (
        SOUND,
        SOUND,
        _on(replace(HOST, version="6.0.0", build="3073146")),
        _on(replace(HOST, version="6.0.0", build="3247720")),
    ),
    "V8 CBT survives growing disks": (
        SOUND,
        SOUND,
        _on(replace(HOST, version="8.0.2", build="22380479")),
        _on(replace(HOST, version="8.0.2", build="23305546")),
    ),
    "V9 CBT on": (replace(SOUND, cbt_enabled=False), SOUND),
    "V9 CBT on for each disk": (
        traits(tracking_keys=(("scsi0:1", True),)),
        traits(tracking_keys=(("scsi0:0", True), ("scsi0:1", False))),
    ),
    "V10 no snapshots while CBT is off": (
        replace(SOUND, cbt_enabled=False, snapshots=_chain(1)),
        replace(SOUND, snapshots=_chain(1)),
    ),
    "V10 short snapshot chain": (replace(SOUND, snapshots=_chain(3)), replace(SOUND, snapshots=_chain(2))),
    "V10 room in the snapshot chain": (
        replace(SOUND, snapshots=_chain(28)),
        replace(SOUND, snapshots=_chain(27)),
    ),
    "V10 no old snapshot": (_aged(1e9), _aged(1e9 + 2 * 86400), CheckContext(now=1e9 + 31 * 86400)),
    "V11 no snapshot of a connector": (
        replace(SOUND, snapshots=_chain(1, "x", "connector:a:p1")),
        replace(SOUND, snapshots=_chain(1)),
    ),
    "V11 no snapshot of a backup": (
        replace(SOUND, snapshots=_chain(1, "VEEAM BACKUP TEMPORARY SNAPSHOT")),
        replace(SOUND, snapshots=_chain(1, "connector-p1")),
    ),
    "V12 consolidated": (replace(SOUND, consolidation_needed=True), SOUND),
    "V13 no snapshot in the background": (traits(snapshot_in_background=True), SOUND),
    "V13 no Tools installation": (traits(tools_installer_mounted=True), SOUND),
    "V14 no Fault Tolerance": (traits(fault_tolerance="running"), SOUND),
    "V15 not replicated": (traits(replicated=True), SOUND),
    "V16 not encrypted": (traits(encrypted=True), SOUND),
    "V17 no virtual TPM": (_device("VirtualTPM"), SOUND),
    "V17 no virtualization-based security": (traits(vbs=True), SOUND),
    "V17 no enclaves": (traits(sev=True), traits(sgx=False)),
    "V18 secure boot fits the target": (traits(secure_boot=True), traits(secure_boot=True), ALIBABA, LOCAL),
    "V19 no device passed through": (
        _device("VirtualPCIPassthrough", "VirtualPCIPassthroughVmiop"),
        _device("VirtualUSB"),
    ),
    "V20 no USB device": (_device("VirtualUSB"), _device("VirtualUSB", connected=False)),
    "V20 no port or floppy": (_device("VirtualFloppy"), _device("VirtualFloppy", connected=False)),
    "V20 no disc inserted": (_device("VirtualCdrom"), _device("VirtualCdrom", connected=False)),
    "V21 no special settings": (traits(latency="high", reserved_memory=1 << 30), traits(latency="normal")),
    "V22 unique BIOS UUID": (
        SOUND,
        replace(SOUND, bios_uuid="other"),
        CheckContext(twins={"b": 2, "other": 1}),
    ),
    "V22 stable identity": (replace(SOUND, instance_uuid=""), SOUND),
    "V23 Tools run": (
        replace(SOUND, tools_running=False),
        replace(SOUND, tools_running=False, power=PowerState.OFF),
    ),
    "V23 Tools usable": (
        _guest(tools_version="guestToolsTooOld"),
        _guest(tools_version="guestToolsUnmanaged"),
    ),
    "V24 quiescing possible": (traits(quiescing_supported=False), SOUND),
    "V25 guest known": (replace(SOUND, guest_id="otherGuest64"), SOUND),
    "V25 guest of 64 bits": (replace(SOUND, guest_id="debian10Guest"), SOUND),
    "V25 guest as configured": (_guest(id="windows2019srv_64Guest"), _guest(id="debian11_64Guest")),
    "V26 room on system volumes": (_volume("C:\\", 99 << 20), _volume("C:\\", 100 << 20)),
    "V26 room on other volumes": (_volume("/data", 9 << 20), _volume("/snap/core", 0, "squashfs")),
    "V27 static addresses complete": (_address(dns=False), _address(dns=False, origins=("dhcp",))),
    "V27 addresses belong to its cards": (_address(mac="00:50:56:00:00:99"), _address()),
    "V28 host name": (_guest(host_name="localhost"), _guest(host_name="web.example.com")),
    "V28 name legal at the target": (replace(SOUND, name="web 50% off"), replace(SOUND, name="web-01.a")),
    "V29 no trouble": (traits(health="red", issues=("host lost its path",)), traits(health="gray")),
    "V30 disks, snapshots and power state understood": (
        traits(
            doubts=(
                UnclearData("config.hardware.device", "capacityInBytes is no whole number but 'x'", True),
            )
        ),
        traits(
            doubts=(
                UnclearData("guest.net", "is no text but a list", True),
                UnclearData("snapshot", "holds characters"),
            )
        ),
    ),
    "V30 answer understood": (
        traits(doubts=(UnclearData("name", "holds characters that cannot be read"),)),
        SOUND,
    ),
    "N4 one IPv4 address per card": (
        _address(addresses=("192.0.2.7", "192.0.2.8"), prefixes=(24, 24), origins=("dhcp", "dhcp")),
        _address(addresses=("192.0.2.7", "fe80::1"), prefixes=(24, 64), origins=("dhcp", "other")),
    ),
    "D16 has a disk": (replace(SOUND, disks=()), SOUND),
    "D16 disks fit the target": (
        replace(SOUND, disks=(DISK,) * 17),
        replace(SOUND, disks=(DISK,) * 16),
        ALIBABA,
    ),
    "D16 known controller": (_disk(controller=""), _disk(controller="nvme0")),
    "D17 boot disk known": (traits(boot_order=("disk:2009",)), traits(boot_order=("disk:2000", "net:4000"))),
    "D18 disks not named by serial": (traits(disk_uuids=True), SOUND),
    "D1 dependent": (_disk(mode="independent_persistent"), _disk(mode="persistent")),
    "D2 no physical device mapping": (
        _disk(backing="RawDiskMappingVer1", compatibility="physicalMode"),
        _disk(backing="RawDiskMappingVer1", compatibility="virtualMode"),
    ),
    "D2 no virtual device mapping": (_disk(backing="RawDiskMappingVer1", compatibility="virtualMode"), SOUND),
    "D3 one writer": (_disk(sharing="sharingMultiWriter"), _disk(sharing="sharingNone")),
    "D4 bus not shared": (_disk(bus_sharing="physicalSharing"), _disk(bus_sharing="noSharing")),
    "D5 trackable format": (_disk(backing="FlatVer1"), _disk(backing="SeSparse")),
    "D6 not in persistent memory": (_disk(backing="LocalPMem"), SOUND),
    "D7 capacity known": (_disk(capacity=0), SOUND),
    "D7 capacity fits the target": (_disk(capacity=(32 << 40) + 512), _disk(capacity=32 << 40), ALIBABA),
    "D7 whole GiB": (_disk(capacity=(8 << 30) + 512), SOUND),
    "D8 sectors of 512 bytes": (_disk(native_4k=True), _disk(native_4k=True), ALIBABA, LOCAL),
    "D9 no hidden parent": (_disk(linked=True), SOUND),
    "D9 short chain of files": (_disk(parents=29), _disk(parents=28)),
    "D10 no first-class disk": (_disk(first_class=True), SOUND),
    "D11 no I/O filter": (_disk(filters=("VMW_spm_1.0",)), SOUND),
    "D12 has a datastore": (_disk(datastore="", path=""), SOUND),
    "D12 datastore accessible": (SOUND, SOUND, _in(replace(STORE, accessible=False)), _in(STORE)),
    "D12 datastore in service": (SOUND, SOUND, _in(replace(STORE, maintenance="inMaintenance")), _in(STORE)),
    "D13 room for the snapshot": (_disk(capacity=100 << 30), SOUND, _in(replace(STORE, free=2 << 30))),
    "D14 few open snapshots on the datastore": (
        SOUND,
        SOUND,
        CheckContext(snapshotted={"ds1": 16}),
        CheckContext(snapshotted={"ds1": 15, "ds2": 99}),
    ),
    "D15 ordinary datastore": (SOUND, SOUND, _in(replace(STORE, kind="VVOL")), _in(STORE)),
    "N1 ordinary network": (_nic(backing="OpaqueNetwork"), SOUND),
    "N1 attached": (_nic(backing=""), SOUND),
    "N3 connected at start": (_nic(start_connected=False), SOUND),
}
ALL = {f"{rule.id} {rule.title}": rule for rule in (*RULES, *DISK_RULES, *NIC_RULES)}


def _fired(rule: str, machine: Machine, around: CheckContext) -> list[Finding]:
    wanted = ALL[rule]
    return [
        one
        for one in check(machine, around.limits, around)
        if (one.check, one.remedy, one.severity) == (wanted.id, wanted.remedy, wanted.severity)
    ]


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_fires_where_it_must_and_nowhere_else(rule: str) -> None:
    bad, good, *around = CASES[rule]
    first, last = (around[0], around[-1]) if around else (CheckContext(), CheckContext())
    found = _fired(rule, bad, first)
    assert len(found) >= 1
    for one in found:
        assert one.message and one.remedy and one.subject.startswith("web")
        assert (one.reads, one.fixable) == (ALL[rule].reads, ALL[rule].fixable)
    assert _fired(rule, good, last) == []


@pytest.mark.parametrize("rule", ALL)
def test_every_rule_has_a_case(rule: str) -> None:
    assert rule in CASES


def test_every_rule_has_a_name_of_its_own() -> None:
    assert len(ALL) == len(RULES) + len(DISK_RULES) + len(NIC_RULES)
    assert CASES.keys() <= ALL.keys()


@pytest.mark.parametrize("mode", ["independent_nonpersistent", "nonpersistent", "undoable", "append"])
def test_no_snapshot_covers_a_disk_of_a_free_mode(mode: str) -> None:
    assert _fired("D1 dependent", _disk(mode=mode), CheckContext())


@pytest.mark.parametrize("kind", ["VirtualSriovEthernetCard", "VirtualNVDIMM", "VirtualSCSIPassthrough"])
def test_every_kind_of_passthrough_blocks(kind: str) -> None:
    assert _fired("V19 no device passed through", _device(kind), CheckContext())


@pytest.mark.parametrize(
    ("version", "build", "capacity", "told"),
    [
        ("6.0.0", "3247719", 8, "V8 CBT tells every write"),
        ("6.0.0", "", 8, ""),
        ("6.5.0", "4564106", 999, ""),
        ("4.1.0", "260247", 129, "V8 CBT survives growing disks"),
        ("5.5.0", "", 129, "V8 CBT survives growing disks"),
        ("5.5.0", "1331820", 128, ""),
        ("8.0.2", "23305545", 8, "V8 CBT survives growing disks"),
        ("8.0.2", "", 8, ""),
        ("8.0.1", "21495797", 8, ""),
        ("8.0.3", "24022510", 999, ""),
        ("8.0.20", "22380479", 8, ""),
        ("", "", 999, ""),
    ],
)
def test_known_faults_of_change_tracking_by_build(version: str, build: str, capacity: int, told: str) -> None:
    around = _on(replace(HOST, version=version, build=build))
    rules = ("V8 CBT tells every write", "V8 CBT survives growing disks")
    assert [rule for rule in rules if _fired(rule, _disk(capacity=capacity << 30), around)] == [told] * bool(
        told
    )


def test_tracking_is_judged_by_the_disks_and_not_by_the_keys() -> None:
    """A missing key is off, a key of no disk means nothing, a disk that cannot be tracked needs none."""
    second = replace(DISK, key=2001, label="Hard disk 2", controller="nvme0", unit=3)
    raw = replace(DISK, key=2002, label="Hard disk 3", unit=5, mode="independent_persistent")
    machine = replace(SOUND, disks=(DISK, second, raw))
    (finding,) = _fired("V9 CBT on for each disk", machine, CheckContext())
    assert finding.message == "CBT is off for Hard disk 2 (nvme0:3)"
    keys = (("scsi0:0", True), ("nvme0:3", True), ("scsi0:9", False))
    tracked = replace(machine, traits=replace(SOUND.traits, tracking_keys=keys))
    assert not _fired("V9 CBT on for each disk", tracked, CheckContext())
    assert not _fired("V9 CBT on for each disk", replace(machine, cbt_enabled=False), CheckContext())


@pytest.mark.parametrize(
    "volume",
    [("/", "erofs"), ("/snap/core/1", "squashfs"), ("/media/cd", "iso9660"), ("D:\\", "UDF"), ("D:\\", "CDFS"),
     ("/mnt", "ISO 9660"),
     ("/snap/core/1", ""), ("/var/lib/snapd/snap/lxd/2", "fuse.snapfuse"), ("/opt/app", "fuse.squashfuse"), ("/x", "cramfs")],
)  # fmt: skip
def test_a_file_system_that_is_made_full_is_not_cramped(volume: tuple[str, str]) -> None:
    path, kind = volume
    assert not [one for one in check(_volume(path, 0, kind)) if one.check == "V26"]
    assert [one for one in check(_volume("/snapshots", 0, "ext4")) if one.check == "V26"]


def test_resolvers_that_only_the_ip_stack_names() -> None:
    alone = replace(ADDRESS, dns=False)
    assert _fired("V27 static addresses complete", _guest(nics=(alone,)), CheckContext())
    assert not _fired("V27 static addresses complete", _guest(nics=(alone,), dns=True), CheckContext())


def test_a_segment_of_nsx_that_is_shown_as_a_port_group() -> None:
    networks = (
        Network("dvportgroup-7", "seg-web", "DistributedVirtualPortgroup", segment=True),
        Network("dvportgroup-8", "vlan-8", "DistributedVirtualPortgroup"),
    )
    cards = tuple(
        replace(NIC, label=one.name, backing="DistributedVirtualPort", network=one.moref) for one in networks
    )
    found = survey(Inventory((traits(nics=cards),), networks=networks))["vm-1"]
    assert [one.message for one in found if one.check == "N1"] == ["it is on an NSX segment (seg-web)"]


def test_every_documented_check_has_a_rule_or_a_reason() -> None:
    """5a to 5d of the list of checks; 5e looks inside disks."""
    documented = {f"S{n}" for n in range(1, 11)} | {f"V{n}" for n in range(1, 31)}
    documented |= (
        {f"D{n}" for n in range(1, 21)} | {f"N{n}" for n in range(1, 5)} | {f"T{n}" for n in range(1, 5)}
    )
    ruled, reasoned = {rule.id for rule in ALL.values()}, {one.id for one in ELSEWHERE}
    assert ruled | reasoned == documented and not ruled & reasoned


@pytest.mark.generated
def test_the_page_is_current() -> None:
    text = document()
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text


def test_a_survey_knows_what_is_around() -> None:
    """Twins, co-owners of a disk, hosts and datastores come from the same inventory."""
    shared = replace(DISK, sharing="sharingMultiWriter")
    twins = [replace(SOUND, moref=f"vm-{n}", name=f"web-{n}", disks=(shared,)) for n in (1, 2)]
    resting = replace(HOST, maintenance=True)
    found = survey(Inventory(tuple(twins), hosts=(resting,), datastores=(replace(STORE, accessible=False),)))
    assert {"S6", "V22", "D3", "D12"} <= {one.check for one in found["vm-1"]}
    assert "web-1, web-2" in next(one.message for one in found["vm-2"] if one.check == "D3")


def test_a_datastore_is_only_blamed_when_it_must_be_the_one() -> None:
    """Two datacenters may each have a datastore of that name."""
    assert not _fired("D12 datastore accessible", SOUND, _in(replace(STORE, accessible=False), STORE))


def test_a_sound_machine_has_no_findings() -> None:
    assert check(SOUND) == ()


def test_the_gravest_comes_first() -> None:
    found = check(replace(SOUND, template=True, cbt_enabled=False, tools_running=False, hardware="vmx-04"))
    assert [one.severity for one in found] == [B, W, N, INFO]


def test_a_warm_block_does_not_stop_a_machine_that_is_off() -> None:
    (found,) = (one for one in check(replace(SOUND, hardware="vmx-04")) if one.severity is W)
    assert found.severity in Severity.blocking(running=True)
    assert found.severity not in Severity.blocking(running=False)
    for running in (True, False):
        assert B in Severity.blocking(running=running) and N not in Severity.blocking(running=running)


def test_limits_belong_to_the_target() -> None:
    many = replace(SOUND, disks=(DISK,) * 17)
    assert [one.check for one in check(many, factory.limits("alibaba"))][:1] == ["D16"]
    assert not check(many, factory.limits("local"))
    assert factory.limits(None) == factory.limits("alibaba")  # it takes less of everything


@pytest.mark.parametrize(("version", "level"), [("vmx-19", 19), ("vmx-07", 7), ("", 0), ("strange", 0)])
def test_hardware_levels(version: str, level: int) -> None:
    assert hardware_level(version) == level


@pytest.mark.parametrize(
    ("disk", "able"),
    [
        (DISK, True),
        (replace(DISK, backing="SeSparse"), True),
        (replace(DISK, backing="RawDiskMappingVer1", compatibility="virtualMode"), True),
        (replace(DISK, backing="RawDiskMappingVer1", compatibility="physicalMode"), False),
        (replace(DISK, mode="independent_persistent"), False),
        (replace(DISK, backing="FlatVer1"), False),
        (replace(DISK, backing="LocalPMem"), False),
    ],
)
def test_x21_which_disks_can_be_tracked(disk: MachineDisk, able: bool) -> None:
    assert trackable(disk) is able


def test_changes_of_the_disk_set_are_told() -> None:
    other = replace(DISK, key=2001, label="Hard disk 2", uuid="6000C29b", path="[ds1] web/web_1.vmdk")
    cases = {
        "added": ((DISK,), (DISK, other)),
        "removed": ((DISK, other), (DISK,)),
        "resized": ((DISK,), (replace(DISK, capacity=9 << 30),)),
        "another disk": ((DISK,), (replace(DISK, uuid="x"),)),
        "moved": ((DISK,), (replace(DISK, path="[ds2] web/web.vmdk"),)),
    }
    for word, (before, now) in cases.items():
        found = disk_set_changes("web", before, now)
        assert [one.check for one in found] == ["D20"], word
        assert word in found[0].message
    assert disk_set_changes("web", (DISK,), (replace(DISK, path="[ds1] web/web-000001.vmdk"),)) == ()
    restarted = disk_set_changes(
        "web", (replace(DISK, change_id="52 a/7"),), (replace(DISK, change_id="52 b/1"),)
    )
    assert [one.check for one in restarted] == ["D19"]
    grown = disk_set_changes(
        "web", (replace(DISK, change_id="52 a/7"),), (replace(DISK, change_id="52 a/9"),)
    )
    assert grown == ()


def test_open_snapshots_are_counted_by_the_datastore_and_not_by_its_name() -> None:
    """Two datacenters may have a datastore of one name; one that only holds a CD image has no snapshot's files."""
    here, elsewhere = (replace(DISK, store=store) for store in ("datastore-1", "datastore-2"))
    crowd = tuple(
        replace(
            SOUND,
            moref=f"vm-{number}",
            disks=(elsewhere,),
            snapshots=_chain(1),
            traits=replace(SOUND.traits, datastores=("ds1",)),
        )
        for number in range(16)
    )
    context = CheckContext.of(Inventory(machines=crowd), LOCAL.limits)
    ids = {finding.check for finding in check(replace(SOUND, disks=(here,)), LOCAL.limits, context)}
    assert "D14" not in ids
    assert "D14" in {
        finding.check for finding in check(replace(SOUND, disks=(elsewhere,)), LOCAL.limits, context)
    }
