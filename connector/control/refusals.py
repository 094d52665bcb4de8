"""Refusals of the public API: a `Conflict` that knows the documented code under which it is reported."""

from __future__ import annotations

from enum import StrEnum

from connector.errors import BadInput, Conflict, NotFound


class Code(StrEnum):
    """Codes of the public SMC API; where it documents none, ours in the same style."""

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
    APPLIANCE_UNKNOWN = "MigrationAppliance.NotFound"
    KEY_UNKNOWN = "AccessKey.NotFound"
    NOT_RESTORED = "ControlPlane.NotRestored"


class Refused(Conflict):
    """The state of things does not allow it. Between our own processes it is a plain `Conflict`."""

    def __init__(self, code: Code, what: str, *, on: str = "", remedy: str = "") -> None:
        super().__init__(what, on=on, remedy=remedy)
        self.code = code


class Unknown(NotFound):
    """No such thing. Between our own processes it is a plain `NotFound`."""

    def __init__(self, code: Code, what: str, *, on: str = "", remedy: str = "") -> None:
        super().__init__(what, on=on, remedy=remedy)
        self.code = code


class OutOfRange(BadInput):
    """A value outside its documented range; `parameter` is its name in the public API."""

    def __init__(self, parameter: str, what: str) -> None:
        super().__init__(what, on=parameter)
        self.parameter = parameter

    @property
    def code(self) -> str:
        return f"InvalidParameter.{self.parameter}"
