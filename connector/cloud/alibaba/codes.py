"""The table of the codes of ECS and what follows from each. Data only; `docs/alibaba.md` lists it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from connector.errors import TargetFailed


class RefusalEffect(StrEnum):
    """What a refusal means for the caller."""

    NEXT_TYPE = "next instance type or zone"
    NEXT_DISK = "next disk category"
    WAIT = "wait, then the same call again"
    AGAIN = "the same call again"
    EXISTS = "an earlier attempt had its effect: find it"
    RENAME = "another name"
    STOP = "the job fails"


@dataclass(frozen=True, slots=True)
class EcsCode:
    """One row of the table. A name that ends in `.*` matches any ending."""

    name: str
    effect: RefusalEffect
    remedy: str = ""


_N, _D, _W, _A, _S = (
    RefusalEffect.NEXT_TYPE,
    RefusalEffect.NEXT_DISK,
    RefusalEffect.WAIT,
    RefusalEffect.AGAIN,
    RefusalEffect.STOP,
)
_TOP_UP: Final = "top the account up, then start the job again"
_QUOTA: Final = "delete what is not needed or ask for a higher quota, then start the job again"
_KEY: Final = "check the access key of the control plane"

CODES: Final = (
    EcsCode("OperationDenied.NoStock", _N),
    EcsCode("InvalidInstanceType.ZoneNotSupported", _N),
    EcsCode("InvalidInstanceType.NotSupported", _N),
    EcsCode("InvalidInstanceType.ValueNotSupported", _N),
    EcsCode("InvalidInstanceType.ValueUnauthorized", _N),
    EcsCode("Zone.NotOnSale", _N),
    EcsCode("Zone.NotOpen", _N),
    EcsCode("ImageNotSupportInstanceType", _N),
    EcsCode("QuotaExceed.ElasticQuota", _N),
    EcsCode("InvalidDiskCategory.NotSupported", _D),
    EcsCode("InvalidDiskCategory.ValueNotSupported", _D),
    EcsCode("InvalidDataDiskCategory.NotSupported", _D),
    EcsCode("InvalidSystemDiskCategory.ValueNotSupported", _D),
    EcsCode("CategoryNotSupported", _D),
    EcsCode("IncorrectInstanceStatus.Initializing", _W),
    EcsCode("IncorrectInstanceStatus", _W),
    EcsCode("IncorrectDiskStatus", _W),
    EcsCode("IncorrectDiskStatus.CreatingSnapshot", _W),
    EcsCode("InvalidSnapshotId.NotReady", _W),
    EcsCode("ImageIsCreating", _W),
    EcsCode("IncorrectVpcStatus", _W),
    EcsCode("IncorrectVSwitchStatus", _W),
    EcsCode("DependencyViolation", _W),
    EcsCode("DependencyViolation.*", _W),
    EcsCode("OperationConflict", _W),
    EcsCode("TaskConflict", _W),
    EcsCode("IncorrectEipStatus", _W),
    EcsCode("IncorrectStatus", _W),
    EcsCode("IncorrectStatus.*", _W),
    EcsCode("IncorrectImageStatus", _W),
    EcsCode("IncorrectSnapshotStatus", _W),
    EcsCode("InvalidOperation.Conflict", _W),
    EcsCode("LastTokenProcessing", _A),
    EcsCode("IdempotentProcessing", _A),
    EcsCode("OperationFailed.LastTokenProcessing", _A),
    EcsCode("Throttling", _A),
    EcsCode("Throttling.*", _A),
    EcsCode("ServiceUnavailable", _A),
    EcsCode("ServiceUnavailable.*", _A),
    EcsCode("InternalError", _A),
    EcsCode("InternalError.*", _A),
    EcsCode("UnknownError", _A),
    EcsCode("SystemBusy", _A),
    EcsCode("ServiceTimeout", _A),
    EcsCode("RequestTimeout", _A),
    EcsCode("SignatureNonceUsed", _A),
    EcsCode("IdempotenceParamNotMatch", RefusalEffect.EXISTS),
    EcsCode("IdempotentParameterMismatch", RefusalEffect.EXISTS),
    EcsCode("InvalidImageName.Duplicated", RefusalEffect.RENAME),
    EcsCode("InvalidAccountStatus.NotEnoughBalance", _S, _TOP_UP),
    EcsCode("InsufficientBalance", _S, _TOP_UP),
    EcsCode(
        "InvalidAccountStatus.SnapshotServiceUnavailable", _S, "activate the snapshot service of the account"
    ),
    EcsCode("QuotaExceed.PostPaidDisk", _S, _QUOTA),
    EcsCode("QuotaExceed.AfterpayInstance", _S, _QUOTA),
    EcsCode("QuotaExceed.Image", _S, _QUOTA),
    EcsCode("QuotaExceed.Snapshot", _S, _QUOTA),
    EcsCode("QuotaExceeded.Vpc", _S, "name a vswitch in the settings, or delete a VPC that is not needed"),
    EcsCode(
        "InstanceDiskLimitExceeded", _S, "an instance has 16 data disks at most: migrate fewer disks at once"
    ),
    EcsCode("Forbidden.RiskControl", _S, "ask the support of the cloud to release the account"),
    EcsCode("Forbidden.RAM", _S, "grant the permissions that docs/alibaba.md lists"),
    EcsCode("Forbidden.SubUser", _S, "let the RAM user buy instances"),
    EcsCode("NoPermission", _S, "grant the permissions that docs/alibaba.md lists"),
    EcsCode("InvalidUser.PassRoleForbidden", _S, "let the RAM user pass this role to ECS, or name no role"),
    EcsCode("InvalidVSwitchId.NotFound", _S, "name a vSwitch of this region"),
    EcsCode("InvalidSecurityGroupId.NotFound", _S, "name a security group of this region, or none"),
    EcsCode("InvalidSecurityGroupId.VPCMismatch", _S, "name a security group of the vSwitch's VPC, or none"),
    EcsCode("InvalidImageId.NotFound", _S, "name a prepared instance image of this region"),
    EcsCode("InvalidOperation.DeletionProtection", _S, "switch off the deletion protection of the instance"),
    EcsCode("ChargeTypeViolation", _S, "release the subscription instance in the console"),
    EcsCode("InvalidDevice.*", _S, "a defect: report it"),
    EcsCode("InvalidSize.ValueNotSupported", _S, "ask for a size that the cloud offers"),
    EcsCode("IncorrectDiskStatus.NeverUsed", _S, "start the job again"),
    EcsCode("InvalidAccessKeyId.NotFound", _S, _KEY),
    EcsCode("InvalidAccessKeyId.Inactive", _S, _KEY),
    EcsCode("SignatureDoesNotMatch", _S, _KEY),
    EcsCode("InvalidSecurityToken.*", _S, "renew the temporary access key"),
    EcsCode("InvalidTimeStamp.Expired", _S, "set the clock of the control plane"),
    EcsCode("IllegalTimestamp", _S, "set the clock of the control plane"),
)

_EXACT: Final = {code.name: code for code in CODES if not code.name.endswith(".*")}
_FAMILIES: Final = {code.name[:-2]: code for code in CODES if code.name.endswith(".*")}


#: Words in codes that pass by themselves, although the codes are not in the table.
_PASSING: Final = re.compile(
    r"Throttl|TokenProcessing|IdempotentProcessing|FlowControl|TooManyRequests|TooFrequent|Busy$|Time(d)?out$"
    r"|ServiceUnavailable|Temporar(y|ily)"
)
_PASSING_STATUS: Final = (408, 425, 429)


def judge(name: str, status: int) -> EcsCode:
    """What follows from this code.

    An unknown code stops the job, unless it is the server's fault or its name says that it passes.
    """
    effect = _EXACT.get(name) or _FAMILIES.get(name.partition(".")[0])
    if effect is not None:
        return effect
    if status >= 500 or status in _PASSING_STATUS or _PASSING.search(name):
        return EcsCode(name, RefusalEffect.AGAIN)
    return EcsCode(name, RefusalEffect.STOP, "read the code's meaning")


class Refusal(TargetFailed):
    """The cloud has refused a call. The job shows `code`."""

    def __init__(
        self, operation: str, code: str, status: int, message: str, request: str, *, on: str = ""
    ) -> None:
        self.code, self.status = code, status
        self.effect = judge(code, status).effect
        super().__init__(
            f"{operation} was refused: {code} ({message.strip().rstrip('.')}; request {request})",
            on=on,
            remedy=judge(code, status).remedy,
            retryable=self.effect in (RefusalEffect.WAIT, RefusalEffect.AGAIN),
        )

    @property
    def id(self) -> str:
        return TargetFailed.__name__

    @property
    def gone(self) -> bool:
        """Whether the object of the call does not exist. An access key that does not exist says nothing about it."""
        ours = self.code.startswith("InvalidAccessKeyId")
        return self.status == 404 and self.code.endswith("NotFound") and not ours

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"code": self.code}


class NoStock(TargetFailed):
    """No allowed instance type is available. The job shows the cloud's own code for that."""

    code: Final = "OperationDenied.NoStock"

    @property
    def id(self) -> str:
        return TargetFailed.__name__

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"code": self.code}
