"""What a machine's job shall be, in the parameters of the public API. Pure; the clock is given."""

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
_LONGEST: Final = 100  # of a name: an image's gets its run and its job appended


@dataclass(frozen=True, slots=True)
class JobSpecification:
    """One job. `asked` holds every parameter that is compared with what stands; None: whatever the control plane chose."""

    placement: ResolvedMachine
    asked: dict[str, Any]
    tags: dict[str, str]
    name: str
    start: float | None  # None: by hand, 0: at once, else the moment
    valid_for: int | None
    problems: tuple[Problem, ...] = field(default=())

    def token(self, wave: str, attempt: int) -> str:
        """The ClientToken: the same wave and machine ask for the same job. `attempt` counts the ones deleted since."""
        identity = f"{wave}\0{self.placement.source.id}"
        return f"wave-{hashlib.sha256(identity.encode()).hexdigest()[:40]}-{attempt}"


def specification(wave: Wave, placement: ResolvedMachine, names: Collection[str]) -> JobSpecification:
    """`names` are taken by other jobs of the wave."""
    choices, source = placement.choices, placement.source
    words = {
        "wave": wave.name,
        "group": placement.group or "none",
        "machine": source.name,
        "moref": source.moref or source.id,
    }
    problems: list[Problem] = []
    asked: dict[str, Any] = {
        "RegionId": choices.target.region,
        "Description": _description(wave, placement),
        "ImageName": _filled(choices.target.imageName or "{machine}", words),
        "TargetType": "Image",
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
        asked["Frequency"] = quantities.seconds(choices.incremental.every) // 3600
        asked["MaxNumberOfImageToKeep"] = choices.incremental.keep
    tags = {WAVE: wave.name, **wave.manifest.metadata.labels, **choices.labels}
    if placement.group:
        tags[GROUP] = placement.group
    valid = quantities.seconds(choices.validFor) if choices.validFor else None
    name = _free(_filled("{wave}-{machine}", words), words["moref"], names)
    return JobSpecification(placement, asked, tags, name, wave.start(), valid, tuple(problems))


def creation(wanted: JobSpecification, wave: str, now: float, attempt: int = 0) -> dict[str, Any]:
    """The parameters of CreateReplicationJob."""
    found = {
        "SourceId": wanted.placement.source.id,
        "JobType": AGENTLESS,
        "ClientToken": wanted.token(wave, attempt),
        "Name": wanted.name,
        **{
            name: value
            for name, value in wanted.asked.items()
            if value not in (None, "", []) and name != LEFT_OUT and not _is_default(name, value)
        },
        "Tag": [{"Key": key, "Value": value} for key, value in sorted(wanted.tags.items())],
    }
    if wanted.valid_for is not None:
        found["ValidTime"] = quantities.written(now + wanted.valid_for)
    if wanted.start is not None and wanted.start > now:
        found["ScheduledStartTime"] = quantities.written(wanted.start)
    if found.get("ReplicationParameters") == "{}":
        del found["ReplicationParameters"]
    return found


def _is_default(name: str, value: Any) -> bool:
    """A control plane of an earlier version does not know the field; what it does is what the default says."""
    field = BY_NAME[name]
    return field.ours and value == field.default


def _replication(placement: ResolvedMachine) -> str:
    choices = placement.choices
    found: dict[str, int] = {}
    if choices.bandwidth:
        found["bandwidth_limit"] = quantities.megabits(choices.bandwidth)
    if choices.replication.compression is not None:
        found["compress_level"] = choices.replication.compression
    if choices.replication.checksum is not None:
        found["checksum"] = int(choices.replication.checksum)
    return json.dumps(found, separators=(",", ":"), sort_keys=True)


def _network(wave: Wave, placement: ResolvedMachine, problems: list[Problem]) -> dict[str, Any]:
    chosen = placement.choices.target.network
    if chosen is not None and chosen.mode == "internet":
        return {"NetMode": 0, "VpcId": "", "VSwitchId": ""}
    if chosen is not None and chosen.vswitch:
        return {"NetMode": 2, "VpcId": chosen.vpc or "", "VSwitchId": chosen.vswitch}
    for network in placement.source.networks:
        for mapping in wave.manifest.networks:
            if fnmatchcase(network.lower(), mapping.source.lower()):
                return {"NetMode": 2, "VpcId": mapping.vpc or "", "VSwitchId": mapping.vswitch}
    if chosen is not None:
        known = ", ".join(placement.source.networks) or "not known"
        what = f"{placement.source.name} has no vswitch, and none of its networks is mapped ({known})"
        remedy = "set target.network.vswitch, or map the network under networks"
        problems.append(Problem(what, placement.mark, remedy, f"machines[{placement.entry}]"))
    return {"NetMode": 0, "VpcId": "", "VSwitchId": ""}


def _sizes(placement: ResolvedMachine) -> dict[str, Any]:
    """Every disk that shall be larger than it is; GiB."""
    sizes = {index: -(-size // _GIB) for index, size in placement.sizes}
    found: dict[str, Any] = {"SystemDiskSize": None, "DataDisk": []}
    for index, size in sizes.items():
        if index == 0:
            found["SystemDiskSize"] = max(size, LEAST_DISK)
        else:
            found["DataDisk"].append({"Index": index, "Size": max(size, LEAST_DISK)})
    return found


def _description(wave: Wave, placement: ResolvedMachine) -> str:
    group = f", group {placement.group}" if placement.group else ""
    more = " ".join(wave.manifest.metadata.description.split())
    return f"Wave {wave.name}{group}{': ' if more else ''}{more}"[:_NAME].rstrip()


def _filled(pattern: str, words: dict[str, str]) -> str:
    """A name as the API takes it: a letter first, then letters, digits, colons, _ and -."""
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
