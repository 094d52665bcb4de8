"""Fields of a job as boxes of a form, made from the table: those that are ours; the service's have places of their own."""

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
    """One field in a form. With `choices` it is a list to choose from: value and word; else text, or a number."""

    name: str
    label: str
    hint: str
    value: str
    choices: Sequence[tuple[str, str]] = ()
    bounds: Mapping[str, int] | None = None


def new_boxes(form: Mapping[str, str]) -> list[Box]:
    """For a job that is about to be made."""
    return [_box(field, form.get(field.name, _written(field.default))) for field in FIELDS]


def boxes(job: Job, form: Mapping[str, str]) -> list[Box]:
    """For a job that exists: what may be changed now, as it is."""
    changeable = [field for field in FIELDS if machine.modifiable(job.state, field)]
    return [_box(field, form.get(field.name, _written(echoed(job, field)))) for field in changeable]


def changes(job: Job, form: Mapping[str, str]) -> dict[str, str]:
    """What a form changes of the job."""
    given = {field: form[field.name] for field in FIELDS if form.get(field.name, "")}
    return {field.name: text for field, text in given.items() if text != _written(echoed(job, field))}


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
    """As the public API reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


#: What is in a form, or in an address, and is no field of a job with a label.
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
    "TimeToLiveInDays": "Days that it is good for",
    "VCenter": "vCenter",
    "WorkgroupId": "Workgroup",
}
LABELS: Final = {field.name: field.label for field in JOB_FIELDS if field.label} | _OTHERS

_DATA_DISK: Final = re.compile(r"DataDisk\.([1-9][0-9]*)\.(?:Size|Index)")
_LONGEST_FIRST: Final = sorted(map(re.escape, LABELS), key=len, reverse=True)
_NAMES: Final = re.compile(rf"\b(?:{'|'.join([_DATA_DISK.pattern, *_LONGEST_FIRST])})\b")
_FAMILIES: Final = {"InvalidParameter": "correct it and send it again", "MissingParameter": "fill it in"}


def label(name: str) -> str:
    """As a person sees it; the name itself, when no form has it."""
    disk = _DATA_DISK.fullmatch(name)
    return f"Data disk {disk[1]}, GiB" if disk else LABELS.get(name, name)


def field_at_fault(denied: Denied) -> str:
    """The name of the box that a refusal is about; empty when it is about none."""
    family, _, name = denied.code.partition(".")
    return name if family in (*_FAMILIES, "NumberExceed") else ""


def spoken(denied: Denied) -> tuple[str, str]:
    """What failed and what to do, without the full stops; parameters are called as their boxes are."""
    family = denied.code.partition(".")[0]
    what, remedy = denied.message.strip().rstrip("."), denied.remedy.strip().rstrip(".")
    if remedy == code_of(denied.code).remedy:
        remedy = _FAMILIES.get(family, remedy)
    if name := field_at_fault(denied):
        what = what.replace(f"The specified parameter {name} is not valid", f"“{label(name)}” is not valid")
        what = what.replace(f"{name} is mandatory for this action", f"“{label(name)}” is missing")
    return _labelled(what), _labelled(remedy)


def _labelled(text: str) -> str:
    return _NAMES.sub(lambda found: _quoted(found[0]), text)


def _quoted(name: str) -> str:
    return name if label(name) == name else f"“{label(name)}”"
