"""The operations on applications are extensions. The jobs of an application are cut over and rolled back together."""

from __future__ import annotations

from typing import Final

from connector.control.domain.access import Role
from connector.control.domain.entities import Job
from connector.control.service.applications import ApplicationService
from connector.control.service.jobs import JobService
from connector.control.smc import tables
from connector.control.smc.jobs import job_by_id
from connector.control.smc.operations import Answer, Caller, Operation
from connector.control.smc.parameters import Values
from connector.control.smc.shapes import moment, wrapped
from connector.specification import kinds
from connector.specification.value import ListOf, Parameter, Struct, Whole

_NAME: Final = Parameter("Name", kinds.APPLICATION_NAME, required=True)
_RANK: Final = Parameter(
    "Rank",
    Whole(0, 1000),
    meaning="the lowest rank is shut down first and started last; equal ranks go side by side; default 0",
)
_MEMBER: Final = Struct((Parameter("JobId", kinds.ID, required=True), _RANK))
SET: Final = (
    _NAME,
    Parameter(
        "Member",
        ListOf(_MEMBER, 100, "Duplicate.JobId", "JobId"),
        meaning="all jobs of the application; they must be incremental; none: the application ends",
    ),
)
DESCRIBE: Final = (Parameter("Name", kinds.WORD, meaning="exact"),)
ROLLBACK: Final = (_NAME, tables.KEEP_TRACKING)


class ApplicationOperations:
    """The operations on whole applications."""

    def __init__(self, service: JobService) -> None:
        self._store = service.store
        self._together = ApplicationService(service)

    def table(self) -> tuple[Operation, ...]:
        """The operations with their parameters."""
        return (
            Operation(
                "DescribeMigrationApplications",
                DESCRIBE,
                Role.READER,
                self._describe,
                "list applications: jobs whose sources are cut over together",
                answers=tables.APPLICATIONS_ANSWER,
            ),
            Operation(
                "SetMigrationApplication",
                SET,
                Role.OPERATOR,
                self._set,
                "set which jobs are an application, and the order in which their sources are shut down",
                "Name",
                answers=tables.APPLICATION_ANSWER,
            ),
            Operation(
                "StartMigrationApplication",
                (_NAME,),
                Role.OPERATOR,
                self._start,
                "begin a run of each job, or of none; the snapshots are taken close together",
                "Name",
                answers=tables.APPLICATION_ANSWER,
            ),
            Operation(
                "CutOverMigrationApplication",
                (_NAME,),
                Role.OPERATOR,
                self._cut_over,
                "shut the sources down in order, read them when all are off, make images when all are proved; all or none",
                "Name",
                answers=tables.APPLICATION_ANSWER,
            ),
            Operation(
                "RollbackMigrationApplication",
                ROLLBACK,
                Role.OPERATOR,
                self._roll_back,
                "after a cutover: give the sources their state back and power them on in reverse order",
                "Name",
                answers=tables.APPLICATION_ANSWER,
            ),
        )

    def _describe(self, _caller: Caller, values: Values) -> Answer:
        name = values.get("Name")
        applications = [
            self._shown(*entry) for entry in self._together.all().items() if name in (None, entry[0])
        ]
        return wrapped("Applications", "Application", applications)

    def _set(self, _caller: Caller, values: Values) -> Answer:
        ranks = {
            job_by_id(self._store, member["JobId"]).id: member.get("Rank", 0)
            for member in values.get("Member", [])
        }
        return self._shown(values["Name"], self._together.put(values["Name"], ranks))

    def _start(self, _caller: Caller, values: Values) -> Answer:
        return self._shown(values["Name"], self._together.start(values["Name"], {}))

    def _cut_over(self, _caller: Caller, values: Values) -> Answer:
        return self._shown(values["Name"], self._together.cutover(values["Name"], {}))

    def _roll_back(self, _caller: Caller, values: Values) -> Answer:
        keep = values.get("KeepChangeTracking", False)
        return self._shown(values["Name"], self._together.rollback(values["Name"], keep_cbt=keep))

    def _shown(self, name: str, jobs: list[Job]) -> Answer:
        ranks = sorted({job.rank for job in jobs}, reverse=True)
        members = [_member(job, ranks.index(job.rank) + 1) for job in jobs]
        spread = self._together.spread(name) if jobs else None
        return {
            "Name": name,
            "Settled": not jobs or self._together.settled(name),
            "Spread": -1 if spread is None else round(spread),
        } | wrapped("Members", "Member", members)


def _member(job: Job, start: int) -> Answer:
    return {
        "JobId": job.id,
        "Name": job.name,
        "SourceId": job.source_id,
        "Rank": job.rank,
        "StartPlace": start,
        "Status": str(job.status),
        "BusinessStatus": str(job.business),
        "CutOver": job.cutover,
        "WaitingFor": job.waiting,
        "DownSince": moment(job.down_since),
        "ErrorMessage": str((job.error or {}).get("what", "")),
    }
