"""Values for every field that the table has, so that a new field is tried by every test without being named."""

from __future__ import annotations

from typing import Final

from connector.specification.fields import JOB_FIELDS, JobField
from connector.specification.value import Flag, Fraction, OneOf, Text, Whole

#: What the service has no parameter for.
OURS: Final = tuple(field for field in JOB_FIELDS if field.ours and field.parameter)


def valid(field: JobField) -> tuple[str, str]:
    """Two values that are not the default, as the API takes and echoes them."""
    kind = field.kind
    if isinstance(kind, Flag):
        other = str(not field.default).lower()
        return other, str(field.default).lower()
    if isinstance(kind, OneOf):
        others = [word for word in kind.words if word != field.default]
        return others[0], others[-1] if len(others) > 1 else str(field.default)
    if isinstance(kind, Whole):
        return str(kind.low + 1), str(kind.high if kind.high < 1 << 31 else kind.low + 2)
    if isinstance(kind, Fraction):
        return "2.5%", "100%"
    assert isinstance(kind, Text), f"no sample for {field.name}: say one here"
    return "sample-1", "sample-2"


def wrong(field: JobField) -> str:
    """A value that breaks the rule of the field."""
    kind = field.kind
    if isinstance(kind, Whole):
        return str(kind.low - 1)
    if isinstance(kind, Text):
        return "x" * (kind.most + 1)
    return "101%" if isinstance(kind, Fraction) else "purple"


def echoed(field: JobField, text: str) -> object:
    """What DescribeReplicationJobs says of a value."""
    if isinstance(field.kind, Flag):
        return text == "true"
    return int(text) if isinstance(field.kind, Whole) else text


def in_manifest(field: JobField, text: str) -> str:
    """As a manifest says it."""
    unit = field.kind.unit if isinstance(field.kind, Whole) else ""
    return text + {"seconds": "s", "Mbit/s": "Mbit/s"}.get(unit, "")


def words(field: JobField, text: str) -> list[str]:
    """As the command line says it."""
    if isinstance(field.kind, Flag):
        return [field.option if text == "true" else f"--no-{field.option.removeprefix('--')}"]
    return [field.option, text]
