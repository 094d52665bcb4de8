"""Every refusal of the public API has a code from `CODES`, and its HTTP status comes only from there. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from connector.errors import (
    AuthenticationFailed,
    BadInput,
    Conflict,
    ConnectorError,
    Ineligible,
    NotFound,
    NotPermitted,
    StateRestored,
)


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One entry of the error catalogue. If `name` ends in `.*`, the parameter's name follows on the wire."""

    name: str
    status: int
    meaning: str
    remedy: str
    documented: bool = True  # by SMC or its gateway; False: our own code


CODES: Final = (
    ErrorCode("InvalidAction.NotFound", 404, "no such operation", "see the list of operations"),
    ErrorCode("InvalidVersion", 404, "this API has one version", "use version 2019-06-01"),
    ErrorCode("InvalidAccessKeyId.NotFound", 404, "no such access key", "create one: connector control key create --state DIR"),
    ErrorCode(
        "InvalidAccessKeyId.Inactive",
        403,
        "the access key is disabled, expired or not approved again",
        "see the message",
        documented=False,
    ),
    ErrorCode("SignatureDoesNotMatch", 400, "the secret or the signing is wrong", "compare the string to sign"),
    ErrorCode("IncompleteSignature", 400, "a part of the signature is missing", "sign as the official SDKs do"),
    ErrorCode("SignatureNonceUsed", 400, "this request was made before", "use a fresh nonce for each request"),
    ErrorCode("InvalidTimeStamp.Format", 400, "the time has another format", "use yyyy-MM-ddTHH:mm:ssZ, in UTC"),
    ErrorCode("InvalidTimeStamp.Expired", 400, "the clocks are over 15 minutes apart", "set the client's clock"),
    ErrorCode("Forbidden.Unauthorized", 403, "the key's role does not allow this", "use a key with a higher role"),
    ErrorCode("MissingParameter.*", 400, "a required parameter is missing or empty", "give it"),
    ErrorCode("InvalidParameter.*", 400, "a value breaks the parameter's rule", "see the parameter's rule"),
    ErrorCode(
        "UnknownParameter", 400, "no such parameter", "check its spelling; a newer release may know it", documented=False
    ),
    ErrorCode("MalformedRequest", 400, "the request cannot be read", "send a query or a form", documented=False),
    ErrorCode("NumberExceed.*", 400, "too many items in a list", "split the request"),
    ErrorCode("MissingParameter.ResourceType", 400, "the type of the resources is missing", "give ResourceType"),
    ErrorCode("InvalidResourceType.NotFound", 400, "no such type", "sourceserver or replicationjob"),
    ErrorCode("Duplicate.ResourceId", 400, "an id is listed twice", "list each once"),
    ErrorCode("InvalidResourceId.NotFound", 400, "no resource has this id", "list the resources"),
    ErrorCode("Duplicate.DiskKey", 400, "a disk is listed twice", "list each disk once", documented=False),
    ErrorCode("Duplicate.TagKey", 400, "a tag key is listed twice", "list each once", documented=False),
    ErrorCode("Duplicate.JobId", 400, "a job is listed twice", "list each once", documented=False),
    ErrorCode("SourceServer.NotFound", 404, "no such source", "list the sources, or rescan", documented=False),
    ErrorCode("SourceServerState.Invalid", 400, "the source's state does not allow this", "bring it back online"),
    ErrorCode(
        "SourceServer.WithUnfinishedReplicationJob",
        400,
        "the source has an unfinished job",
        "finish or delete that job first",
        documented=False,
    ),
    ErrorCode(
        "SourceServer.WithRunningReplicationJob", 400, "a job of the source is running", "stop and delete it"
    ),
    ErrorCode("SourceServer.Ineligible", 400, "a finding blocks the source", "see the message", documented=False),
    ErrorCode("ReplicationJob.Related", 400, "the source has a job", "delete the job first, or use Force"),
    ErrorCode("SourceServerName.Duplicate", 400, "another source has this name", "choose another name"),
    ErrorCode("ReplicationJob.NotFound", 404, "no such job", "list the jobs", documented=False),
    ErrorCode("ReplicationJob.InvalidStatus", 400, "the job's status does not allow this", "see the message"),
    ErrorCode(
        "ReplicationJobImage.NotFound", 404, "the job has no image yet", "let its first run finish", documented=False
    ),
    ErrorCode("ReplicationJobDrill.NotFound", 404, "no such drill, or no such file", "list its drills", documented=False),
    ErrorCode("ReplicationJobName.Duplicate", 400, "another job has this name", "choose another name"),
    ErrorCode("ReplicationJobDataDiskIndex.Invalid", 400, "the source has no such data disk", "list its disks"),
    ErrorCode("DataDisk.DuplicateIndex", 400, "a data disk is listed twice", "list each disk once"),
    ErrorCode("QuotaExceeded.ReplicationJob", 400, "too many jobs", "delete jobs, or raise the quota"),
    ErrorCode("QuotaExceeded.*", 400, "a quota is used up", "delete what is not needed", documented=False),
    ErrorCode("IdempotentParameterMismatch", 400, "this ClientToken made something else", "use a new token"),
    ErrorCode("MigrationAppliance.NotFound", 404, "no such appliance", "list them", documented=False),
    ErrorCode(
        "MigrationAppliance.InOtherWorkgroup", 400, "its vCenter is another tenant's", "revoke the appliance", documented=False
    ),
    ErrorCode("AccessToken.NotFound", 404, "no such activation code", "list them", documented=False),
    ErrorCode("Workgroup.NotFound", 404, "no such workgroup", "list the workgroups", documented=False),
    ErrorCode("WorkgroupName.Duplicate", 400, "another workgroup has this name", "choose another", documented=False),
    ErrorCode("Workgroup.NotEmpty", 400, "sources are in the workgroup", "disassociate them", documented=False),
    ErrorCode("SourceServer.InOtherWorkgroup", 400, "the source is in a workgroup", "disassociate it", documented=False),
    ErrorCode("AccessKey.NotFound", 404, "no such access key", "list them", documented=False),
    ErrorCode("ControlPlane.StateRestored", 409, "its own state was restored", "confirm the restore", documented=False),
    ErrorCode("ControlPlane.NotRestored", 409, "no restore waits for it", "look at its status", documented=False),
    ErrorCode("UnsupportedOperation.*", 400, "not offered here", "see the message", documented=False),
    ErrorCode("UnsupportedOperation", 400, "not offered", "see the message", documented=False),
    ErrorCode("Throttling", 503, "too many requests at once", "wait and repeat"),
    ErrorCode("ServiceUnavailable", 503, "the control plane cannot answer now", "wait and repeat"),
    ErrorCode("InternalError", 500, "a defect of ours", "read the control plane's log"),
)  # fmt: skip

_EXACT: Final = {code.name: code for code in CODES if not code.name.endswith(".*")}
_FAMILIES: Final = {code.name[:-2]: code for code in CODES if code.name.endswith(".*")}


def code_of(name: str) -> ErrorCode:
    """The entry for a code as it is on the wire. Raises `KeyError` if there is none."""
    return _EXACT.get(name) or _FAMILIES[name.partition(".")[0]]


class Denied(Exception):
    """The answer is an error with `code` as on the wire and one line that says why."""

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        entry = code_of(code)
        self.status = entry.status
        self.remedy = remedy or entry.remedy


def missing(name: str) -> Denied:
    """The refusal of a request without a required parameter."""
    return Denied(f"MissingParameter.{name}", f"{name} is mandatory for this action.")


def invalid(name: str, rule: str) -> Denied:
    """The refusal of a value that breaks its rule. It does not repeat the value."""
    return Denied(f"InvalidParameter.{name}", f"The specified parameter {name} is not valid: {rule}.")


#: The codes of errors of the control plane that carry no code of their own.
_OURS: Final = (
    (NotFound, "InvalidResourceId.NotFound"),
    (NotPermitted, "Forbidden.Unauthorized"),
    (AuthenticationFailed, "Forbidden.Unauthorized"),
    (BadInput, "InvalidParameter.Request"),
    (Ineligible, "SourceServer.Ineligible"),
    (StateRestored, "ControlPlane.StateRestored"),
    (Conflict, "ReplicationJob.InvalidStatus"),
)


def translated(failed: ConnectorError) -> Denied:
    """One of our errors under its public code. Internal failures are not shown: they may name files and hosts."""
    code = getattr(failed, "code", None)
    if code is None:
        code = next((code for kind, code in _OURS if isinstance(failed, kind)), None)
    if code is None:
        return Denied("ServiceUnavailable", "The control plane cannot answer now.")
    subject = f"{failed.on}: " if failed.on else ""
    return Denied(str(code), f"{subject}{failed.what}", failed.remedy)
