"""Partial answers: what vCenter does not show of a machine for a moment is not known now, which is no reason to forget it.

A machine stands without `config` while its host reconnects, while it is registered, moved or upgraded, and where the user may
not read it. Other parts go by themselves: `guest` while VMware Tools restart, `runtime.host` between two hosts. What is unset
because there is nothing cannot be told from what is not known; so each part has a property by which a whole answer is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from connector.errors import VCenterFault
from connector.model import UNREADY, Machine, MachinePart, PowerState, Traits
from connector.vcenter.answer import PropertyRow
from connector.vcenter.values import each, text

#: A machine that has this property shows its configuration: it exists for every machine since vSphere 4.0.
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
    if not each(row.get(_DEVICES)):  # the least machine has controllers
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
#: What every configuration says, since vSphere 5.0.
_ALWAYS: Final = {
    MARKER: MachinePart.IDENTITY,
    "config.uuid": MachinePart.BIOS_UUID,
    "config.firmware": MachinePart.FIRMWARE,
    "config.guestId": MachinePart.SYSTEM,
    "config.hardware.memoryMB": MachinePart.SIZE,
}


def remembered(before: Machine | None, now: Machine) -> Machine:
    """The machine as it is now, with what it does not show as it was `before`; `missing` still says what that is."""
    if before is None or not now.missing or _another(before, now):
        return now
    parts = [MachinePart(name) for name in now.missing]
    kept: dict[str, Any] = {name: getattr(before, name) for part in parts for name in part.fields}
    return replace(now, **kept, traits=_traits(before.traits, now.traits, frozenset(parts)))


def _another(before: Machine, now: Machine) -> bool:
    """Whether the moref names another machine by now."""
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
    """What is not known of it now without which nothing may be done with it; empty when all of that is known."""
    return next((part for part in machine.missing if part in UNREADY), "")


def nameless(machine: Machine) -> str:
    """What is not known of it now without which nobody can tell which machine it is; empty when that is known."""
    return obscured(machine) or ("" if machine.instance_uuid else MachinePart.IDENTITY)


def demand(row: PropertyRow, marker: str, on: str) -> None:
    """Raises a retryable VCenterFault when `row` does not have `marker`: then what else it lacks says nothing."""
    if not row.get(marker):
        raise VCenterFault(
            "vCenter shows the machine without its configuration",
            on=on,
            remedy="it passes when its host is connected; look at the machine in vCenter if it does not",
            retryable=True,
        )
