"""A message to the agents' API has exactly these fields, with these types and bounds. Any other field is refused."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    Field,
    TypeAdapter,
    field_validator,
)

from connector.control.http.exchange import Message
from connector.errors import catalogue
from connector.model import Finding, Machine
from connector.transfer import evidence

Line = Annotated[str, Field(min_length=1, max_length=400, pattern=r"^[^\x00-\x1f]+$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9:_.\-]{1,127}$")]
Bytes = Annotated[int, Field(ge=0, lt=1 << 63)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=86400)]

MAX_MACHINES: Final = 20_000


def _ed25519(text: str) -> str:
    """The same key in our own form. An empty text means no key."""
    return evidence.pem(evidence.from_pem(text.encode())) if text else ""


PublicKey = Annotated[str, Field(max_length=400), AfterValidator(_ed25519)]


class Enrol(Message):
    activation_code: Line
    name: Line
    vcenter: Line  # its instance UUID
    version: Annotated[str, Field(max_length=80)]
    evidence_key: PublicKey = ""  # PEM; an appliance of 0.1.0 does not send it


class EvidenceKey(Message):
    evidence_key: Annotated[PublicKey, Field(min_length=1)]


class Heartbeat(Message):
    passes: Annotated[list[Line], Field(max_length=10_000)] = []


class SourceList(Message):
    vcenter_url: Annotated[str, Field(max_length=400)] = ""  # an appliance of 0.1.0 does not send it
    machines: Annotated[list[dict[str, Any]], Field(max_length=MAX_MACHINES)]

    @field_validator("machines")
    @classmethod
    def _machines(cls, machines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each machine is a `Machine` as a dictionary, plus `findings`."""
        return [_machine(machine) for machine in machines]


class Take(Message):
    wait: Annotated[float, Field(ge=0, le=60)] = 0.0
    errands: bool = False  # take a power task instead of a pass that reads


class ResourceReport(Message):
    token: Annotated[str, Field(min_length=1, max_length=200)]
    kind: Annotated[str, Field(min_length=1, max_length=40)]
    moref: Annotated[str, Field(max_length=400)] | None = None
    removed: bool = False
    trouble: Annotated[str, Field(max_length=2000)] = ""


class Removed(Message):
    token: Annotated[str, Field(min_length=1, max_length=200)]


class Resists(Message):
    token: Annotated[str, Field(min_length=1, max_length=200)]
    trouble: Annotated[str, Field(min_length=1, max_length=2000)]


class DiskProgressReport(Message):
    key: int
    label: Annotated[str, Field(max_length=200)]
    capacity: Bytes
    wanted: Bytes = 0
    done: Bytes = 0
    read: Bytes = 0
    zero: Bytes = 0
    wire: Bytes = 0
    rate: Annotated[float, Field(ge=0)] = 0.0
    bottleneck: Annotated[str, Field(max_length=80)] = ""
    reader: Annotated[str, Field(max_length=80)] = ""
    state: Annotated[str, Field(max_length=80)] = ""


class ProgressReport(Message):
    disks: Annotated[list[DiskProgressReport], Field(max_length=1000)] = []
    phase: Annotated[str, Field(max_length=400)]
    free: Share | None = None  # of the fullest datastore under the open snapshot


class Failure(Message):
    """The form of `ConnectorError.to_json()`. An unknown error keeps its text."""

    error: Annotated[str, Field(max_length=80)]
    what: Annotated[str, Field(max_length=2000)]
    on: Annotated[str, Field(max_length=400)] = ""
    remedy: Annotated[str, Field(max_length=2000)] = ""
    retryable: bool = False

    @field_validator("error")
    @classmethod
    def _known(cls, error: str) -> str:
        return error if error in catalogue() else "ControlFailed"


class EvidenceReport(Message):
    manifest: Annotated[str, Field(min_length=2, max_length=evidence.LIMIT)]


class Finish(Message):
    """An appliance's last report on a pass."""

    outcome: Literal["done", "failed", "stopped"]
    error: Failure | None = None
    result: dict[str, Any] = {}  # `findings` have the form of `Finding`
    rest: Annotated[float, Field(ge=0, le=86400)] = (
        0.0  # seconds until a pass that was given back is offered again
    )

    @field_validator("result")
    @classmethod
    def _well_formed(cls, result: dict[str, Any]) -> dict[str, Any]:
        _FINDINGS.validate_python(result.get("findings", []))
        return result


_MACHINE: Final = TypeAdapter(Machine)
_FINDINGS: Final = TypeAdapter(list[Finding])
_FIELDS: Final = {field.name for field in dataclasses.fields(Machine)}


def _machine(body: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(body) - _FIELDS - {"findings"})
    if unknown:
        raise ValueError(f"unknown field {unknown[0]}")
    findings = _FINDINGS.validate_python(body.get("findings", []))
    machine = _MACHINE.validate_python({k: v for k, v in body.items() if k != "findings"})
    as_json: dict[str, Any] = _MACHINE.dump_python(machine, mode="json")
    return as_json | {"findings": [dataclasses.asdict(finding) for finding in findings]}
