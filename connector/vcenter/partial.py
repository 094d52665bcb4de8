"""A part of a machine that vCenter does not show for a moment is unknown, and its last known value is kept.

A machine has no `config` while its host reconnects, while it is registered, moved or upgraded, and where the user may not read
it. Other parts vanish alone: `guest` while VMware Tools restart, `runtime.host` between two hosts. An unset property may mean
"nothing" or "not known". So each part has one property that every whole answer contains.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from connector.errors import VCenterFault
from connector.model import UNREADY, Machine, MachinePart, PowerState, Traits
from connector.vcenter.answer import PropertyRow
from connector.vcenter.values import each, text

#: The property by which a shown configuration is known: every machine has it since vSphere 4.0.
MARKER: Final = "config.instanceUuid"

_DEVICES: Final = "config.hardware.device"


def missing(row: PropertyRow) -> tuple[str, ...]:
    """The parts of a machine that a row of `machines.MACHINE` does not show."""
    return tuple(_missing(row))


def _missing(row: PropertyRow) -> Iterator[MachinePart]:
    yield from _configuration(row)
    if not _any(row, "guest."):
        yield MachinePart.GUEST
    elif "guest.net" not in row.values and row.get("runtime.powerState") == PowerState.ON:
        yield MachinePart.ADDRESSES
    if not _any(row, "capability."):
        yield MachinePart.CAPABILITY
    if "parent" not in row.values and "parentVApp" not in row.values:
        yield MachinePart.PLACE
    if text(row.get("runtime.powerState")) not in set(PowerState):
        yield MachinePart.POWER
    for path, part in _SINGLE.items():
        if path not in row.values:
            yield part


def _configuration(row: PropertyRow) -> Iterator[MachinePart]:
    if not _any(row, "config."):
        yield MachinePart.CONFIGURATION
        return
    if not each(row.get(_DEVICES)):  # every machine has controllers
        yield MachinePart.HARDWARE
    for path, part in _ALWAYS.items():
        if not text(row.get(path)):
            yield part


def _any(row: PropertyRow, prefix: str) -> bool:
    return any(path.startswith(prefix) for path in row.values)


_SINGLE: Final = {
    "name": MachinePart.NAME,
    "runtime.host": MachinePart.HOST,
    "datastore": MachinePart.DATASTORES,
    "network": MachinePart.NETWORKS,
}
#: The properties that every configuration has since vSphere 5.0.
_ALWAYS: Final = {
    MARKER: MachinePart.IDENTITY,
    "config.uuid": MachinePart.BIOS_UUID,
    "config.firmware": MachinePart.FIRMWARE,
    "config.guestId": MachinePart.SYSTEM,
    "config.hardware.memoryMB": MachinePart.SIZE,
}


def remembered(before: Machine | None, now: Machine) -> Machine:
    """The machine as it is now, with its missing parts as they were `before`; `missing` still names them."""
    if before is None or not now.missing or _another(before, now):
        return now
    parts = [MachinePart(name) for name in now.missing]
    values: dict[str, Any] = {name: getattr(before, name) for part in parts for name in part.fields}
    return replace(now, **values, traits=_traits(before.traits, now.traits, frozenset(parts)))


def _another(before: Machine, now: Machine) -> bool:
    """Whether the moref now belongs to another machine."""
    return bool(now.instance_uuid) and now.instance_uuid != before.instance_uuid


def _traits(before: Traits, now: Traits, parts: frozenset[MachinePart]) -> Traits:
    traits = now
    if MachinePart.CONFIGURATION in parts:
        traits = replace(
            before,
            host=now.host,
            cluster=now.cluster,
            datastores=now.datastores,
            question=now.question,
            alarms=now.alarms,
            health=now.health,
            guest=now.guest,
        )
    elif MachinePart.HARDWARE in parts:
        traits = replace(traits, nics=before.nics, devices=before.devices)
    if parts & {MachinePart.GUEST, MachinePart.ADDRESSES}:
        traits = replace(traits, guest=before.guest)
    if MachinePart.HOST in parts:
        traits = replace(traits, host=before.host, cluster=before.cluster)
    if MachinePart.DATASTORES in parts:
        traits = replace(traits, datastores=before.datastores)
    return traits


def obscured(machine: Machine) -> str:
    """The unknown part without which nothing may be done with the machine; empty when there is none."""
    return next((part for part in machine.missing if part in UNREADY), "")


def nameless(machine: Machine) -> str:
    """The unknown part without which the machine cannot be identified; empty when there is none."""
    return obscured(machine) or ("" if machine.instance_uuid else MachinePart.IDENTITY)


def demand(row: PropertyRow, marker: str, on: str) -> None:
    """Raise a retryable `VCenterFault` when `row` lacks `marker`: then its other unset properties mean nothing."""
    if not row.get(marker):
        raise VCenterFault(
            "vCenter shows the machine without its configuration",
            on=on,
            remedy="wait until its host is connected; if it stays, look at the machine in vCenter",
            retryable=True,
        )
