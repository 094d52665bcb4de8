"""The operations on the former disks of target instances: put them back, or let them go."""

from __future__ import annotations

from typing import Final

from connector.cloud.target_instance import FORMER_DISK
from connector.control.domain.access import Role
from connector.control.domain.entities import HandOver, HandOverState
from connector.control.service.jobs import JobService
from connector.control.smc import tables
from connector.control.smc.jobs import job_by_id
from connector.control.smc.operations import Answer, Caller, Field, Operation
from connector.control.smc.parameters import Values
from connector.control.smc.shapes import moment, wrapped
from connector.specification import kinds
from connector.specification.value import ListOf, Parameter

_DESCRIBE: Final = (Parameter("JobId", ListOf(kinds.ID, 50), required=True),)
_DISK: Final = (
    Field("Reference", "string", "the disk or snapshot in the target; empty: not known yet"),
    Field("CreationTime", "string"),
)
_ROW: Final = (
    Field("JobId", "string"),
    Field("InstanceId", "string", "the target instance"),
    Field(
        "State",
        "string",
        "Begun (the image goes onto its disks), Done (the former disks are kept), PuttingBack, PutBack, Releasing or Released",
    ),
    Field("ChangedTime", "string", "when it came into this state"),
    Field(
        "Trouble", "string", "why the former disks could not be put back or removed; empty: nothing failed"
    ),
    Field("Disks", "list", "what is kept now", "Disk", _DISK),
)
_ROWS: Final = (
    Field("FormerDisks", "list", "jobs without a target instance are left out", "FormerDisk", _ROW),
)


class FormerDiskOperations:
    """What `connector job former-disks` asks of a control plane, and the console's page of a job."""

    def __init__(self, service: JobService) -> None:
        self._service = service
        self._store = service.store

    def table(self) -> tuple[Operation, ...]:
        """The operations with their parameters."""
        return (
            Operation(
                "DescribeFormerDisks",
                _DESCRIBE,
                Role.READER,
                self._describe,
                "the disks that target instances had before jobs replaced them",
                answers=_ROWS,
            ),
            Operation(
                "PutBackFormerDisks",
                (tables.JOB_ID,),
                Role.OPERATOR,
                lambda caller, values: self._ask(caller, values, HandOverState.PUTTING_BACK),
                "give the target instance the disks that it had before the job; what the job put there goes",
                "JobId",
                answers=_ROW,
            ),
            Operation(
                "ReleaseFormerDisks",
                (tables.JOB_ID,),
                Role.OPERATOR,
                lambda caller, values: self._ask(caller, values, HandOverState.RELEASING),
                "remove the disks that the target instance had before the job; afterwards there is no way back",
                "JobId",
                answers=_ROW,
            ),
        )

    def _describe(self, _caller: Caller, values: Values) -> Answer:
        ids = list(dict.fromkeys(values["JobId"]))
        rows = self._store.hand_overs.of(ids)
        return wrapped("FormerDisks", "FormerDisk", [self._row(rows[job]) for job in ids if job in rows])

    def _ask(self, _caller: Caller, values: Values, request: HandOverState) -> Answer:
        return self._row(self._service.former_disks(job_by_id(self._store, values["JobId"]).id, request))

    def _row(self, row: HandOver) -> Answer:
        kept = [r for r in self._store.resources.of(row.job_id, "cloud") if r.kind == FORMER_DISK]
        disks = [
            {"Reference": r.reference or "", "CreationTime": moment(r.created)} for r in kept if not r.removed
        ]
        return {
            "JobId": row.job_id,
            "InstanceId": row.instance,
            "State": str(row.state),
            "ChangedTime": moment(row.changed),
            "Trouble": row.trouble,
            **wrapped("Disks", "Disk", disks),
        }
