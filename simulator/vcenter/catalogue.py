"""The small managers: tasks and their history, events, extensions, custom fields, datastore moves that clients ask for."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from simulator.vcenter.api import make, name_of, vim, vmodl
from simulator.vcenter.kinds import Call, Kind, Target, View
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


def _fits(task: Task, spec: Any) -> bool:
    """The parts of a TaskFilterSpec that the simulator knows: state, entity, user, start of the time range."""
    if spec.state and task.state not in [str(state) for state in spec.state]:
        return False
    if spec.entity is not None and spec.entity.entity._moId != task.entity.moref:
        return str(spec.entity.recursion) != "self"
    if spec.time is not None and spec.time.beginTime is not None and task.queued < spec.time.beginTime:
        return False
    return spec.userName is None or task.user in spec.userName.userList


class TaskHistory:
    """One history collector: a filter, a page size and a place to read on from."""

    def __init__(self, owner: str, spec: Any) -> None:
        self.owner = owner
        self.spec = spec
        self.size = 10
        self.position = 0

    def infos(self, view: View | Call) -> list[Any]:
        """Newest first."""
        found = [task for task in view.center.tasks.all() if _fits(task, self.spec)]
        return [describe(task, view.center) for task in reversed(found)]


def _create_history(call: Call) -> Any:
    owner = call.session.key if call.session is not None else ""
    moref = f"session[{owner}]{secrets.token_hex(8)}"
    target = Target(HISTORY, moref, TaskHistory(owner, call["filter"]))
    call.center.extra[moref] = target
    return target.reference


def _read_history(call: Call) -> Any:
    history: TaskHistory = call.target.subject
    rows = history.infos(call)[history.position : history.position + call["maxCount"]]
    history.position += len(rows)
    return rows


def _set_position(call: Call) -> None:
    call.target.subject.position = 0


def _set_size(call: Call) -> None:
    call.target.subject.size = call["maxCount"]


def _destroy(call: Call) -> None:
    call.center.extra.pop(call.target.moref, None)


HISTORY = Kind(
    vim.TaskHistoryCollector,
    {
        "latestPage": lambda view: view.target.subject.infos(view)[: view.target.subject.size],
        "filter": lambda view: view.target.subject.spec,
    },
    {
        "ReadNextTasks": _read_history,
        "ReadPreviousTasks": lambda _call: [],
        "ResetCollector": _set_position,
        "RewindCollector": _set_position,
        "SetCollectorPageSize": _set_size,
        "DestroyCollector": _destroy,
    },
    frozenset({"latestPage"}),
)

TASKS = Kind(
    vim.TaskManager,
    {
        "recentTask": lambda view: view.center.tasks.recent(),
        "description": _task_description,
        "maxCollector": lambda _view: 32,
    },
    {"CreateCollectorForTasks": _create_history},
    frozenset({"recentTask"}),
)


def _events(call: Call) -> list[Any]:
    """One event per finished task, oldest first."""
    spec = call["filter"]
    found = []
    for task in call.center.tasks.all():
        if spec.entity is not None and spec.entity.entity._moId != task.entity.moref:
            continue
        if not issubclass(task.entity.kind.type, vim.VirtualMachine):
            continue
        found.append(_event(task, call))
    return found


def _event(task: Task, call: Call) -> Any:
    name = call.center.name_of(task.entity)
    return make(
        vim.event.TaskEvent,
        key=task.number,
        chainId=task.number,
        createdTime=task.queued,
        userName=task.user,
        fullFormattedMessage=f"Task: {task.method.removesuffix('_Task')} on {name}: {task.state}",
        vm=make(vim.event.VmEventArgument, name=name, vm=task.entity.reference),
        info=describe(task, call.center),
    )


EVENTS = Kind(
    vim.event.EventManager,
    {
        "maxCollector": lambda _view: 32,
        "latestEvent": lambda _view: None,
        "description": lambda _view: make(vim.event.EventDescription),
    },
    {"QueryEvents": _events, "LogUserEvent": lambda _call: None, "PostEvent": lambda _call: None},
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
    given = call["extension"]
    if given.key in _extensions(call):
        raise vmodl.fault.InvalidArgument(invalidProperty="extension.key", msg="already registered")
    call.center.extensions[given.key] = given


def _update(call: Call) -> None:
    given = call["extension"]
    if given.key not in _extensions(call):
        raise vim.fault.NotFound(msg=f"no extension {given.key}")
    call.center.extensions[given.key] = given


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
    made = make(
        vim.CustomFieldsManager.FieldDef, key=key, name=call["name"], managedObjectType=kind, type=str
    )
    fields[key] = made
    return made


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
    for vm in center.estate.inventory.vms.values():
        for disk in vm.disks:
            if disk.path == name:
                moref, key = vm.moref, disk.key
                return center.tasks.start(
                    call,
                    lambda _running: center.estate.hardware.extend_disk(moref, key, capacity),
                    center.locate(vim.VirtualMachine(moref)),
                )
    raise vim.fault.FileNotFound(file=name, msg=f"File {name} was not found")


DISKS = Kind(vim.VirtualDiskManager, methods={"ExtendVirtualDisk_Task": _extend_disk})
LICENSES = Kind(
    vim.LicenseManager,
    {"licenses": lambda _view: [], "licensedEdition": lambda _view: "vc"},
)
