"""Tables of rules over inventory values decide whether a machine can be migrated, and how. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from connector.model import Finding, Inventory, Machine, MachineDisk, Nic, TargetLimits
from connector.vcenter.changes import history, root_file
from connector.vcenter.checks import disk, guest, machine, network
from connector.vcenter.checks.disk import trackable
from connector.vcenter.checks.machine import foreign, hardware_level
from connector.vcenter.checks.rule import BLOCK, BLOCK_RUNNING, INFO, WARN, CheckContext, Rule
from connector.vcenter.partial import obscured

__all__ = [
    "DISK_RULES",
    "GOVERNED",
    "NIC_RULES",
    "PASSING",
    "RULES",
    "CheckContext",
    "check",
    "disk_set_changes",
    "foreign",
    "hardware_level",
    "survey",
    "trackable",
]

RULES: tuple[Rule[Machine], ...] = machine.RULES + guest.RULES + disk.MACHINE_RULES
DISK_RULES: tuple[Rule[MachineDisk], ...] = disk.RULES
NIC_RULES: tuple[Rule[Nic], ...] = network.RULES

#: The rules that apply to a machine of which vCenter shows too little.
WHEN_OBSCURED: tuple[Rule[Machine], ...] = tuple(rule for rule in RULES if rule.id in ("V1", "V30"))

#: Before a pass the appliance applies its own thresholds to these, and waits: space on datastores, number of snapshots.
GOVERNED: frozenset[str] = frozenset({"D13", "D14"})

#: Before a pass the appliance waits for the end of these: work on a host or on a datastore.
PASSING: frozenset[str] = frozenset({"S6", "D12"})

_GRAVEST_FIRST = (BLOCK, BLOCK_RUNNING, WARN, INFO)


def check(
    machine: Machine,
    limits: TargetLimits = TargetLimits(),  # noqa: B008 - frozen
    around: CheckContext | None = None,
) -> tuple[Finding, ...]:
    """Every finding about a machine, its disks and its network cards, the gravest first.

    Without `around` the rules know no hosts, datastores and other machines, and find nothing wrong with them.
    """
    context = around or CheckContext(limits)
    if obscured(machine):  # the other rules need what is not known
        return tuple(_about(WHEN_OBSCURED, machine.name, machine, context))
    findings = [
        *_about(RULES, machine.name, machine, context),
        *(
            finding
            for disk in machine.disks
            for finding in _about(DISK_RULES, f"{machine.name} {disk.label}", disk, context)
        ),
        *(
            finding
            for nic in machine.traits.nics
            for finding in _about(NIC_RULES, f"{machine.name} {nic.label}", nic, context)
        ),
    ]
    return tuple(sorted(findings, key=lambda finding: _GRAVEST_FIRST.index(finding.severity)))


def survey(
    inventory: Inventory,
    limits: TargetLimits = TargetLimits(),  # noqa: B008 - frozen
    now: float = 0.0,
) -> dict[str, tuple[Finding, ...]]:
    """The findings about every machine of an inventory, by moref."""
    around = CheckContext.of(inventory, limits, now)
    return {machine.moref: check(machine, limits, around) for machine in inventory.machines}


def _about(rules: Iterable[Rule[Any]], name: str, subject: object, around: CheckContext) -> Iterator[Finding]:
    for rule in rules:
        if message := rule.wrong(subject, around):
            yield Finding(rule.id, rule.severity, name, message, rule.remedy, rule.reads, rule.fixable)


def disk_set_changes(
    subject: str, before: Sequence[MachineDisk], now: Sequence[MachineDisk]
) -> tuple[Finding, ...]:
    """D19 and D20: disks that need a resync, because they changed since `before` or their tracking was restarted.

    A disk changes when it is added, removed, resized, replaced or moved.
    """
    old = {disk.key: disk for disk in before}
    new = {disk.key: disk for disk in now}
    changes = [("D20", new[key].label, "the disk was added") for key in new.keys() - old.keys()]
    changes += [("D20", old[key].label, "the disk was removed") for key in old.keys() - new.keys()]
    changes += [
        (check_id, new[key].label, why)
        for key in old.keys() & new.keys()
        for check_id, why in _differences(old[key], new[key])
    ]
    remedy = "this disk is read again and compared by hash"
    return tuple(
        Finding(check_id, WARN, f"{subject} {label}", why, remedy, _READS[check_id], True)
        for check_id, label, why in sorted(changes)
    )


_READS = {"D19": "backing.changeId", "D20": "config.hardware.device"}


def _differences(old: MachineDisk, new: MachineDisk) -> Iterator[tuple[str, str]]:
    if old.change_id and new.change_id and history(old.change_id) != history(new.change_id):
        yield "D19", "its tracking was restarted (the uuid part of the change id differs)"
    if old.capacity != new.capacity:
        yield "D20", f"the disk was resized from {old.capacity} to {new.capacity} bytes"
    if old.uuid != new.uuid:
        yield "D20", "another disk is in its place"
    elif root_file(old.path) != root_file(new.path):
        yield "D20", f"the disk moved from {root_file(old.path)} to {root_file(new.path)}"
