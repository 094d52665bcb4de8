"""PropertyCollector: one sweep over the selected objects, in pages when asked; filters live in `filters`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.vcenter import paths, selection
from simulator.vcenter.api import fields_of, support, vim, vmodl
from simulator.vcenter.encode import Light, Typed
from simulator.vcenter.hostile import Raw
from simulator.vcenter.kinds import Call, Center, Target

if TYPE_CHECKING:
    from simulator.vcenter.sessions import Session

_COLLECTOR = vmodl.query.PropertyCollector


@dataclass(frozen=True, slots=True)
class Reading:
    """One object of a sweep: values by path, and faults by path for properties that could not be read."""

    target: Target
    values: dict[str, Typed | Raw]
    missing: dict[str, Any]


def wanted_paths(property_sets: Iterable[Any], target: Target) -> list[str]:
    """The paths to read of this object: the union over the property specs that fit its type."""
    wanted: dict[str, None] = {}
    for spec in property_sets:
        if not issubclass(target.kind.type, spec.type):
            continue
        if spec.all:
            wanted.update(dict.fromkeys(fields_of(target.kind.type)))
        wanted.update(dict.fromkeys(map(str, spec.pathSet)))
    return list(wanted)


def read_object(center: Center, session: Session | None, target: Target, wanted: Iterable[str]) -> Reading:
    """Read these paths. Raises InvalidProperty; properties that may not or cannot be read go to `missing`."""
    values: dict[str, Typed | Raw] = {}
    missing: dict[str, Any] = {}
    odd = center.hostile.get(target.moref, {})
    refusal = center.authority.refusal(session, target, "System.Read")
    hidden = getattr(target.subject, "hidden", ())
    for path in wanted:
        if refusal is not None:
            missing[path] = refusal
            continue
        if any(f"{path}.".startswith(f"{out_of_sight}.") for out_of_sight in hidden):
            continue
        if path in odd:
            if (sent := odd[path]) is not None:
                values[path] = sent
            continue
        try:
            value = paths.resolve(target.kind.type, path, lambda name: center.read(target, name, session))
        except vmodl.query.InvalidProperty:
            raise
        except vmodl.MethodFault as fault:
            missing[path] = fault
            continue
        if value is not None:
            values[path] = value
    return Reading(target, values, missing)


def sweep(center: Center, session: Session | None, filter_specs: Iterable[Any]) -> Iterator[Reading]:
    """Read every selected object once per filter spec."""
    for spec in filter_specs:
        for target in selection.selected(center, session, spec):
            matching = wanted_paths(spec.propSet, target)
            if matching or any(issubclass(target.kind.type, s.type) for s in spec.propSet):
                yield read_object(center, session, target, matching)


def missing_set(reading: Reading) -> list[Light]:
    """The MissingProperty entries of a reading."""
    return [
        Light(vmodl.query.PropertyCollector.MissingProperty, {"path": path, "fault": fault})
        for path, fault in reading.missing.items()
    ]


def content(reading: Reading) -> Light:
    """The ObjectContent of a reading."""
    properties = [
        Light(vmodl.DynamicProperty, {"name": path, "val": value}) for path, value in reading.values.items()
    ]
    fields = {"obj": reading.target.reference, "propSet": properties, "missingSet": missing_set(reading)}
    return Light(_COLLECTOR.ObjectContent, fields)


def _owner(call: Call) -> str:
    return call.session.key if call.session is not None else ""


def _contents(call: Call) -> list[Light]:
    specs = call["specSet"]
    if call.session is None and not _is_public(specs):
        raise vim.fault.NotAuthenticated(
            object=call.target.reference, privilegeId="System.View", msg="The session is not authenticated."
        )
    return [content(reading) for reading in sweep(call.center, call.session, specs)]


def _is_public(specs: Any) -> bool:
    starts = [start for spec in specs for start in spec.objectSet]
    return all(isinstance(start.obj, vim.ServiceInstance) and not start.selectSet for start in starts)


def retrieve(call: Call) -> Any:
    """RetrieveProperties: everything at once."""
    return support.Array(_contents(call))


def retrieve_ex(call: Call) -> Any:
    """RetrievePropertiesEx: one page of `options.maxObjects` objects."""
    options = call["options"]
    size = options.maxObjects if options is not None and options.maxObjects is not None else 0
    limit = call.center.options.page
    if limit:
        size = min(size, limit) if size > 0 else limit
    return call.center.pages.first(_owner(call), _contents(call), size)


def continue_retrieve(call: Call) -> Any:
    rest, size = call.center.pages.take(_owner(call), call["token"])
    return call.center.pages.first(_owner(call), rest, size)


def cancel_retrieve(call: Call) -> None:
    call.center.pages.take(_owner(call), call["token"])
