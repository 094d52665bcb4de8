"""The answers of the extensions have exactly the types of the tables, whatever an appliance reported. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from connector.cloud import licences
from connector.control.domain.allowed_events import allowed
from connector.control.domain.downtime import Downtime
from connector.control.domain.entities import (
    Appliance,
    EvidenceEntry,
    Job,
    JobImage,
    LogEntry,
    Pass,
    PassState,
    Run,
    Source,
    TrackedResource,
    in_order,
)
from connector.control.domain.findings import forbidding
from connector.control.domain.jobs import JobEvent
from connector.control.http import views
from connector.control.service.forecast import Forecast, Period
from connector.control.smc.operations import Answer
from connector.control.smc.shapes import moment, outage, precise, wrapped
from connector.model import Severity
from connector.transfer.evidence import fingerprint, from_pem

UNKNOWN: Final = -1

_OPERATIONS: Final = {
    JobEvent.START: "StartReplicationJob",
    JobEvent.STOP: "StopReplicationJob",
    JobEvent.CUTOVER: "CutOverReplicationJob",
    JobEvent.ROLLBACK: "RollbackReplicationJob",
    JobEvent.DELETE: "DeleteReplicationJob",
}


def progress(
    row: Job,
    source: Source | None,
    run: Run | None,
    newest: Pass | None,
    appliances: Mapping[str, str],
    now: float,
) -> Answer:
    """How far a job is. `appliances`: names by id."""
    reads = newest is not None and newest.state is PassState.TAKEN
    ordered = in_order(source.disks, row.disk_order) if source else ()
    order = {disk.key: index for index, disk in enumerate(ordered)}
    reported = newest.disks if newest else []
    disks = [_disk(disk, order.get(disk.get("key", -1), n), reads) for n, disk in enumerate(reported)]
    sums = {name: sum(disk[name] for disk in disks) for name in ("WantedBytes", "DoneBytes", "WireBytes")}
    rate = sum(disk["BytesPerSecond"] for disk in disks)
    return {
        "JobId": row.id,
        "Name": row.name,
        "SourceId": row.source_id,
        "SourceName": source.name if source else "",
        "Status": str(row.status),
        "BusinessStatus": str(row.business),
        **wrapped("AllowedOperations", "AllowedOperation", _allowed(row)),
        "WaitingFor": row.waiting,
        "NextRunTime": moment(row.next_run),
        "ErrorCode": row.error_code if row.error else "",
        "ErrorMessage": _reason(row.error),
        **_error(row.error),
        **_run(run),
        "StopRequested": bool(run and run.stop and run.ended is None),
        "PassId": newest.id if newest else "",
        "ApplianceName": appliances.get(newest.appliance_id or "", "") if newest else "",
        "Phase": newest.phase if newest else "",
        "Progress": float(views.percent(row, [newest] if newest else [])),
        **sums,
        "BytesPerSecond": rate,
        "RemainingSeconds": _remaining(sums["WantedBytes"] - sums["DoneBytes"], rate),
        **outage(row, now),
        "PredictedDowntimeSeconds": _known(row.predicted_downtime),
        **wrapped("Disks", "Disk", disks),
    }


def log_entry(row: LogEntry) -> Answer:
    return {"EntryId": row.id, "Time": moment(row.at), "Kind": row.kind, "Text": row.text}


def evidence(row: EvidenceEntry, run: int) -> Answer:
    """The evidence of a pass, without the manifest."""
    return {
        "PassId": row.pass_id,
        "RunNumber": run,
        "CreationTime": moment(row.created),
        "Size": row.size,
        "Fingerprint": fingerprint(from_pem(row.key.encode())),
        "PublicKey": row.key,
    }


def passed(
    row: Pass, run: Run | None, image: JobImage | None, appliances: Mapping[str, str], down: float | None
) -> Answer:
    """One pass with its result. `image`: the run's image, if there is one. `down`: since when the source is shut down."""
    result = row.result or {}
    disks = result.get("disks")
    return {
        "PassId": row.id,
        "RunNumber": run.number if run else 0,
        "Attempt": row.attempt,
        "Task": str(row.task),
        "Final": row.final,
        "State": str(row.state),
        "Outcome": str(row.outcome or ""),
        "ApplianceName": appliances.get(row.appliance_id or "", ""),
        "OfferedTime": moment(row.offered),
        "StartTime": moment(row.taken),
        "EndTime": moment(row.ended),
        "ErrorMessage": _reason(row.error),
        "DowntimeSeconds": _downtime(down, row, image),
        **_snapshot(result.get("toll")),
        **wrapped("PaceChanges", "PaceChange", _paces(result.get("governor"))),
        **wrapped("Disks", "Disk", [_result(d) for d in disks] if isinstance(disks, list) else []),
    }


def resource(row: TrackedResource, images: Mapping[str, JobImage], *, billed: bool) -> Answer:
    """One tracked resource of a job. `images`: by run. `billed`: whether the target costs money."""
    image = images.get(row.token.removeprefix("image-")) if row.kind == "image" else None
    return {
        "Kind": row.kind,
        "Place": row.place,
        "ResourceId": row.reference or "",
        "Name": image.name if image else "",
        **_image(image),
        "Billable": billed and row.billable,
        "Released": row.removed,
        "Token": row.token,
        "PassId": row.pass_id or "",
        "CreationTime": moment(row.created),
    }


def findings(row: Source) -> Answer:
    """One source with its findings."""
    return {
        "SourceId": row.id,
        "Name": row.name,
        "State": str(row.state),
        "VCenter": row.vcenter,
        "VCenterUrl": _words(row.facts.get("vcenter_url")),
        "MachineId": row.moref,
        "InstanceUuid": row.instance_uuid,
        "MachineName": row.machine,
        "InventoryPath": _words(row.facts.get("path")),
        "ClusterName": _words(_trait(row, "cluster")),
        **wrapped("Networks", "Network", _listed(row.facts.get("networks"))),
        **wrapped("MachineTags", "MachineTag", _listed(_trait(row, "tags"))),
        **wrapped("DiskKeys", "DiskKey", [str(disk.key) for disk in row.disks]),
        "PowerState": str(row.facts.get("power", "")),
        "GuestName": _words(row.facts.get("guest_name")),
        "Firmware": str(row.facts.get("firmware", "")),
        "CbtEnabled": bool(row.facts.get("cbt_enabled", False)),
        "LastSeenTime": moment(row.seen),
        "Eligible": not forbidding(row),
        **wrapped("Findings", "Finding", [_finding(f) for f in [*row.findings, *_licences(row)]]),
    }


def estimated(estimate: Forecast) -> Answer:
    """The forecast for all sources together and for each alone."""
    shares = [
        {
            "SourceId": share.source.id,
            "Name": share.source.name,
            "Bytes": share.data,
            "BytesMeasured": share.measured,
            **_period(share.period),
        }
        for share in estimate.shares
    ]
    about = {"BytesPerSecond": int(estimate.rate), "RateMeasured": estimate.measured}
    return _period(estimate.period) | about | wrapped("SourceServers", "SourceServer", shares)


def forecast(downtime: Downtime | None) -> Answer:
    """The parts of the predicted downtime of a cutover that begins now."""
    parts = {
        "": downtime and downtime.seconds,
        "Shutdown": downtime and downtime.shutdown,
        "Snapshot": downtime and downtime.snapshot,
        "Reading": downtime and downtime.reading,
        "Rest": downtime and downtime.rest,
        "Image": downtime and downtime.image,
    }
    seconds = {f"Forecast{part}Seconds": _known(value) for part, value in parts.items()}
    return seconds | {"ForecastBytes": downtime.changed if downtime else UNKNOWN}


def _period(period: Period) -> Answer:
    parts = {
        "Before": period.before,
        "Transfer": period.transfer,
        "Image": period.image,
        "After": period.after,
        "Total": period.total,
    }
    return {f"{part}Seconds": round(float(seconds), 1) for part, seconds in parts.items()}


def appliance(row: Appliance, names: Mapping[str, str], *, online: bool) -> Answer:
    """One appliance. `names`: names of the ids in it."""
    return {
        "ApplianceId": row.id,
        "Name": row.name,
        "VCenter": row.vcenter,
        "Version": row.version,
        "Online": online,
        "HeartbeatTime": moment(row.heartbeat),
        "CreationTime": moment(row.created),
        "AccessTokenId": row.token_id or "",
        "AccessTokenName": names.get(row.token_id or "", ""),
        "State": str(row.state),
        "WorkgroupId": row.workgroup_id or "",
        "WorkgroupName": names.get(row.workgroup_id or "", ""),
        "Notice": row.notice,
    }


def _licences(row: Source) -> list[dict[str, str]]:
    """Warnings about the guest's licence, in the form of findings."""
    warnings = licences.warnings(str(row.facts.get("guest_id", "")))
    about = {"check": licences.CHECK, "severity": str(Severity.WARN), "subject": row.name}
    return [about | {"message": text, "remedy": licences.REMEDY} for text in warnings]


def _trait(row: Source, name: str) -> object:
    """A fact that only newer appliances report."""
    traits = row.facts.get("traits")
    return traits.get(name) if isinstance(traits, dict) else row.facts.get(name)


def _listed(values: object) -> list[str]:
    return [_words(item) for item in values] if isinstance(values, list | tuple) else []


def _allowed(row: Job) -> list[str]:
    """Names of the operations that are allowed now. A job that runs once never has a cutover."""
    return [_OPERATIONS[event] for event in allowed(row)]


def _disk(disk: Mapping[str, Any], index: int, reads: bool) -> Answer:
    planned, done = _whole(disk.get("wanted")), _whole(disk.get("done"))
    rate = _whole(disk.get("rate")) if reads else 0
    return {
        "Index": index,
        "DiskKey": _key(disk),
        "Label": _words(disk.get("label")),
        "SizeBytes": _whole(disk.get("capacity")),
        "State": _words(disk.get("state")),
        "WantedBytes": planned,
        "DoneBytes": done,
        "ReadBytes": _whole(disk.get("read")),
        "ZeroBytes": _whole(disk.get("zero")),
        "WireBytes": _whole(disk.get("wire")),
        "BytesPerSecond": rate,
        "RemainingSeconds": _remaining(planned - done, rate),
        "Bottleneck": _words(disk.get("bottleneck")),
        "Readers": _words(disk.get("reader")),
    }


def _result(disk: object) -> Answer:
    facts = disk if isinstance(disk, dict) else {}
    return {
        "DiskKey": _key(facts),
        "Label": _words(facts.get("label")),
        "Kind": _words(facts.get("kind")),
        "SizeBytes": _whole(facts.get("capacity")),
        "PlannedBytes": _whole(facts.get("planned")),
        "ReadBytes": _whole(facts.get("read")),
        "ZeroBytes": _whole(facts.get("zero")),
        "WireBytes": _whole(facts.get("wire")),
        "Seconds": _number(facts.get("seconds")),
        "Digest": _words(facts.get("digest")),
        "Note": _words(facts.get("note")),
        "Readers": ", ".join(_listed(facts.get("readers"))),
    }


def _run(run: Run | None) -> Answer:
    if run is None:
        nothing = ("RunType", "RunStartTime", "RunEndTime", "RunOutcome")
        return {"RunNumber": 0, **dict.fromkeys(nothing, "")}
    return {
        "RunNumber": run.number,
        "RunType": run.kind,
        "RunStartTime": precise(run.started),
        "RunEndTime": precise(run.ended),
        "RunOutcome": str(run.outcome or ""),
    }


def _error(error: Mapping[str, Any] | None) -> Answer:
    """One of our errors, in a form from which a client can raise it again."""
    values = error or {}
    names = {"ErrorKind": "error", "ErrorReason": "what", "ErrorSubject": "on", "ErrorRemedy": "remedy"}
    return {ours: _words(values.get(theirs)) for ours, theirs in names.items()} | {
        "ErrorRetryable": values.get("retryable") is True
    }


def _snapshot(cost: object) -> Answer:
    seconds = cost if isinstance(cost, dict) else {}
    return {
        "SnapshotCreateSeconds": _known(seconds.get("create")),
        "SnapshotRemoveSeconds": _known(seconds.get("remove")),
        "SnapshotLeft": _words(seconds.get("left")),
    }


def _paces(changes: object) -> list[Answer]:
    rows = [change for change in changes if isinstance(change, dict)] if isinstance(changes, list) else []
    return [
        {
            "Time": moment(_number(row.get("at"))),
            "Pace": _words(row.get("pace")),
            "Reason": _words(row.get("reason")),
        }
        for row in rows
    ]


def _image(image: JobImage | None) -> Answer:
    return {
        "ImageId": image.id if image else "",
        "Format": image.format if image else "",
        "Ready": bool(image and image.ready),
        "Location": _words(image.details.get("location")) if image else "",
        "Details": json.dumps(image.details) if image else "",
        "CompletedTime": precise(image.completed) if image else "",
    }


def _finding(finding: Mapping[str, Any]) -> Answer:
    names = ("check", "severity", "subject", "message", "remedy")
    return {name.title(): _words(finding.get(name)) for name in names}


def _downtime(since: float | None, row: Pass, image: JobImage | None) -> float:
    """The downtime of a pass of the cutover that shut the source down; other passes read a running source."""
    if since is None or not row.final or (row.ended or since) < since:
        return float(UNKNOWN)
    end = (image.completed or image.created) if image else row.ended
    return max(0.0, (end or since) - since)


def _remaining(remaining: int, rate: int) -> int:
    if remaining <= 0:
        return 0
    return math.ceil(remaining / rate) if rate > 0 else UNKNOWN


def _reason(error: Mapping[str, Any] | None) -> str:
    words = [_words((error or {}).get(name)) for name in ("what", "remedy")]
    return "; ".join(word for word in words if word)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e18:
        return 0.0
    return float(value)


def _known(value: object) -> float:
    """Seconds; -1 if they are not known."""
    return float(UNKNOWN) if value is None else _number(value)


def _key(disk: Mapping[str, Any]) -> int:
    return UNKNOWN if disk.get("key") is None else _whole(disk.get("key"))


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value  # a float would round the bytes of a large disk
    return int(_number(value))


def _words(value: object) -> str:
    return "" if value is None else str(value)[:2000]
