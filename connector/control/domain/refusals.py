"""Refusals of the public API, and failures of jobs by what others did to an instance, each with its documented code."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from connector.errors import BadInput, Conflict, NotFound, TargetFailed


class RefusalCode(StrEnum):
    """Codes of the public SMC API. Where it documents none, the code is ours in the same style."""

    SOURCE_STATE = "SourceServerState.Invalid"
    SOURCE_RUNNING = "SourceServer.WithRunningReplicationJob"
    SOURCE_RELATED = "ReplicationJob.Related"
    SOURCE_UNFINISHED = "SourceServer.WithUnfinishedReplicationJob"
    SOURCE_NAME = "SourceServerName.Duplicate"
    SOURCE_UNKNOWN = "SourceServer.NotFound"
    JOB_STATUS = "ReplicationJob.InvalidStatus"
    JOB_NAME = "ReplicationJobName.Duplicate"
    JOB_UNKNOWN = "ReplicationJob.NotFound"
    JOB_QUOTA = "QuotaExceeded.ReplicationJob"
    RUNNING_QUOTA = "QuotaExceeded.RunningReplicationJob"
    TAG_QUOTA = "NumberExceed.Tags"
    RESOURCE_UNKNOWN = "InvalidResourceId.NotFound"
    GROUP_NAME = "WorkgroupName.Duplicate"
    GROUP_UNKNOWN = "Workgroup.NotFound"
    GROUP_QUOTA = "QuotaExceeded.Workgroup"
    GROUP_SOURCES_QUOTA = "QuotaExceeded.WorkgroupSourceServer"
    GROUP_NOT_EMPTY = "Workgroup.NotEmpty"
    GROUP_TAKEN = "SourceServer.InOtherWorkgroup"
    TOKEN_UNKNOWN = "AccessToken.NotFound"  # noqa: S105 - the name of an error
    APPLIANCE_TAKEN = "MigrationAppliance.InOtherWorkgroup"
    APPLIANCE_UNKNOWN = "MigrationAppliance.NotFound"
    KEY_UNKNOWN = "AccessKey.NotFound"
    IMAGE_UNKNOWN = "ReplicationJobImage.NotFound"
    DRILL_UNKNOWN = "ReplicationJobDrill.NotFound"
    TARGET_INSTANCE = "UnsupportedOperation.TargetInstance"
    NOT_RESTORED = "ControlPlane.NotRestored"


class StateRefusal(Conflict):
    """The present state does not allow the request. Between our own processes it is a plain `Conflict`."""

    def __init__(self, code: RefusalCode, what: str, *, on: str = "", remedy: str = "") -> None:
        super().__init__(what, on=on, remedy=remedy)
        self.code = code


class UnknownObject(NotFound):
    """The object does not exist. Between our own processes it is a plain `NotFound`."""

    def __init__(self, code: RefusalCode, what: str, *, on: str = "", remedy: str = "") -> None:
        super().__init__(what, on=on, remedy=remedy)
        self.code = code


class OutOfRange(BadInput):
    """A value is outside its documented range. `parameter` is its name in the public API."""

    def __init__(self, parameter: str, what: str) -> None:
        super().__init__(what, on=parameter)
        self.parameter = parameter

    @property
    def code(self) -> str:
        return f"InvalidParameter.{self.parameter}"


class InstanceChangedByOthers(TargetFailed):
    """Somebody else changed the intermediate instance. Other processes see a TargetFailed; the job shows `code`."""

    code: ClassVar[str]

    @property
    def id(self) -> str:
        return TargetFailed.__name__

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"code": self.code}


class InstanceReleased(InstanceChangedByOthers):
    """Somebody removed the intermediate instance, and everything that was transferred with it."""

    code = "TransitionInstance.Released"

    def __init__(self, *, on: str) -> None:
        super().__init__(
            "the intermediate instance was released by somebody else",
            on=on,
            remedy="delete this job and create a new one",
            retryable=False,
        )


class InstanceStopped(InstanceChangedByOthers):
    """Somebody stopped the intermediate instance, and it cannot be started now."""

    code = "TransitionInstance.Stopped"

    def __init__(self, why: TargetFailed, *, on: str) -> None:
        where = f"{why.on}: " if why.on else ""
        super().__init__(
            f"the intermediate instance was stopped by somebody else and cannot be started: {where}{why.what}",
            on=on,
            remedy=why.remedy or "start the job again",
            retryable=False,
        )
