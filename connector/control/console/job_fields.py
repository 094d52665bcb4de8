"""Fields of a job as boxes of a form, made from the table: those that are ours; the service's have places of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connector.control import jobs as machine
from connector.control.smc.shapes import echoed
from connector.control.store.rows import Job
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
