"""The whole inventory in one sweep; a machine whose properties are missing is listed with what is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from connector.errors import Ambiguous, NotFound
from connector.model import Firmware, Machine, PowerState, SnapshotNode
from connector.vcenter.devices import disks
from connector.vcenter.properties import Row, read, sweep
from connector.vcenter.session import Session
from connector.vcenter.vmomi import moref, vim

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
    "capability.changeTrackingSupported",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.consolidationNeeded",
    "runtime.host",
    "guest.toolsRunningStatus",
    "guest.net",
    "network",
    "snapshot",
)
IDENTITY = ("name", "parent", "parentVApp", "config.uuid", "config.instanceUuid")

_MOREF = re.compile(r"vm-\d+")

_PLACES: dict[Any, Sequence[str]] = {
    vim.Folder: ("name", "parent"),
    vim.Datacenter: ("name", "parent"),
    vim.VirtualApp: ("name", "parentFolder", "parent"),
}
_NETWORKS: dict[Any, Sequence[str]] = {vim.Network: ("name",)}

Places = Mapping[str, Row]


def machines(session: Session) -> tuple[Machine, ...]:
    """Every virtual machine that the user may see, templates included, ordered by inventory path."""
    rows = sweep(session, {vim.VirtualMachine: MACHINE, **_PLACES, **_NETWORKS})
    places = _places(session, rows)
    found = (machine(row, places) for row in rows if row.kind == "VirtualMachine")
    return tuple(sorted(found, key=lambda one: (one.path, one.moref)))


def find(session: Session, wanted: str) -> Machine:
    """The one machine with that moref, instance UUID, inventory path or name."""
    if _MOREF.fullmatch(wanted):
        with suppress(NotFound):  # it may still be a name
            return refresh(session, wanted)
    rows = sweep(session, {vim.VirtualMachine: IDENTITY, **_PLACES})
    places = _places(session, rows)
    candidates = [row for row in rows if row.kind == "VirtualMachine"]
    for matches in _MATCHERS:
        hits = [row for row in candidates if matches(row, wanted, places)]
        if len(hits) == 1:
            return refresh(session, hits[0].moref)
        if hits:
            raise _ambiguous(wanted, hits, places)
    raise NotFound(
        "no machine has that name, inventory path, instance UUID or moref",
        on=wanted,
        remedy="list the machines; the user may lack the right to see it",
    )


def refresh(session: Session, one: str) -> Machine:
    """Read one machine again by its moref; raises `NotFound` when it is gone."""
    places = _places(session, sweep(session, {**_PLACES, **_NETWORKS}))
    row = read(session, session.managed(vim.VirtualMachine, one), MACHINE, on=one, partly=True)
    return machine(row, places)


def _places(session: Session, rows: Sequence[Row]) -> Places:
    """What gives a machine its path and its networks; the invisible root folder is no part of a path."""
    root = moref(session.content.rootFolder)
    return {row.moref: row for row in rows if row.kind != "VirtualMachine" and row.moref != root}


def _ambiguous(wanted: str, hits: Sequence[Row], places: Places) -> Ambiguous:
    shown = ", ".join(f"{_path(row, places)} ({row.moref})" for row in hits[:8])
    more = f" and {len(hits) - 8} more" if len(hits) > 8 else ""
    return Ambiguous(
        f"{len(hits)} machines answer to it: {shown}{more}",
        on=wanted,
        remedy="use the moref or the inventory path",
    )


_MATCHERS: tuple[Callable[[Row, str, Places], bool], ...] = (
    lambda row, wanted, _: row.moref == wanted,
    lambda row, wanted, _: str(row.get("config.instanceUuid", "")).lower() == wanted.lower(),
    lambda row, wanted, places: wanted.startswith("/") and _path(row, places) == wanted.rstrip("/"),
    lambda row, wanted, _: wanted in (row.get("name"), _plain(row.get("name", ""))),
)


def machine(row: Row, places: Places) -> Machine:
    """The value of one row; unset properties become the emptiest truthful value."""
    return Machine(
        moref=row.moref,
        name=_plain(row.get("name", "")) or row.moref,
        instance_uuid=row.get("config.instanceUuid", "") or "",
        bios_uuid=row.get("config.uuid", "") or "",
        power=PowerState(str(row.get("runtime.powerState", "poweredOff"))),
        firmware=Firmware.EFI if str(row.get("config.firmware", "")).lower() == "efi" else Firmware.BIOS,
        guest_id=row.get("config.guestId", "") or "",
        guest_name=row.get("config.guestFullName", "") or "",
        cpus=row.get("config.hardware.numCPU", 0) or 0,
        memory=(row.get("config.hardware.memoryMB", 0) or 0) << 20,
        hardware=row.get("config.version", "") or "",
        host=moref(row.get("runtime.host")),
        path=_path(row, places),
        disks=disks(row.get("config.hardware.device") or ()),
        snapshots=snapshot_nodes(row.get("snapshot")),
        template=bool(row.get("config.template", False)),
        cbt_supported=bool(row.get("capability.changeTrackingSupported", False)),
        cbt_enabled=bool(row.get("config.changeTrackingEnabled", False)),
        tools_running=row.get("guest.toolsRunningStatus") == "guestToolsRunning",
        consolidation_needed=bool(row.get("runtime.consolidationNeeded", False)),
        connection=str(row.get("runtime.connectionState", "connected")),
        addresses=_addresses(row.get("guest.net") or ()),
        networks=_networks(row.get("network") or (), places),
    )


def snapshot_nodes(info: Any) -> tuple[SnapshotNode, ...]:
    """A machine's snapshot tree, parents before their children; empty when it has none."""
    found: list[SnapshotNode] = []
    pending = [(node, 0) for node in reversed(getattr(info, "rootSnapshotList", None) or [])]
    while pending:
        node, depth = pending.pop()
        created = node.createTime.timestamp() if node.createTime else 0.0
        found.append(
            SnapshotNode(
                moref(node.snapshot), _plain(node.name or ""), node.description or "", created, depth
            )
        )
        pending.extend((child, depth + 1) for child in reversed(node.childSnapshotList or []))
    return tuple(found)


def _plain(name: str) -> str:
    """vCenter writes "/", "\\" and "%" in names as %2f, %5c and %25."""
    return unquote(name)


def _path(row: Row, places: Places) -> str:
    """ "/DC0/vm/folder/name", each part still escaped: a slash in a name stays unambiguous."""
    parts = [str(row.get("name", ""))]
    above = moref(row.get("parent")) or moref(row.get("parentVApp"))
    while (place := places.get(above)) is not None:
        parts.append(str(place.get("name", "")))
        above = moref(place.get("parentFolder")) or moref(place.get("parent"))
    return "/" + "/".join(reversed(parts))


def _addresses(nics: Any) -> tuple[str, ...]:
    found = (address for nic in nics for address in (nic.ipAddress or ()))
    return tuple(dict.fromkeys(found))


def _networks(references: Any, places: Places) -> tuple[str, ...]:
    named = (places.get(moref(reference)) for reference in references)
    return tuple(_plain(str(row.get("name", ""))) for row in named if row is not None)
