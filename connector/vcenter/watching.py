"""Keeps an inventory current: vCenter names what changed, and only that is read again.

WaitForUpdatesEx watches few and small properties. When one of them changes, the machine is read whole.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.client import HTTPException
from typing import Any

from connector.errors import ConnectorError, NotFound, SessionExpired
from connector.model import Inventory, Machine
from connector.vcenter import inventory
from connector.vcenter.bodies import strange
from connector.vcenter.faults import translated
from connector.vcenter.properties import everything, filter_of
from connector.vcenter.session import Session
from connector.vcenter.values import moref
from connector.vcenter.vmomi import vim, vmodl

WATCHED = (
    "name",
    "parent",
    "config.changeVersion",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.host",
    "runtime.consolidationNeeded",
    "runtime.question",
    "snapshot",
    "guest.toolsRunningStatus",
)
MANY = 50  # changed machines beyond which one sweep costs less than reading them one by one
NOTICE = 30  # seconds for which one call may wait
MOST_ROUNDS = 10_000  # answers in a row that say that more changes follow
BATCH = 1000  # objects per answer


@dataclass(frozen=True, slots=True)
class InventoryChange:
    """What changed since the last inventory; machines by moref."""

    inventory: Inventory  # as it is now
    changed: tuple[str, ...] = ()  # new ones too
    removed: tuple[str, ...] = ()


class InventoryWatch:
    """The inventory, and then each change of it. For one thread; it ends when `stop` is set, at once after `hush`."""

    def __init__(self, session: Session, stop: threading.Event) -> None:
        self._session = session
        self._stop = stop
        self._news: _News | None = None

    def hush(self) -> None:
        """End the wait for news, from another thread. Costs at most one call to vCenter."""
        if (news := self._news) is not None:
            news.hush()

    def changes(self, notice: int = NOTICE, lasting: float = math.inf) -> Iterator[InventoryChange]:
        """The whole inventory at once, and then an `InventoryChange` whenever something changes.

        After a lost session or notification a whole sweep follows, so that no change is missed. A whole sweep follows also
        after `lasting` seconds, because not every property is watched. Raises what a sweep raises.
        """
        while not self._stop.is_set():
            with suppress(SessionExpired), _notices(self._session) as next_news:
                self._news, due = next_news, time.monotonic() + lasting
                news = _gather(next_news, 0)  # the present state; from now on no change is missed
                current = inventory.whole(self._session)
                yield InventoryChange(current, tuple(machine.moref for machine in current.machines))
                while not self._stop.is_set() and (remaining := due - time.monotonic()) > 0:
                    news = _gather(next_news, max(1, math.ceil(min(notice, remaining))))
                    if news:
                        change = self._apply(current, news)
                        current = change.inventory
                        yield change

    def _apply(self, current: Inventory, news: dict[str, bool]) -> InventoryChange:
        """Read again what changed; `news` says by moref whether a machine still exists."""
        before = {machine.moref for machine in current.machines}
        if len(news) > MANY or any(
            present and reference not in before for reference, present in news.items()
        ):
            now = inventory.whole(self._session)  # a new machine may bring new places with it
        else:
            now = replace(current, machines=self._reread(current.machines, news))
        present_now = {machine.moref for machine in now.machines}
        changed = tuple(
            sorted(reference for reference in present_now if news.get(reference) or reference not in before)
        )
        return InventoryChange(now, changed, tuple(sorted(before - present_now)))

    def _reread(self, machines: Sequence[Machine], news: dict[str, bool]) -> tuple[Machine, ...]:
        machines_now = [machine for machine in machines if machine.moref not in news]
        for reference, present in news.items():
            if present:
                with suppress(NotFound):  # gone meanwhile; the next notice says so too
                    machines_now.append(inventory.refresh(self._session, reference))
        return tuple(sorted(machines_now, key=lambda machine: (machine.path, machine.moref)))


class _News:
    """The state of one change notification."""

    def __init__(self, session: Session, collector: Any) -> None:
        self._session, self._collector = session, collector
        self._version = ""

    def hush(self) -> None:
        """End the call that waits now, if one does."""
        with suppress(ConnectorError, vmodl.MethodFault, OSError, HTTPException):
            self._collector.CancelWaitForUpdates()

    def __call__(self, seconds: int) -> tuple[dict[str, bool], bool]:
        """Which machines changed (True) or left (False), and whether there is more to fetch at once."""
        options = vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=seconds, maxObjectUpdates=BATCH)
        try:
            with translated(str(self._session.endpoint)), suppress(vmodl.fault.RequestCanceled):
                update = None
                update = self._collector.WaitForUpdatesEx(self._version, options)
        except NotFound as gone:
            raise SessionExpired("the change notification was lost", on=str(self._session.endpoint)) from gone
        if update is None:
            return {}, False
        self._version = update.version
        present = {
            moref(entry.obj): str(entry.kind) != "leave"
            for each in update.filterSet or ()
            for entry in each.objectSet or ()
        }
        return present, bool(update.truncated)


def _gather(news: _News, seconds: int) -> dict[str, bool]:
    """Every change so far, after waiting for the first one."""
    present, more = news(seconds)
    rounds = 0
    while more:
        if (rounds := rounds + 1) > MOST_ROUNDS:
            raise strange(f"its changes have no end after {rounds} answers")
        further, more = news(0)
        present |= further
    return present


@contextmanager
def _notices(session: Session) -> Iterator[_News]:
    with translated(str(session.endpoint)):
        collector = session.content.propertyCollector.CreatePropertyCollector()
    try:
        with everything(session, [vim.VirtualMachine]) as view:
            with translated(str(session.endpoint)):
                collector.CreateFilter(filter_of(session, view, {vim.VirtualMachine: WATCHED}), False)
            yield _News(session, collector)
    finally:
        with suppress(
            ConnectorError, vmodl.MethodFault, OSError, HTTPException
        ):  # dies with the session anyway
            collector.DestroyPropertyCollector()
