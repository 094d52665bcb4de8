"""Where we stand with a vCenter: its clock, its hosts' names and certificates, and what we may not do on which object.

Looking only. Privileges are asked for many objects at once; one that this vCenter does not know is not asked for.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connector.errors import NotFound
from connector.model import Inventory, Machine
from connector.vcenter import inventory
from connector.vcenter.faults import translated
from connector.vcenter.properties import read, stream
from connector.vcenter.role import ADMINISTERS, On, wanted
from connector.vcenter.session import Session
from connector.vcenter.values import moref, text
from connector.vcenter.vmomi import vim

BULK: Final = 500  # objects per question


@dataclass(frozen=True, slots=True)
class HostPort:
    """An ESXi host that is connected: the name at which disks are read, the SHA-1 of the certificate that vCenter expects."""

    moref: str
    name: str
    thumbprint: str
    version: str
    machines: tuple[str, ...] = ()  # names of those that run there and may be migrated


@dataclass(frozen=True, slots=True)
class Grant:
    """What the user may not do on one object; `missing` is in the order of the role."""

    on: On
    moref: str
    name: str
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VCenterFacts:
    """`skew`: seconds by which our clock is ahead of vCenter's; `latency`: how far that may be off.

    `administers`: the user may grant permissions, so it is nobody to narrow down to a role.
    """

    skew: float
    latency: float
    hosts: tuple[HostPort, ...]
    grants: tuple[Grant, ...]
    administers: bool = False


def standing(session: Session, chosen: Collection[str] = ()) -> VCenterFacts:
    """Everything at once. `chosen`: the only machines that are to be migrated, by moref; none: all may be."""
    seen = inventory.whole(session)
    skew, latency = _clock(session)
    grants = tuple(_grants(session, seen))
    return VCenterFacts(skew, latency, _hosts(session, seen, chosen), grants, _administers(session))


def _clock(session: Session) -> tuple[float, float]:
    with translated(str(session.endpoint)):
        instance = session.managed(vim.ServiceInstance, "ServiceInstance")
        before = time.time()
        told = instance.CurrentTime().timestamp()
        after = time.time()
    return (before + after) / 2 - told, (after - before) / 2


def _hosts(session: Session, seen: Inventory, chosen: Collection[str]) -> tuple[HostPort, ...]:
    """Those that are connected: nothing is read from the others."""
    rows = stream(session, {vim.HostSystem: ("summary.config.sslThumbprint",)}, lambda row: row)
    there = defaultdict[str, list[str]](list)
    for machine in seen.machines:
        if not machine.template and (not chosen or machine.moref in chosen):
            there[machine.host].append(machine.name)
    prints = {row.moref: text(row.get("summary.config.sslThumbprint")) for row in rows}
    return tuple(
        HostPort(one.moref, one.name, prints.get(one.moref, ""), one.version, tuple(there[one.moref]))
        for one in seen.hosts
        if one.connection == "connected"
    )


def _grants(session: Session, seen: Inventory) -> Iterator[Grant]:
    manager = session.content.authorizationManager
    known = _known(session, manager)
    for on, objects in _held_at(session, seen).items():
        asked = [name for name in wanted(on) if name in known]
        for some in _bulks(list(objects)):
            refs = [_reference(session, on, one) for one in some]
            for entity in _ask(session, manager, refs, asked):
                missing = {row.privId for row in entity.privAvailability if not row.isGranted}
                one = moref(entity.entity)
                yield Grant(on, one, objects.get(one, one), tuple(name for name in asked if name in missing))


def _administers(session: Session) -> bool:
    answers = _ask(session, session.content.authorizationManager, [session.content.rootFolder], [ADMINISTERS])
    return any(row.isGranted for one in answers for row in one.privAvailability)


def _held_at(session: Session, seen: Inventory) -> dict[On, dict[str, str]]:
    """Names by moref. A template is no machine that anybody migrates."""
    machines = [one for one in seen.machines if not one.template]
    return {
        On.ROOT: {moref(session.content.rootFolder): "root folder"},
        On.MACHINE: {one.moref: one.name for one in machines if not _encrypted(one)},
        On.ENCRYPTED: {one.moref: one.name for one in machines if _encrypted(one)},
        On.DATASTORE: {one.moref: one.name for one in seen.datastores},
    }


def _ask(session: Session, manager: Any, refs: Sequence[Any], asked: Sequence[str]) -> Sequence[Any]:
    """The answers for those that are still there: one that went away meanwhile makes vCenter refuse the whole question."""
    current = read(session, session.content.sessionManager, ("currentSession",), on=str(session.endpoint))
    key = str(current.get("currentSession").key)
    try:
        with translated(str(session.endpoint)):
            return list(manager.HasPrivilegeOnEntities(list(refs), key, list(asked)) or ())
    except NotFound:
        half = len(refs) // 2
        if not half:
            return ()
        return [
            *_ask(session, manager, refs[:half], asked),
            *_ask(session, manager, refs[half:], asked),
        ]


def _known(session: Session, manager: Any) -> frozenset[str]:
    row = read(session, manager, ("privilegeList",), on=str(session.endpoint))
    return frozenset(str(one.privId) for one in row.get("privilegeList") or ())


def _reference(session: Session, on: On, one: str) -> Any:
    kind = {On.ROOT: vim.Folder, On.DATASTORE: vim.Datastore}.get(on, vim.VirtualMachine)
    return session.managed(kind, one)


def _bulks(morefs: Sequence[str]) -> Iterable[Sequence[str]]:
    return (morefs[at : at + BULK] for at in range(0, len(morefs), BULK))


def _encrypted(machine: Machine) -> bool:
    return machine.traits.encrypted or any(disk.encrypted for disk in machine.disks)
