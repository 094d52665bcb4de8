"""docs/job-fields.md is made from the table of job fields. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from connector.specification.fields import JOB_FIELDS, JobField
from connector.specification.value import ListOf, Struct

_INTRODUCTION: Final = """# The fields of a job

This page is generated from `connector/specification/fields.py`; a test compares them.

A job is the migration of one source. Its fields have the same meaning everywhere: as a parameter of
`CreateReplicationJob` and `ModifyReplicationJobAttribute` ([smc-api.md](smc-api.md)), as an option of `connector job create`
and `connector job modify` ([cli.md](cli.md)), as a key of a manifest below `defaults` or a machine ([manifest.md](manifest.md)),
and in the console's forms. The service does not know a field marked *ours*: official clients do not send it, so its default
counts.

*May be changed* names the states in which a field can be changed. A change during a pass counts from the next pass on; only
`ReplicationParameters` reaches a running pass. A refusal names the states in which the change is possible.
"""


def document() -> str:
    """The whole page."""
    rows = (_row(field) for field in JOB_FIELDS)
    head = ("field", "value", "default", "option", "manifest", "console", "may be changed", "meaning")
    return "\n".join([_INTRODUCTION, _table(head, rows)])


def _row(field: JobField) -> tuple[str, ...]:
    name = f"`{field.part_of}.{field.name}`" if field.part_of else f"`{field.name}`"
    value = "" if isinstance(field.kind, ListOf | Struct) else field.kind.says
    needs = f" Needs a provider with {field.needs}." if field.needs else ""
    return (
        f"{name}, ours" if field.ours else name,
        value,
        _default(field.default),
        f"`{field.option}`" if field.option else "",
        f"`{field.key}`" if field.key else "",
        field.label,
        ", ".join(field.changes) or "never",
        field.help + needs,
    )


def _default(value: object) -> str:
    if value in (None, ""):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
