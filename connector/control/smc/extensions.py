"""The extensions are operations that the public API does not have: progress, log, passes, resources, findings, appliances."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from connector.control.domain.access import Role
from connector.control.domain.entities import LEFT_OUT, Appliance, JobImage, Source
from connector.control.service.forecast import forecast
from connector.control.service.jobs import JobService
from connector.control.smc import extension_shapes as show
from connector.control.smc import tables
from connector.control.smc.catalogue import Denied, invalid
from connector.control.smc.jobs import job_by_id
from connector.control.smc.operations import Answer, Caller, Field, Operation, Work
from connector.control.smc.parameters import Values
from connector.control.smc.shapes import page, wrapped
from connector.control.smc.sources import paging
from connector.control.store import JobFilter, SourceFilter
from connector.specification.value import Parameter

_AT_ONCE: Final = 2


class ExtensionOperations:
    """Operations that the public API does not have."""

    def __init__(self, service: JobService) -> None:
        self._service = service
        self._store = service.store

    def table(self) -> tuple[Operation, ...]:
        """The operations with their parameters."""
        return (
            _looking(
                "DescribeReplicationJobProgress",
                (tables.PROGRESS, tables.PROGRESS_ANSWER),
                self._progress,
                "how far jobs are: per disk with rate, time left and what limits it, and what is allowed now",
            ),
            _looking(
                "DescribeReplicationJobLog",
                (tables.LOG, tables.LOG_ANSWER),
                self._log,
                "the log of one job; ask again with AfterEntryId to follow it",
            ),
            _looking(
                "DescribeReplicationJobPasses",
                (tables.PASSES, tables.PASSES_ANSWER),
                self._passes,
                "every reading of a job's source: what was planned, read and sent, and the digest that proves it",
            ),
            _looking(
                "DescribeReplicationJobEvidence",
                (tables.EVIDENCE, tables.EVIDENCE_ANSWER),
                self._evidence,
                "the evidence of a job's passes",
            ),
            _looking(
                "ExportReplicationJobEvidence",
                (tables.MANIFEST, tables.MANIFEST_ANSWER),
                self._manifest,
                "the signed manifest of one pass, which `connector verify` checks images with",
            ),
            _looking(
                "DescribeReplicationJobResources",
                (tables.RESOURCES, tables.RESOURCES_ANSWER),
                self._resources,
                "what a job created in the cloud and in vCenter, what costs money, and what is gone",
            ),
            Operation(
                "SetReplicationJobDisks",
                tables.LEFT_OUT,
                Role.OPERATOR,
                self._leave_out,
                "set which disks are not migrated, before the first run; DescribeReplicationJobs shows them as LeftOutDisks",
                "JobId",
                answers=tables.LEFT_OUT_ANSWER,
            ),
            Operation(
                "RollbackReplicationJob",
                tables.ROLLBACK,
                Role.OPERATOR,
                self._rollback,
                "after a cutover: give the source its state back and power it on; then the job is Stopped",
                "JobId",
                answers=tables.ROLLBACK_ANSWER,
            ),
            _looking(
                "DescribeSourceServerFindings",
                (tables.FINDINGS, tables.FINDINGS_ANSWER),
                self._findings,
                "the findings that block or limit the migration of sources",
            ),
            _looking(
                "EstimateMigration",
                (tables.ESTIMATE, tables.ESTIMATE_ANSWER),
                self._estimate,
                "how long the migration of sources may take; see the user guide on planning",
            ),
            _looking(
                "DescribeMigrationAppliances",
                (tables.APPLIANCES, tables.APPLIANCES_ANSWER),
                self._appliances,
                "list appliances",
            ),
        )

    def _progress(self, _caller: Caller, values: Values) -> Answer:
        job_ids, now = list(dict.fromkeys(values["JobId"])), self._store.now()
        rows = {row.id: row for row in self._store.jobs.page(JobFilter(ids=job_ids), 1, len(job_ids)).rows}
        runs = self._store.runs.of_many(list(rows))
        newest = self._store.passes.newest(list(rows))
        sources, names = self._sources({row.source_id for row in rows.values()}), self._names()
        answers = [
            show.progress(
                rows[job],
                sources.get(rows[job].source_id),
                runs[job][-1] if runs[job] else None,
                newest.get(job),
                names,
                now,
            )
            for job in job_ids
            if job in rows
        ]
        return wrapped("ReplicationJobs", "ReplicationJob", answers)

    def _log(self, _caller: Caller, values: Values) -> Answer:
        job = job_by_id(
            self._store, values["JobId"]
        )  # the status first: then the log has the entries that led to it
        log, limit = self._store.log, values.get("MaxResults", tables.DEFAULT_RESULTS)
        after = values.get("AfterEntryId")
        entries = log.newest(job.id, limit) if after is None else log.after(job.id, after, limit)
        about = {"JobId": job.id, "Status": str(job.status), "TotalCount": log.count(job.id)}
        return about | wrapped("LogEntries", "LogEntry", [show.log_entry(row) for row in entries])

    def _passes(self, _caller: Caller, values: Values) -> Answer:
        job = job_by_id(self._store, values["JobId"])
        runs = {run.id: run for run in self._store.runs.of(job.id)}
        images, names = self._images(job.id), self._names()
        rows = self._store.passes.of(job.id)[::-1]
        answers = [
            show.passed(row, runs.get(row.run_id), images.get(row.run_id), names, job.down_since)
            for row in _part(rows, values)
        ]
        forecast_now = show.forecast(self._service.downtime(job))
        return forecast_now | page("Passes", "Pass", answers, len(rows), *paging(values))

    def _evidence(self, _caller: Caller, values: Values) -> Answer:
        job = job_by_id(self._store, values["JobId"])
        runs = {run.id: run.number for run in self._store.runs.of(job.id)}
        answers = [show.evidence(row, runs.get(row.run_id, 0)) for row in self._store.evidence.of(job.id)]
        return {"JobId": job.id} | wrapped("Evidences", "Evidence", answers)

    def _manifest(self, _caller: Caller, values: Values) -> Answer:
        job, pass_id = job_by_id(self._store, values["JobId"]), values["PassId"]
        if all(row.pass_id != pass_id for row in self._store.evidence.of(job.id)):
            raise invalid("PassId", "there is no evidence of this pass of this job")
        manifest = self._store.evidence.manifest(pass_id).decode()
        return {"JobId": job.id, "PassId": pass_id, "Manifest": manifest}

    def _resources(self, _caller: Caller, values: Values) -> Answer:
        job = job_by_id(self._store, values["JobId"])
        images = self._images(job.id)
        rows = [
            row
            for row in self._store.resources.of(job.id)
            if values.get("Released", row.removed) is row.removed
        ]
        billed = self._service.billed
        answers = [show.resource(row, images, billed=billed) for row in _part(rows, values)]
        return page("Resources", "Resource", answers, len(rows), *paging(values))

    def _rollback(self, _caller: Caller, values: Values) -> Answer:
        job = job_by_id(self._store, values["JobId"])
        updated = self._service.rollback(job.id, keep_cbt=values.get("KeepChangeTracking", False))
        return {
            "JobId": updated.id,
            "Status": str(updated.status),
            "BusinessStatus": str(updated.business),
        }

    def _leave_out(self, _caller: Caller, values: Values) -> Answer:
        job = job_by_id(self._store, values["JobId"])
        left_out = sorted(values.get("DiskKey", []))
        keys = [disk.key for disk in self._store.sources.of(job).disks]
        if unknown := [key for key in left_out if key not in keys]:
            raise invalid("DiskKey", f"the source has no disk {unknown[0]}")
        if keys and keys[0] in left_out:
            raise invalid("DiskKey", "the system disk cannot be left out")
        self._store.jobs.modify(job.id, {LEFT_OUT: left_out})
        return {"JobId": job.id, **wrapped("LeftOutDisks", "DiskKey", [str(key) for key in left_out])}

    def _findings(self, _caller: Caller, values: Values) -> Answer:
        condition = SourceFilter(
            ids=values.get("SourceId", ()),
            workgroup_id=values.get("WorkgroupId"),
            morefs=values.get("MachineId", ()),
        )
        sources = self._store.sources.page(condition, *paging(values))
        answers = [show.findings(row) for row in sources.rows]
        return page("SourceServers", "SourceServer", answers, sources.total, *paging(values))

    def _estimate(self, _caller: Caller, values: Values) -> Answer:
        ids = list(dict.fromkeys(values["SourceId"]))
        sources = self._sources(ids)
        if unknown := [source for source in ids if source not in sources]:
            raise Denied("SourceServer.NotFound", f"The specified source server {unknown[0]} is not found.")
        limit = values.get("BandwidthLimit")
        rate = None if limit is None else limit * 1e6 / 8
        chosen = [sources[source] for source in ids]
        return show.estimated(forecast(self._store, chosen, rate, values.get("AtOnce", _AT_ONCE)))

    def _appliances(self, _caller: Caller, values: Values) -> Answer:
        alive = {row.id for row in self._store.appliances.alive(self._service.grace)}

        def matches(row: Appliance) -> bool:
            online = row.id in alive
            return (
                row.id in values.get("ApplianceId", (row.id,))
                and row.name == values.get("Name", row.name)
                and row.vcenter == values.get("VCenter", row.vcenter)
                and online is values.get("Online", online)
            )

        rows = [row for row in self._store.appliances.all() if matches(row)]
        part = _part(rows, values)
        within = {key for row in part for key in (row.token_id, row.workgroup_id) if key}
        names = self._store.overview.names(within)
        answers = [show.appliance(row, names, online=row.id in alive) for row in part]
        return page("Appliances", "Appliance", answers, len(rows), *paging(values))

    def _sources(self, ids: Iterable[str]) -> dict[str, Source]:
        source_ids = list(ids)
        if not source_ids:
            return {}
        return {
            row.id: row
            for row in self._store.sources.page(SourceFilter(ids=source_ids), 1, len(source_ids)).rows
        }

    def _images(self, job_id: str) -> dict[str, JobImage]:
        """The images of a job, by run."""
        return {image.run_id: image for image in self._store.resources.images(job_id)}

    def _names(self) -> dict[str, str]:
        return {row.id: row.name for row in self._store.appliances.all()}


def _part(rows: list[Any], values: Values) -> list[Any]:
    number, size = paging(values)
    return rows[(number - 1) * size : number * size]


def _looking(
    name: str, table: tuple[tuple[Parameter, ...], tuple[Field, ...]], work: Work, meaning: str
) -> Operation:
    return Operation(name, table[0], Role.READER, work, meaning, answers=table[1])
