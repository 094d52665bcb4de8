"""What a check is, and what it may look at: one thing, and what is around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from connector.model import Datastore, Host, Inventory, Machine, Severity, TargetLimits

Subject = TypeVar("Subject")

BLOCK, WARM, WARN, INFO = Severity.BLOCK, Severity.WARM_BLOCK, Severity.WARN, Severity.INFO

MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What a rule may ask besides its subject. Everything is optional: a rule says nothing about the unknown."""

    limits: TargetLimits = field(default_factory=TargetLimits)
    hosts: Mapping[str, Host] = field(default_factory=dict)  # by moref
    datastores: Mapping[str, tuple[Datastore, ...]] = field(default_factory=dict)  # by name
    stores: Mapping[str, Datastore] = field(default_factory=dict)  # by moref
    twins: Mapping[str, int] = field(default_factory=dict)  # machines by BIOS UUID
    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # names of machines by a disk's file
    snapshotted: Mapping[str, int] = field(default_factory=dict)  # machines with snapshots by datastore
    now: float = 0.0  # seconds since the epoch; 0 leaves ages out
    segments: Mapping[str, str] = field(default_factory=dict)  # names of port groups that NSX made, by key

    @classmethod
    def of(cls, inventory: Inventory, limits: TargetLimits, now: float = 0.0) -> CheckContext:
        """Everything that an inventory tells."""
        datastores: dict[str, tuple[Datastore, ...]] = {}
        for one in inventory.datastores:
            datastores[one.name] = (*datastores.get(one.name, ()), one)
        owners: dict[str, tuple[str, ...]] = {}
        for machine in inventory.machines:
            for disk in machine.disks:
                if disk.sharing == "sharingMultiWriter":
                    owners[disk.path] = (*owners.get(disk.path, ()), machine.name)
        return cls(
            limits=limits,
            hosts={one.moref: one for one in inventory.hosts},
            datastores=datastores,
            stores={one.moref: one for one in inventory.datastores},
            twins=Counter(one.bios_uuid for one in inventory.machines if one.bios_uuid),
            owners=owners,
            snapshotted=Counter(
                name for one in inventory.machines if one.snapshots for name in one.traits.datastores
            ),
            now=now,
            segments={one.moref: one.name for one in inventory.networks if one.segment},
        )


@dataclass(frozen=True, slots=True)
class Rule(Generic[Subject]):
    """One check of one kind of thing. `wrong` says what is wrong, or "" when nothing is."""

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
