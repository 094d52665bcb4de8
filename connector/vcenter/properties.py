"""Properties are read through the property collector only: an unset property is absent from the row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

from connector.errors import ConnectorError, VCenterFault
from connector.vcenter.answer import MOST_OBJECTS, PropertyRow, read_page
from connector.vcenter.bodies import strange
from connector.vcenter.faults import translate, translated
from connector.vcenter.reading import UnreadableValue
from connector.vcenter.session import Session
from connector.vcenter.sound import sound
from connector.vcenter.vmomi import kind_of, moref, support, vim, vmodl

__all__ = ["PAGE", "PropertyRow", "everything", "filter_of", "glance", "known", "read", "stream", "sweep"]

Item = TypeVar("Item")

LONGEST = 3600.0  # seconds of one sweep
MOST_PAGES = 20_000
EMPTY_PAGES = 3  # in a row, each with a token of the next
PAGE = 500  # objects per answer; bounds memory on both sides


def read(
    session: Session, managed: Any, paths: Sequence[str], on: str, *, partly: bool = False
) -> PropertyRow:
    """The named properties of one object; raises `NotFound` when it is gone.

    A property that may not be read is an error too, unless `partly`. Otherwise a snapshot that the user may not see
    would look removed.
    """
    spec = vmodl.query.PropertyCollector.FilterSpec(
        objectSet=[vmodl.query.PropertyCollector.ObjectSpec(obj=managed)],
        propSet=[_property_spec(type(managed), paths)],
    )
    with translated(on):
        rows = list(_pages(session.content.propertyCollector, spec, 1))
    if not rows:
        raise _not_shown(on)
    if rows[0].refused and not partly:
        raise _refusal(*next(iter(rows[0].refused.items())), on)
    return rows[0]


def _not_shown(on: str) -> VCenterFault:
    """An answer without the object. Of an object that is gone vCenter says so (ManagedObjectNotFound)."""
    return VCenterFault(
        "vCenter does not show it now",
        on=on,
        remedy="look whether this user still has the right to see it",
        retryable=True,
    )


def _refusal(path: str, reason: Any, on: str) -> ConnectorError:
    if isinstance(reason, UnreadableValue):
        what = f"what vCenter says about it cannot be understood ({path}: {reason.why})"
        return VCenterFault(what, on=on, remedy="look at this object in vCenter")
    return translate(reason, on)


def sweep(
    session: Session, properties: Mapping[Any, Sequence[str]], page: int = PAGE
) -> tuple[PropertyRow, ...]:
    """The named properties of every object of the given kinds in the whole inventory, page by page."""

    def once() -> tuple[PropertyRow, ...]:
        with everything(session, list(properties)) as view:
            return tuple(_pages(session.content.propertyCollector, _filter(view, properties), page))

    with translated(str(session.endpoint)):
        return session.steadily(once)


def stream(
    session: Session,
    properties: Mapping[Any, Sequence[str]],
    take: Callable[[PropertyRow], Item],
    page: int = PAGE,
) -> list[Item]:
    """The same sweep by the fast reader, whose values are those of `values`. `take` makes an item of each row.

    Only the items are kept in memory. Properties that this vCenter's API version does not know are left out.
    """

    def once() -> list[Item]:
        with everything(session, list(properties)) as view:
            return _quick_pages(session, filter_of(session, view, properties), take, page)

    with translated(str(session.endpoint)):
        return session.steadily(once)


def glance(session: Session, managed: Any, paths: Sequence[str], on: str) -> PropertyRow:
    """The readable properties of one object, by the fast reader; raises `NotFound` when the object is gone."""
    ((kind, known),) = _supported(session, {type(managed): paths}).items()
    spec = vmodl.query.PropertyCollector.FilterSpec(
        objectSet=[vmodl.query.PropertyCollector.ObjectSpec(obj=managed)],
        propSet=[_property_spec(kind, known)],
    )
    with translated(on):
        rows = _quick_pages(session, spec, lambda row: row, 1)
    if not rows:
        raise _not_shown(on)
    return rows[0]


def _quick_pages(
    session: Session, spec: Any, take: Callable[[PropertyRow], Item], page: int | None
) -> list[Item]:
    """All pages. Each page is requested as soon as its token is known, so that vCenter works while we read."""
    collector = session.content.propertyCollector
    options = vmodl.query.PropertyCollector.RetrieveOptions(maxObjects=page)
    following: list[Future[list[Item]]] = []
    progress = _Progress()

    def ask(number: int, call: str, arguments: list[Any]) -> list[Item]:
        items: list[Item] = []

        def more(token: str) -> None:
            del following[number:]  # of an attempt that was cut off
            progress.page(token)
            following.append(pool.submit(ask, number + 1, "ContinueRetrievePropertiesEx", [token]))

        def read_answer(body: Any, packed: bool) -> None:
            items.clear()
            read_page(body, lambda row: items.append(take(sound(_with_a_session(row)))), more, packed=packed)

        collector._stub.stream(collector, call, arguments, read_answer)
        return items

    with ThreadPoolExecutor(2, thread_name_prefix="pages") as pool:
        items = ask(0, "RetrievePropertiesEx", [[spec], options])
        number = 0
        while number < len(following):
            some = following[number].result()
            progress.objects(len(some))
            items += some
            number += 1
    return items


class _Progress:
    """Refuses pages without end: too many of them, too many empty ones, or too many objects."""

    def __init__(self) -> None:
        self._until = time.monotonic() + LONGEST
        self._pages = self._empty = self._objects = 0

    def page(self, _token: str) -> None:
        """Count a next page."""
        self._pages += 1
        if self._pages > MOST_PAGES or time.monotonic() > self._until:
            raise strange(f"it has no end after {self._pages} pages")

    def objects(self, count: int) -> None:
        """Count the objects of a page."""
        self._objects += count
        self._empty = 0 if count else self._empty + 1
        if self._empty > EMPTY_PAGES or self._objects > MOST_OBJECTS:
            raise strange(f"it has no end after {self._pages} pages and {self._objects} objects")


def _with_a_session(row: PropertyRow) -> PropertyRow:
    """The row. Without a session a property collector may answer and put the fault into the row, which is raised here."""
    for fault in row.refused.values():
        if kind_of(fault) == "NotAuthenticated":
            raise vim.fault.NotAuthenticated()
    return row


def _supported(session: Session, properties: Mapping[Any, Sequence[str]]) -> dict[Any, tuple[str, ...]]:
    version = session.content.propertyCollector._stub.version
    return {
        kind: tuple(path for path in paths if known(kind, path, version))
        for kind, paths in properties.items()
    }


def known(kind: Any, path: str, version: str) -> bool:
    """Whether the API of `version` has the property; asking for one that it lacks fails the whole call."""
    for name in path.split("."):
        try:
            declared = kind._GetPropertyInfo(name)
        except AttributeError:
            return False
        if not support.IsChildVersion(version, declared.version):
            return False
        kind = declared.type
    return True


def related(
    session: Session, managed: Any, path: str, properties: Mapping[Any, Sequence[str]]
) -> tuple[PropertyRow, ...]:
    """The named properties of one object and of those that its property `path` refers to."""
    collector = vmodl.query.PropertyCollector
    through = collector.TraversalSpec(name=path, path=path, skip=False, type=type(managed))
    spec = collector.FilterSpec(
        objectSet=[collector.ObjectSpec(obj=managed, skip=False, selectSet=[through])],
        propSet=[_property_spec(kind, paths) for kind, paths in properties.items()],
    )
    with translated(moref(managed)):
        return session.steadily(lambda: tuple(_pages(session.content.propertyCollector, spec, PAGE)))


@contextmanager
def everything(session: Session, kinds: list[Any]) -> Iterator[Any]:
    """A view of every object of these kinds, while inside the `with`."""
    content = session.content
    view = content.viewManager.CreateContainerView(content.rootFolder, kinds, True)
    try:
        yield view
    finally:
        with suppress(ConnectorError, vmodl.MethodFault, OSError):  # it dies with the session anyway
            view.DestroyView()


def filter_of(session: Session, view: Any, properties: Mapping[Any, Sequence[str]]) -> Any:
    """A filter over a view for those of the properties that this vCenter's API version knows."""
    return _filter(view, _supported(session, properties))


def _filter(view: Any, properties: Mapping[Any, Sequence[str]]) -> Any:
    collector = vmodl.query.PropertyCollector
    through = collector.TraversalSpec(name="view", path="view", skip=False, type=type(view))
    return collector.FilterSpec(
        objectSet=[collector.ObjectSpec(obj=view, skip=True, selectSet=[through])],
        propSet=[_property_spec(kind, paths) for kind, paths in properties.items()],
    )


def _property_spec(kind: Any, paths: Sequence[str]) -> Any:
    return vmodl.query.PropertyCollector.PropertySpec(type=kind, pathSet=list(paths), all=False)


def _pages(collector: Any, spec: Any, page: int) -> Iterator[PropertyRow]:
    options = vmodl.query.PropertyCollector.RetrieveOptions(maxObjects=page)
    answer, progress = collector.RetrievePropertiesEx([spec], options), _Progress()
    while answer is not None:
        progress.objects(len(answer.objects))
        for entry in answer.objects:
            yield _row(entry)
        if not answer.token:
            return
        progress.page(answer.token)
        answer = collector.ContinueRetrievePropertiesEx(answer.token)


def _row(content: Any) -> PropertyRow:
    """The row of one object. A value that cannot be understood counts as a property that may not be read."""
    values = {entry.name: entry.val for entry in content.propSet or () if entry.val is not None}
    refused = {str(entry.path): _reason(entry.fault) for entry in content.missingSet or ()}
    refused |= {path: _fitting(type(content.obj), path, value) for path, value in values.items()}
    refused = {path: why for path, why in refused.items() if why is not None}
    readable = {path: value for path, value in values.items() if path not in refused}
    return PropertyRow(kind_of(content.obj), moref(content.obj), readable, refused)


def _reason(fault: Any) -> Any:
    """Why a property may not be read. A refusal without a fault is a refusal too, and not an unset property."""
    return fault if isinstance(fault, Exception | UnreadableValue) else UnreadableValue("no reason is given")


def _fitting(kind: Any, path: str, value: Any) -> UnreadableValue | None:
    """Why a value does not have its property's type; None when it has. A server may send anything."""
    if isinstance(value, UnreadableValue) or _fits(_declared(kind, path), value):
        return value if isinstance(value, UnreadableValue) else None
    return UnreadableValue(f"{kind_of(value)} is no value of it")


@lru_cache(4096)
def _declared(kind: Any, path: str) -> Any:
    for name in path.split("."):
        try:
            kind = kind._GetPropertyInfo(name).type
        except AttributeError:
            return object
    return kind


def _fits(declared: Any, value: Any) -> bool:
    if issubclass(declared, list):
        return isinstance(value, list) and all(_fits(declared.Item, item) for item in value)
    if issubclass(declared, support.ManagedObject):
        return isinstance(value, support.ManagedObject)
    if issubclass(declared, _EXACT):
        return isinstance(value, declared)
    if issubclass(declared, int | float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return declared is object or not isinstance(value, (*_EXACT, list, int, float))


_EXACT = (bool, datetime, Exception, support.DataObject, support.ManagedObject)
