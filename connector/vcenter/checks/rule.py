"""A check is a rule about one subject: it may look at the subject and at what is around it, and it does no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from connector.model import Datastore, Host, Inventory, Machine, Severity, TargetLimits

Subject = TypeVar("Subject")

BLOCK, BLOCK_RUNNING, WARN, INFO = Severity.BLOCK, Severity.WARM_BLOCK, Severity.WARN, Severity.INFO

MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What a rule may look at besides its subject. Everything is optional: a rule finds nothing wrong in what is unknown."""

    limits: TargetLimits = field(default_factory=TargetLimits)
    hosts: Mapping[str, Host] = field(default_factory=dict)  # by moref
    datastores: Mapping[str, tuple[Datastore, ...]] = field(default_factory=dict)  # by name
    stores: Mapping[str, Datastore] = field(default_factory=dict)  # by moref
    twins: Mapping[str, int] = field(default_factory=dict)  # machines by BIOS UUID
    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # names of machines by a disk's file
    snapshotted: Mapping[str, int] = field(default_factory=dict)  # machines with snapshots by datastore's key
    now: float = 0.0  # seconds since the epoch; 0 leaves ages out
    segments: Mapping[str, str] = field(default_factory=dict)  # names of port groups that NSX made, by key

    @classmethod
    def of(cls, inventory: Inventory, limits: TargetLimits, now: float = 0.0) -> CheckContext:
        """The context that an inventory gives."""
        datastores: dict[str, tuple[Datastore, ...]] = {}
        for store in inventory.datastores:
            datastores[store.name] = (*datastores.get(store.name, ()), store)
        owners: dict[str, tuple[str, ...]] = {}
        for machine in inventory.machines:
            for disk in machine.disks:
                if disk.sharing == "sharingMultiWriter":
                    owners[disk.path] = (*owners.get(disk.path, ()), machine.name)
        return cls(
            limits=limits,
            hosts={host.moref: host for host in inventory.hosts},
            datastores=datastores,
            stores={store.moref: store for store in inventory.datastores},
            twins=Counter(machine.bios_uuid for machine in inventory.machines if machine.bios_uuid),
            owners=owners,
            snapshotted=Counter(
                store
                for machine in inventory.machines
                if machine.snapshots
                for store in {disk.store or disk.datastore for disk in machine.disks}
            ),
            now=now,
            segments={network.moref: network.name for network in inventory.networks if network.segment},
        )


@dataclass(frozen=True, slots=True)
class Rule(Generic[Subject]):
    """One check of one kind of subject. `wrong` says what is wrong, or "" when nothing is."""

    id: str  # of the documented checks; one id may have several rules, when it has several degrees
    title: str  # with the id, unique
    severity: Severity
    reads: str  # the properties
    wrong: Callable[[Subject, CheckContext], str]
    remedy: str
    fixable: bool = False  # the tool can do what the remedy says


def when(wrong: object, message: str) -> str:
    return message if wrong else ""


def named(machine: Machine) -> str:
    return machine.name
