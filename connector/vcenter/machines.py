"""Makes a machine from a row of properties. An unset property becomes an empty value, never a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from connector.model import (
    Firmware,
    Guest,
    GuestNic,
    GuestVolume,
    Machine,
    MachineDisk,
    PowerState,
    SnapshotNode,
    Traits,
)
from connector.vcenter.answer import PropertyRow
from connector.vcenter.datastore_paths import datastore
from connector.vcenter.devices import disks, nics, notable
from connector.vcenter.disk_order import extra_options, stated
from connector.vcenter.partial import missing
from connector.vcenter.places import Places
from connector.vcenter.values import each, kind_of, moref, number, plain, seconds, text, true

MACHINE = (
    "name",
    "parent",
    "parentVApp",
    "config.uuid",
    "config.instanceUuid",
    "config.firmware",
    "config.guestId",
    "config.guestFullName",
    "config.version",
    "config.template",
    "config.changeTrackingEnabled",
    "config.hardware.numCPU",
    "config.hardware.memoryMB",
    "config.hardware.device",
    "config.managedBy",
    "config.flags.snapshotDisabled",
    "config.flags.snapshotLocked",
    "config.flags.vbsEnabled",
    "config.flags.diskUuidEnabled",
    "config.extraConfig",
    "config.repConfig",
    "config.keyId",
    "config.sgxInfo",
    "config.sevEnabled",
    "config.bootOptions",
    "config.cpuHotAddEnabled",
    "config.memoryHotAddEnabled",
    "config.cpuAffinity",
    "config.latencySensitivity",
    "config.nestedHVEnabled",
    "config.cpuAllocation.reservation",
    "config.memoryAllocation.reservation",
    "capability.changeTrackingSupported",
    "capability.snapshotOperationsSupported",
    "capability.quiescedSnapshotsSupported",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.consolidationNeeded",
    "runtime.host",
    "runtime.question",
    "runtime.snapshotInBackground",
    "runtime.toolsInstallerMounted",
    "runtime.faultToleranceState",
    "guest.toolsRunningStatus",
    "guest.toolsVersionStatus2",
    "guest.guestId",
    "guest.guestFullName",
    "guest.guestFamily",
    "guest.hostName",
    "guest.net",
    "guest.ipStack",
    "guest.disk",
    "network",
    "datastore",
    "snapshot",
    "disabledMethod",
    "overallStatus",
    "configIssue",
    "triggeredAlarmState",
    "customValue",
    "tag",
)
_EXTRA = "numa.nodeaffinity", "disk.enableuuid"


@dataclass(frozen=True, slots=True)
class Context:
    """The names behind a machine's references."""

    places: Places = field(default_factory=Places)
    attributes: Mapping[int, str] = field(default_factory=dict)  # of custom attributes: key -> name


def machine(row: PropertyRow, context: Context) -> Machine:
    """The value of one row."""
    places = context.places
    host = moref(row.get("runtime.host"))
    return Machine(
        moref=row.moref,
        name=plain(text(row.get("name"))) or row.moref,
        instance_uuid=text(row.get("config.instanceUuid")),
        bios_uuid=text(row.get("config.uuid")),
        power=_power(text(row.get("runtime.powerState"))),
        firmware=Firmware.EFI if text(row.get("config.firmware")).lower() == "efi" else Firmware.BIOS,
        guest_id=text(row.get("config.guestId")),
        guest_name=text(row.get("config.guestFullName")),
        cpus=number(row.get("config.hardware.numCPU")),
        memory=number(row.get("config.hardware.memoryMB")) << 20,
        hardware=text(row.get("config.version")),
        host=host,
        path=places.path(row),
        disks=_located(
            disks(
                each(row.get("config.hardware.device")),
                stated(row.get("config.bootOptions"), extra_options(row.get("config.extraConfig"))),
            ),
            row,
            places,
        ),
        snapshots=snapshot_nodes(row.get("snapshot")),
        template=true(row.get("config.template")),
        cbt_supported=true(row.get("capability.changeTrackingSupported")),
        cbt_enabled=true(row.get("config.changeTrackingEnabled")),
        tools_running=text(row.get("guest.toolsRunningStatus")) == "guestToolsRunning",
        consolidation_needed=true(row.get("runtime.consolidationNeeded")),
        connection=text(row.get("runtime.connectionState")) or "connected",
        addresses=_addresses(row),
        networks=places.names(row.get("network")),
        traits=_traits(row, context, host),
        missing=missing(row),
    )


def _located(listed: tuple[MachineDisk, ...], row: PropertyRow, places: Places) -> tuple[MachineDisk, ...]:
    """The disks with the names of their datastores: by reference, else by their path and the machine's datastores."""
    near = places.names(row.get("datastore"))
    known = near or tuple(store.name for store in places.datastores())
    return tuple(
        replace(disk, datastore=places.name(disk.store) or datastore(disk.path, known)) for disk in listed
    )


def _power(state: str) -> PowerState:
    return PowerState(state) if state in set(PowerState) else PowerState.OFF


def _traits(row: PropertyRow, context: Context, host: str) -> Traits:
    get = row.get
    devices = each(get("config.hardware.device"))
    extra = extra_options(get("config.extraConfig"))
    boot, managed = get("config.bootOptions"), get("config.managedBy")
    sgx, latency, question = get("config.sgxInfo"), get("config.latencySensitivity"), get("runtime.question")
    affinity = get("config.cpuAffinity")
    return Traits(
        host=context.places.name(host),
        cluster=context.places.cluster(host),
        datastores=context.places.names(get("datastore")),
        attributes=_attributes(row, context.attributes),
        tags=tuple(text(entry.key) for entry in each(get("tag"))),
        managed_by=text(managed.extensionKey) if managed is not None else "",
        question=" ".join(text(question.text).split()) if question is not None else "",
        disabled_methods=tuple(text(entry) for entry in each(get("disabledMethod"))),
        snapshots_supported=true(get("capability.snapshotOperationsSupported"), True),
        snapshots_disabled=true(get("config.flags.snapshotDisabled"))
        or true(get("config.flags.snapshotLocked")),
        quiescing_supported=true(get("capability.quiescedSnapshotsSupported"), True),
        snapshot_in_background=true(get("runtime.snapshotInBackground")),
        tools_installer_mounted=true(get("runtime.toolsInstallerMounted")),
        fault_tolerance=text(get("runtime.faultToleranceState")) or "notConfigured",
        replicated=get("config.repConfig") is not None,
        encrypted=get("config.keyId") is not None,
        vbs=true(get("config.flags.vbsEnabled")),
        sgx=sgx is not None and number(sgx.epcSize) > 0,
        sev=true(get("config.sevEnabled")),
        secure_boot=boot is not None and true(getattr(boot, "efiSecureBootEnabled", None)),
        boot_order=tuple(_boot(entry) for entry in each(boot.bootOrder)) if boot is not None else (),
        cpu_hot_add=true(get("config.cpuHotAddEnabled")),
        memory_hot_add=true(get("config.memoryHotAddEnabled")),
        affinity=bool(affinity is not None and each(affinity.affinitySet)) or bool(extra.get(_EXTRA[0])),
        latency=(text(latency.level) if latency is not None else "") or "normal",
        nested=true(get("config.nestedHVEnabled")),
        reserved_cpu=max(0, number(get("config.cpuAllocation.reservation"))),
        reserved_memory=max(0, number(get("config.memoryAllocation.reservation"))) << 20,
        disk_uuids=true(get("config.flags.diskUuidEnabled")) or _yes(extra.get(_EXTRA[1])),
        tracking_keys=_tracking(extra),
        alarms=len(each(get("triggeredAlarmState"))),
        health=text(get("overallStatus")) or "green",
        issues=tuple(
            text(entry.fullFormattedMessage) or kind_of(entry) for entry in each(get("configIssue"))
        ),
        guest=_guest(row),
        nics=nics(devices),
        devices=notable(devices),
        doubts=row.doubts,
    )


def _yes(value: str | None) -> bool:
    return (value or "").lower() in ("true", "1", "yes")


def _tracking(extra: Mapping[str, str]) -> tuple[tuple[str, bool], ...]:
    """ "scsi0:0.ctkEnabled" and its like, in any letter case."""
    suffix = ".ctkenabled"
    return tuple(
        (key.removesuffix(suffix), _yes(extra[key])) for key in sorted(extra) if key.endswith(suffix)
    )


def _boot(device: Any) -> str:
    word = kind_of(device).removeprefix("VirtualMachineBootOptionsBootable").removesuffix("Device").lower()
    word = {"ethernet": "net"}.get(word, word)
    key = getattr(device, "deviceKey", None)
    return f"{word}:{key}" if key is not None else word


def _attributes(row: PropertyRow, names: Mapping[int, str]) -> tuple[tuple[str, str], ...]:
    values = ((number(entry.key), text(entry.value)) for entry in each(row.get("customValue")))
    return tuple((names.get(key, str(key)), value) for key, value in values)


def _addresses(row: PropertyRow) -> tuple[str, ...]:
    addresses = (text(address) for nic in each(row.get("guest.net")) for address in each(nic.ipAddress))
    return tuple(dict.fromkeys(addresses))


def _guest(row: PropertyRow) -> Guest:
    get = row.get
    return Guest(
        id=text(get("guest.guestId")),
        name=text(get("guest.guestFullName")),
        family=text(get("guest.guestFamily")),
        host_name=text(get("guest.hostName")),
        tools_version=text(get("guest.toolsVersionStatus2")),
        nics=tuple(_guest_nic(entry) for entry in each(get("guest.net"))),
        volumes=tuple(
            GuestVolume(
                text(entry.diskPath),
                number(entry.capacity),
                number(entry.freeSpace),
                text(getattr(entry, "filesystemType", None)),
            )
            for entry in each(get("guest.disk"))
        ),
        gateway=any(_routed(stack) for stack in each(get("guest.ipStack"))),
        dns=any(_resolves(stack) for stack in each(get("guest.ipStack"))),
    )


def _guest_nic(nic: Any) -> GuestNic:
    configured = each(nic.ipConfig.ipAddress) if nic.ipConfig is not None else ()
    return GuestNic(
        mac=text(nic.macAddress).lower(),
        addresses=tuple(text(address.ipAddress) for address in configured)
        or tuple(map(text, each(nic.ipAddress))),
        origins=tuple(text(address.origin) for address in configured),
        prefixes=tuple(number(address.prefixLength) for address in configured),
        dns=_resolves(nic),
    )


def _resolves(configured: Any) -> bool:
    """Whether a card, or the IP stack of all cards, names resolvers."""
    return configured.dnsConfig is not None and bool(each(configured.dnsConfig.ipAddress))


def _routed(stack: Any) -> bool:
    routes = stack.ipRouteConfig
    if routes is None:
        return False
    return any(
        number(route.prefixLength) == 0 and route.gateway is not None for route in each(routes.ipRoute)
    )


def snapshot_nodes(info: Any) -> tuple[SnapshotNode, ...]:
    """A machine's snapshot tree, parents before their children; empty when it has none."""
    nodes: list[SnapshotNode] = []
    pending = [(node, 0) for node in reversed(each(getattr(info, "rootSnapshotList", None)))]
    while pending:
        node, depth = pending.pop()
        nodes.append(
            SnapshotNode(
                moref(node.snapshot),
                plain(text(node.name)),
                text(node.description),
                seconds(node.createTime),
                depth,
                off=text(node.state) == PowerState.OFF,
                quiesced=true(node.quiesced),
            )
        )
        pending.extend((child, depth + 1) for child in reversed(each(node.childSnapshotList)))
    return tuple(nodes)


_REFERENCES = ("name", "parent", "parentVApp", "runtime.host", "network", "datastore", "customValue")


@dataclass(frozen=True, slots=True)
class Draft:
    """A machine whose references are still morefs. The objects behind them may come later in the sweep."""

    machine: Machine
    references: PropertyRow


def draft(row: PropertyRow) -> Draft:
    """The machine of one row, and those of the row's properties that `placed` needs."""
    references = {path: row.values[path] for path in _REFERENCES if path in row.values}
    return Draft(machine(row, Context()), PropertyRow(row.kind, row.moref, references))


def placed(drafted: Draft, context: Context) -> Machine:
    """The machine with the names behind its references."""
    row, places = drafted.references, context.places
    host = drafted.machine.host
    traits = replace(
        drafted.machine.traits,
        host=places.name(host),
        cluster=places.cluster(host),
        datastores=places.names(row.get("datastore")),
        attributes=_attributes(row, context.attributes),
    )
    return replace(
        drafted.machine,
        path=places.path(row),
        disks=_located(drafted.machine.disks, row, places),
        networks=places.names(row.get("network")),
        traits=traits,
    )
