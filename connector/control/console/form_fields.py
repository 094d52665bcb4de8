"""The boxes of a form are made from the table of job fields. This covers our own fields; the form places the service's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connector.control.domain import jobs as machine
from connector.control.domain.entities import Job
from connector.control.smc.catalogue import Denied, code_of
from connector.control.smc.shapes import echoed
from connector.specification.fields import JOB_FIELDS, JobField
from connector.specification.value import Flag, OneOf, Whole

FIELDS: Final = tuple(field for field in JOB_FIELDS if field.label and field.ours)


@dataclass(frozen=True, slots=True)
class Box:
    """One field in a form. With `choices` (value and word) it is a list to choose from; else it is text or a number."""

    name: str
    label: str
    hint: str
    value: str
    choices: Sequence[tuple[str, str]] = ()
    bounds: Mapping[str, int] | None = None


def new_boxes(form: Mapping[str, str]) -> list[Box]:
    """The boxes for a new job."""
    return [_box(field, form.get(field.name, _written(field.default))) for field in FIELDS]


def boxes(job: Job, form: Mapping[str, str]) -> list[Box]:
    """The boxes for an existing job: the fields that may be changed now, with their present values."""
    changeable = [field for field in FIELDS if machine.modifiable(job.state, field)]
    return [_box(field, form.get(field.name, _written(echoed(job, field)))) for field in changeable]


def changes(job: Job, form: Mapping[str, str]) -> dict[str, str]:
    """The fields that a form changes in the job."""
    values = {field: form[field.name] for field in FIELDS if form.get(field.name, "")}
    return {field.name: text for field, text in values.items() if text != _written(echoed(job, field))}


def _box(field: JobField, value: str) -> Box:
    kind, bounds = field.kind, None
    choices: Sequence[tuple[str, str]] = ()
    if isinstance(kind, Flag):
        choices = (("false", "no"), ("true", "yes"))
    elif isinstance(kind, OneOf):
        choices = tuple((word, word) for word in kind.words)
    elif isinstance(kind, Whole):
        bounds = {"min": kind.low, "max": kind.high}
    return Box(field.name, field.label, field.help, value, choices, bounds)


def _written(value: Any) -> str:
    """The value as text that the public API reads."""
    return str(value).lower() if isinstance(value, bool) else str(value)


#: Labels of parameters in forms and addresses that are no labelled field of a job.
_OTHERS: Final = {
    "AccessTokenId": "Activation code",
    "ApplianceId": "Appliance",
    "Count": "Sources that it may bring in",
    "DataDisk.Size": "Data disk, GiB",
    "DiskKey": "Disks",
    "JobId": "Job",
    "LeftOutDisks": "Disks",
    "ReplicationParameters": "Transfer",
    "RunOnce": "Runs",
    "SourceId": "Source",
    "TimeToLiveInDays": "Days that it is valid",
    "VCenter": "vCenter",
    "WorkgroupId": "Workgroup",
}
LABELS: Final = {field.name: field.label for field in JOB_FIELDS if field.label} | _OTHERS

_DATA_DISK: Final = re.compile(r"DataDisk\.([1-9][0-9]*)\.(?:Size|Index)")
_LONGEST_FIRST: Final = sorted(map(re.escape, LABELS), key=len, reverse=True)
_NAMES: Final = re.compile(rf"\b(?:{'|'.join([_DATA_DISK.pattern, *_LONGEST_FIRST])})\b")
_FAMILIES: Final = {"InvalidParameter": "correct it and send it again", "MissingParameter": "fill it in"}


def label(name: str) -> str:
    """The label of a parameter; the name itself if no form has it."""
    disk = _DATA_DISK.fullmatch(name)
    return f"Data disk {disk[1]}, GiB" if disk else LABELS.get(name, name)


def field_at_fault(denied: Denied) -> str:
    """The name of the box that a refusal is about; empty if it is about no box."""
    family, _, name = denied.code.partition(".")
    return name if family in (*_FAMILIES, "NumberExceed") else ""


def spoken(denied: Denied) -> tuple[str, str]:
    """What failed and what to do, without full stops. Parameters have the labels of their boxes."""
    family = denied.code.partition(".")[0]
    problem, remedy = denied.message.strip().rstrip("."), denied.remedy.strip().rstrip(".")
    if remedy == code_of(denied.code).remedy:
        remedy = _FAMILIES.get(family, remedy)
    if name := field_at_fault(denied):
        problem = problem.replace(
            f"The specified parameter {name} is not valid", f"“{label(name)}” is not valid"
        )
        problem = problem.replace(f"{name} is mandatory for this action", f"“{label(name)}” is missing")
    return _labelled(problem), _labelled(remedy)


def _labelled(text: str) -> str:
    return _NAMES.sub(lambda match: _quoted(match[0]), text)


def _quoted(name: str) -> str:
    return name if label(name) == name else f"“{label(name)}”"
