"""Checks of a machine's devices and settings, and of what VMware Tools report (V19-V29, N4)."""

from __future__ import annotations

import re
from ipaddress import ip_address

from connector.amounts import plural
from connector.model import Guest, GuestNic, GuestVolume, Machine, PowerState
from connector.vcenter.checks.rule import BLOCK, INFO, MIB, WARN, CheckContext, Rule, when

_PASSTHROUGH = {
    "VirtualPCIPassthrough": "PCI device",
    "VirtualSriovEthernetCard": "SR-IOV card",
    "VirtualNVDIMM": "NVDIMM",
    "VirtualSCSIPassthrough": "SCSI device",
}
_PORTS = {"VirtualSerialPort", "VirtualParallelPort", "VirtualFloppy"}
#: File systems that are always full, also under the names of programs that mount them in user space ("fuse.squashfuse").
_READ_ONLY = {
    *("squashfs", "squashfuse", "snapfuse", "erofs", "erofsfuse", "cramfs", "romfs", "zisofs"),
    *("iso9660", "isofs", "cd9660", "cdfs", "cdrom", "udf", "fuseiso"),
    *("tmpfs", "devtmpfs", "overlay", "overlayfs", "ramfs", "rootfs", "efivarfs"),
}
#: Folders in which snap mounts its images. VMware Tools may report these mounts without a type.
_SNAPS = ("/snap/", "/var/lib/snapd/snap/")
#: Free bytes that a conversion of the guest needs.
_SYSTEM = {"/": 100 * MIB, "c:": 100 * MIB, "/boot": 50 * MIB}
_ANY = 10 * MIB
_TOO_OLD = {"guestToolsTooOld", "guestToolsBlacklisted"}
_LEGAL = re.compile(r"[A-Za-z][A-Za-z0-9._:-]{1,127}")
_NOWHERE = {"", "localhost", "localhost.localdomain"}


def _passed(machine: Machine) -> str:
    devices = [
        f"{'vGPU' if device.backing.endswith('Vmiop') else _PASSTHROUGH[device.kind]} ({device.label})"
        for device in machine.traits.devices
        if device.kind in _PASSTHROUGH
    ]
    return when(devices, f"a device is passed through to it: {', '.join(devices)}")


def _plugged(machine: Machine, kinds: set[str]) -> str:
    labels = [device.label for device in machine.traits.devices if device.kind in kinds and device.connected]
    return when(labels, f"connected: {', '.join(labels)}")


def _settings(machine: Machine) -> str:
    traits = machine.traits
    settings = (
        (traits.cpu_hot_add, "CPU hot-add"),
        (traits.memory_hot_add, "memory hot-add"),
        (traits.affinity, "CPU or NUMA affinity"),
        (traits.latency not in ("", "normal"), f"latency sensitivity {traits.latency}"),
        (traits.nested, "nested virtualization"),
        (traits.reserved_cpu > 0, f"{traits.reserved_cpu} MHz reserved"),
        (traits.reserved_memory > 0, f"{traits.reserved_memory // MIB} MiB reserved"),
    )
    return ", ".join(word for on, word in settings if on)


def _cramped(machine: Machine, system: bool) -> str:
    messages = [
        f"{volume.path} has {volume.free // MIB} MiB free, {_needed(volume) // MIB} are needed"
        for volume in machine.traits.guest.volumes
        if (_key(volume) in _SYSTEM) is system
        and volume.capacity > 0
        and not _full_by_nature(volume)
        and volume.free < _needed(volume)
    ]
    return ", ".join(messages)


def _full_by_nature(volume: GuestVolume) -> bool:
    """Whether its free space means nothing: the file system is made full, and nobody can write to it."""
    kind = re.sub(r"[^a-z0-9]", "", volume.filesystem.lower().removeprefix("fuse.").removeprefix("fuseblk."))
    return kind in _READ_ONLY or f"{volume.path}/".startswith(_SNAPS)


def _key(volume: GuestVolume) -> str:
    return volume.path.lower().rstrip("\\/") or "/"


def _needed(volume: GuestVolume) -> int:
    return _SYSTEM.get(_key(volume), _ANY)


def _unknown(machine: Machine) -> bool:
    return machine.guest_id in ("", "otherGuest", "otherGuest64")


def _narrow(machine: Machine) -> bool:
    guest_id = machine.traits.guest.id or machine.guest_id
    return bool(guest_id) and "64" not in guest_id and not guest_id.startswith(("other", "vmkernel"))


def _differs(machine: Machine) -> bool:
    reported = machine.traits.guest.id
    return bool(reported and machine.guest_id and _system(reported) != _system(machine.guest_id))


def _system(guest: str) -> str:
    """ "windows" of "windows2019srv_64Guest", "rhel" of "rhel9_64Guest"."""
    return re.sub(r"[^a-z].*", "", guest.removesuffix("Guest").lower())


def _incomplete(machine: Machine) -> str:
    guest = machine.traits.guest
    messages = []
    for nic in guest.nics:
        if "manual" in nic.origins and (lacking := _lacking(nic, guest)):
            messages.append(f"{nic.mac} lacks {lacking}")
    return ", ".join(messages)


def _lacking(nic: GuestNic, guest: Guest) -> str:
    parts = (
        (not all(nic.prefixes), "a prefix"),
        (not (nic.dns or guest.dns), "resolvers"),
        (not guest.gateway, "a gateway"),
    )
    return ", ".join(word for missing, word in parts if missing)


def _strange_cards(machine: Machine) -> str:
    cards = {nic.mac.lower() for nic in machine.traits.nics}
    macs = [nic.mac for nic in machine.traits.guest.nics if nic.mac and any(nic.origins)]
    return ", ".join(mac for mac in macs if mac.lower() not in cards) if cards else ""


def _wide(machine: Machine) -> str:
    messages = []
    for nic in machine.traits.guest.nics:
        own = [address for address in nic.addresses if not _local(address)]
        if len(own) > 1:
            messages.append(f"{nic.mac} has {len(own)} addresses")
        elif own and ":" in own[0]:
            messages.append(f"{nic.mac} has an IPv6 address")
    return ", ".join(messages)


def _local(address: str) -> bool:
    try:
        return ip_address(address).is_link_local
    except ValueError:
        return True


def _trouble(machine: Machine) -> str:
    traits = machine.traits
    messages = [plural(traits.alarms, "alarm")] if traits.alarms else []
    messages += [f"its status is {traits.health}"] if traits.health in ("red", "yellow") else []
    return "; ".join([*messages, *traits.issues[:3]])


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
        "the target sets them by its instance type",
    ),
    Rule(
        "V22",
        "unique BIOS UUID",
        WARN,
        "config.uuid",
        _twins,
        "programs that identify machines by it confuse them; the connector uses the moref",
    ),
    Rule(
        "V22",
        "stable identity",
        WARN,
        "config.instanceUuid",
        lambda m, _: when(not m.instance_uuid, "it has no instance UUID"),
        "when it is registered again, it counts as another machine",
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
        "its snapshots are crash-consistent; quiescing is off unless you ask for it",
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
        "few targets run it: ask the target's operator first",
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
        lambda m, _: when(
            _strange_cards(m),
            f"the guest reports addresses on cards that the machine does not have: {_strange_cards(m)}",
        ),
        "see which interface has them (bonds, bridges, tunnels)",
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
        "choose the address to keep; set the others at the target by hand",
    ),
)

RULES = DEVICES + GUEST
