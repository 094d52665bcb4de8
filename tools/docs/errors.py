"""docs/errors.md, made from the tables that decide: error classes, vCenter faults, VDDK codes, codes of the public API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from connector.control.domain.refusals import InstanceChangedByOthers
from connector.control.smc.catalogue import code_of, translated
from connector.control.store import sources
from connector.error_catalogue import ENTRIES
from connector.errors import EXIT_CODES, ConnectorError, ReaderFailed, catalogue
from connector.sources.vddk import MEANING
from connector.vcenter.faults import RULES
from vddk.codes import CODES
from vddk.errors import CLASSES


def page() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *_kinds(), *_faults(), *_codes(), *_states(), ""])


def _states() -> Iterator[str]:
    yield _STATES
    yield "| code | shown by | meaning |\n|---|---|---|"
    for failure in InstanceChangedByOthers.__subclasses__():
        yield f"| `{failure.code}` | job | {' '.join((failure.__doc__ or '').split())} |"
    for code, meaning in (
        (sources.OFFLINE_CODE, sources.OFFLINE),
        (sources.GONE_CODE, sources.GONE),
        (
            sources.REPLACED_CODE,
            "its id names another machine now; delete the source, and the next rescan registers it",
        ),
        (sources.PARTIAL_CODE, "vCenter does not show all of it now; what was known before is kept"),
    ):
        yield f"| `{code}` | source | {meaning} |"


def kind_of_code(family: str) -> type[ConnectorError]:
    """What a VDDK error of this class is to a user."""
    return next((MEANING[kind] for kind in CLASSES[family].__mro__ if kind in MEANING), ReaderFailed)


def _id(kind: type[ConnectorError]) -> str:
    """Its id on this page; a room's own class has that of the class above it."""
    return kind("x").id


def smc_code(kind: type[ConnectorError]) -> str:
    """The code under which the public API answers it."""
    return translated(kind("x")).code


def _kinds() -> Iterator[str]:
    for name, entry in ENTRIES.items():
        kind = catalogue()[name]
        yield f"\n### {name}\n"
        yield f"{' '.join((kind.__doc__ or '').split())}\n"
        yield f"- causes: {entry.causes}"
        yield f"- seen from: {'; '.join([entry.seen, *_seen(kind)])}"
        yield f"- what to do: {entry.remedy}"
        code = smc_code(kind)
        yield (
            f"- tried again by itself: {'yes' if kind.retryable else 'no'}; exit code {kind.exit_code} "
            f"({EXIT_CODES[kind.exit_code]}); HTTP {kind.http_status} between our processes; "
            f"`{code}` ({code_of(code).status}) in the public API"
        )


def _seen(kind: type[ConnectorError]) -> Iterator[str]:
    faults = [name for name, rule in RULES.items() if _id(rule.error) == _id(kind)]
    codes = [str(row.number) for row in CODES.values() if _id(kind_of_code(row.family)) == _id(kind)]
    if faults:
        yield f"vCenter faults: {', '.join(faults)}"
    if codes:
        yield f"VDDK codes: {', '.join(codes)}"


def _faults() -> Iterator[str]:
    yield _FAULTS
    yield "| fault | error | what is said | what to do | again |\n|---|---|---|---|---|"
    for name, rule in RULES.items():
        again = "yes" if rule.retryable else "no"
        yield f"| {name} | {_id(rule.error)} | {rule.what} | {rule.remedy} | {again} |"


def _codes() -> Iterator[str]:
    yield _CODES
    yield "| code | name | error | again |\n|---|---|---|---|"
    for row in CODES.values():
        kind = kind_of_code(row.family)
        again = "yes" if row.retryable or kind.retryable else "no"
        yield f"| {row.number} | {row.name} | {_id(kind)} | {again} |"


_INTRODUCTION: Final = """# Errors

Every error that a user can meet is one line: on which object, what failed, what to do next. It carries an id from this page, in
`--json` output, in a job's `error`, and in answers between our processes. Generated from the tables in the code; a test
compares, and another refuses code that raises anything else.

"Tried again by itself" is the rule of the kind; a fault or code below it may say otherwise.

## Kinds"""
_FAULTS: Final = """
## vCenter's faults

A fault that is not listed has the row of the nearest class above it; without any it is a VCenterFault that keeps its name."""
_STATES: Final = """
## Codes of jobs and sources

A job in InError shows the kind of its error; two kinds have a code of their own, and an error of the target's
cloud has the cloud's code (a failure of the target: exit code 9). A source that is not available shows why."""
_CODES: Final = """
## VDDK's codes

Causes and remedies of each code are in [vddk](vddk.md). Errors of the installation, of the worker process and unknown codes are
ReaderFailed. The codes of the public API are in [smc-api](smc-api.md)."""
