"""Which objects a filter spec selects: traversal specs followed from the starting objects, each object
reported once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from simulator.vcenter import paths
from simulator.vcenter.api import ManagedObject, vmodl
from simulator.vcenter.kinds import Center, Target

if TYPE_CHECKING:
    from simulator.vcenter.sessions import Session

_TRAVERSAL = vmodl.query.PropertyCollector.TraversalSpec


def named(specs: Iterable[Any]) -> dict[str, Any]:
    """Every traversal spec of a filter by its name, however deep it is written."""
    by_name: dict[str, Any] = {}
    waiting = deque(specs)
    while waiting:
        spec = waiting.popleft()
        if isinstance(spec, _TRAVERSAL):
            if spec.name:
                by_name[spec.name] = spec
            waiting.extend(spec.selectSet)
    return by_name


def selected(center: Center, session: Session | None, filter_spec: Any) -> Iterator[Target]:
    """The objects in the order in which they are found. Raises ManagedObjectNotFound, InvalidProperty,
    InvalidArgument.
    """
    names = named(spec for start in filter_spec.objectSet for spec in start.selectSet)
    reported: set[str] = set()
    followed: set[tuple[str, int]] = set()
    for start in filter_spec.objectSet:
        try:
            origin = center.locate(start.obj)
        except vmodl.fault.ManagedObjectNotFound:
            if filter_spec.reportMissingObjectsInResults:
                continue
            raise
        queue: deque[tuple[Target, bool, Any]] = deque([(origin, bool(start.skip), start.selectSet)])
        while queue:
            target, skip, specs = queue.popleft()
            if not skip and target.moref not in reported:
                reported.add(target.moref)
                yield target
            for spec in _traversals(specs, names):
                if (target.moref, id(spec)) in followed:
                    continue
                followed.add((target.moref, id(spec)))
                for reference in _follow(center, session, target, spec):
                    queue.append((reference, bool(spec.skip), spec.selectSet))


def _traversals(specs: Iterable[Any], names: dict[str, Any]) -> Iterator[Any]:
    for spec in specs:
        if isinstance(spec, _TRAVERSAL):
            yield spec
        elif spec.name in names:
            yield names[spec.name]
        else:
            raise vmodl.fault.InvalidArgument(
                invalidProperty="selectSet", msg=f"no traversal spec is named {spec.name}"
            )


def _follow(center: Center, session: Session | None, target: Target, spec: Any) -> Iterator[Target]:
    if not issubclass(target.kind.type, spec.type):
        return
    value = paths.resolve(target.kind.type, str(spec.path), lambda name: center.read(target, name, session))
    if value is None:
        return
    for reference in value.value if isinstance(value.value, list | tuple) else [value.value]:
        if isinstance(reference, ManagedObject):
            reached = center.find(reference)
            if reached is not None:
                yield reached
