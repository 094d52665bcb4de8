"""Whoever works with jobs, for tests: the signed public API as everybody speaks it, with names where it takes ids.

Answers are records in small letters, put together from several operations; waiting looks at one operation alone.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connector.cli import records
from connector.cli.access import of_directory
from connector.clients.smc import Access, SmcClient
from connector.errors import NotFound

REGION = "local"

#: What a test calls the fields of a job, with the public API's names.
FIELDS = {
    "image_name": "ImageName",
    "image_format": "ImageFormat",
    "shutdown_deadline": "ShutdownDeadline",
    "allow_power_off": "AllowPowerOff",
    "quiesce": "Quiesce",
    "audit": "Audit",
    "accept_removed_disks": "AcceptRemovedDisks",
    "client_token": "ClientToken",
    "run_once": "RunOnce",
    "reader": "Reader",
    "region": "RegionId",
}
ALLOWED = {
    "StartReplicationJob": "start",
    "StopReplicationJob": "stop",
    "CutOverReplicationJob": "cutover",
    "RollbackReplicationJob": "rollback",
    "DeleteReplicationJob": "delete",
}


def owner(ready: Mapping[str, Any]) -> People:
    """Who owns the state directory of the control plane that said that it is ready."""
    return People(access(ready))


def access(ready: Mapping[str, Any]) -> Access:
    return of_directory(str(ready["url"]), str(ready["thumbprint"]), Path(str(ready["access_key_file"])))


class People:
    """One per thread."""

    def __init__(self, access: Access | None = None, client: SmcClient | None = None) -> None:
        self.client = client or SmcClient(access)  # type: ignore[arg-type]
        self.applications = Applications(self)

    def close(self) -> None:
        self.client.close()

    # ------------------------------------------------------------------ sources, appliances, the state

    def sources(self) -> list[dict[str, Any]]:
        return [self._source(row) for row in records.rows(self.client, records.SOURCE)]

    def source(self, word: str) -> dict[str, Any]:
        return self._source(records.find(self.client, records.SOURCE, word))

    def _source(self, row: Mapping[str, Any]) -> dict[str, Any]:
        (more,) = records.rows(self.client, records.MACHINE, SourceId=[row["SourceId"]])
        status = json.loads(row["StatusInfo"] or "{}")
        return {
            "id": row["SourceId"],
            "name": row["Name"],
            "state": row["State"],
            "reason": status.get("error_msg", ""),
            "moref": more["MachineId"],
            "disks": [{"key": int(key)} for key in records.items(more, "DiskKeys", "DiskKey")],
        }

    def appliances(self) -> list[dict[str, Any]]:
        return list(records.rows(self.client, records.APPLIANCE))

    def epoch(self) -> dict[str, Any]:
        row = self.client.call("DescribeControlPlane")
        return {"epoch": row["Epoch"], "number": row["EpochNumber"], "restored": row["Restored"]}

    def confirm_restore(self, *, keep_credentials: bool = False) -> None:
        self.client.call("ConfirmRestore", KeepCredentials=keep_credentials)

    # ------------------------------------------------------------------ what is asked of jobs

    def create(self, source: str, name: str, **fields: Any) -> dict[str, Any]:
        """A job in Ready; of one that does not run once, runs begin only when asked for."""
        asked = wanted(fields)
        if asked.get("RunOnce") is False:
            asked = {"OnDemand": True} | asked
        found = records.identity(self.client, records.SOURCE, source)
        about = {"RegionId": REGION, "SourceId": found, "Name": name} | asked
        made = self.client.call("CreateReplicationJob", **about)
        return self.status(made["JobId"])

    def modify(self, job: str, **fields: Any) -> None:
        if fields:
            self.client.call("ModifyReplicationJobAttribute", JobId=self.id(job), **wanted(fields))

    def start(self, job: str, **fields: Any) -> None:
        """With fields that are changed before."""
        self.modify(job, **fields)
        self.client.call("StartReplicationJob", JobId=self.id(job))

    def stop(self, job: str) -> None:
        self.client.call("StopReplicationJob", JobId=self.id(job))

    def cutover(self, job: str, *, sync_data: bool = True, **fields: Any) -> None:
        self.modify(job, **fields)
        self.client.call("CutOverReplicationJob", JobId=self.id(job), SyncData=sync_data)

    def rollback(self, job: str, *, keep_cbt: bool = False) -> None:
        self.client.call("RollbackReplicationJob", JobId=self.id(job), KeepChangeTracking=keep_cbt)

    def delete(self, job: str) -> None:
        self.client.call("DeleteReplicationJob", JobId=self.id(job))

    # ------------------------------------------------------------------ what is known of jobs

    def id(self, job: str) -> str:
        return job if job.startswith("j-") else records.identity(self.client, records.JOB, job)

    def jobs(self, status: str | None = None) -> list[dict[str, Any]]:
        """Newest first."""
        found = records.rows(self.client, records.JOB, Status=status)
        return [{"id": row["JobId"], "name": row["Name"], "status": row["Status"]} for row in found]

    def status(self, job: str) -> dict[str, Any]:
        """Where a job is, without its history."""
        answer = self.client.call("DescribeReplicationJobProgress", JobId=[self.id(job)])
        for row in records.items(answer, "ReplicationJobs", "ReplicationJob"):
            return _progress(row)
        raise NotFound("no such job", on=job)

    def job(self, job: str) -> dict[str, Any]:
        """Everything about one job."""
        found = self.status(job)
        job_id = found["id"]
        shown = records.find(self.client, records.JOB, job_id)
        passes = list(records.rows(self.client, records.PASS, JobId=job_id))[::-1]
        resources = list(records.rows(self.client, records.RESOURCE, JobId=job_id))
        log = self.client.call("DescribeReplicationJobLog", JobId=job_id, MaxResults=500)
        return found | {
            "transition_instance": shown["TransitionInstanceId"],
            "runs": records.items(shown, "ReplicationJobRuns", "ReplicationJobRun"),
            "passes": [_pass(row) for row in passes],
            "images": [_image(row) for row in resources if row["ImageId"]],
            "objects": [_resource(row) for row in resources],
            "events": [{"kind": e["Kind"], "text": e["Text"]} for e in records.items(log, "LogEntries", "LogEntry")],
            "evidence": self.evidence(job_id),
        }  # fmt: skip

    def forecast(self, job: str) -> dict[str, Any] | None:
        """The downtime of a cutover that begins now."""
        row = self.client.call("DescribeReplicationJobPasses", JobId=self.id(job))
        parts = ("Shutdown", "Snapshot", "Reading", "Rest", "Image")
        if row["ForecastSeconds"] < 0:
            return None
        seconds = {part.lower(): row[f"Forecast{part}Seconds"] for part in parts}
        return seconds | {"seconds": row["ForecastSeconds"], "changed": row["ForecastBytes"]}

    def evidence(self, job: str) -> list[dict[str, Any]]:
        """Oldest first, without the manifests."""
        answer = self.client.call("DescribeReplicationJobEvidence", JobId=self.id(job))
        return [
            {
                "pass_id": e["PassId"],
                "size": e["Size"],
                "fingerprint": e["Fingerprint"],
                "key": e["PublicKey"],
            }
            for e in records.items(answer, "Evidences", "Evidence")
        ]

    def manifest(self, job: str, pass_id: str) -> bytes:
        answer = self.client.call("ExportReplicationJobEvidence", JobId=self.id(job), PassId=pass_id)
        return str(answer["Manifest"]).encode()


class Applications:
    """Jobs whose sources are cut over together."""

    def __init__(self, people: People) -> None:
        self._people = people
        self._ranks: dict[str, list[str]] = {}

    def put(self, name: str, ranks: Mapping[str, int]) -> None:
        members = [{"JobId": self._people.id(job), "Rank": rank} for job, rank in ranks.items()]
        self._ranks[name] = [str(member["JobId"]) for member in members]
        self._people.client.call("SetMigrationApplication", Name=name, Member=members)

    def start(self, name: str) -> None:
        self._people.client.call("StartMigrationApplication", Name=name)

    def cutover(self, name: str, **fields: Any) -> None:
        """With fields that are changed before, of each job."""
        for job in self._ranks[name] if fields else ():
            self._people.modify(job, **fields)
        self._people.client.call("CutOverMigrationApplication", Name=name)

    def rollback(self, name: str) -> None:
        self._people.client.call("RollbackMigrationApplication", Name=name)


def wanted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """In the public API's names; what it has no name for goes as it is."""
    asked = {FIELDS.get(name, name): value for name, value in fields.items()}
    if isinstance(share := asked.get("Audit"), float):
        asked["Audit"] = f"{100 * share:.9g}%"
    return asked


def fresh_token() -> str:
    return uuid.uuid4().hex


def _progress(row: Mapping[str, Any]) -> dict[str, Any]:
    error = {
        "error": row["ErrorKind"],
        "what": row["ErrorReason"],
        "on": row["ErrorSubject"],
        "remedy": row["ErrorRemedy"],
        "retryable": row["ErrorRetryable"],
    }
    return {
        "id": row["JobId"],
        "name": row["Name"],
        "source_id": row["SourceId"],
        "source_name": row["SourceName"],
        "status": row["Status"],
        "business_status": row["BusinessStatus"],
        "allowed": [ALLOWED[name] for name in records.items(row, "AllowedOperations", "AllowedOperation")],
        "waiting": row["WaitingFor"],
        "cutover": row["CutOver"],
        "error": error if row["ErrorKind"] else None,
        "run": {"number": row["RunNumber"], "outcome": row["RunOutcome"]},
        "phase": row["Phase"],
        "progress": row["Progress"],
        "down_since": row["DownSinceTime"],
    }


def _pass(row: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        "id": "PassId",
        "run": "RunNumber",
        "attempt": "Attempt",
        "task": "Task",
        "final": "Final",
        "state": "State",
        "outcome": "Outcome",
        "ended": "EndTime",
        "downtime": "DowntimeSeconds",
    }
    disk = {"key": "DiskKey", "kind": "Kind", "read": "ReadBytes", "planned": "PlannedBytes", "note": "Note"}
    disks = [
        {name: found[theirs] for name, theirs in disk.items()}
        for found in records.items(dict(row), "Disks", "Disk")
    ]
    return {name: row[theirs] for name, theirs in names.items()} | {"disks": disks}


def _image(row: Mapping[str, Any]) -> dict[str, Any]:
    about = {"id": row["ImageId"], "name": row["Name"], "ready": row["Ready"], "created": row["CreationTime"]}
    return about | {"details": json.loads(row["Details"])}


def _resource(row: Mapping[str, Any]) -> dict[str, Any]:
    about = {"kind": row["Kind"], "place": row["Place"], "token": row["Token"], "removed": row["Released"]}
    return about | {"reference": row["ResourceId"] or None}
