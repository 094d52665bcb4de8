"""The kinds of inventory objects: what all entities share, put together with the tables of each."""

from __future__ import annotations

from typing import Any

from simulator.vcenter import edits, folder_calls, host_calls, hosts, machine, machine_calls, places
from simulator.vcenter.api import fields_of, vim
from simulator.vcenter.authority import describe
from simulator.vcenter.catalogue import custom_values
from simulator.vcenter.kinds import Call, Kind, Method, Property, View
from simulator.vcenter.naming import escaped
from simulator.vcenter.reconfigure import reconfigure


def _parent(view: View) -> Any:
    parent = view.target.subject.parent
    return None if parent is None else view.center.reference(parent)


def _permissions(view: View) -> list[Any]:
    entries = view.center.authority.permissions(view.target.moref)
    return [describe(entry, view.center) for entry in entries]


def _roles(view: View) -> list[int]:
    user = view.session.user if view.session is not None else ""
    return [view.center.authority.role_of(user, view.target.moref)]


_ENTITY: dict[str, Property] = {
    "parent": _parent,
    "name": lambda view: escaped(view.target.subject.name),
    "overallStatus": lambda _view: "green",
    "configStatus": lambda _view: "green",
    "configIssue": lambda _view: [],
    "effectiveRole": _roles,
    "permission": _permissions,
    "disabledMethod": lambda _view: [],
    "recentTask": lambda view: view.center.tasks.recent(view.target.moref),
    "declaredAlarmState": lambda _view: [],
    "triggeredAlarmState": lambda _view: [],
    "alarmActionsEnabled": lambda _view: True,
    "tag": lambda _view: [],
    "value": custom_values,
    "customValue": custom_values,
    "availableField": lambda view: list(view.center.custom_fields.values()),
}
_ALWAYS_FRESH = frozenset(
    {"effectiveRole", "permission", "recentTask", "value", "customValue", "availableField", "parent"}
    | {"layoutEx", "storage", "disabledMethod"}  # writes and readers change no inventory value
)


def _rename(call: Call) -> Any:
    target, name = call.target, call["newName"]
    if not name.strip() or len(name) > 80:
        raise vim.fault.InvalidName(name=name, msg=f"The name '{name}' is not valid.")
    return call.center.tasks.start(call, lambda _running: edits.rename(call.center, target, name))


_ENTITY_METHODS: dict[str, Method] = {"Rename_Task": _rename}


def _kind(
    kind: Any,
    properties: dict[str, Property],
    methods: dict[str, Method] | None = None,
    *,
    fresh: bool = True,
) -> Kind:
    """`fresh`: the properties depend on other objects too, so they are not cached."""
    table = _ENTITY | properties
    unknown = table.keys() - fields_of(kind).keys()
    if unknown:
        raise TypeError(f"{kind.__name__} has no {sorted(unknown)}")
    volatile = frozenset(table) if fresh else _ALWAYS_FRESH
    return Kind(kind, table, _ENTITY_METHODS | (methods or {}), volatile, announced=not fresh)


def _nothing(_call: Call) -> None:
    return None


FOLDER = _kind(vim.Folder, places.FOLDER, folder_calls.METHODS)
DATACENTER = _kind(vim.Datacenter, places.DATACENTER)
CLUSTER = _kind(vim.ClusterComputeResource, places.CLUSTER)
POOL = _kind(vim.ResourcePool, places.POOL)
HOST = _kind(vim.HostSystem, hosts.PROPERTIES, host_calls.METHODS)
DATASTORE = _kind(
    vim.Datastore, places.DATASTORE, {"RefreshDatastore": _nothing, "RefreshDatastoreStorageInfo": _nothing}
)
NETWORK = _kind(vim.Network, places.NETWORK)
PORTGROUP = _kind(vim.dvs.DistributedVirtualPortgroup, places.PORTGROUP)
MACHINE = _kind(
    vim.VirtualMachine,
    machine.PROPERTIES,
    machine_calls.METHODS | {"ReconfigVM_Task": reconfigure},
    fresh=False,
)
SNAPSHOT = Kind(vim.vm.Snapshot, machine.SNAPSHOT_PROPERTIES, machine_calls.SNAPSHOT_METHODS, announced=True)
