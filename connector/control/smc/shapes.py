"""The answers of the public API have its names, its types and its lists, which are wrapped twice. Pure."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connector.clients.heartbeat import HEARTBEAT
from connector.control.domain import downtime
from connector.control.domain.access import AccessToken
from connector.control.domain.definition import architecture
from connector.control.domain.entities import Job, JobImage, Run, Source, SourceDisk, Tag, Workgroup
from connector.control.domain.jobs import JobStatus
from connector.control.domain.sources import SourceState
from connector.control.smc.operations import Answer
from connector.specification.fields import JOB_FIELDS, JobField
from connector.specification.value import Fraction, Moment, Whole

_GIB: Final = 1 << 30
DRIVER: Final = "SMT"
_RESOURCE: Final = {
    "sourceserver": "ALIYUN::SMC::SOURCESERVER",
    "replicationjob": "ALIYUN::SMC::REPLICATIONJOB",
}
#: The fields of its request that a job shows again.
_ECHOED: Final = tuple(field for field in JOB_FIELDS if field.echoed and not field.part_of)


def moment(seconds: float | None) -> str:
    """ISO 8601 in UTC; empty for a time that is not set or means never."""
    if seconds is None or seconds >= 1e11:
        return ""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def precise(seconds: float | None) -> str:
    """The same with milliseconds, for times that programs compare."""
    seconds_text = moment(seconds)
    return (
        f"{seconds_text[:-1]}.{int(seconds % 1 * 1000):03d}Z" if seconds_text and seconds is not None else ""
    )


def wrapped(plural: str, singular: str, items: Sequence[Any]) -> Answer:
    """A list as the SDKs parse it."""
    return {plural: {singular: list(items)}}


def page(plural: str, singular: str, items: Sequence[Any], total: int, number: int, size: int) -> Answer:
    """One page of a list."""
    counted = {"TotalCount": total, "PageNumber": number, "PageSize": size}
    return counted | wrapped(plural, singular, items)


def tags(rows: Sequence[Tag]) -> Answer:
    return wrapped("Tags", "Tag", [{"Key": tag.key, "Value": tag.value} for tag in rows])


def source(row: Source, found_tags: Sequence[Tag], version: str, names: Mapping[str, str]) -> Answer:
    """One source. `version`: the version of its appliance. `names`: names of the ids in it."""
    is_unavailable = row.state is SourceState.UNAVAILABLE
    about = {"error_code": row.error_code, "error_msg": row.reason}
    disks = row.disks
    return {
        "SourceId": row.id,
        "Name": row.name,
        "Description": row.description,
        "State": str(row.state),
        "StatusInfo": json.dumps(about) if is_unavailable else "",
        "ErrorCode": row.error_code if is_unavailable else "",
        "JobId": row.last_job or "",
        "JobName": names.get(row.last_job or "", ""),
        "CreationTime": moment(row.created),
        "Platform": str(row.facts.get("guest_name", "")),
        "Architecture": architecture(str(row.facts.get("guest_id", ""))),
        "KernelLevel": 1,
        "AgentVersion": version,
        "HeartbeatRate": HEARTBEAT,
        "ReplicationDriver": DRIVER,
        "SystemInfo": _system_info(row),
        "SystemDiskSize": gib(disks[0].capacity) if disks else 0,
        "ResourceGroupId": row.resource_group,
        "WorkgroupId": row.workgroup_id or "",
        "WorkgroupName": names.get(row.workgroup_id or "", ""),
        **wrapped("SystemDiskParts", "SystemDiskPart", _parts(0, disks[0]) if disks else []),
        **wrapped("DataDisks", "DataDisk", [_data_disk(n, d) for n, d in enumerate(disks[1:], 1)]),
        "Disks": {
            "System": _whole_disk(disks[0], "System") if disks else {},
            "Data": {"Data": [_whole_disk(disk, "Normal") for disk in disks[1:]]},
        },
        **tags(found_tags),
    }


@dataclass(frozen=True, slots=True)
class Origin:
    """The name of a job's source, and its workgroup."""

    source_name: str
    group: str
    group_name: str


def job(
    row: Job,
    found_tags: Sequence[Tag],
    runs: Sequence[Run],
    images: Sequence[JobImage],
    progress: float,
    origin: Origin,
    now: float,
) -> Answer:
    """One job with its history."""
    definition = row.definition
    by_run = {image.run_id: image.id for image in images if image.ready}
    return {
        "JobId": row.id,
        "WorkgroupId": origin.group,
        "WorkgroupName": origin.group_name,
        "SourceName": origin.source_name,
        **_echo(row),
        "Status": str(row.status),
        "BusinessStatus": str(row.business),
        "StatusInfo": _status_info(row),
        "ErrorCode": row.error_code if row.status is JobStatus.IN_ERROR else "",
        "Progress": float(progress),
        "ImageId": row.image_id or "",
        "TransitionInstanceId": row.transition_instance or "",
        **outage(row, now),
        "CreationTime": moment(row.created),
        "StartTime": moment(row.started),
        "EndTime": moment(row.ended),
        **wrapped(
            "SystemDiskParts",
            "SystemDiskPart",
            [_asked_part(p) for p in definition.get("SystemDiskPart", [])],
        ),
        **wrapped("DataDisks", "DataDisk", [_asked_disk(d) for d in definition.get("DataDisk", [])]),
        "Disks": _asked_disks(definition.get("Disks", {})),
        **wrapped("LeftOutDisks", "DiskKey", [str(key) for key in row.left_out]),
        **wrapped("ReplicationJobRuns", "ReplicationJobRun", [_run(run, by_run) for run in runs]),
        **tags(found_tags),
    }


def outage(row: Job, now: float) -> Answer:
    """Whether a cutover of this job keeps its source down, since when, and how many seconds longer."""
    down = downtime.outage(row, now)
    seconds_left = None if down is None else down.back_in
    return {
        "CutOver": row.cutover,
        "SourceDown": down is not None,
        "DownSinceTime": moment(row.down_since),
        "BackInSeconds": -1 if seconds_left is None else max(0, math.ceil(seconds_left)),
    }


def _echo(row: Job) -> Answer:
    """The fields of a job as a request would set them again, without fields that have neither value nor default."""
    values = {field.name: echoed(row, field) for field in _ECHOED}
    return {name: value for name, value in values.items() if value is not None}


def echoed(row: Job, field: JobField) -> Any:
    """One field as a request would set it again: its value or its default; None without both."""
    value = getattr(row, field.column) if field.column else row.definition.get(field.name)
    if value is None:
        return field.default
    if isinstance(field.kind, Moment | Fraction):
        return field.kind.shown(value)
    return int(value) if isinstance(field.kind, Whole) else value


def access_token(row: AccessToken) -> Answer:
    """One activation code, without the code."""
    return {
        "AccessTokenId": row.id,
        "Name": row.name,
        "Description": row.description,
        "Count": str(row.count),
        "RegisteredCount": str(row.registered),
        "Status": str(row.status),
        "TimeToLiveInDays": str(row.days),
        "CreationTime": moment(row.created),
    }


def workgroup(row: Workgroup, found_tags: Sequence[Tag]) -> Answer:
    """One workgroup with the numbers of its failed and unrelated sources."""
    warnings = [("InError", row.failed), ("UnRelated", row.unrelated)]
    return {
        "WorkgroupId": row.id,
        "Name": row.name,
        "Description": row.description,
        "Status": str(row.status),
        **tags(found_tags),
        **wrapped(
            "Warnings",
            "Warning",
            [{"WarningType": kind, **wrapped("SourceIds", "SourceId", ids)} for kind, ids in warnings if ids],
        ),
    }


def tag_resource(tag: Tag) -> Answer:
    """One tag on one resource."""
    return {
        "ResourceId": tag.resource_id,
        "ResourceType": _RESOURCE[tag.kind],
        "TagKey": tag.key,
        "TagValue": tag.value,
    }


def gib(size: int) -> int:
    """R50. Whole GiB, rounded up."""
    return -(-size // _GIB)


def _system_info(row: Source) -> str:
    addresses = [str(address)[:45] for address in row.facts.get("addresses", [])][:8]
    return json.dumps(
        {
            "agent_mode": "agentless",
            "agent_type": "vmware",
            "client_type": "appliance",
            "hostname": row.machine[:128],
            "ipv4": [a for a in addresses if ":" not in a],
            "ipv6": [a for a in addresses if ":" in a],
            "cores": row.facts.get("cpus", 0),
            "cpu_usage": 0,
            "memory": row.facts.get("memory", 0),
            "memory_usage": 0,
            "cpu_info": "",
        }
    )


def _parts(index: int, disk: SourceDisk) -> list[Answer]:
    """The parts of a disk. Blocks are read without regard to partitions, so the whole disk is one part."""
    return [
        {
            "Device": f"{index}_0",
            "Path": disk.label,
            "SizeBytes": disk.capacity,
            "CanBlock": True,
            "Need": True,
        }
    ]


def _data_disk(index: int, disk: SourceDisk) -> Answer:
    about = {"Index": index, "Path": disk.label, "Size": gib(disk.capacity)}
    return about | wrapped("Parts", "Part", _parts(index, disk))


def _whole_disk(disk: SourceDisk, kind: str) -> Answer:
    part = {"Path": disk.label, "SizeBytes": disk.capacity, "CanBlock": True, "Type": kind}
    return {"Offset": 0, "Size": gib(disk.capacity), **wrapped("Parts", "Part", [part])}


def _asked_part(part: Answer) -> Answer:
    return part | {"Block": part.get("Block", True)}


def _asked_disk(disk: Answer) -> Answer:
    scalars = {name: value for name, value in disk.items() if name != "Part"}
    return scalars | wrapped("Parts", "Part", [_asked_part(part) for part in disk.get("Part", [])])


def _asked_disks(disks: Answer) -> Answer:
    data = [_asked_disk(disk) for disk in disks.get("Data", [])]
    return {"System": _asked_disk(disks.get("System", {})), "Data": {"Data": data}}


def _run(run: Run, images: dict[str, str]) -> Answer:
    return {
        "StartTime": moment(run.started),
        "EndTime": moment(run.ended),
        "ImageId": images.get(run.id, ""),
        "Type": run.kind,
    }


def _status_info(row: Job) -> str:
    if row.error is None:
        return row.waiting
    words = "; ".join(str(part) for part in (row.error.get("what"), row.error.get("remedy")) if part)
    return json.dumps({"error_code": row.error_code, "error_msg": words})
