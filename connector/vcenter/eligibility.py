"""Whether a machine can be migrated, and how: tables of rules over inventory values, without any I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from connector.model import Finding, Inventory, Machine, MachineDisk, Nic, PowerState, TargetLimits
from connector.vcenter.changes import history, root_file
from connector.vcenter.checks import disk, guest, machine, network
from connector.vcenter.checks.disk import trackable
from connector.vcenter.checks.machine import foreign, hardware_level
from connector.vcenter.checks.rule import BLOCK, INFO, WARM, WARN, CheckContext, Rule
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
    "obstacles",
    "survey",
    "trackable",
]

RULES: tuple[Rule[Machine], ...] = machine.RULES + guest.RULES + disk.MACHINE_RULES
DISK_RULES: tuple[Rule[MachineDisk], ...] = disk.RULES
NIC_RULES: tuple[Rule[Nic], ...] = network.RULES

#: What can be said of a machine of which vCenter shows too little.
IN_REACH: tuple[Rule[Machine], ...] = tuple(rule for rule in RULES if rule.id in ("V1", "V30"))

#: Before a pass: room and crowds on datastores are judged by the thresholds of the appliance, which waits.
GOVERNED: frozenset[str] = frozenset({"D13", "D14"})

#: Before a pass: somebody works on a host or a datastore, and ends; the pass waits.
PASSING: frozenset[str] = frozenset({"S6", "D12"})

_REACH = (BLOCK, WARM, WARN, INFO)


def check(
    machine: Machine,
    limits: TargetLimits = TargetLimits(),  # noqa: B008 - frozen
    around: CheckContext | None = None,
) -> tuple[Finding, ...]:
    """Every finding about a machine, its disks and its network cards, the gravest first.

    Without `around` nothing is known of hosts, datastores and other machines, and nothing is said about them.
    """
    known = around or CheckContext(limits)
    if obscured(machine):  # what the rules would judge is not known
        return tuple(_about(IN_REACH, machine.name, machine, known))
    found = [
        *_about(RULES, machine.name, machine, known),
        *(
            one
            for disk in machine.disks
            for one in _about(DISK_RULES, f"{machine.name} {disk.label}", disk, known)
        ),
        *(
            one
            for nic in machine.traits.nics
            for one in _about(NIC_RULES, f"{machine.name} {nic.label}", nic, known)
        ),
    ]
    return tuple(sorted(found, key=lambda finding: _REACH.index(finding.severity)))


def survey(
    inventory: Inventory,
    limits: TargetLimits = TargetLimits(),  # noqa: B008 - frozen
    now: float = 0.0,
) -> dict[str, tuple[Finding, ...]]:
    """The findings about every machine by its moref, with everything that the inventory knows around it."""
    around = CheckContext.of(inventory, limits, now)
    return {one.moref: check(one, limits, around) for one in inventory.machines}


def _about(rules: Iterable[Rule[Any]], name: str, subject: object, around: CheckContext) -> Iterator[Finding]:
    for rule in rules:
        if message := rule.wrong(subject, around):
            yield Finding(rule.id, rule.severity, name, message, rule.remedy, rule.reads, rule.fixable)


def obstacles(findings: Iterable[Finding], power: PowerState) -> tuple[Finding, ...]:
    """The findings that forbid the migration of a machine in that power state."""
    grave = {BLOCK} if power is PowerState.OFF else {BLOCK, WARM}
    return tuple(finding for finding in findings if finding.severity in grave)


def disk_set_changes(
    subject: str, before: Sequence[MachineDisk], now: Sequence[MachineDisk]
) -> tuple[Finding, ...]:
    """D19 and D20: disks whose tracking was restarted, or that were added, removed, resized, replaced or moved since
    `before`; those need a resync.
    """
    old = {disk.key: disk for disk in before}
    new = {disk.key: disk for disk in now}
    told = [("D20", new[key].label, "the disk was added") for key in new.keys() - old.keys()]
    told += [("D20", old[key].label, "the disk was removed") for key in old.keys() - new.keys()]
    told += [
        (check_id, new[key].label, why)
        for key in old.keys() & new.keys()
        for check_id, why in _differences(old[key], new[key])
    ]
    remedy = "this disk is read again and compared by hash"
    return tuple(
        Finding(check_id, WARN, f"{subject} {label}", why, remedy, _READS[check_id], True)
        for check_id, label, why in sorted(told)
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
