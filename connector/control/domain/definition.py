"""A job's definition, in the public API's names, as what a provider is asked for. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from connector.cloud.provider import Placement, TargetDisk
from connector.control.domain.entities import Source, SourceDisk
from connector.model import Replication

_GIB: Final = 1 << 30

#: Fields of a placement by the parameter that sets them.
PARAMETERS: Final = {
    "InstanceType": "instance_type",
    "NetMode": "net_mode",
    "VpcId": "vpc",
    "VSwitchId": "vswitch",
    "InstanceRamRole": "ram_role",
    "LaunchTemplateId": "launch_template",
    "LaunchTemplateVersion": "launch_template_version",
}


def placement(definition: Mapping[str, Any], region: str, source: Source) -> Placement:
    """Where and as what the intermediate instance of a job of `source` is wanted."""
    given = {
        field: definition[name] for name, field in PARAMETERS.items() if definition.get(name) is not None
    }
    return Placement(region=region, architecture=architecture(str(source.facts.get("guest_id", ""))), **given)


def parameter(field: str) -> str:
    """The parameter that sets this field of a placement."""
    if field == "region":  # a column of the job, not of its definition
        return "RegionId"
    return next((name for name, known in PARAMETERS.items() if known == field), "Request")


def disks(definition: Mapping[str, Any], found: Sequence[SourceDisk]) -> tuple[TargetDisk, ...]:
    """The disks of the instance: one for each of the source, at least as large."""
    wanted = _sizes(definition)
    return tuple(
        TargetDisk(disk.key, disk.label, disk.capacity, max(disk.capacity, wanted[n]) if n in wanted else 0)
        for n, disk in enumerate(found)
    )


def _sizes(definition: Mapping[str, Any]) -> dict[int, int]:
    """Bytes asked for, by the disk's position. Of two ways to say it the newer one counts."""
    layout = definition.get("Disks") or {}
    asked = {0: definition.get("SystemDiskSize")}
    asked |= {disk["Index"]: disk.get("Size") for disk in definition.get("DataDisk", [])}
    newer = {0: layout.get("System", {}).get("Size")}
    newer |= {int(disk["DiskId"]): disk.get("Size") for disk in layout.get("Data", [])}
    asked |= {position: size for position, size in newer.items() if size}
    return {position: size * _GIB for position, size in asked.items() if size}


def architecture(guest_id: str) -> str:
    """What vCenter's guest identifier says of the processor."""
    name = guest_id.lower()
    if "arm" in name:
        return "arm64"
    return "x86_64" if "64" in name or not name else "i386"


PARAMETER = "ReplicationParameters"
CUTOVER = "CutoverBandwidthLimit"


def replication_of(definition: Mapping[str, Any], *, final: bool) -> Replication:
    """How a pass of the job shall use the line; what was not asked for is as the appliance is configured.

    `final`: the source is shut down, and every second counts: then the limit is one of its own.
    """
    found = json.loads(definition.get(PARAMETER) or "{}")
    limit = definition.get(CUTOVER, 0) if final else found.get("bandwidth_limit", 0)
    return Replication(
        bandwidth_limit=int(limit),
        compress_level=found.get("compress_level"),
        checksum=bool(found.get("checksum", 0)),
    )


def shown(definition: Mapping[str, Any], *, final: bool) -> dict[str, Any]:
    """The same as appliances read it."""
    return asdict(replication_of(definition, final=final))
