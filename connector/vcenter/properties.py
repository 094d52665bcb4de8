"""Properties are read through the property collector only: what is unset is absent and raises nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from connector.errors import ConnectorError, NotFound
from connector.vcenter.faults import translate, translated
from connector.vcenter.session import Session
from connector.vcenter.vmomi import kind_of, moref, vmodl

PAGE = 500  # objects per answer; bounds memory on both sides


@dataclass(frozen=True, slots=True)
class Row:
    """The properties of one managed object that are set, and the faults of those that may not be read."""

    kind: str  # e.g. "VirtualMachine"
    moref: str
    values: Mapping[str, Any]
    refused: Mapping[str, Any] = field(default_factory=dict)

    def get(self, path: str, default: Any = None) -> Any:
        return self.values.get(path, default)


def read(session: Session, managed: Any, paths: Sequence[str], on: str, *, partly: bool = False) -> Row:
    """The named properties of one object; raises `NotFound` when it is gone.

    A property that may not be read is an error too, unless `partly`: taking it for unset would make a snapshot
    look removed that is merely out of sight.
    """
    wanted = vmodl.query.PropertyCollector.FilterSpec(
        objectSet=[vmodl.query.PropertyCollector.ObjectSpec(obj=managed)],
        propSet=[_property_spec(type(managed), paths)],
    )
    with translated(on):
        rows = list(_pages(session.content.propertyCollector, wanted, 1))
    if not rows:
        raise NotFound("the object is gone", on=on, remedy="refresh the inventory")
    if rows[0].refused and not partly:
        raise translate(next(iter(rows[0].refused.values())), on)
    return rows[0]


def sweep(session: Session, wanted: Mapping[Any, Sequence[str]], page: int = PAGE) -> tuple[Row, ...]:
    """The named properties of every object of the given kinds in the whole inventory, page by page."""

    def once() -> tuple[Row, ...]:
        with _everything(session, list(wanted)) as view:
            return tuple(_pages(session.content.propertyCollector, _filter(view, wanted), page))

    with translated(str(session.endpoint)):
        return session.steadily(once)


@contextmanager
def _everything(session: Session, kinds: list[Any]) -> Iterator[Any]:
    content = session.content
    view = content.viewManager.CreateContainerView(content.rootFolder, kinds, True)
    try:
        yield view
    finally:
        with suppress(ConnectorError, vmodl.MethodFault, OSError):  # it dies with the session anyway
            view.DestroyView()


def _filter(view: Any, wanted: Mapping[Any, Sequence[str]]) -> Any:
    collector = vmodl.query.PropertyCollector
    through = collector.TraversalSpec(name="view", path="view", skip=False, type=type(view))
    return collector.FilterSpec(
        objectSet=[collector.ObjectSpec(obj=view, skip=True, selectSet=[through])],
        propSet=[_property_spec(kind, paths) for kind, paths in wanted.items()],
    )


def _property_spec(kind: Any, paths: Sequence[str]) -> Any:
    return vmodl.query.PropertyCollector.PropertySpec(type=kind, pathSet=list(paths), all=False)


def _pages(collector: Any, wanted: Any, page: int) -> Iterator[Row]:
    options = vmodl.query.PropertyCollector.RetrieveOptions(maxObjects=page)
    answer = collector.RetrievePropertiesEx([wanted], options)
    while answer is not None:
        for found in answer.objects:
            yield _row(found)
        if not answer.token:
            return
        answer = collector.ContinueRetrievePropertiesEx(answer.token)


def _row(found: Any) -> Row:
    values = {entry.name: entry.val for entry in found.propSet or ()}
    refused = {entry.path: entry.fault for entry in found.missingSet or ()}
    return Row(kind_of(found.obj), moref(found.obj), values, refused)
