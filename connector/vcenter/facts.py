"""Facts about a vCenter for the doctor: its clock, its hosts' names and certificates, the user's missing privileges.

Nothing is changed. One question asks about many objects, and only about privileges that this vCenter knows.
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
    """A connected ESXi host. Disks are read from `name`; `thumbprint` is the SHA-1 that vCenter expects of its certificate."""

    moref: str
    name: str
    thumbprint: str
    version: str
    machines: tuple[str, ...] = ()  # names of the machines there that may be migrated


@dataclass(frozen=True, slots=True)
class Grant:
    """What the user may not do on one object; `missing` is in the order of the role."""

    on: On
    moref: str
    name: str
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VCenterFacts:
    """`skew`: seconds by which our clock is ahead of vCenter's; `latency`: how far `skew` may be off.

    `administers`: the user may grant permissions, so the connector's role must not replace its rights.
    """

    skew: float
    latency: float
    hosts: tuple[HostPort, ...]
    grants: tuple[Grant, ...]
    administers: bool = False


def facts(session: Session, chosen: Collection[str] = ()) -> VCenterFacts:
    """All facts. `chosen`: the only machines that are to be migrated, by moref; none: all may be."""
    inventory_now = inventory.whole(session)
    skew, latency = _clock(session)
    grants = tuple(_grants(session, inventory_now, chosen))
    return VCenterFacts(skew, latency, _hosts(session, inventory_now, chosen), grants, _administers(session))


def _clock(session: Session) -> tuple[float, float]:
    with translated(str(session.endpoint)):
        instance = session.managed(vim.ServiceInstance, "ServiceInstance")
        before = time.time()
        theirs = instance.CurrentTime().timestamp()
        after = time.time()
    return (before + after) / 2 - theirs, (after - before) / 2


def _hosts(session: Session, inventory_now: Inventory, chosen: Collection[str]) -> tuple[HostPort, ...]:
    """The connected hosts: nothing is read from the others."""
    rows = stream(session, {vim.HostSystem: ("summary.config.sslThumbprint",)}, lambda row: row)
    machines = defaultdict[str, list[str]](list)
    for machine in inventory_now.machines:
        if _to_migrate(machine, chosen):
            machines[machine.host].append(machine.name)
    prints = {row.moref: text(row.get("summary.config.sslThumbprint")) for row in rows}
    return tuple(
        HostPort(host.moref, host.name, prints.get(host.moref, ""), host.version, tuple(machines[host.moref]))
        for host in inventory_now.hosts
        if host.connection == "connected"
    )


def _grants(session: Session, inventory_now: Inventory, chosen: Collection[str]) -> Iterator[Grant]:
    manager = session.content.authorizationManager
    known = _known(session, manager)
    for on, objects in _held_at(session, inventory_now, chosen).items():
        privileges = [name for name in wanted(on) if name in known]
        for some in _bulks(list(objects)):
            refs = [_reference(session, on, entity) for entity in some]
            for answer in _ask(session, manager, refs, privileges):
                missing = {row.privId for row in answer.privAvailability if not row.isGranted}
                entity = moref(answer.entity)
                name = objects.get(entity, entity)
                yield Grant(on, entity, name, tuple(known for known in privileges if known in missing))


def _administers(session: Session) -> bool:
    answers = _ask(session, session.content.authorizationManager, [session.content.rootFolder], [ADMINISTERS])
    return any(row.isGranted for answer in answers for row in answer.privAvailability)


def _held_at(session: Session, inventory_now: Inventory, chosen: Collection[str]) -> dict[On, dict[str, str]]:
    """Names by moref. Templates are left out, because nobody migrates them, and so is what no chosen machine needs."""
    migratable = [machine for machine in inventory_now.machines if _to_migrate(machine, chosen)]
    used = {name for machine in migratable for name in machine.traits.datastores}
    datastores = [store for store in inventory_now.datastores if not chosen or store.name in used]
    return {
        On.ROOT: {moref(session.content.rootFolder): "root folder"},
        On.MACHINE: {machine.moref: machine.name for machine in migratable if not _encrypted(machine)},
        On.ENCRYPTED: {machine.moref: machine.name for machine in migratable if _encrypted(machine)},
        On.DATASTORE: {store.moref: store.name for store in datastores},
    }


def _to_migrate(machine: Machine, chosen: Collection[str]) -> bool:
    return not machine.template and (not chosen or machine.moref in chosen)


def _ask(session: Session, manager: Any, refs: Sequence[Any], privileges: Sequence[str]) -> Sequence[Any]:
    """The answers about the objects that still exist. vCenter refuses a question that names an object that is gone."""
    current = read(session, session.content.sessionManager, ("currentSession",), on=str(session.endpoint))
    key = str(current.get("currentSession").key)
    try:
        with translated(str(session.endpoint)):
            return list(manager.HasPrivilegeOnEntities(list(refs), key, list(privileges)) or ())
    except NotFound:
        half = len(refs) // 2
        if not half:
            return ()
        return [
            *_ask(session, manager, refs[:half], privileges),
            *_ask(session, manager, refs[half:], privileges),
        ]


def _known(session: Session, manager: Any) -> frozenset[str]:
    row = read(session, manager, ("privilegeList",), on=str(session.endpoint))
    return frozenset(str(privilege.privId) for privilege in row.get("privilegeList") or ())


def _reference(session: Session, on: On, entity: str) -> Any:
    kind = {On.ROOT: vim.Folder, On.DATASTORE: vim.Datastore}.get(on, vim.VirtualMachine)
    return session.managed(kind, entity)


def _bulks(morefs: Sequence[str]) -> Iterable[Sequence[str]]:
    return (morefs[at : at + BULK] for at in range(0, len(morefs), BULK))


def _encrypted(machine: Machine) -> bool:
    return machine.traits.encrypted or any(disk.encrypted for disk in machine.disks)
