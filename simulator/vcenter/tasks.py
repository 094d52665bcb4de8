"""Tasks: queued, running, then success or error; each runs on a thread of its own and is watched by
property filters.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from simulator.vcenter.api import MethodFault, make, method_named, name_of, vim, vmodl
from simulator.vcenter.failures import as_fault
from simulator.vcenter.kinds import Call, Center, Kind, Target, View

_KEPT = 2000
_RECENT = 10


@dataclass(slots=True)
class Task:
    """One task. Only its own thread and `Tasks` change it."""

    number: int
    method: str
    entity: Target
    user: str
    state: str = "queued"
    progress: int | None = None
    queued: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: datetime | None = None
    completed: datetime | None = None
    result: Any = None
    error: Any = None
    cancelled: bool = False
    cancelable: bool = False

    @property
    def moref(self) -> str:
        return f"task-{self.number}"


class Running:
    """A running task as its work sees it: it reports progress and learns that it was cancelled."""

    def __init__(self, task: Task, center: Center) -> None:
        self._task = task
        self._center = center

    def progress(self, percent: int) -> None:
        """Report 0..99; raises RequestCanceled when the task was cancelled meanwhile."""
        if self._task.cancelled:
            raise vmodl.fault.RequestCanceled(msg="The task was canceled by a user.")
        self._task.progress = max(0, min(99, percent))
        self._center.changes.touch(self._task.moref)


Work = Callable[[Running], Any]


class Tasks:
    """Starts and remembers tasks. Thread-safe."""

    def __init__(self, center: Center, seconds: float = 0.0) -> None:
        """Every task takes at least `seconds`."""
        self._center = center
        self.seconds = seconds
        self._lock = threading.Lock()
        self._next = 1
        self._by_moref: dict[str, Task] = {}
        self._recent: dict[str, deque[str]] = {}
        self._idle = threading.Condition(self._lock)
        self._running = 0

    def start(self, call: Call, work: Work, entity: Target | None = None, cancelable: bool = False) -> Any:
        """Run `work` as a task on the call's object (or `entity`); a reference to the task."""
        target = entity or call.target
        user = call.session.user if call.session is not None else ""
        with self._lock:
            task = Task(self._next, call.method, target, user, cancelable=cancelable)
            self._next += 1
            self._running += 1
            self._by_moref[task.moref] = task
            self._recent.setdefault(target.moref, deque(maxlen=_RECENT)).append(task.moref)
            for old in list(self._by_moref)[: max(0, len(self._by_moref) - _KEPT)]:
                if self._by_moref[old].completed is not None:
                    del self._by_moref[old]
        self._center.changes.touch(task.moref, target.moref, "TaskManager")
        threading.Thread(target=self._run, args=(task, work), name=task.moref, daemon=True).start()
        return vim.Task(task.moref)

    def _run(self, task: Task, work: Work) -> None:
        task.state, task.started, task.progress = "running", datetime.now(UTC), 0
        self._center.changes.touch(task.moref, task.entity.moref)
        try:
            if self.seconds:
                time.sleep(self.seconds)
            self._center.estate.faults.meet(f"task:{task.method}", task.entity.moref)
            result = work(Running(task, self._center))
            self._center.estate.faults.meet(f"done:{task.method}", task.entity.moref)
        except Exception as error:  # noqa: BLE001 - The outermost handler of the task's thread
            self._finish(task, "error", error=as_fault(error))
        else:
            self._finish(task, "success", result=result)

    def _finish(self, task: Task, state: str, result: Any = None, error: Any = None) -> None:
        task.result, task.error = result, error
        task.completed, task.progress = datetime.now(UTC), None
        task.state = state
        self._center.changes.touch(task.moref, task.entity.moref, "TaskManager")
        with self._idle:
            self._running -= 1
            self._idle.notify_all()

    def drain(self, seconds: float) -> bool:
        """Wait until no task runs; False when some still does."""
        with self._idle:
            return self._idle.wait_for(lambda: self._running == 0, seconds)

    def forget(self) -> None:
        """Forget all tasks, as after a restart; their work goes on."""
        with self._lock:
            self._by_moref.clear()
            self._recent.clear()

    def find(self, moref: str) -> Target | None:
        task = self._by_moref.get(moref)
        return None if task is None else Target(TASK, moref, task)

    def recent(self, moref: str | None = None) -> list[Any]:
        """References to the latest tasks of an object, or of all."""
        with self._lock:
            if moref is None:
                names = list(self._by_moref)[-200:]
            else:
                names = [name for name in self._recent.get(moref, ()) if name in self._by_moref]
        return [vim.Task(name) for name in names]

    def all(self) -> list[Task]:
        """Oldest first."""
        with self._lock:
            return list(self._by_moref.values())


def describe(task: Task, center: Center) -> Any:
    """The TaskInfo of this moment."""
    info = method_named(task.method)
    owner = name_of(info.type) if info is not None else "Task"
    name = info.name if info is not None else task.method
    state = task.state
    return make(
        vim.TaskInfo,
        key=task.moref,
        task=vim.Task(task.moref),
        name=task.method,
        descriptionId=f"{owner}.{name[0].lower()}{name[1:]}",
        entity=task.entity.reference if issubclass(task.entity.kind.type, vim.ManagedEntity) else None,
        entityName=center.name_of(task.entity),
        state=state,
        cancelled=task.cancelled,
        cancelable=task.cancelable and state in ("queued", "running"),
        error=task.error if state == "error" else None,
        result=task.result if state == "success" else None,
        progress=task.progress if state == "running" else None,
        reason=make(vim.TaskReasonUser, userName=task.user),
        queueTime=task.queued,
        startTime=task.started,
        completeTime=task.completed if state in ("success", "error") else None,
        eventChainId=task.number,
    )


def _info(view: View) -> Any:
    return describe(view.target.subject, view.center)


def _cancel(call: Call) -> None:
    task: Task = call.target.subject
    if task.state not in ("queued", "running") or not task.cancelable:
        raise vmodl.fault.NotSupported(msg="The task cannot be canceled.")
    task.cancelled = True


def _set_description(_call: Call) -> None:
    return None


TASK = Kind(
    vim.Task,
    {"info": _info},
    {"CancelTask": _cancel, "SetTaskDescription": _set_description},
    volatile=frozenset({"info"}),
)


def fault_message(error: Any) -> str:
    """The text of a fault, its type's name when it has none."""
    return error.msg or name_of(type(error)) if isinstance(error, MethodFault) else str(error)
