"""`SmcPlane` calls the control plane by its public API, several calls side by side and page by page.

Without the extensions of our control plane, machines have fewer known facts.
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
    BlockingFinding,
    DrillView,
    JobView,
    Parameters,
    Passed,
    RunView,
    SourceDiskView,
    SourceView,
)
from connector.errors import BadInput
from connector.model import PowerState, Severity
from connector.specification import drill_words, source_down
from connector.specification.fields import JOB_FIELDS

PAGE: Final = 50
#: What tells the rows of a list apart.
_ROW_IDS: Final = {
    "ReplicationJob": ("JobId",),
    "SourceServer": ("SourceId",),
    "Pass": ("PassId",),
    "Resource": ("Kind", "Token", "ImageId", "ResourceId"),
}
PARALLEL: Final = 8  # calls at a time; more would only wait for the control plane's database

Json = dict[str, Any]


class RequestSender(Protocol):
    """Signs and sends one request. Only one thread uses it at a time."""

    def call(self, action: str, /, **parameters: Any) -> Json: ...
    def close(self) -> None: ...


class SmcPlane:
    """`Plane` over the public API. It is a context manager that closes every connection at the end."""

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
            findings = self._all("DescribeSourceServerFindings", "SourceServers", "SourceServer", {})
            more = {str(row["SourceId"]): row for row in findings}
        return [_source(row, more.get(str(row["SourceId"]), {})) for row in rows]

    def jobs(self, wave: str) -> Sequence[JobView]:
        filters = {"Tag": [{"Key": WAVE, "Value": wave}]}
        return [
            _job(row)
            for row in self._all("DescribeReplicationJobs", "ReplicationJobs", "ReplicationJob", filters)
        ]

    def jobs_by_id(self, ids: Sequence[str]) -> Sequence[JobView]:
        pages = self._pool.map(
            lambda part: self._call("DescribeReplicationJobs", JobId=part, PageSize=PAGE), _parts(ids)
        )
        return [_job(row) for page in pages for row in _rows(page, "ReplicationJobs", "ReplicationJob")]

    def passes(self, job: str) -> Sequence[Passed]:
        try:
            rows = self._all("DescribeReplicationJobPasses", "Passes", "Pass", {"JobId": job})
        except BadInput:  # no such extension
            return []
        return [_passed(row) for row in rows if row.get("Outcome") == "done"]

    def image_files(self, job: str) -> Mapping[str, str]:
        """Where a job's images are, by id: their directory, or the id of an image of a cloud; empty for one that was removed."""
        try:
            rows = self._all("DescribeReplicationJobResources", "Resources", "Resource", {"JobId": job})
        except BadInput:  # no such extension
            return {}
        return {str(row["ImageId"]): _image_place(row) for row in rows if row.get("ImageId")}

    def drills(self, ids: Sequence[str]) -> Mapping[str, DrillView]:
        """The last drill of each of these jobs that has one, by job; not those that only planned."""
        about = {"LastOnly": True, "PlanOnly": False}
        try:
            pages = [self._call("DescribeReplicationJobDrills", JobId=part, **about) for part in _parts(ids)]
        except BadInput:  # no such extension
            return {}
        rows = [row for page in pages for row in _rows(page, "Drills", "Drill")]
        return {str(row["JobId"]): _drill(row) for row in rows}

    def start_drill(self, job: str, network: str) -> DrillView:
        """Ask for a drill. `network`: empty means as the job says."""
        return _drill(self._call("StartReplicationJobDrill", JobId=job, Network=network or None))

    def create(self, parameters: Parameters) -> str:
        return str(self._call("CreateReplicationJob", **parameters)["JobId"])

    def modify(self, job: str, parameters: Parameters) -> None:
        self._call("ModifyReplicationJobAttribute", **{"JobId": job} | dict(parameters))

    def leave_out(self, job: str, disk_keys: Sequence[int]) -> None:
        self._call("SetReplicationJobDisks", JobId=job, DiskKey=list(disk_keys))

    def tag(self, jobs: Sequence[str], tags: Mapping[str, str]) -> None:
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        for part in _parts(jobs):
            self._call("TagResources", ResourceType="replicationjob", ResourceId=part, Tag=listed)

    def untag(self, jobs: Sequence[str], keys: Sequence[str]) -> None:
        for part in _parts(jobs):
            self._call("UntagResources", ResourceType="replicationjob", ResourceId=part, TagKey=list(keys))

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
        return all(row["Settled"] for row in self._applications(application))

    def is_united(self, application: str) -> bool:
        return bool(self._applications(application))

    def _applications(self, name: str) -> list[Json]:
        try:
            answer = self._call("DescribeMigrationApplications", Name=name)
        except BadInput:  # no such extension
            return []
        return _rows(answer, "Applications", "Application")

    def delete(self, job: str) -> None:
        self._call("DeleteReplicationJob", JobId=job)

    def _call(self, action: str, /, **parameters: Any) -> Json:
        caller: RequestSender | None = getattr(self._own, "caller", None)
        if caller is None:
            caller = self._own.caller = self._callers()
            self._made.append(caller)
        return caller.call(action, **parameters)

    def _all(self, action: str, plural: str, singular: str, filters: Json) -> list[Json]:
        """The rows of all pages. A row that moves to another page meanwhile comes once."""
        first = self._call(action, PageNumber=1, PageSize=PAGE, **filters)
        numbers = range(2, -(-int(first.get("TotalCount", 0)) // PAGE) + 1)
        pages = self._pool.map(
            lambda number: self._call(action, PageNumber=number, PageSize=PAGE, **filters), numbers
        )
        names = _ROW_IDS[singular]
        rows: dict[tuple[str, ...], Json] = {}
        for page in (first, *pages):
            for row in _rows(page, plural, singular):
                rows.setdefault(tuple(str(row.get(name)) for name in names), row)
        return list(rows.values())


def _parts(ids: Sequence[str]) -> list[list[str]]:
    """As many ids as one call takes, part by part."""
    return [list(ids[start : start + PAGE]) for start in range(0, len(ids), PAGE)]


def _rows(page: Json, plural: str, singular: str) -> list[Any]:
    return list((page.get(plural) or {}).get(singular) or [])


def _drill(row: Json) -> DrillView:
    return DrillView(
        id=str(row["DrillId"]),
        job=str(row["JobId"]),
        image=str(row["ImageName"]),
        open=row["State"] in drill_words.OPEN,
        boots=row["Verdict"] == "boots" if row["Verdict"] else None,
        text=drill_words.result(row),
        ended=str(row["EndTime"]),
    )


def _image_place(row: Json) -> str:
    location = str(row.get("Location") or "")
    return "" if row.get("Released") else location if location.startswith("/") else str(row["ImageId"])


def _source(row: Json, details: Json) -> SourceView:
    about = _parsed(row.get("SystemInfo"))
    path = str(details.get("InventoryPath") or "")
    wrong = _parsed(row.get("StatusInfo"))
    return SourceView(
        id=str(row["SourceId"]),
        name=str(details.get("MachineName") or about.get("hostname") or row["Name"]),
        registered=str(row["Name"]),
        state=str(row["State"]),
        trouble=str(wrong.get("error_msg", "")),
        missing=row.get("ErrorCode") == "SourceServer.Missing",
        moref=str(details.get("MachineId") or ""),
        vcenter=str(details.get("VCenter") or ""),
        address=str(details.get("VCenterUrl") or ""),
        power=str(details.get("PowerState") or ""),
        folder=path.rpartition("/")[0],
        cluster=str(details.get("ClusterName") or ""),
        guest=str(details.get("GuestName") or row.get("Platform") or ""),
        networks=tuple(map(str, _rows(details, "Networks", "Network"))),
        tags=_tags(row, details),
        disks=tuple(_disks(row, details)),
        blocking=tuple(_blocking(details)),
        last_job=str(row.get("JobId") or ""),
    )


def _tags(row: Json, details: Json) -> dict[str, str]:
    """Tags of the source in the control plane, and of its machine in vCenter; the latter have no values."""
    tags = {str(tag["Key"]): str(tag["Value"]) for tag in _rows(row, "Tags", "Tag")}
    return {str(name): "" for name in _rows(details, "MachineTags", "MachineTag")} | tags


def _blocking(details: Json) -> Iterator[BlockingFinding]:
    """What blocks a job now. Some findings apply only while the machine runs."""
    grave = Severity.blocking(running=details.get("PowerState") == PowerState.ON)
    for finding in _rows(details, "Findings", "Finding"):
        if finding.get("Severity") in grave:
            text = f"{finding.get('Message')} ({finding.get('Check')})"
            yield BlockingFinding(str(finding.get("Subject") or ""), text)


def _disks(row: Json, details: Json) -> Iterator[SourceDiskView]:
    keys = [int(key) for key in _rows(details, "DiskKeys", "DiskKey") if str(key).isdecimal()]
    layout: Json = row.get("Disks") or {}
    parts: list[Json] = [layout["System"]] if layout.get("System") else []
    parts += _rows(layout, "Data", "Data")
    for index, disk in enumerate(parts):
        first: Json = next(iter(_rows(disk, "Parts", "Part")), {})
        size = int(first.get("SizeBytes", 0)) or int(disk.get("Size", 0)) << 30
        yield SourceDiskView(
            index, str(first.get("Path") or ""), size, keys[index] if index < len(keys) else 0
        )


def _job(row: Json) -> JobView:
    data = [{"Index": d["Index"], "Size": d.get("Size")} for d in _rows(row, "DataDisks", "DataDisk")]
    left_out = [int(key) for key in _rows(row, "LeftOutDisks", "DiskKey")]
    definition = {name: row.get(name) for name in _ASKED} | {"DataDisk": data, LEFT_OUT: left_out}
    wrong = _parsed(row.get("StatusInfo"))
    status = str(row["Status"])
    return JobView(
        id=str(row["JobId"]),
        name=str(row["Name"]),
        source=str(row["SourceId"]),
        status=status,
        business=str(row.get("BusinessStatus") or ""),
        progress=float(row.get("Progress") or 0.0),
        asked=definition,
        tags={str(tag["Key"]): str(tag["Value"]) for tag in _rows(row, "Tags", "Tag")},
        created=str(row.get("CreationTime") or ""),
        started=str(row.get("StartTime") or ""),
        ended=str(row.get("EndTime") or ""),
        image=str(row.get("ImageId") or ""),
        error=str(wrong.get("error_msg", "")) if status in ("InError", "Stopped") else "",
        down=source_down.of_row(row),
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
    """Seconds; None for -1, which means that the source was not shut down."""
    value = float(seconds) if isinstance(seconds, int | float) else -1.0
    return value if value >= 0 else None


def _parsed(text: object) -> Json:
    """The value of JSON inside JSON; empty for any other text."""
    try:
        value = json.loads(str(text or "{}"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
