"""Roles and permissions decide what a user may do; permissions propagate downwards, and tests may remove privileges.

The nearest permission above an entity decides, as in vCenter; without any, nothing is allowed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from simulator.vcenter.api import make, support, vim, vmodl
from simulator.vcenter.kinds import Call, Center, Kind, Method, Target

if TYPE_CHECKING:
    from simulator.vcenter.sessions import Session

ADMIN, READ_ONLY, NO_ACCESS = -1, -2, -5
_READING = frozenset({"System.Anonymous", "System.View", "System.Read"})
_ANONYMOUS = frozenset({"System.Anonymous"})
# Checked inside methods, so the method tables do not name them.
_CHECKED_INSIDE = (
    "Authorization.ModifyPermissions",
    "Cryptographer.Access",
    "Cryptographer.Decrypt",
    "Datastore.AllocateSpace",
    "Datastore.Browse",
    "Datastore.FileManagement",
    "Global.DisableMethods",
    "Global.EnableMethods",
    "Global.Licenses",
    "Sessions.TerminateSession",
    "Sessions.ValidateSession",
    "System.Anonymous",
    "System.Read",
    "System.View",
    "VirtualMachine.Config.AddNewDisk",
    "VirtualMachine.Config.AdvancedConfig",
    "VirtualMachine.Config.Annotation",
    "VirtualMachine.Config.CPUCount",
    "VirtualMachine.Config.ChangeTracking",
    "VirtualMachine.Config.DiskExtend",
    "VirtualMachine.Config.DiskLease",
    "VirtualMachine.Config.EditDevice",
    "VirtualMachine.Config.Memory",
    "VirtualMachine.Config.Rename",
    "VirtualMachine.Config.Settings",
    "VirtualMachine.Interact.PowerOff",
    "VirtualMachine.Interact.PowerOn",
    "VirtualMachine.Inventory.Delete",
    "VirtualMachine.Provisioning.DiskRandomAccess",
    "VirtualMachine.Provisioning.DiskRandomRead",
    "VirtualMachine.Provisioning.GetVmFiles",
    "VirtualMachine.State.CreateSnapshot",
    "VirtualMachine.State.RemoveSnapshot",
    "VirtualMachine.State.RevertToSnapshot",
)


@lru_cache(maxsize=1)
def known_privileges() -> frozenset[str]:
    """Every privilege that some method of the API names, and those checked inside methods."""
    privileges = set(_CHECKED_INSIDE)
    for name in support.ListManagedTypes():
        if not name.startswith("vim."):
            continue
        definition = support._managedDefMap[name]
        for method in definition[5] or ():
            if method[5]:
                privileges.add(str(method[5]))
    return frozenset(privileges)


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of privileges; `privileges` None means all there are."""

    id: int
    name: str
    label: str
    privileges: frozenset[str] | None

    def allows(self, privilege: str) -> bool:
        return self.privileges is None or privilege in self.privileges


@dataclass(frozen=True, slots=True)
class Permission:
    """One entry of an entity's permission list."""

    entity: str
    principal: str
    role: int
    propagate: bool = True
    group: bool = False


class Authority:
    """Roles, permissions and denials. Thread-safe; readers see one consistent table."""

    def __init__(self, center: Center, administrators: Iterable[str]) -> None:
        self._center = center
        self._lock = threading.Lock()
        self._roles = {
            role.id: role
            for role in (
                Role(ADMIN, "Admin", "Administrator", None),
                Role(READ_ONLY, "ReadOnly", "Read-only", _READING),
                Role(-3, "View", "View", frozenset({"System.Anonymous", "System.View"})),
                Role(-4, "Anonymous", "Anonymous", _ANONYMOUS),
                Role(NO_ACCESS, "NoAccess", "No access", frozenset()),
            )
        }
        root = center.index.root.moref
        self._permissions = [Permission(root, user.lower(), ADMIN) for user in administrators]
        self._denied: frozenset[tuple[str, str]] = frozenset()

    def deny(self, privilege: str, entity: str = "*") -> None:
        """Take a privilege away from everybody, everywhere or on one entity (by moref)."""
        with self._lock:
            self._denied |= {(privilege, entity)}
        self._center.changes.touch()

    def allow(self, privilege: str, entity: str = "*") -> None:
        """Undo `deny`."""
        with self._lock:
            self._denied -= {(privilege, entity)}
        self._center.changes.touch()

    def has(self, user: str, entity: str, privilege: str) -> bool:
        """Does this user hold this privilege on this entity (an inventory moref)?"""
        if self._denied and ({(privilege, entity), (privilege, "*")} & self._denied):
            return False
        role = self._role(user, entity)
        return role is not None and (role.allows(privilege) or privilege in _ANONYMOUS)

    def role_of(self, user: str, entity: str) -> int:
        role = self._role(user, entity)
        return role.id if role is not None else NO_ACCESS

    def _role(self, user: str, entity: str) -> Role | None:
        name = user.lower()
        mine = [entry for entry in self._permissions if entry.principal == name]
        if not mine:
            return None
        for distance, ancestor in enumerate(self._center.index.ancestors(entity)):
            for entry in mine:
                if entry.entity == ancestor.moref and (entry.propagate or distance == 0):
                    return self._roles.get(entry.role)
        return None

    def refusal(self, session: Session | None, target: Target, privilege: str) -> Any | None:
        """The NoPermission fault, or None when it may be. Objects outside the inventory need only a
        session.
        """
        if session is None:
            return None
        entity = self._center.entity_of(target)
        checked = entity if entity is not None else self._center.index.root.moref
        if entity is None and privilege in _READING:
            return None
        if self.has(session.user, checked, privilege):
            return None
        return vim.fault.NoPermission(
            object=self._center.reference(checked),
            privilegeId=privilege,
            msg="Permission to perform this operation was denied.",
        )

    def demand(self, session: Session | None, target: Target, privilege: str) -> None:
        """Raises NoPermission."""
        fault = self.refusal(session, target, privilege)
        if fault is not None:
            raise fault

    def roles(self) -> list[Role]:
        return list(self._roles.values())

    def add_role(self, name: str, privileges: Iterable[str]) -> int:
        """A new role. Raises AlreadyExists, InvalidArgument for an unknown privilege."""
        wanted = frozenset(privileges)
        if wanted - known_privileges():
            raise vmodl.fault.InvalidArgument(
                invalidProperty="privIds", msg=f"unknown: {sorted(wanted - known_privileges())}"
            )
        with self._lock:
            if any(role.name == name for role in self._roles.values()):
                raise vim.fault.AlreadyExists(name=name, msg=f"The role {name} already exists.")
            number = max(0, *self._roles) + 1
            self._roles[number] = Role(number, name, name, wanted | _READING)
        return number

    def remove_role(self, number: int) -> None:
        """Raises NotFound."""
        with self._lock:
            if number < 0 or self._roles.pop(number, None) is None:
                raise vim.fault.NotFound(msg=f"no role {number}")

    def permissions(self, entity: str | None = None) -> list[Permission]:
        return [entry for entry in self._permissions if entity is None or entry.entity == entity]

    def permit(self, entry: Permission) -> None:
        """Set one permission, in place of an older one of the same principal on the same entity."""
        if entry.role not in self._roles:
            raise vim.fault.NotFound(msg=f"no role {entry.role}")
        with self._lock:
            self._permissions = [
                known
                for known in self._permissions
                if (known.entity, known.principal) != (entry.entity, entry.principal)
            ] + [entry]
        self._center.changes.touch()

    def revoke(self, entity: str, principal: str) -> None:
        """Raises NotFound."""
        remaining = [e for e in self._permissions if (e.entity, e.principal) != (entity, principal.lower())]
        if len(remaining) == len(self._permissions):
            raise vim.fault.NotFound(msg=f"no permission of {principal} on {entity}")
        self._permissions = remaining
        self._center.changes.touch()


def describe(entry: Permission, center: Center) -> Any:
    """As the API shows a permission."""
    return make(
        vim.AuthorizationManager.Permission,
        entity=center.reference(entry.entity),
        principal=entry.principal,
        group=entry.group,
        roleId=entry.role,
        propagate=entry.propagate,
    )


def _describe_role(role: Role) -> Any:
    return make(
        vim.AuthorizationManager.Role,
        roleId=role.id,
        system=role.id < 0,
        name=role.name,
        info=make(vim.Description, label=role.label, summary=role.label),
        privilege=sorted(known_privileges() if role.privileges is None else role.privileges),
    )


def _describe_privilege(name: str) -> Any:
    return make(
        vim.AuthorizationManager.Privilege,
        privId=name,
        onParent=False,
        name=name.rpartition(".")[2],
        privGroupName=name.rpartition(".")[0],
    )


def _privileges(call: Call, user: str, entities: Iterable[Any]) -> Any:
    answers = []
    names = call["privId"] or sorted(known_privileges())
    for reference in entities:
        target = call.center.locate(reference)
        entity = call.center.entity_of(target) or call.center.index.root.moref
        rows = [
            make(
                vim.AuthorizationManager.PrivilegeAvailability,
                privId=name,
                isGranted=name in known_privileges() and call.center.authority.has(user, entity, name),
            )
            for name in names
        ]
        answers.append(
            make(vim.AuthorizationManager.EntityPrivilege, entity=reference, privAvailability=rows)
        )
    return answers


def _has_privilege_on_entities(call: Call) -> Any:
    session = call.center.sessions.with_key(call["sessionId"])
    if session is None:
        raise vmodl.fault.InvalidArgument(invalidProperty="sessionId", msg="no such session")
    return _privileges(call, session.user, call["entity"])


def _has_privilege_on_entity(call: Call) -> list[bool]:
    session = call.center.sessions.with_key(call["sessionId"])
    if session is None:
        raise vmodl.fault.InvalidArgument(invalidProperty="sessionId", msg="no such session")
    rows = _privileges(call, session.user, [call["entity"]])[0].privAvailability
    return [row.isGranted for row in rows]


def _has_user_privilege_on_entities(call: Call) -> Any:
    return _privileges(call, call["userName"], call["entities"])


def _fetch(call: Call) -> Any:
    answers = []
    for reference in call["entities"]:
        call.center.locate(reference)
        privileges = [
            name
            for name in sorted(known_privileges())
            if call.center.authority.has(call["userName"], reference._moId, name)
        ]
        answers.append(
            make(vim.AuthorizationManager.UserPrivilegeResult, entity=reference, privileges=privileges)
        )
    return answers


def _entity_permissions(call: Call) -> Any:
    center, entity = call.center, call.center.locate(call["entity"]).moref
    entries = center.authority.permissions(entity)
    if call["inherited"]:
        for ancestor in list(center.index.ancestors(entity))[1:]:
            entries += [entry for entry in center.authority.permissions(ancestor.moref) if entry.propagate]
    return [describe(entry, center) for entry in entries]


def _all_permissions(call: Call) -> Any:
    return [describe(entry, call.center) for entry in call.center.authority.permissions()]


def _role_permissions(call: Call) -> Any:
    entries = call.center.authority.permissions()
    return [describe(entry, call.center) for entry in entries if entry.role == call["roleId"]]


def _set_permissions(call: Call) -> None:
    entity = call.center.locate(call["entity"])
    call.center.authority.demand(call.session, entity, "Authorization.ModifyPermissions")
    for permission in call["permission"]:
        call.center.authority.permit(
            Permission(
                entity.moref,
                permission.principal.lower(),
                permission.roleId,
                bool(permission.propagate),
                bool(permission.group),
            )
        )


def _remove_permission(call: Call) -> None:
    call.center.authority.revoke(call.center.locate(call["entity"]).moref, call["user"])


METHODS: dict[str, Method] = {
    "HasPrivilegeOnEntities": _has_privilege_on_entities,
    "HasPrivilegeOnEntity": _has_privilege_on_entity,
    "HasUserPrivilegeOnEntities": _has_user_privilege_on_entities,
    "FetchUserPrivilegeOnEntities": _fetch,
    "RetrieveEntityPermissions": _entity_permissions,
    "RetrieveAllPermissions": _all_permissions,
    "RetrieveRolePermissions": _role_permissions,
    "SetEntityPermissions": _set_permissions,
    "RemoveEntityPermission": _remove_permission,
    "AddAuthorizationRole": lambda call: call.center.authority.add_role(call["name"], call["privIds"]),
    "RemoveAuthorizationRole": lambda call: call.center.authority.remove_role(call["roleId"]),
}

KIND = Kind(
    vim.AuthorizationManager,
    {
        "roleList": lambda view: [_describe_role(role) for role in view.center.authority.roles()],
        "privilegeList": lambda _view: [_describe_privilege(name) for name in sorted(known_privileges())],
    },
    METHODS,
    volatile=frozenset({"roleList"}),
)
