"""The small managers: tasks and their history, events, extensions, custom fields, datastore moves that
clients ask for.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from simulator.vcenter.api import make, name_of, vim, vmodl
from simulator.vcenter.kinds import Call, Center, Kind, Method, Target, View
from simulator.vcenter.tasks import Task, describe

_EXTENSION_KEYS = ("com.vmware.vim.sms", "com.vmware.vim.eam", "com.vmware.vsan.health", "vim")


def _methods_of(kind: Any) -> list[Any]:
    rows = []
    for info in kind._GetMethodList():
        if info.isTask:
            label = info.wsdlName.removesuffix("_Task")
            key = f"{name_of(kind)}.{info.name[0].lower()}{info.name[1:]}"
            rows.append(make(vim.ElementDescription, key=key, label=label, summary=label))
    return rows


def _task_description(_view: View) -> Any:
    methods = [row for kind in (vim.VirtualMachine, vim.vm.Snapshot) for row in _methods_of(kind)]
    states = [
        make(vim.ElementDescription, key=state, label=state, summary=state)
        for state in ("queued", "running", "success", "error")
    ]
    return make(vim.TaskDescription, methodInfo=methods, state=states)


def _fits(task: Task, spec: Any, center: Center) -> bool:
    """The parts of a TaskFilterSpec that the simulator knows: state, entity, user, start of the range."""
    if spec.state and task.state not in [str(state) for state in spec.state]:
        return False
    if not _concerns(task, spec, center):
        return False
    if spec.time is not None and spec.time.beginTime is not None and task.queued < spec.time.beginTime:
        return False
    return spec.userName is None or task.user in spec.userName.userList


class History:
    """One history collector: its filter, its rows (newest first), a page size and a place to read on from."""

    def __init__(self, owner: str, spec: Any, rows: Callable[[Center, Any], list[Any]]) -> None:
        self.owner = owner
        self.spec = spec
        self.size = 10
        self.position = 0
        self._rows = rows

    def rows(self, center: Center) -> list[Any]:
        return self._rows(center, self.spec)


def _task_rows(center: Center, spec: Any) -> list[Any]:
    return [describe(task, center) for task in reversed(center.tasks.all()) if _fits(task, spec, center)]


def _create(kind: Any, rows: Callable[[Center, Any], list[Any]]) -> Method:
    def method(call: Call) -> Any:
        owner = call.session.key if call.session is not None else ""
        moref = f"session[{owner}]{secrets.token_hex(8)}"
        target = Target(_HISTORIES[kind], moref, History(owner, call["filter"], rows))
        call.center.extra[moref] = target
        return target.reference

    return method


def _read_next(call: Call) -> Any:
    """Towards the newest, from the oldest after a rewind."""
    history: History = call.target.subject
    rows = history.rows(call.center)[::-1][history.position : history.position + call["maxCount"]]
    history.position += len(rows)
    return rows


def _read_previous(call: Call) -> Any:
    history: History = call.target.subject
    start = max(0, history.position - call["maxCount"])
    rows = history.rows(call.center)[::-1][start : history.position]
    history.position = start
    return rows


def _rewind(call: Call) -> None:
    call.target.subject.position = 0


def _reset(call: Call) -> None:
    call.target.subject.position = len(call.target.subject.rows(call.center))


def _set_size(call: Call) -> None:
    call.target.subject.size = call["maxCount"]


def _destroy(call: Call) -> None:
    call.center.extra.pop(call.target.moref, None)


def _history(kind: Any, noun: str) -> Kind:
    return Kind(
        kind,
        {
            "latestPage": lambda view: view.target.subject.rows(view.center)[: view.target.subject.size],
            "filter": lambda view: view.target.subject.spec,
        },
        {
            f"ReadNext{noun}": _read_next,
            f"ReadPrevious{noun}": _read_previous,
            "ResetCollector": _reset,
            "RewindCollector": _rewind,
            "SetCollectorPageSize": _set_size,
            "DestroyCollector": _destroy,
        },
        frozenset({"latestPage"}),
    )


_HISTORIES: dict[Any, Kind] = {
    vim.TaskHistoryCollector: _history(vim.TaskHistoryCollector, "Tasks"),
    vim.event.EventHistoryCollector: _history(vim.event.EventHistoryCollector, "Events"),
}

TASKS = Kind(
    vim.TaskManager,
    {
        "recentTask": lambda view: view.center.tasks.recent(),
        "description": _task_description,
        "maxCollector": lambda _view: 32,
    },
    {"CreateCollectorForTasks": _create(vim.TaskHistoryCollector, _task_rows)},
    frozenset({"recentTask"}),
)


def _event_rows(center: Center, spec: Any) -> list[Any]:
    """One event per task on a machine, newest first."""
    return [
        _event(task, center)
        for task in reversed(center.tasks.all())
        if issubclass(task.entity.kind.type, vim.VirtualMachine) and _concerns(task, spec, center)
    ]


def _concerns(task: Task, spec: Any, center: Center) -> bool:
    if spec.entity is None:
        return True
    wanted, entity = spec.entity.entity._moId, task.entity.moref
    if str(spec.entity.recursion) == "self":
        return bool(wanted == entity)
    return any(ancestor.moref == wanted for ancestor in center.index.ancestors(entity))


def _event(task: Task, center: Center) -> Any:
    name = center.name_of(task.entity)
    return make(
        vim.event.TaskEvent,
        key=task.number,
        chainId=task.number,
        createdTime=task.queued,
        userName=task.user,
        fullFormattedMessage=f"Task: {task.method.removesuffix('_Task')} on {name}: {task.state}",
        vm=make(vim.event.VmEventArgument, name=name, vm=task.entity.reference),
        info=describe(task, center),
    )


EVENTS = Kind(
    vim.event.EventManager,
    {
        "maxCollector": lambda _view: 32,
        "latestEvent": lambda _view: None,
        "description": lambda _view: make(vim.event.EventDescription),
    },
    {
        "QueryEvents": lambda call: _event_rows(call.center, call["filter"])[::-1],
        "CreateCollectorForEvents": _create(vim.event.EventHistoryCollector, _event_rows),
        "LogUserEvent": lambda _call: None,
        "PostEvent": lambda _call: None,
    },
)


def _extension(key: str) -> Any:
    return make(
        vim.Extension,
        key=key,
        version="8.0.3",
        description=make(vim.Description, label=key, summary=key),
        lastHeartbeatTime=datetime(2026, 1, 1, tzinfo=UTC),
    )


def _extensions(view: View | Call) -> dict[str, Any]:
    return {key: _extension(key) for key in _EXTENSION_KEYS} | view.center.extensions


def _register(call: Call) -> None:
    extension = call["extension"]
    if extension.key in _extensions(call):
        raise vmodl.fault.InvalidArgument(invalidProperty="extension.key", msg="already registered")
    call.center.extensions[extension.key] = extension


def _update(call: Call) -> None:
    extension = call["extension"]
    if extension.key not in _extensions(call):
        raise vim.fault.NotFound(msg=f"no extension {extension.key}")
    call.center.extensions[extension.key] = extension


def _unregister(call: Call) -> None:
    if call.center.extensions.pop(call["extensionKey"], None) is None:
        raise vim.fault.NotFound(msg=f"no extension {call['extensionKey']}")


EXTENSIONS = Kind(
    vim.ExtensionManager,
    {"extensionList": lambda view: list(_extensions(view).values())},
    {
        "FindExtension": lambda call: _extensions(call).get(call["extensionKey"]),
        "RegisterExtension": _register,
        "UpdateExtension": _update,
        "UnregisterExtension": _unregister,
    },
    frozenset({"extensionList"}),
)


def _add_field(call: Call) -> Any:
    fields = call.center.custom_fields
    if any(known.name == call["name"] for known in fields.values()):
        raise vim.fault.DuplicateName(name=call["name"], msg=f"The name {call['name']} already exists.")
    key = max(fields, default=100) + 1
    kind = vim.VirtualMachine if call["moType"] is None else call["moType"]
    definition = make(
        vim.CustomFieldsManager.FieldDef, key=key, name=call["name"], managedObjectType=kind, type=str
    )
    fields[key] = definition
    return definition


def _remove_field(call: Call) -> None:
    if call.center.custom_fields.pop(call["key"], None) is None:
        raise vmodl.fault.InvalidArgument(invalidProperty="key", msg="no such field")


def _set_field(call: Call) -> None:
    if call["key"] not in call.center.custom_fields:
        raise vmodl.fault.InvalidArgument(invalidProperty="key", msg="no such field")
    entity = call.center.locate(call["entity"])
    call.center.custom_values.setdefault(entity.moref, {})[call["key"]] = call["value"]
    call.center.changes.touch(entity.moref)


FIELDS = Kind(
    vim.CustomFieldsManager,
    {"field": lambda view: list(view.center.custom_fields.values())},
    {
        "AddCustomFieldDef": _add_field,
        "RemoveCustomFieldDef": _remove_field,
        "SetField": _set_field,
    },
    frozenset({"field"}),
)


def custom_values(view: View) -> list[Any]:
    """`customValue` and `value` of an entity."""
    values = view.center.custom_values.get(view.target.moref, {})
    return [make(vim.CustomFieldsManager.StringValue, key=key, value=value) for key, value in values.items()]


def _extend_disk(call: Call) -> Any:
    """VirtualDiskManager.ExtendVirtualDisk_Task by file name."""
    center, name, capacity = call.center, call["name"], call["newCapacityKb"] << 10
    machines = center.estate.inventory.vms.values()
    place = next(((vm.moref, disk.key) for vm in machines for disk in vm.disks if disk.path == name), None)
    if place is None:
        raise vim.fault.FileNotFound(file=name, msg=f"File {name} was not found")
    moref, key = place
    return center.tasks.start(
        call,
        lambda _running: center.estate.hardware.extend_disk(moref, key, capacity),
        center.locate(vim.VirtualMachine(moref)),
    )


DISKS = Kind(vim.VirtualDiskManager, methods={"ExtendVirtualDisk_Task": _extend_disk})
LICENSES = Kind(
    vim.LicenseManager,
    {"licenses": lambda _view: [], "licensedEdition": lambda _view: "vc"},
)
