"""The role in vCenter that migrations need: each privilege, where it must hold, and what it is for. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ROLE: Final = "Connector"
OWN_USER: Final = "connector@vsphere.local"  # an example
#: Who may grant permissions must not be given this role: it would replace what they have.
ADMINISTERS: Final = "Authorization.ModifyPermissions"


class On(StrEnum):
    """The kind of object on which a privilege must hold."""

    ROOT = "root folder"
    MACHINE = "machine"
    ENCRYPTED = "encrypted machine"
    DATASTORE = "datastore"


@dataclass(frozen=True, slots=True)
class Privilege:
    """`needed`: nothing can be migrated without; otherwise something is lost, which `why` says."""

    id: str
    on: On
    why: str
    needed: bool = True


PRIVILEGES: Final = (
    Privilege("Sessions.ValidateSession", On.ROOT, "keeping a session alive, and knowing that it is", False),
    Privilege("Global.DisableMethods", On.ROOT, "keeping a machine where it is while it is read", False),
    Privilege("Global.EnableMethods", On.ROOT, "letting it move again", False),
    Privilege("System.Read", On.MACHINE, "seeing the machine"),
    Privilege("VirtualMachine.State.CreateSnapshot", On.MACHINE, "the snapshot of a pass"),
    Privilege("VirtualMachine.State.RemoveSnapshot", On.MACHINE, "its removal; without it, it would stay"),
    Privilege("VirtualMachine.Config.ChangeTracking", On.MACHINE, "switching CBT on"),
    Privilege("VirtualMachine.Provisioning.DiskRandomRead", On.MACHINE, "reading disks and changed areas"),
    Privilege("VirtualMachine.Provisioning.GetVmFiles", On.MACHINE, "opening disks through vCenter"),
    Privilege("VirtualMachine.Config.DiskLease", On.MACHINE, "VDDK's hold on a disk while it is read"),
    Privilege("VirtualMachine.Interact.PowerOff", On.MACHINE, "cutover", False),
    Privilege("VirtualMachine.Interact.PowerOn", On.MACHINE, "the way back after a cutover", False),
    Privilege("Cryptographer.Access", On.ENCRYPTED, "reading encrypted disks"),
    Privilege("System.Read", On.DATASTORE, "seeing how full the datastore is while a snapshot grows"),
    Privilege("Datastore.Browse", On.DATASTORE, "finding the files of a disk", False),
    Privilege("Datastore.FileManagement", On.DATASTORE, "opening disks by their file", False),
)


def wanted(on: On) -> tuple[str, ...]:
    """The privileges that must hold on one object of a kind."""
    kinds = {on, On.MACHINE} if on is On.ENCRYPTED else {on}
    return tuple(one.id for one in PRIVILEGES if one.on in kinds)


def needed(privilege: str) -> bool:
    """Whether nothing goes without it."""
    return any(one.needed for one in PRIVILEGES if one.id == privilege)


def grantable() -> tuple[str, ...]:
    """What a role names: System.* belongs to every role, and vCenter refuses it in a list."""
    return tuple(sorted({one.id for one in PRIVILEGES if not one.id.startswith("System.")}))


def commands(user: str) -> tuple[str, ...]:
    """The govc commands that make the role and give it to the user, on everything below the root folder.

    They replace what the user may there: never for an administrator.
    """
    return (
        f"govc role.create {ROLE} {' '.join(grantable())}",
        f"govc permissions.set -principal {shlex.quote(user)} -role {ROLE} -propagate=true /",
    )


def document() -> str:
    """config/vcenter-role.yaml."""
    return "\n".join(_lines()) + "\n"


def table() -> Sequence[Sequence[str]]:
    """Rows for the documentation: privilege, on what, what for, whether it can be done without."""
    return [(one.id, one.on.value, one.why, "" if one.needed else "yes") for one in PRIVILEGES]


def _lines() -> Iterator[str]:
    yield "# The role for the connector's user in vCenter. Make it in vCenter's own pages, or with govc:"
    for command in commands(OWN_USER):
        yield f"#   {command}"
    yield "# The second replaces what its user may there, so give it to a user of its own, never to an administrator."
    yield "# `connector doctor --role` says what is missing on which machine and datastore. Generated; a test compares."
    yield f"name: {ROLE}"
    yield "privileges:"
    for one in PRIVILEGES:
        yield f"  - id: {one.id}"
        yield f"    on: {one.on.value}"
        yield f"    needed: {'true' if one.needed else 'false'}"
        yield f"    why: {one.why}"
