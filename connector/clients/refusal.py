"""A refusal of the API, or a job's failure, becomes one of our errors by its code, from one table; it decides the exit code."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from connector.errors import (
    AuthenticationFailed,
    BadInput,
    Conflict,
    ConnectorError,
    ControlFailed,
    Ineligible,
    NotFound,
    NotPermitted,
    StateRestored,
    TargetFailed,
    catalogue,
)


class NotOffered(BadInput):
    """The control plane does not have this operation."""


#: The error for each code. The first pattern that matches decides.
KINDS: Final[tuple[tuple[str, type[ConnectorError]], ...]] = (
    ("InvalidAction.NotFound", NotOffered),
    ("InvalidApi.NotFound", NotOffered),
    ("InvalidVersion", NotOffered),
    ("InvalidAccessKeyId.*", AuthenticationFailed),
    ("SignatureDoesNotMatch", AuthenticationFailed),
    ("IncompleteSignature", AuthenticationFailed),
    ("SignatureNonceUsed", AuthenticationFailed),
    ("InvalidTimeStamp.*", AuthenticationFailed),
    ("InvalidSecurityToken.*", AuthenticationFailed),
    ("Forbidden*", NotPermitted),
    ("NoPermission", NotPermitted),
    ("ControlPlane.StateRestored", StateRestored),
    ("ControlPlane.*", Conflict),
    ("SourceServer.Ineligible", Ineligible),
    ("InvalidResourceType.NotFound", BadInput),
    ("*.NotFound", NotFound),
    ("*.InvalidStatus", Conflict),
    ("SourceServerState.Invalid", Conflict),
    ("SourceServer.With*", Conflict),
    ("*.InOtherWorkgroup", Conflict),
    ("ReplicationJob.Related", Conflict),
    ("Workgroup.NotEmpty", Conflict),
    ("*Name.Duplicate", Conflict),
    ("QuotaExceeded.*", Conflict),
    ("IdempotentParameterMismatch", Conflict),
    ("MissingParameter*", BadInput),
    ("InvalidParameter*", BadInput),
    ("UnknownParameter", BadInput),
    ("MalformedRequest", BadInput),
    ("NumberExceed.*", BadInput),
    ("Duplicate.*", BadInput),
    ("DataDisk.DuplicateIndex", BadInput),
    ("ReplicationJobDataDiskIndex.Invalid", BadInput),
    ("TransitionInstance.*", TargetFailed),
    ("UnsupportedOperation*", BadInput),
    ("Throttling*", ControlFailed),
    ("ServiceUnavailable", ControlFailed),
    ("InternalError", ControlFailed),
)

#: How the codes of our API begin that a run can end with. Everything else is a code of the target's cloud.
_OURS: Final = (
    "ControlPlane.",
    "InternalError",
    "ReplicationJob",
    "ServiceUnavailable",
    "SourceServer",
    "TransitionInstance.",
)

_BY_STATUS: Final = {401: AuthenticationFailed, 403: NotPermitted, 404: NotFound, 409: Conflict}

#: Sentences that are clearer than the server's. {action} and {apart} are filled in.
_WORDS: Final = {
    "InvalidAction.NotFound": (
        "this control plane does not offer {action}",
        "use a control plane of this version; {action} is described in docs/smc-api.md",
    ),
    "InvalidAccessKeyId.NotFound": (
        "it knows no such access key",
        "check CONNECTOR_ACCESS_KEY_ID; `connector control key list` shows what it knows",
    ),
    "SignatureDoesNotMatch": (
        "the secret does not belong to this access key",
        "check the secret's file; if it is right, a proxy changes the Host header or the path",
    ),
    "InvalidTimeStamp.Expired": (
        "the clocks are over 15 minutes apart{apart}",
        "set the clock of this machine, or the control plane's",
    ),
}


def kind_of(code: str, status: int) -> type[ConnectorError]:
    """The error for a code of the API, or of an unknown gateway before it."""
    for pattern, kind in KINDS:
        if fnmatchcase(code, pattern):
            return kind
    return _BY_STATUS.get(status, ControlFailed if status >= 500 else BadInput)


def failure_of(code: str) -> type[ConnectorError]:
    """The error for the ErrorCode of a failed job: the id of an error, a code of our API, or one of the target's cloud.

    A cloud's code is a failure of the target, whatever the same word means in our API.
    """
    if error := catalogue().get(code):
        return error
    return kind_of(code, 500) if not code or code.startswith(_OURS) else TargetFailed


def refused(action: str, status: int, body: Mapping[str, Any], date: str, *, on: str) -> ConnectorError:
    """The error of an answer. `date`: the answer's Date header. `on`: the control plane."""
    code = _line(body.get("Code"))[:80]
    kind = kind_of(code, status)
    if code in _WORDS:
        problem, remedy = (text.format(action=action, apart=_apart(date)) for text in _WORDS[code])
        return kind(f"{problem} ({code})", on=on, remedy=remedy)
    problem, remedy = _line(body.get("Message")) or "it gave no reason", _line(body.get("Recommend"))
    if status >= 500:
        request = f"request {_line(body.get('RequestId'))[:80]}"
        return kind(f"{problem} ({code})", on=on, remedy=f"{remedy}; {request}" if remedy else request,
                    retryable=status == 503)  # fmt: skip
    return kind(f"{problem.rstrip('.')} ({code})", remedy=remedy)


def _apart(date: str) -> str:
    try:
        now, its = time.time(), parsedate_to_datetime(date).timestamp()
        shown, its_shown = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)) for moment in (now, its))
    except (ValueError, TypeError, OverflowError):
        return ""
    direction = "ahead" if now > its else "behind"
    return f": ours shows {shown}, its clock {its_shown}; ours is {abs(now - its):.0f} s {direction}"


def _line(value: object) -> str:
    """One printable line, because a server's text goes to a terminal."""
    text = "" if value is None else str(value)
    return " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())
