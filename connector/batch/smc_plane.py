"""The control plane through its public API, many calls side by side and page by page.

Needs nothing but a signed caller; where a control plane lacks the extensions, machines have fewer known facts.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, Protocol, Self

from connector.batch.plane import (
    LEFT_OUT,
    WAVE,
    JobView,
    Parameters,
    Passed,
    RunView,
    SourceDiskView,
    SourceView,
)
from connector.errors import BadInput
from connector.specification import outage
from connector.specification.fields import JOB_FIELDS

PAGE: Final = 50
PARALLEL: Final = 8  # calls at a time: one control plane answers from one database

Json = dict[str, Any]


class RequestSender(Protocol):
    """Signs and sends one request. Used by one thread at a time."""

    def call(self, action: str, /, **parameters: Any) -> Json: ...
    def close(self) -> None: ...


class SmcPlane:
    """`Plane` over the public API. A context manager: leaving it closes every connection."""

    def __init__(self, callers: Callable[[], RequestSender]) -> None:
        self._callers = callers
        self._own = threading.local()
        self._made: list[RequestSender] = []
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="plane")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for caller in self._made:
            caller.close()

    def sources(self) -> Sequence[SourceView]:
        rows = self._all("DescribeSourceServers", "SourceServers", "SourceServer", {})
        more: dict[str, Json] = {}
        with suppress(BadInput):  # a control plane without this extension refuses its name
            told = self._all("DescribeSourceServerFindings", "SourceServers", "SourceServer", {})
            more = {str(row["SourceId"]): row for row in told}
        return [_source(row, more.get(str(row["SourceId"]), {})) for row in rows]

    def jobs(self, wave: str) -> Sequence[JobView]:
        wanted = {"Tag": [{"Key": WAVE, "Value": wave}]}
        return [
            _job(row)
            for row in self._all("DescribeReplicationJobs", "ReplicationJobs", "ReplicationJob", wanted)
        ]

    def jobs_by_id(self, ids: Sequence[str]) -> Sequence[JobView]:
        parts = [list(ids[start : start + PAGE]) for start in range(0, len(ids), PAGE)]
        pages = self._pool.map(
            lambda part: self._call("DescribeReplicationJobs", JobId=part, PageSize=PAGE), parts
        )
        return [_job(row) for page in pages for row in _rows(page, "ReplicationJobs", "ReplicationJob")]

    def passes(self, job: str) -> Sequence[Passed]:
        try:
            page = self._call("DescribeReplicationJobPasses", JobId=job, PageSize=PAGE)
        except BadInput:  # no such extension
            return []
        return [_passed(row) for row in _rows(page, "Passes", "Pass") if row.get("Outcome") == "done"]

    def create(self, parameters: Parameters) -> str:
        return str(self._call("CreateReplicationJob", **parameters)["JobId"])

    def modify(self, job: str, parameters: Parameters) -> None:
        self._call("ModifyReplicationJobAttribute", **{"JobId": job} | dict(parameters))

    def leave_out(self, job: str, disk_keys: Sequence[int]) -> None:
        self._call("SetReplicationJobDisks", JobId=job, DiskKey=list(disk_keys))

    def tag(self, job: str, tags: Mapping[str, str]) -> None:
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        self._call("TagResources", ResourceType="replicationjob", ResourceId=[job], Tag=listed)

    def start(self, job: str) -> None:
        self._call("StartReplicationJob", JobId=job)

    def cut_over(self, job: str, *, final_sync: bool) -> None:
        self._call("CutOverReplicationJob", JobId=job, SyncData=final_sync)

    def unite(self, application: str, ranks: Mapping[str, int]) -> None:
        members = [{"JobId": job, "Rank": rank} for job, rank in ranks.items()]
        self._call("SetMigrationApplication", Name=application, Member=members)

    def cut_over_all(self, application: str) -> None:
        self._call("CutOverMigrationApplication", Name=application)

    def settled(self, application: str) -> bool:
        found = _rows(
            self._call("DescribeMigrationApplications", Name=application), "Applications", "Application"
        )
        return all(row["Settled"] for row in found)

    def delete(self, job: str) -> None:
        self._call("DeleteReplicationJob", JobId=job)

    def _call(self, action: str, /, **parameters: Any) -> Json:
        caller: RequestSender | None = getattr(self._own, "caller", None)
        if caller is None:
            caller = self._own.caller = self._callers()
            self._made.append(caller)
        return caller.call(action, **parameters)

    def _all(self, action: str, plural: str, singular: str, wanted: Json) -> list[Json]:
        """Every page; a row that moves between two pages while they are read comes once."""
        first = self._call(action, PageNumber=1, PageSize=PAGE, **wanted)
        numbers = range(2, -(-int(first["TotalCount"]) // PAGE) + 1)
        pages = self._pool.map(
            lambda number: self._call(action, PageNumber=number, PageSize=PAGE, **wanted), numbers
        )
        name = "JobId" if singular == "ReplicationJob" else "SourceId"
        found: dict[str, Json] = {}
        for page in (first, *pages):
            for row in _rows(page, plural, singular):
                found.setdefault(str(row[name]), row)
        return list(found.values())


def _rows(page: Json, plural: str, singular: str) -> list[Any]:
    return list((page.get(plural) or {}).get(singular) or [])


def _source(row: Json, told: Json) -> SourceView:
    about = _parsed(row.get("SystemInfo"))
    path = str(told.get("InventoryPath") or "")
    wrong = _parsed(row.get("StatusInfo"))
    return SourceView(
        id=str(row["SourceId"]),
        name=str(told.get("MachineName") or about.get("hostname") or row["Name"]),
        registered=str(row["Name"]),
        state=str(row["State"]),
        trouble=str(wrong.get("error_msg", "")),
        missing=row.get("ErrorCode") == "SourceServer.Missing",
        moref=str(told.get("MachineId") or ""),
        vcenter=str(told.get("VCenter") or ""),
        power=str(told.get("PowerState") or ""),
        folder=path.rpartition("/")[0],
        cluster=str(told.get("ClusterName") or ""),
        guest=str(told.get("GuestName") or row.get("Platform") or ""),
        networks=tuple(map(str, _rows(told, "Networks", "Network"))),
        tags=_tags(row, told),
        disks=tuple(_disks(row, told)),
        blocking=() if told.get("Eligible", True) else tuple(_blocking(told)),
        last_job=str(row.get("JobId") or ""),
    )


def _tags(row: Json, told: Json) -> dict[str, str]:
    """Tags of the source in the control plane, and those of its machine in vCenter: these have no value."""
    own = {str(tag["Key"]): str(tag["Value"]) for tag in _rows(row, "Tags", "Tag")}
    return {str(name): "" for name in _rows(told, "MachineTags", "MachineTag")} | own


def _blocking(told: Json) -> Iterator[str]:
    grave = ("block", "warm-block")
    for finding in _rows(told, "Findings", "Finding"):
        if finding.get("Severity") in grave:
            yield f"{finding.get('Message')} ({finding.get('Check')})"


def _disks(row: Json, told: Json) -> Iterator[SourceDiskView]:
    keys = [int(key) for key in _rows(told, "DiskKeys", "DiskKey") if str(key).isdecimal()]
    shown: Json = row.get("Disks") or {}
    parts: list[Json] = [shown["System"]] if shown.get("System") else []
    parts += _rows(shown, "Data", "Data")
    for index, disk in enumerate(parts):
        first: Json = next(iter(_rows(disk, "Parts", "Part")), {})
        size = int(first.get("SizeBytes", 0)) or int(disk.get("Size", 0)) << 30
        yield SourceDiskView(
            index, str(first.get("Path") or ""), size, keys[index] if index < len(keys) else 0
        )


def _job(row: Json) -> JobView:
    data = [{"Index": d["Index"], "Size": d.get("Size")} for d in _rows(row, "DataDisks", "DataDisk")]
    left_out = [int(key) for key in _rows(row, "LeftOutDisks", "DiskKey")]
    asked = {name: row.get(name) for name in _ASKED} | {"DataDisk": data, LEFT_OUT: left_out}
    wrong = _parsed(row.get("StatusInfo"))
    status = str(row["Status"])
    return JobView(
        id=str(row["JobId"]),
        name=str(row["Name"]),
        source=str(row["SourceId"]),
        status=status,
        business=str(row.get("BusinessStatus") or ""),
        progress=float(row.get("Progress") or 0.0),
        asked=asked,
        tags={str(tag["Key"]): str(tag["Value"]) for tag in _rows(row, "Tags", "Tag")},
        created=str(row.get("CreationTime") or ""),
        started=str(row.get("StartTime") or ""),
        ended=str(row.get("EndTime") or ""),
        image=str(row.get("ImageId") or ""),
        error=str(wrong.get("error_msg", "")) if status in ("InError", "Stopped") else "",
        down=outage.of_row(row),
        cut_over=bool(row.get("CutOver")),
        waiting="" if wrong else str(row.get("StatusInfo") or ""),
        runs=tuple(map(_run, _rows(row, "ReplicationJobRuns", "ReplicationJobRun"))),
    )


_ASKED: Final = tuple(field.name for field in JOB_FIELDS if field.echoed)


def _run(row: Json) -> RunView:
    return RunView(*(str(row.get(name) or "") for name in ("StartTime", "EndTime", "Type", "ImageId")))


def _passed(row: Json) -> Passed:
    disks = _rows(row, "Disks", "Disk")
    return Passed(
        planned=sum(int(disk["PlannedBytes"]) for disk in disks),
        read=sum(int(disk["ReadBytes"]) for disk in disks),
        wire=sum(int(disk["WireBytes"]) for disk in disks),
        downtime=_downtime(row.get("DowntimeSeconds")),
        digests=tuple(str(disk["Digest"]) for disk in disks if disk.get("Digest")),
    )


def _downtime(seconds: object) -> float | None:
    """The public API says -1 for a source that was not shut down."""
    given = float(seconds) if isinstance(seconds, int | float) else -1.0
    return given if given >= 0 else None


def _parsed(text: object) -> Json:
    """JSON inside JSON; anything else counts as nothing."""
    try:
        found = json.loads(str(text or "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
