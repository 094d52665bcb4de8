"""Every code that ECS may answer, and what follows from it. Data; `docs/alibaba.md` lists this table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from connector.errors import TargetFailed


class Verdict(StrEnum):
    """What a refusal means for the caller."""

    NEXT_TYPE = "next instance type or zone"
    NEXT_DISK = "next disk category"
    WAIT = "wait, then the same call again"
    AGAIN = "the same call again"
    EXISTS = "an earlier attempt had its effect: find it"
    RENAME = "another name"
    STOP = "the job fails"


@dataclass(frozen=True, slots=True)
class Code:
    """One line of the table. A name may end in `.*`: the rest does not matter."""

    name: str
    verdict: Verdict
    remedy: str = ""


_N, _D, _W, _A, _S = Verdict.NEXT_TYPE, Verdict.NEXT_DISK, Verdict.WAIT, Verdict.AGAIN, Verdict.STOP
_TOP_UP: Final = "top the account up, then start the job again"
_QUOTA: Final = "delete what is not needed or ask for a higher quota, then start the job again"
_KEY: Final = "check the access key of the control plane"

CODES: Final = (
    Code("OperationDenied.NoStock", _N),
    Code("InvalidInstanceType.ZoneNotSupported", _N),
    Code("InvalidInstanceType.NotSupported", _N),
    Code("InvalidInstanceType.ValueNotSupported", _N),
    Code("InvalidInstanceType.ValueUnauthorized", _N),
    Code("Zone.NotOnSale", _N),
    Code("Zone.NotOpen", _N),
    Code("ImageNotSupportInstanceType", _N),
    Code("QuotaExceed.ElasticQuota", _N),
    Code("InvalidDiskCategory.NotSupported", _D),
    Code("InvalidDiskCategory.ValueNotSupported", _D),
    Code("InvalidDataDiskCategory.NotSupported", _D),
    Code("InvalidSystemDiskCategory.ValueNotSupported", _D),
    Code("CategoryNotSupported", _D),
    Code("IncorrectInstanceStatus.Initializing", _W),
    Code("IncorrectInstanceStatus", _W),
    Code("IncorrectDiskStatus", _W),
    Code("IncorrectDiskStatus.CreatingSnapshot", _W),
    Code("InvalidSnapshotId.NotReady", _W),
    Code("ImageIsCreating", _W),
    Code("IncorrectVpcStatus", _W),
    Code("IncorrectVSwitchStatus", _W),
    Code("DependencyViolation", _W),
    Code("DependencyViolation.*", _W),
    Code("OperationConflict", _W),
    Code("TaskConflict", _W),
    Code("IncorrectEipStatus", _W),
    Code("IncorrectStatus", _W),
    Code("IncorrectStatus.*", _W),
    Code("IncorrectImageStatus", _W),
    Code("IncorrectSnapshotStatus", _W),
    Code("InvalidOperation.Conflict", _W),
    Code("LastTokenProcessing", _A),
    Code("IdempotentProcessing", _A),
    Code("OperationFailed.LastTokenProcessing", _A),
    Code("Throttling", _A),
    Code("Throttling.*", _A),
    Code("ServiceUnavailable", _A),
    Code("ServiceUnavailable.*", _A),
    Code("InternalError", _A),
    Code("InternalError.*", _A),
    Code("UnknownError", _A),
    Code("SystemBusy", _A),
    Code("ServiceTimeout", _A),
    Code("RequestTimeout", _A),
    Code("SignatureNonceUsed", _A),
    Code("IdempotenceParamNotMatch", Verdict.EXISTS),
    Code("IdempotentParameterMismatch", Verdict.EXISTS),
    Code("InvalidImageName.Duplicated", Verdict.RENAME),
    Code("InvalidAccountStatus.NotEnoughBalance", _S, _TOP_UP),
    Code("InsufficientBalance", _S, _TOP_UP),
    Code(
        "InvalidAccountStatus.SnapshotServiceUnavailable", _S, "activate the snapshot service of the account"
    ),
    Code("QuotaExceed.PostPaidDisk", _S, _QUOTA),
    Code("QuotaExceed.AfterpayInstance", _S, _QUOTA),
    Code("QuotaExceed.Image", _S, _QUOTA),
    Code("QuotaExceed.Snapshot", _S, _QUOTA),
    Code("QuotaExceeded.Vpc", _S, "name a vswitch in the settings, or delete a VPC that is not needed"),
    Code(
        "InstanceDiskLimitExceeded", _S, "an instance has 16 data disks at most: migrate fewer disks at once"
    ),
    Code("Forbidden.RiskControl", _S, "ask the support of the cloud to release the account"),
    Code("Forbidden.RAM", _S, "grant the permissions that docs/alibaba.md lists"),
    Code("Forbidden.SubUser", _S, "let the RAM user buy instances"),
    Code("NoPermission", _S, "grant the permissions that docs/alibaba.md lists"),
    Code("InvalidUser.PassRoleForbidden", _S, "let the RAM user pass this role to ECS, or name no role"),
    Code("InvalidVSwitchId.NotFound", _S, "name a vSwitch of this region"),
    Code("InvalidSecurityGroupId.NotFound", _S, "name a security group of this region, or none"),
    Code("InvalidSecurityGroupId.VPCMismatch", _S, "name a security group of the vSwitch's VPC, or none"),
    Code("InvalidImageId.NotFound", _S, "name a prepared instance image of this region"),
    Code("InvalidOperation.DeletionProtection", _S, "switch off the deletion protection of the instance"),
    Code("ChargeTypeViolation", _S, "release the subscription instance in the console"),
    Code("InvalidDevice.*", _S, "a defect: report it"),
    Code("InvalidSize.ValueNotSupported", _S, "ask for a size that the cloud offers"),
    Code("IncorrectDiskStatus.NeverUsed", _S, "start the job again"),
    Code("InvalidAccessKeyId.NotFound", _S, _KEY),
    Code("InvalidAccessKeyId.Inactive", _S, _KEY),
    Code("SignatureDoesNotMatch", _S, _KEY),
    Code("InvalidSecurityToken.*", _S, "renew the temporary access key"),
    Code("InvalidTimeStamp.Expired", _S, "set the clock of the control plane"),
    Code("IllegalTimestamp", _S, "set the clock of the control plane"),
)

_EXACT: Final = {code.name: code for code in CODES if not code.name.endswith(".*")}
_FAMILIES: Final = {code.name[:-2]: code for code in CODES if code.name.endswith(".*")}


#: Words of codes that are not in the table and pass by themselves, whatever status comes with them.
_PASSING: Final = re.compile(
    r"Throttl|TokenProcessing|IdempotentProcessing|FlowControl|TooManyRequests|TooFrequent|Busy$|Time(d)?out$"
    r"|ServiceUnavailable|Temporar(y|ily)"
)
_PASSING_STATUS: Final = (408, 425, 429)


def judge(name: str, status: int) -> Code:
    """What follows from this code.

    One that nobody has met stops the job, unless it was the server's fault or says itself that it passes.
    """
    known = _EXACT.get(name) or _FAMILIES.get(name.partition(".")[0])
    if known is not None:
        return known
    if status >= 500 or status in _PASSING_STATUS or _PASSING.search(name):
        return Code(name, Verdict.AGAIN)
    return Code(name, Verdict.STOP, "read the code's meaning")


class Refusal(TargetFailed):
    """The cloud said no, and why. The job shows `code`."""

    def __init__(
        self, operation: str, code: str, status: int, message: str, request: str, *, on: str = ""
    ) -> None:
        self.code, self.status = code, status
        self.verdict = judge(code, status).verdict
        super().__init__(
            f"{operation} was refused: {code} ({message.strip().rstrip('.')}; request {request})",
            on=on,
            remedy=judge(code, status).remedy,
            retryable=self.verdict in (Verdict.WAIT, Verdict.AGAIN),
        )

    @property
    def id(self) -> str:
        return TargetFailed.__name__

    @property
    def gone(self) -> bool:
        """The object of the call is not there."""
        return self.status == 404 and self.code.endswith("NotFound")

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"code": self.code}


class NoStock(TargetFailed):
    """Nothing of what is allowed can be had anywhere; the job shows the cloud's own code for that."""

    code: Final = "OperationDenied.NoStock"

    @property
    def id(self) -> str:
        return TargetFailed.__name__

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"code": self.code}
