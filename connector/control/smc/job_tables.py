"""The parameters of the operations on migration jobs. Data only."""

from __future__ import annotations

from typing import Final

from connector.control.jobs import Business, Status
from connector.specification import kinds
from connector.specification.fields import JOB_FIELDS
from connector.specification.value import Flag, ListOf, OneOf, Parameter, Text, Whole

JOB_ID: Final = Parameter("JobId", kinds.ID, required=True)

_STATUSES: Final = OneOf(tuple(str(s) for s in Status if s is not Status.DELETED))
_BUSINESS: Final = OneOf(tuple(str(b) for b in Business if b))
_WORD: Final = Text(0, 256)

#: One line each; a field that is part of another has none.
_FIELDS: Final = tuple(
    (field, Parameter(field.name, field.kind, field.required, field.help))
    for field in JOB_FIELDS
    if field.parameter and not field.part_of
)

CREATE: Final = tuple(parameter for _, parameter in _FIELDS)
MODIFY: Final = (JOB_ID, *(parameter for field, parameter in _FIELDS if field.changes))

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
