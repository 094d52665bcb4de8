"""The parameters of the operations on migration jobs. Data only."""

from __future__ import annotations

from typing import Final

from connector.control.jobs import Business, Status
from connector.control.smc import kinds
from connector.control.smc.parameters import Flag, ListOf, Moment, OneOf, Parameter, Text, Whole

JOB_ID: Final = Parameter("JobId", kinds.ID, required=True)

_STATUSES: Final = OneOf(tuple(str(s) for s in Status if s is not Status.DELETED))
_BUSINESS: Final = OneOf(tuple(str(b) for b in Business if b))
_WORD: Final = Text(0, 256)

#: What both creating and modifying may set.
_DEFINITION: Final = (
    Parameter("ImageName", kinds.NAME, meaning="default: Name; a clash appends the job id"),
    Parameter("InstanceId", _WORD, meaning="with TargetType TargetInstance"),
    Parameter("InstanceRamRole", _WORD, meaning="kept and echoed"),
    Parameter("InstanceType", _WORD, meaning="of the intermediate instance; refused when not available"),
    Parameter("LaunchTemplateId", _WORD, meaning="kept and echoed"),
    Parameter("LaunchTemplateVersion", _WORD, meaning="kept and echoed"),
    Parameter("NetMode", Whole(0, 2), meaning="0 internet (default), 2 VPC: VSwitchId is then required"),
    Parameter("VpcId", _WORD),
    Parameter("VSwitchId", _WORD),
    Parameter("ReplicationParameters", kinds.REPLICATION, meaning="also while Syncing; see above"),
    Parameter("ScheduledStartTime", Moment(), meaning="within 30 days"),
    Parameter("ValidTime", Moment(), meaning="7 to 90 days after creation; default 30 days"),
    Parameter("Frequency", Whole(1, 168, "hours"), meaning="required when RunOnce is false"),
    Parameter("MaxNumberOfImageToKeep", Whole(1, 10), meaning="required when RunOnce is false"),
    Parameter("TargetType", kinds.TARGET, meaning="in any case; ContainerImage is refused"),
    Parameter("ContainerNamespace", _WORD, meaning="refused: blocks are copied, not files"),
    Parameter("ContainerRepository", _WORD, meaning="refused"),
    Parameter("ContainerTag", _WORD, meaning="refused"),
    Parameter("SystemDiskSize", Whole(20, 2048, "GiB"), meaning="at least the size of the source's disk"),
    kinds.SYSTEM_PARTS,
    kinds.DATA_DISKS,
)

CREATE: Final = (
    Parameter("RegionId", Text(1, 80), required=True),
    Parameter("SourceId", kinds.ID, required=True),
    Parameter("ClientToken", kinds.TOKEN, meaning="the same token answers the same job"),
    Parameter("Name", kinds.NAME, meaning="unique; default: made from the source's name"),
    Parameter("Description", kinds.DESCRIPTION),
    Parameter("JobType", Whole(0, 3), meaning="3 (default); 0, 1 and 2 are refused"),
    Parameter("RunOnce", Flag(), meaning="default true; cannot be changed later"),
    Parameter("LicenseType", OneOf(("", "BYOL"))),
    *_DEFINITION,
    kinds.DISKS,
    Parameter("Tag", kinds.tags()),
    Parameter("ResourceGroupId", _WORD),
)

MODIFY: Final = (
    JOB_ID,
    Parameter("Name", kinds.NAME),
    Parameter("Description", kinds.DESCRIPTION),
    *_DEFINITION,
)

DESCRIBE: Final = (
    Parameter("JobId", ListOf(kinds.ID, 50)),
    Parameter("SourceId", ListOf(kinds.ID, 50)),
    Parameter("InstanceId", ListOf(kinds.ID, 50), meaning="destination instances"),
    Parameter("Name", kinds.WORD, meaning="exact"),
    Parameter("Status", _STATUSES),
    Parameter("BusinessStatus", _BUSINESS),
    Parameter("JobType", Whole(0, 3)),
    Parameter("RegionId", Text(1, 80)),
    Parameter("ResourceGroupId", kinds.WORD),
    kinds.TAG_FILTER,
    *kinds.PAGE,
)

CUT_OVER: Final = (JOB_ID, Parameter("SyncData", Flag(), meaning="one more run first; default false"))

#: A disk of the cross-zone operation, which is refused.
CROSS_ZONE: Final = (
    Parameter("RegionId", Text(1, 80)),
    *(
        Parameter(name, _WORD)
        for name in ("InstanceId", "TargetZoneId", "TargetVSwitchId", "TargetInstanceType")
    ),
    Parameter("AutoPay", Flag()),
    Parameter("ClientToken", kinds.TOKEN),
    Parameter("ResourceGroupId", _WORD),
    Parameter("Disk", ListOf(kinds.CROSS_ZONE_DISK, 64)),
)
