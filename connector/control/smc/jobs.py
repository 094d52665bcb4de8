"""The operations on migration jobs translate requests into calls of `JobService`."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Final

from connector.control.domain.access import Role
from connector.control.domain.entities import Job, Source, TagKind
from connector.control.domain.jobs import JobStatus
from connector.control.http import views
from connector.control.service.jobs import JobService
from connector.control.smc import job_rules, shapes, tables
from connector.control.smc.catalogue import Denied
from connector.control.smc.operations import Answer, Caller, Operation, Work
from connector.control.smc.parameters import Values
from connector.control.smc.sources import paging, tag_filters
from connector.control.store import JobFilter, NewJob, SourceFilter, Store
from connector.errors import Ambiguous, Conflict, NotFound
from connector.specification.fields import BY_NAME, JOB_FIELDS
from connector.specification.value import Parameter

#: Parameters of a new job that have their own column and need no translation.
_PLAIN: Final = {
    field.name: field.column
    for field in JOB_FIELDS
    if field.column
    and field.name not in ("Name", "SourceId", "RunOnce", "Frequency", "MaxNumberOfImageToKeep", "Tag")
}


_CHANGED: Final = frozenset(field.name for field in JOB_FIELDS if field.column and field.changes)


class JobOperations:
    """The operations on migration jobs."""

    def __init__(self, service: JobService) -> None:
        self._service = service
        self._store = service.store

    def table(self) -> tuple[Operation, ...]:
        """The operations with their parameters."""
        job_id = (tables.JOB_ID,)
        return (
            Operation("DescribeReplicationJobs", tables.DESCRIBE, Role.READER, self._describe, "list jobs"),
            _changing("CreateReplicationJob", tables.CREATE, self._create, "make a job for a source"),
            _changing(
                "ModifyReplicationJobAttribute",
                tables.MODIFY,
                self._modify,
                "change a job: its name and description always, most else before its first run",
            ),
            _changing("StartReplicationJob", job_id, self._start, "from Ready, Stopped, InError or Waiting"),
            _changing("StopReplicationJob", job_id, self._stop, "pause: while Syncing, or from Waiting"),
            _changing(
                "CutOverReplicationJob",
                tables.CUT_OVER,
                self._cut_over,
                "end an incremental job, from Waiting",
            ),
            _changing("DeleteReplicationJob", job_id, self._delete, "from any status but Running"),
            Operation(
                "CreateCrossZoneMigrationJob",
                tables.CROSS_ZONE,
                Role.OPERATOR,
                _cross_zone,
                "refused: it moves ECS instances, not virtual machines",
            ),
        )

    def _create(self, _caller: Caller, values: Values) -> Answer:
        source = self._source(values["SourceId"])
        job_rules.check_new(values, source)
        job = self._make(_new_job(values, source))
        if job.source_id != source.id or ("Name" in values and job.name != values["Name"]):
            raise Denied("IdempotentParameterMismatch", "This ClientToken created another job.")
        return {"JobId": job.id}

    def _make(self, new_job: NewJob) -> Job:
        try:
            return self._service.create(new_job)
        except Conflict:
            if new_job.client_token is None:
                raise
            return self._service.create(
                new_job
            )  # the same request may have been faster: its job is the answer to both

    def _describe(self, _caller: Caller, values: Values) -> Answer:
        number, size = paging(values)
        condition = JobFilter(
            ids=values.get("JobId", ()),
            source_ids=values.get("SourceId", ()),
            target_instances=values.get("InstanceId", ()),
            name=values.get("Name"),
            status=values.get("Status"),
            business=values.get("BusinessStatus"),
            job_type=values.get("JobType"),
            region=values.get("RegionId"),
            resource_group=values.get("ResourceGroupId"),
            tags=tag_filters(values),
        )
        page = self._store.jobs.page(condition, number, size)
        answers = self._shown(list(page.rows))
        return shapes.page("ReplicationJobs", "ReplicationJob", answers, page.total, number, size)

    def _modify(self, _caller: Caller, values: Values) -> Answer:
        job = self._job(values["JobId"])
        definition = job_rules.kept(values)
        if definition:
            source = self._store.sources.of(job)
            job_rules.check(job.definition | values, source, run_once=job.run_once)
        if "OnDemand" in values:  # jobs of 0.1.0 have neither a frequency nor this flag
            present = {"Frequency": job.frequency, "MaxNumberOfImageToKeep": job.max_images}
            job_rules.check_rhythm(present | values, run_once=job.run_once)
        columns = {BY_NAME[name].column: value for name, value in values.items() if name in _CHANGED}
        if changes := columns | definition:
            self._service.modify(job.id, changes)
        return {}

    def _start(self, _caller: Caller, values: Values) -> Answer:
        self._service.start(self._job(values["JobId"]).id)
        return {}

    def _stop(self, _caller: Caller, values: Values) -> Answer:
        self._service.stop(self._job(values["JobId"]).id)
        return {}

    def _cut_over(self, _caller: Caller, values: Values) -> Answer:
        job = self._job(values["JobId"])
        self._service.cutover(job.id, last_sync=values.get("SyncData", False), changes={})
        return {}

    def _delete(self, _caller: Caller, values: Values) -> Answer:
        job = self._job(values["JobId"])
        if job.status is not JobStatus.DELETING:
            self._service.delete(job.id)
        return {}

    def _job(self, job_id: str) -> Job:
        return job_by_id(self._store, job_id)

    def _source(self, source_id: str) -> Source:
        try:
            source = self._store.sources.get(source_id)
        except (NotFound, Ambiguous):  # it may be a name; here only ids count
            source = None
        if source is None or source.id != source_id:
            raise Denied("SourceServer.NotFound", f"The specified source server {source_id} is not found.")
        return source

    def _shown(self, rows: list[Job]) -> list[Answer]:
        ids, now = [row.id for row in rows], self._store.now()
        tags = self._store.tags.of(TagKind.JOB, ids)
        runs = self._store.runs.of_many(ids)
        images = self._store.resources.images_of(ids)
        newest = self._store.passes.newest(ids)
        condition = SourceFilter(ids=list({row.source_id for row in rows}) or ["none"])
        groups = {
            s.id: s.workgroup_id or "" for s in self._store.sources.page(condition, 1, len(rows) or 1).rows
        }
        names = self._store.overview.names({*groups, *filter(None, groups.values())})
        return [
            shapes.job(
                row,
                tags[row.id],
                runs[row.id],
                images[row.id],
                views.percent(row, [newest[row.id]] if row.id in newest else []),
                _origin(row, groups, names),
                now,
            )
            for row in rows
        ]


def _origin(row: Job, groups: Mapping[str, str], names: Mapping[str, str]) -> shapes.Origin:
    group = groups.get(row.source_id, "")
    return shapes.Origin(names.get(row.source_id, ""), group, names.get(group, ""))


def job_by_id(store: Store, job_id: str) -> Job:
    """The job with this id; a name is not accepted. Raises `Denied`."""
    try:
        job = store.jobs.get(job_id)
    except (NotFound, Ambiguous):
        job = None
    if job is None or job.id != job_id or job.status is JobStatus.DELETED:
        raise Denied("ReplicationJob.NotFound", f"The specified replication job {job_id} is not found.")
    return job


def _new_job(values: Values, source: Source) -> NewJob:
    run_once = values.get("RunOnce", True)
    name: str = values.get("Name") or _name_for(source)
    return NewJob(
        source_id=source.id,
        name=name,
        run_once=run_once,
        target_instance=values.get("InstanceId", ""),
        definition=job_rules.kept(values),
        frequency=None if run_once else values.get("Frequency"),
        max_images=None if run_once else values.get("MaxNumberOfImageToKeep"),
        tags={tag["Key"]: tag.get("Value", "") for tag in values.get("Tag", [])},
        **{_PLAIN[name]: value for name, value in values.items() if name in _PLAIN},
    )


def _name_for(source: Source) -> str:
    plain = re.sub(r"[^A-Za-z0-9:_-]", "-", source.name)[:100]
    plain = plain if plain[:1].isalpha() else f"vm-{plain}"
    return f"{plain}_{secrets.token_hex(4)}"


def _changing(name: str, parameters: tuple[Parameter, ...], work: Work, meaning: str) -> Operation:
    return Operation(name, parameters, Role.OPERATOR, work, meaning, "JobId")


def _cross_zone(_caller: Caller, _values: Values) -> Answer:
    raise Denied(
        "UnsupportedOperation.CrossZone",
        "Cross-zone migration moves ECS instances between zones; here virtual machines leave vCenter.",
        "use CreateReplicationJob with JobType 3",
    )
