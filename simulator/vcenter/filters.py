"""Property filters and waiting for updates: what a client was told last, per object and path, against what
is true now.

A collector belongs to one session. Its version counts answers; asking again with the version before the
last gets the
last answer again, because that answer may have been lost on the way.
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulator.vcenter.api import vim, vmodl
from simulator.vcenter.collector import Reading, missing_set, read_object, sweep, wanted_paths
from simulator.vcenter.encode import Encoder, Light, Typed
from simulator.vcenter.hostile import Raw
from simulator.vcenter.kinds import Call, Center, Kind, Target
from simulator.vcenter.selection import selected

if TYPE_CHECKING:
    from simulator.vcenter.sessions import Session

_PC = vmodl.query.PropertyCollector
_COMPARER = Encoder("vim.version.v8_0_3_0")
_LONGEST_WAIT = 1800.0


@dataclass(slots=True)
class Filter:
    """One filter: its spec and, per moref, the encoded values that the client has."""

    moref: str
    spec: Any
    partial: bool
    told: dict[str, tuple[Any, dict[str, str]]] = field(default_factory=dict)
    seen: int = 0

    def forget(self) -> None:
        self.told.clear()
        self.seen = 0

    def updates(self, center: Center, session: Session | None) -> list[Light]:
        """The changes since the last call, as ObjectUpdates. The next call reports later changes only."""
        generation = center.changes.generation
        updates: list[Light] = []
        present: set[str] = set()
        for target in selected(center, session, self.spec):
            wanted = wanted_paths(self.spec.propSet, target)
            present.add(target.moref)
            if self._is_known(center, target):
                continue
            update = self._compare(read_object(center, session, target, wanted))
            if update is not None:
                updates.append(update)
        for moref in [known for known in self.told if known not in present]:
            reference, _ = self.told.pop(moref)
            updates.append(Light(_PC.ObjectUpdate, {"kind": "leave", "obj": reference}))
        self.seen = generation
        return updates

    def _is_known(self, center: Center, target: Target) -> bool:
        """Whether all changes of the object are announced, and none was since its last report."""
        announced = target.kind.announced and target.moref in self.told
        return announced and center.changes.mark(target.moref) <= self.seen

    def _compare(self, reading: Reading) -> Light | None:
        moref, reference = reading.target.moref, reading.target.reference
        encoded = {path: _COMPARER.element("v", value, object) for path, value in reading.values.items()}
        before = self.told.get(moref)
        self.told[moref] = (reference, encoded)
        fields: dict[str, Any] = {"obj": reference}
        if before is None:
            changes = [_change("assign", path, value) for path, value in reading.values.items()]
            fields |= {"kind": "enter", "changeSet": changes, "missingSet": missing_set(reading)}
            return Light(_PC.ObjectUpdate, fields)
        old = before[1]
        changes = [
            _change("assign", path, value)
            for path, value in reading.values.items()
            if encoded[path] != old.get(path)
        ]
        changes += [_change("remove", path, None) for path in old if path not in encoded]
        if not changes:
            return None
        return Light(_PC.ObjectUpdate, fields | {"kind": "modify", "changeSet": changes})


def _change(operation: str, path: str, value: Typed | Raw | None) -> Light:
    return Light(_PC.Change, {"name": path, "op": operation, "val": value})


@dataclass(slots=True)
class Collector:
    """One property collector of one session: filters by moref, the version, and answers not yet sent."""

    moref: str
    owner: str
    filters: dict[str, Filter] = field(default_factory=dict)
    version: int = 0
    queue: list[tuple[str, Light]] = field(default_factory=list)
    last: Light | None = None
    cancelled: int = 0
    gone: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)


class Collectors:
    """Every collector and filter; the default collector exists once per session, made on first use."""

    def __init__(self, center: Center) -> None:
        self._center = center
        self._lock = threading.Lock()
        self._collectors: dict[tuple[str, str], Collector] = {}

    def default(self, session: Session) -> Collector:
        """The collector behind `content.propertyCollector` for this session."""
        return self._get("propertyCollector", session.key)

    def create(self, session: Session) -> Collector:
        return self._get(f"session[{session.key}]{secrets.token_hex(8)}", session.key)

    def _get(self, moref: str, owner: str) -> Collector:
        with self._lock:
            return self._collectors.setdefault((moref, owner), Collector(moref, owner))

    def find(self, moref: str) -> Target | None:
        """The collector or filter with this moref, the default one excepted."""
        with self._lock:
            for collector in self._collectors.values():
                if collector.moref == moref:
                    return Target(COLLECTOR, moref, collector)
                if moref in collector.filters:
                    return Target(FILTER, moref, (collector, collector.filters[moref]))
        return None

    def destroy(self, collector: Collector) -> None:
        with self._lock:
            self._collectors.pop((collector.moref, collector.owner), None)
        collector.gone = True
        self._center.changes.touch()

    def end_session(self, key: str) -> None:
        """Destroy the collectors and filters of a session; its waiting calls end."""
        with self._lock:
            owned = [collector for collector in self._collectors.values() if collector.owner == key]
        for collector in owned:
            self.destroy(collector)


def _collector(call: Call) -> Collector:
    if isinstance(call.target.subject, Collector):
        return call.target.subject
    collector: Collector = call.center.collectors.default(call.opened)
    return collector


def create_filter(call: Call) -> Any:
    collector = _collector(call)
    new_filter = Filter(
        f"session[{collector.owner}]{secrets.token_hex(8)}", call["spec"], bool(call["partialUpdates"])
    )
    for _ in sweep(call.center, call.session, [new_filter.spec]):
        break
    with collector.lock:
        collector.filters[new_filter.moref] = new_filter
    call.center.changes.touch()
    return FILTER.type(new_filter.moref)


def create_collector(call: Call) -> Any:
    return COLLECTOR.type(call.center.collectors.create(call.opened).moref)


def destroy_collector(call: Call) -> None:
    call.center.collectors.destroy(_collector(call))


def destroy_filter(call: Call) -> None:
    collector, doomed = call.target.subject
    with collector.lock:
        collector.filters.pop(doomed.moref, None)


def cancel_wait(call: Call) -> None:
    collector = _collector(call)
    collector.cancelled += 1
    call.center.changes.touch()


def wait_for_updates(call: Call) -> Light | None:
    """WaitForUpdates: waits for as long as it takes."""
    return _wait(call, _LONGEST_WAIT, 0)


def check_for_updates(call: Call) -> Light | None:
    return _wait(call, 0.0, 0)


def wait_for_updates_ex(call: Call) -> Light | None:
    """WaitForUpdatesEx: at most `maxWaitSeconds`, at most `maxObjectUpdates` objects in one answer."""
    options = call["options"]
    seconds = options.maxWaitSeconds if options is not None and options.maxWaitSeconds is not None else None
    most = options.maxObjectUpdates if options is not None and options.maxObjectUpdates else 0
    return _wait(call, _LONGEST_WAIT if seconds is None else float(max(seconds, 0)), most)


def _wait(call: Call, seconds: float, most: int) -> Light | None:
    collector, center = _collector(call), call.center
    deadline = time.monotonic() + seconds
    with collector.lock:
        ticket = collector.cancelled
        repeated = _accept(collector, call["version"] or "")
        if repeated is not None:
            return repeated

    def stopped() -> bool:
        return collector.cancelled != ticket or collector.gone or center.closing

    while True:
        generation = center.changes.generation
        with collector.lock:
            answer = _answer(collector, call, most)
        if answer is not None:
            return answer
        if not center.changes.wait(generation, max(0.0, deadline - time.monotonic()), stopped):
            return None
        _raise_if_over(call, collector, ticket)


def _raise_if_over(call: Call, collector: Collector, ticket: int) -> None:
    if collector.cancelled != ticket or call.center.closing:
        raise vmodl.fault.RequestCanceled(msg="The request was canceled.")
    if call.session is not None and not call.session.live:
        raise vim.fault.NotAuthenticated(
            object=call.target.reference, privilegeId="System.View", msg="The session is not authenticated."
        )
    if collector.gone:
        raise vmodl.fault.ManagedObjectNotFound(
            obj=call.target.reference, msg="The property collector was destroyed."
        )


def _accept(collector: Collector, version: str) -> Light | None:
    """Check the version the client has; the last answer again when it seems not to have arrived."""
    if version == "":
        for known in collector.filters.values():
            known.forget()
        collector.queue.clear()
        return None
    if version == str(collector.version):
        return None
    if collector.last is not None and version == str(collector.version - 1):
        return collector.last
    raise vmodl.query.InvalidCollectorVersion(msg="The specified version is not the collector's.")


def _answer(collector: Collector, call: Call, most: int) -> Light | None:
    for known in list(collector.filters.values()):
        if not known.seen or known.seen < call.center.changes.generation:
            collector.queue += [(known.moref, update) for update in known.updates(call.center, call.session)]
            known.seen = max(known.seen, 1)
    if not collector.queue:
        return None
    size = most if most > 0 else len(collector.queue)
    page, collector.queue = collector.queue[:size], collector.queue[size:]
    per_filter: dict[str, list[Light]] = {}
    for moref, update in page:
        per_filter.setdefault(moref, []).append(update)
    sets = [
        Light(_PC.FilterUpdate, {"filter": FILTER.type(moref), "objectSet": updates})
        for moref, updates in per_filter.items()
    ]
    collector.version += 1
    fields: dict[str, Any] = {"version": str(collector.version), "filterSet": sets}
    if collector.queue:
        fields["truncated"] = True
    collector.last = Light(_PC.UpdateSet, fields)
    return collector.last


FILTER = Kind(
    _PC.Filter,
    {
        "spec": lambda view: view.target.subject[1].spec,
        "partialUpdates": lambda view: view.target.subject[1].partial,
    },
    {"DestroyPropertyFilter": destroy_filter},
)


def _kind() -> Kind:
    from simulator.vcenter import collector

    return Kind(
        _PC,
        methods={
            "RetrieveProperties": collector.retrieve,
            "RetrievePropertiesEx": collector.retrieve_ex,
            "ContinueRetrievePropertiesEx": collector.continue_retrieve,
            "CancelRetrievePropertiesEx": collector.cancel_retrieve,
            "CreateFilter": create_filter,
            "CreatePropertyCollector": create_collector,
            "DestroyPropertyCollector": destroy_collector,
            "WaitForUpdates": wait_for_updates,
            "WaitForUpdatesEx": wait_for_updates_ex,
            "CheckForUpdates": check_for_updates,
            "CancelWaitForUpdates": cancel_wait,
        },
    )


COLLECTOR = _kind()
