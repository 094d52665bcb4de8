"""The job specification is the job that a manifest asks for, for one machine, in parameters of the public API. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from connector.batch import fields, quantities
from connector.batch.parse import Wave
from connector.batch.plane import GROUP, LEFT_OUT, WAVE
from connector.batch.problems import Problem
from connector.batch.resolve import ResolvedMachine
from connector.specification.fields import BY_NAME

AGENTLESS: Final = 3
LEAST_DISK: Final = 20  # GiB, by the API
_GIB: Final = 1 << 30
_NAME: Final = 128
_LONGEST: Final = 100  # characters of a name; run and job are appended to an image's name


@dataclass(frozen=True, slots=True)
class JobSpecification:
    """One job. `asked`: the parameters that are compared with an existing job; None: the control plane's choice."""

    placement: ResolvedMachine
    asked: dict[str, Any]
    tags: dict[str, str]
    name: str
    start: float | None  # None: by hand, 0: at once, else the time
    valid_for: int | None
    problems: tuple[Problem, ...] = field(default=())

    def token(self, wave: str, attempt: int) -> str:
        """The ClientToken: the same wave and machine get the same job. `attempt`: the number of jobs deleted since."""
        identity = f"{wave}\0{self.placement.source.id}"
        return f"wave-{hashlib.sha256(identity.encode()).hexdigest()[:40]}-{attempt}"


def specification(wave: Wave, placement: ResolvedMachine, names: Collection[str]) -> JobSpecification:
    """The specification of one machine's job. `names`: names of other jobs of the wave."""
    choices, source = placement.choices, placement.source
    words = {
        "wave": wave.name,
        "group": placement.group or "none",
        "machine": source.name,
        "moref": source.moref or source.id,
    }
    problems: list[Problem] = []
    parameters: dict[str, Any] = {
        "RegionId": choices.target.region,
        "Description": _description(wave, placement),
        "ImageName": _filled(choices.target.imageName or "{machine}", words),
        "TargetType": choices.target.type or ("TargetInstance" if choices.target.instance else "Image"),
        "InstanceId": choices.target.instance or "",
        "InstanceType": choices.target.instanceType or "",
        "InstanceRamRole": choices.target.ramRole or "",
        "LicenseType": choices.target.licence or "",
        "RunOnce": choices.incremental is None,
        "ReplicationParameters": _replication(placement),
        **_network(wave, placement, problems),
        **_sizes(placement),
        LEFT_OUT: list(placement.left_out),
        **fields.asked(choices),
    }
    if choices.incremental is not None:
        parameters["Frequency"] = quantities.seconds(choices.incremental.every) // 3600
        parameters["MaxNumberOfImageToKeep"] = choices.incremental.keep
    tags = {WAVE: wave.name, **wave.manifest.metadata.labels, **choices.labels}
    if placement.group:
        tags[GROUP] = placement.group
    valid = quantities.seconds(choices.validFor) if choices.validFor else None
    name = _free(_filled("{wave}-{machine}", words), words["moref"], names)
    return JobSpecification(placement, parameters, tags, name, wave.start(), valid, tuple(problems))


def creation(job_specification: JobSpecification, wave: str, now: float, attempt: int = 0) -> dict[str, Any]:
    """The parameters of CreateReplicationJob."""
    parameters = {
        "SourceId": job_specification.placement.source.id,
        "JobType": AGENTLESS,
        "ClientToken": job_specification.token(wave, attempt),
        "Name": job_specification.name,
        **{
            name: value
            for name, value in job_specification.asked.items()
            if value not in (None, "", []) and name != LEFT_OUT and not _is_default(name, value)
        },
        "Tag": [{"Key": key, "Value": value} for key, value in sorted(job_specification.tags.items())],
    }
    if job_specification.valid_for is not None:
        parameters["ValidTime"] = quantities.written(now + job_specification.valid_for)
    if job_specification.start is not None and job_specification.start > now:
        parameters["ScheduledStartTime"] = quantities.written(job_specification.start)
    if parameters.get("ReplicationParameters") == "{}":
        del parameters["ReplicationParameters"]
    return parameters


def _is_default(name: str, value: Any) -> bool:
    """Whether the value is the field's default. An earlier control plane does not know the field and does what it says."""
    field = BY_NAME[name]
    return field.ours and value == field.default


def _replication(placement: ResolvedMachine) -> str:
    choices = placement.choices
    values: dict[str, int] = {}
    if choices.bandwidth:
        values["bandwidth_limit"] = quantities.megabits(choices.bandwidth)
    if choices.replication.compression is not None:
        values["compress_level"] = choices.replication.compression
    if choices.replication.checksum is not None:
        values["checksum"] = int(choices.replication.checksum)
    return json.dumps(values, separators=(",", ":"), sort_keys=True)


def _network(wave: Wave, placement: ResolvedMachine, problems: list[Problem]) -> dict[str, Any]:
    section = placement.choices.target.network
    if section is not None and section.mode == "internet":
        return {"NetMode": 0, "VpcId": "", "VSwitchId": ""}
    if section is not None and section.vswitch:
        return {"NetMode": 2, "VpcId": section.vpc or "", "VSwitchId": section.vswitch}
    for network in placement.source.networks:
        for mapping in wave.manifest.networks:
            if fnmatchcase(network.lower(), mapping.source.lower()):
                return {"NetMode": 2, "VpcId": mapping.vpc or "", "VSwitchId": mapping.vswitch}
    if section is not None:
        networks = ", ".join(placement.source.networks) or "not known"
        text = f"{placement.source.name} has no vswitch, and none of its networks is mapped ({networks})"
        remedy = "set target.network.vswitch, or map the network under networks"
        problems.append(Problem(text, placement.mark, remedy, f"machines[{placement.entry}]"))
    return {"NetMode": 0, "VpcId": "", "VSwitchId": ""}


def _sizes(placement: ResolvedMachine) -> dict[str, Any]:
    """The sizes, in GiB, of disks that become larger."""
    sizes = {index: -(-size // _GIB) for index, size in placement.sizes}
    parameters: dict[str, Any] = {"SystemDiskSize": None, "DataDisk": []}
    for index, size in sizes.items():
        if index == 0:
            parameters["SystemDiskSize"] = max(size, LEAST_DISK)
        else:
            parameters["DataDisk"].append({"Index": index, "Size": max(size, LEAST_DISK)})
    return parameters


def _description(wave: Wave, placement: ResolvedMachine) -> str:
    group = f", group {placement.group}" if placement.group else ""
    more = " ".join(wave.manifest.metadata.description.split())
    return f"Wave {wave.name}{group}{': ' if more else ''}{more}"[:_NAME].rstrip()


def _filled(pattern: str, words: dict[str, str]) -> str:
    """A name in the API's form: a letter first, then letters, digits, colons, _ and -."""
    text = pattern
    for word, value in words.items():
        text = text.replace(f"{{{word}}}", value)
    plain = re.sub(r"[^A-Za-z0-9:_-]+", "-", text).strip("-")
    if not plain[:1].isalpha() or not plain.isascii():
        plain = f"vm-{plain}"
    return plain[:_LONGEST].ljust(2, "-")


def _free(name: str, moref: str, names: Collection[str]) -> str:
    if name not in names:
        return name
    return _filled(f"{name[: _LONGEST - len(moref) - 1]}-{moref}", {})
