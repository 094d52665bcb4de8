"""Checks of a machine's devices, settings and of what VMware Tools report (V19-V29, N4)."""

from __future__ import annotations

import re
from ipaddress import ip_address

from connector.model import Guest, GuestNic, GuestVolume, Machine, PowerState
from connector.vcenter.checks.rule import BLOCK, INFO, MIB, WARN, CheckContext, Rule, when

_PASSTHROUGH = {
    "VirtualPCIPassthrough": "PCI device",
    "VirtualSriovEthernetCard": "SR-IOV card",
    "VirtualNVDIMM": "NVDIMM",
    "VirtualSCSIPassthrough": "SCSI device",
}
_PORTS = {"VirtualSerialPort", "VirtualParallelPort", "VirtualFloppy"}
#: File systems that have no room by nature, with or without what mounts them in user space ("fuse.squashfuse").
_READ_ONLY = {
    *("squashfs", "squashfuse", "snapfuse", "erofs", "erofsfuse", "cramfs", "romfs", "zisofs"),
    *("iso9660", "isofs", "cd9660", "cdfs", "cdrom", "udf", "fuseiso"),
    *("tmpfs", "devtmpfs", "overlay", "overlayfs", "ramfs", "rootfs", "efivarfs"),
}
#: Where snap mounts its images, which VMware Tools may report without their type.
_SNAPS = ("/snap/", "/var/lib/snapd/snap/")
_SYSTEM = {"/": 100 * MIB, "c:": 100 * MIB, "/boot": 50 * MIB}  # what converting a guest needs
_ANY = 10 * MIB
_TOO_OLD = {"guestToolsTooOld", "guestToolsBlacklisted"}
_LEGAL = re.compile(r"[A-Za-z][A-Za-z0-9._:-]{1,127}")
_NOWHERE = {"", "localhost", "localhost.localdomain"}


def _passed(machine: Machine) -> str:
    found = [
        f"{'vGPU' if one.backing.endswith('Vmiop') else _PASSTHROUGH[one.kind]} ({one.label})"
        for one in machine.traits.devices
        if one.kind in _PASSTHROUGH
    ]
    return when(found, f"a device is passed through to it: {', '.join(found)}")


def _plugged(machine: Machine, kinds: set[str]) -> str:
    found = [one.label for one in machine.traits.devices if one.kind in kinds and one.connected]
    return when(found, f"connected: {', '.join(found)}")


def _settings(machine: Machine) -> str:
    traits = machine.traits
    told = (
        (traits.cpu_hot_add, "CPU hot-add"),
        (traits.memory_hot_add, "memory hot-add"),
        (traits.affinity, "CPU or NUMA affinity"),
        (traits.latency not in ("", "normal"), f"latency sensitivity {traits.latency}"),
        (traits.nested, "nested virtualization"),
        (traits.reserved_cpu > 0, f"{traits.reserved_cpu} MHz reserved"),
        (traits.reserved_memory > 0, f"{traits.reserved_memory // MIB} MiB reserved"),
    )
    return ", ".join(word for on, word in told if on)


def _cramped(machine: Machine, system: bool) -> str:
    found = [
        f"{one.path} has {one.free // MIB} MiB free, {_needed(one) // MIB} are needed"
        for one in machine.traits.guest.volumes
        if (_key(one) in _SYSTEM) is system
        and one.capacity > 0
        and not _full_by_nature(one)
        and one.free < _needed(one)
    ]
    return ", ".join(found)


def _full_by_nature(volume: GuestVolume) -> bool:
    """Whether its free space says nothing: it is made full, and nobody can write there."""
    kind = re.sub(r"[^a-z0-9]", "", volume.filesystem.lower().removeprefix("fuse.").removeprefix("fuseblk."))
    return kind in _READ_ONLY or f"{volume.path}/".startswith(_SNAPS)


def _key(volume: GuestVolume) -> str:
    return volume.path.lower().rstrip("\\/") or "/"


def _needed(volume: GuestVolume) -> int:
    return _SYSTEM.get(_key(volume), _ANY)


def _unknown(machine: Machine) -> bool:
    return machine.guest_id in ("", "otherGuest", "otherGuest64")


def _narrow(machine: Machine) -> bool:
    told = machine.traits.guest.id or machine.guest_id
    return bool(told) and "64" not in told and not told.startswith(("other", "vmkernel"))


def _differs(machine: Machine) -> bool:
    said = machine.traits.guest.id
    return bool(said and machine.guest_id and _system(said) != _system(machine.guest_id))


def _system(guest: str) -> str:
    """ "windows" of "windows2019srv_64Guest", "rhel" of "rhel9_64Guest"."""
    return re.sub(r"[^a-z].*", "", guest.removesuffix("Guest").lower())


def _incomplete(machine: Machine) -> str:
    guest = machine.traits.guest
    found = []
    for nic in guest.nics:
        if "manual" in nic.origins and (lacking := _lacking(nic, guest)):
            found.append(f"{nic.mac} lacks {lacking}")
    return ", ".join(found)


def _lacking(nic: GuestNic, guest: Guest) -> str:
    told = (
        (not all(nic.prefixes), "a prefix"),
        (not (nic.dns or guest.dns), "resolvers"),
        (not guest.gateway, "a gateway"),
    )
    return ", ".join(word for missing, word in told if missing)


def _strange_cards(machine: Machine) -> str:
    cards = {nic.mac.lower() for nic in machine.traits.nics}
    seen = [nic.mac for nic in machine.traits.guest.nics if nic.mac and any(nic.origins)]
    return ", ".join(mac for mac in seen if mac.lower() not in cards) if cards else ""


def _wide(machine: Machine) -> str:
    found = []
    for nic in machine.traits.guest.nics:
        own = [one for one in nic.addresses if not _local(one)]
        if len(own) > 1:
            found.append(f"{nic.mac} has {len(own)} addresses")
        elif own and ":" in own[0]:
            found.append(f"{nic.mac} has an IPv6 address")
    return ", ".join(found)


def _local(address: str) -> bool:
    try:
        return ip_address(address).is_link_local
    except ValueError:
        return True


def _trouble(machine: Machine) -> str:
    traits = machine.traits
    told = [f"{traits.alarms} alarm(s)"] if traits.alarms else []
    told += [f"its status is {traits.health}"] if traits.health in ("red", "yellow") else []
    return "; ".join([*told, *traits.issues[:3]])


def _twins(machine: Machine, around: CheckContext) -> str:
    count = around.twins.get(machine.bios_uuid, 0)
    return when(count > 1, f"{count} machines have its BIOS UUID {machine.bios_uuid}")


DEVICES: tuple[Rule[Machine], ...] = (
    Rule(
        "V19",
        "no device passed through",
        BLOCK,
        "config.hardware.device",
        lambda m, _: _passed(m),
        "no snapshot of it is possible while it runs; remove the device first",
    ),
    Rule(
        "V20",
        "no USB device",
        WARN,
        "config.hardware.device (VirtualUSB)",
        lambda m, _: _plugged(m, {"VirtualUSB"}),
        "it stays behind: licence dongles and the like need another way",
    ),
    Rule(
        "V20",
        "no port or floppy",
        INFO,
        "config.hardware.device (VirtualSerialPort, VirtualParallelPort, VirtualFloppy)",
        lambda m, _: _plugged(m, _PORTS),
        "the target has none",
    ),
    Rule(
        "V20",
        "no disc inserted",
        INFO,
        "config.hardware.device (VirtualCdrom)",
        lambda m, _: _plugged(m, {"VirtualCdrom"}),
        "it stays behind; disconnect it",
    ),
    Rule(
        "V21",
        "no special settings",
        INFO,
        "config.cpuHotAddEnabled, memoryHotAddEnabled, cpuAffinity, latencySensitivity, nestedHVEnabled, reservations",
        lambda m, _: _settings(m),
        "the target decides such things by the kind of machine",
    ),
    Rule(
        "V22",
        "unique BIOS UUID",
        WARN,
        "config.uuid",
        _twins,
        "programs that take it for the machine's identity confuse them; the tool itself uses the moref",
    ),
    Rule(
        "V22",
        "stable identity",
        WARN,
        "config.instanceUuid",
        lambda m, _: when(not m.instance_uuid, "it has no instance UUID"),
        "after it is registered again it counts as another machine",
    ),
)

GUEST: tuple[Rule[Machine], ...] = (
    Rule(
        "V23",
        "Tools run",
        WARN,
        "guest.toolsRunningStatus",
        lambda m, _: when(
            m.power is PowerState.ON and not m.tools_running, "VMware Tools do not run: no graceful shutdown"
        ),
        "start VMware Tools, or plan a hard power-off at cutover",
    ),
    Rule(
        "V23",
        "Tools usable",
        WARN,
        "guest.toolsVersionStatus2",
        lambda m, _: when(
            m.traits.guest.tools_version in _TOO_OLD, "VMware Tools are too old, or known to fail"
        ),
        "upgrade VMware Tools",
    ),
    Rule(
        "V24",
        "quiescing possible",
        INFO,
        "capability.quiescedSnapshotsSupported",
        lambda m, _: when(not m.traits.quiescing_supported, "its guest cannot be quiesced"),
        "its snapshots are as after a power cut; quiescing is off unless asked for",
    ),
    Rule(
        "V25",
        "guest known",
        WARN,
        "config.guestId",
        lambda m, _: when(_unknown(m), f"its guest system is not known ({m.guest_id or 'unset'})"),
        "set the guest system in its options; drivers of the target are chosen by it",
    ),
    Rule(
        "V25",
        "guest of 64 bits",
        WARN,
        "config.guestId, guest.guestId",
        lambda m, _: when(
            _narrow(m), f"its guest system is one of 32 bits ({m.traits.guest.id or m.guest_id})"
        ),
        "few targets run it; ask before you plan it",
    ),
    Rule(
        "V25",
        "guest as configured",
        WARN,
        "config.guestId, guest.guestId",
        lambda m, _: when(_differs(m), f"configured as {m.guest_id}, but {m.traits.guest.id} runs"),
        "set the guest system in its options to what runs",
    ),
    Rule(
        "V26",
        "room on system volumes",
        BLOCK,
        "guest.disk[].freeSpace",
        lambda m, _: _cramped(m, True),
        "free space inside the guest: converting it needs some",
    ),
    Rule(
        "V26",
        "room on other volumes",
        WARN,
        "guest.disk[].freeSpace",
        lambda m, _: _cramped(m, False),
        "free space inside the guest: converting it needs some",
    ),
    Rule(
        "V27",
        "static addresses complete",
        WARN,
        "guest.net[].ipConfig, guest.net[].dnsConfig, guest.ipStack",
        lambda m, _: _incomplete(m),
        "note address, prefix, gateway and resolvers by hand",
    ),
    Rule(
        "V27",
        "addresses belong to its cards",
        WARN,
        "guest.net[].macAddress",
        lambda m, _: when(_strange_cards(m), f"addresses are on no card of it: {_strange_cards(m)}"),
        "see which interface carries them (bonds, bridges, tunnels)",
    ),
    Rule(
        "V28",
        "host name",
        WARN,
        "guest.hostName",
        lambda m, _: when(
            m.tools_running and m.traits.guest.host_name.lower() in _NOWHERE,
            f"its host name is {m.traits.guest.host_name or 'not known'}",
        ),
        "set a host name inside the guest",
    ),
    Rule(
        "V28",
        "name legal at the target",
        WARN,
        "name",
        lambda m, _: when(not _LEGAL.fullmatch(m.name), "its name is not allowed at every target"),
        "2 to 128 of letters, digits, '.', '_', ':', '-', a letter first; choose another name for the target",
    ),
    Rule(
        "V29",
        "no trouble",
        WARN,
        "triggeredAlarmState, configIssue, overallStatus",
        lambda m, _: _trouble(m),
        "look at the machine in vCenter first",
    ),
    Rule(
        "N4",
        "one IPv4 address per card",
        WARN,
        "guest.net[].ipConfig.ipAddress",
        lambda m, _: _wide(m),
        "choose the address to keep; give the others to the target by hand",
    ),
)

RULES = DEVICES + GUEST
