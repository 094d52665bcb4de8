"""The role in vCenter that migrations need: each privilege, on which kind of object, and why. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ROLE: Final = "Connector"
OWN_USER: Final = "connector@vsphere.local"  # an example
#: A user with this privilege must not get the role: it would replace the user's rights.
ADMINISTERS: Final = "Authorization.ModifyPermissions"


class On(StrEnum):
    """The kind of object on which a privilege must hold."""

    ROOT = "root folder"
    MACHINE = "machine"
    ENCRYPTED = "encrypted machine"
    DATASTORE = "datastore"


@dataclass(frozen=True, slots=True)
class Privilege:
    """`needed`: without it nothing can be migrated. Without another one, only what `why` says is lost."""

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
    Privilege("Datastore.Browse", On.DATASTORE, "reading the files of a disk over HTTPS", False),
    Privilege("Datastore.FileManagement", On.DATASTORE, "opening disks by their file", False),
)


def wanted(on: On) -> tuple[str, ...]:
    """The privileges that must hold on one object of a kind."""
    kinds = {on, On.MACHINE} if on is On.ENCRYPTED else {on}
    return tuple(privilege.id for privilege in PRIVILEGES if privilege.on in kinds)


def needed(privilege: str) -> bool:
    """Whether nothing can be migrated without it."""
    return any(entry.needed for entry in PRIVILEGES if entry.id == privilege)


def grantable() -> tuple[str, ...]:
    """The privileges that a role lists. System.* belongs to every role, and vCenter refuses it in a list."""
    return tuple(sorted({privilege.id for privilege in PRIVILEGES if not privilege.id.startswith("System.")}))


def commands(user: str) -> tuple[str, ...]:
    """The govc commands that make the role and give it to the user, on everything below the root folder.

    They replace the user's rights there, so they are never for an administrator.
    """
    return (
        f"govc role.create {ROLE} {' '.join(grantable())}",
        f"govc permissions.set -principal {shlex.quote(user)} -role {ROLE} -propagate=true /",
    )


def document() -> str:
    """config/vcenter-role.yaml."""
    return "\n".join(_lines()) + "\n"


def table() -> Sequence[Sequence[str]]:
    """Rows for the documentation: privilege, kind of object, reason, whether it is optional."""
    return [
        (privilege.id, privilege.on.value, privilege.why, "" if privilege.needed else "yes")
        for privilege in PRIVILEGES
    ]


def _lines() -> Iterator[str]:
    yield "# The role for the connector's user in vCenter. Make it in vCenter's own pages, or with govc:"
    for command in commands(OWN_USER):
        yield f"#   {command}"
    yield "# The second command replaces the user's rights: use an account of its own, never an administrator's."
    yield "# `connector doctor --role` says what is missing on which machine and datastore. Generated; a test compares."
    yield f"name: {ROLE}"
    yield "privileges:"
    for privilege in PRIVILEGES:
        yield f"  - id: {privilege.id}"
        yield f"    on: {privilege.on.value}"
        yield f"    needed: {'true' if privilege.needed else 'false'}"
        yield f"    why: {privilege.why}"
