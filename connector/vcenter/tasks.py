"""A wait ends by what is read after a change notification, never by the notification itself; every wait has a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, NamedTuple, TypeVar

from connector.backoff import VCENTER
from connector.errors import ConnectorError, Interrupted, NotFound, SessionExpired, Unreachable, VCenterFault
from connector.vcenter.faults import translate, translated
from connector.vcenter.properties import PropertyRow, read
from connector.vcenter.session import Session
from connector.vcenter.vmomi import moref, vim, vmodl

Progress = Callable[[int], None]
Result = TypeVar("Result")

NOTICE = 1  # seconds that one call for changes may wait; a stop is noticed within them
TRIES = 8  # for a failure that may pass by itself, such as a locked file: about three minutes
OUTAGE = 900.0  # seconds without vCenter that a wait survives; a restart takes about ten minutes
_DONE = ("success", "error")


@dataclass(frozen=True)
class WaitLimit:
    """How long to wait, and the stop that ends the wait. The clock starts at construction."""

    limit: float
    stop: threading.Event = field(default_factory=threading.Event)
    started: float = field(default_factory=time.monotonic)
    outage: float | None = None  # seconds without vCenter that are waited out; by default OUTAGE

    @property
    def outlasts(self) -> float:
        return OUTAGE if self.outage is None else self.outage

    @property
    def left(self) -> float:
        return self.started + self.limit - time.monotonic()

    def check(self, on: str, what: str) -> None:
        """Raise `Interrupted` after a stop, `VCenterFault` after the deadline."""
        if self.stop.is_set():
            raise Interrupted(f"stopped while waiting for {what}", on=on)
        if self.left <= 0:
            raise VCenterFault(
                f"no end of {what} within {self.limit:g} s",
                on=on,
                retryable=True,
                remedy="look at the task in vCenter, and start again when it has ended",
            )

    def pause(self, seconds: float) -> None:
        self.stop.wait(max(0.0, min(seconds, self.left)))


class Forgotten(VCenterFault):
    """vCenter does not know the task any more, because it was restarted. The task's work may be done or not."""

    retryable = True

    @property
    def id(self) -> str:
        return VCenterFault.__name__


class Done(NamedTuple):
    """The end of a task. `seconds` are by vCenter's own clock; None when it does not say."""

    result: Any
    seconds: float | None


def persist(work: Callable[[], Result], *, on: str, wait: WaitLimit, what: str, tries: int = TRIES) -> Result:
    """Do `work`, which may be repeated, until it succeeds or fails for a reason that does not pass by itself.

    An outage of vCenter is waited out. Any other failure that may pass is tried `tries` times, with growing pauses.
    """
    failures, lost = 0, None
    while True:
        try:
            return work()
        except Interrupted:
            raise
        except ConnectorError as failed:
            if isinstance(failed, Unreachable | SessionExpired):
                lost = lost or time.monotonic()
                over = time.monotonic() - lost > wait.outlasts
            else:
                failures, lost = failures + 1, None
                over = failures >= tries
            if over or not failed.retryable or wait.left <= 0:
                raise
            wait.check(on, what)
            wait.pause(VCENTER.pause(failures))


def run(
    session: Session,
    start: Callable[[], Any],
    *,
    on: str,
    wait: WaitLimit,
    what: str,
    progress: Progress | None = None,
) -> Done:
    """Start a task and wait for its end. When another task is in the way, wait for its end and start again."""
    while True:
        try:
            return finish(session, start(), on=on, wait=wait, what=what, progress=progress)
        except vim.fault.TaskInProgress as busy:
            wait.check(on, f"the task that runs before {what}")
            _let_pass(session, busy.task, on, wait)
        except vmodl.MethodFault as fault:
            raise translate(fault, on) from fault


def finish(
    session: Session,
    task: Any,
    *,
    on: str,
    wait: WaitLimit,
    what: str,
    progress: Progress | None = None,
) -> Done:
    """Wait for a task; returns its result, or raises the vim fault of its end.

    Raises the retryable `Forgotten` when vCenter was restarted and does not know the task any more.
    """

    def over(row: PropertyRow) -> bool:
        if (info := row.get("info")) is None:
            return False
        if progress is not None and info.progress is not None:
            progress(int(info.progress))
        return str(info.state) in _DONE

    try:
        info = watch(session, task, ("info",), over, on=on, wait=wait, what=what).get("info")
    except NotFound as gone:
        raise Forgotten(f"vCenter has forgotten the task of {what}", on=on) from gone
    if str(info.state) == "error":
        fault = info.error or vmodl.RuntimeFault(msg=f"{what} failed without a reason")
        raise fault
    return Done(info.result, _seconds(info))


def _seconds(info: Any) -> float | None:
    if info.startTime is None or info.completeTime is None:
        return None
    return max(0.0, float((info.completeTime - info.startTime).total_seconds()))


def _let_pass(session: Session, running: Any, on: str, wait: WaitLimit) -> None:
    if running is None:
        wait.pause(VCENTER.first)
        return
    with suppress(vmodl.MethodFault, Forgotten):  # the result of the other task does not matter
        finish(session, running, on=on, wait=wait, what="the running task")
    wait.pause(0.05)


def watch(
    session: Session,
    managed: Any,
    paths: Sequence[str],
    until: Callable[[PropertyRow], bool],
    *,
    on: str,
    wait: WaitLimit,
    what: str,
) -> PropertyRow:
    """Read the properties after every change until they satisfy `until`; survives renewals and short outages.

    Each wait has a property collector of its own, so that waits in several threads do not share notices.
    """
    lost: float | None = None
    while True:
        try:
            with translated(on), _notices(session, managed, paths) as notice:
                while True:
                    notice(max(1, min(NOTICE, int(wait.left))))
                    row = read(session, managed, paths, on)
                    lost = None
                    if until(row):
                        return row
                    wait.check(on, what)
        except SessionExpired:
            wait.check(on, what)
        except Unreachable:
            lost = lost or time.monotonic()
            wait.check(on, what)
            if time.monotonic() - lost > wait.outlasts:
                raise
            wait.pause(1.0)


@contextmanager
def _notices(session: Session, managed: Any, paths: Sequence[str]) -> Iterator[Callable[[int], None]]:
    """A function that returns after a change or after some seconds; its first call returns at once."""
    query = vmodl.query.PropertyCollector
    collector = session.content.propertyCollector.CreatePropertyCollector()
    version = ""

    def notice(seconds: int) -> None:
        nonlocal version
        try:
            news = collector.WaitForUpdatesEx(version, query.WaitOptions(maxWaitSeconds=seconds))
        except vmodl.fault.ManagedObjectNotFound as gone:
            if moref(gone.obj) != moref(collector):
                raise
            raise SessionExpired("the change notification was lost", on=str(session.endpoint)) from gone
        version = news.version if news is not None else version

    try:
        properties = query.PropertySpec(type=type(managed), pathSet=list(paths), all=False)
        collector.CreateFilter(
            query.FilterSpec(objectSet=[query.ObjectSpec(obj=managed)], propSet=[properties]), False
        )
        yield notice
    finally:
        with suppress(
            ConnectorError, vmodl.MethodFault, OSError, HTTPException
        ):  # dies with the session anyway
            collector.DestroyPropertyCollector()


def running(session: Session, machine: Any, on: str, words: Sequence[str]) -> tuple[Any, ...]:
    """Tasks on a machine that have not ended and whose name contains one of the lower-case words."""
    tasks = []
    for task in read(session, machine, ("recentTask",), on).get("recentTask") or ():
        info = _info(session, task, on)
        names = f"{info.name} {info.descriptionId}".lower() if info is not None else ""
        if info is not None and str(info.state) not in _DONE and any(word in names for word in words):
            tasks.append(task)
    return tuple(tasks)


def _info(session: Session, task: Any, on: str) -> Any:
    with suppress(ConnectorError):  # tasks are forgotten after a while
        return read(session, task, ("info",), on).get("info")
    return None


def settle(session: Session, machine: Any, on: str, words: Sequence[str], wait: WaitLimit) -> None:
    """Wait until no task with such a name runs on the machine, whoever started it."""
    while busy := running(session, machine, on, words):
        wait.check(on, "another task on the machine")
        _let_pass(session, busy[0], on, wait)
