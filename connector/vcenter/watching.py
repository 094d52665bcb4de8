"""An inventory kept current: vCenter tells what changed, and only that is read again.

WaitForUpdatesEx watches few and light properties; a change of any of them means that the machine is read whole.
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
MOST_ROUNDS = 10_000  # answers about what has changed by now
BATCH = 1000  # objects per answer


@dataclass(frozen=True, slots=True)
class InventoryChange:
    """What happened since the last look; machines by moref."""

    inventory: Inventory  # as it is now
    changed: tuple[str, ...] = ()  # new ones too
    removed: tuple[str, ...] = ()


class InventoryWatch:
    """The inventory, and then what becomes of it. One thread; it ends when `stop` is set, at once after `hush`."""

    def __init__(self, session: Session, stop: threading.Event) -> None:
        self._session = session
        self._stop = stop
        self._news: _News | None = None

    def hush(self) -> None:
        """From another thread: whoever waits for news now gets none. Costs at most a call to vCenter."""
        if (news := self._news) is not None:
            news.hush()

    def changes(self, notice: int = NOTICE, lasting: float = math.inf) -> Iterator[InventoryChange]:
        """First the whole inventory, at once; then a `InventoryChange` whenever something happened.

        A lost session or notification starts over with a whole sweep, and so does the end of `lasting` seconds, because not
        everything is watched: nothing that happened meanwhile is missed. Raises what a sweep raises.
        """
        while not self._stop.is_set():
            with suppress(SessionExpired), _notices(self._session) as next_news:
                self._news, due = next_news, time.monotonic() + lasting
                news = _gather(next_news, 0)  # what there is; from here on nothing is missed
                seen = inventory.whole(self._session)
                yield InventoryChange(seen, tuple(one.moref for one in seen.machines))
                while not self._stop.is_set() and (left := due - time.monotonic()) > 0:
                    news = _gather(next_news, max(1, math.ceil(min(notice, left))))
                    if news:
                        change = self._apply(seen, news)
                        seen = change.inventory
                        yield change

    def _apply(self, seen: Inventory, news: dict[str, bool]) -> InventoryChange:
        """Read again what changed; `news` tells by moref whether a machine is still there."""
        before = {one.moref for one in seen.machines}
        if len(news) > MANY or any(present and one not in before for one, present in news.items()):
            now = inventory.whole(self._session)  # a new machine may bring new places with it
        else:
            now = replace(seen, machines=self._reread(seen.machines, news))
        there = {one.moref for one in now.machines}
        changed = tuple(sorted(one for one in there if news.get(one) or one not in before))
        return InventoryChange(now, changed, tuple(sorted(before - there)))

    def _reread(self, machines: Sequence[Machine], news: dict[str, bool]) -> tuple[Machine, ...]:
        kept = [one for one in machines if one.moref not in news]
        for one, present in news.items():
            if present:
                with suppress(NotFound):  # gone meanwhile; the next notice says so too
                    kept.append(inventory.refresh(self._session, one))
        return tuple(sorted(kept, key=lambda one: (one.path, one.moref)))


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
        told = {
            moref(one.obj): str(one.kind) != "leave"
            for each in update.filterSet or ()
            for one in each.objectSet or ()
        }
        return told, bool(update.truncated)


def _gather(news: _News, seconds: int) -> dict[str, bool]:
    """Everything that is told by now, after waiting for the first word."""
    told, more = news(seconds)
    rounds = 0
    while more:
        if (rounds := rounds + 1) > MOST_ROUNDS:
            raise strange(f"it tells of ever more changes, after {rounds} answers")
        further, more = news(0)
        told |= further
    return told


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
