"""Every error for users is one line: what failed, on which object, what to do next.

    ConnectorError
    ├── BadInput              2   the request itself is wrong
    ├── NotFound              3   no object answers to that name
    ├── Ambiguous             3   several objects answer to that name
    ├── TrustFailed           4   a certificate is neither pinned nor signed by the given authority
    │   ├── EvidenceDamaged       a manifest is not as it was signed
    │   └── AuditLogDamaged       the audit log is not as it was written
    ├── AuthenticationFailed  4   user, password, cookie or token refused
    ├── NotPermitted          4   a privilege is missing
    ├── Ineligible            5   this machine or disk cannot be migrated as it is
    ├── VCenterFault          6   vCenter refused or failed a call
    │   ├── SessionExpired
    │   ├── ChangesUnknown        CBT cannot be trusted for this disk
    │   └── Unreachable
    ├── ReaderFailed          7   a reader (VDDK, NFC, HTTPS): missing, unfit, or a read failed
    ├── TransferFailed        8   the connection to the intermediate instance broke
    │   ├── WireViolation         a peer sent bytes that the format does not allow
    │   └── PeerRefused           the peer declined, and said why
    ├── TargetFailed          9   the target side cannot store what was sent
    │   ├── TargetFull
    │   └── PortInUse
    ├── ProofFailed          10   bytes differ
    │   └── ChangesMissed         CBT missed changed bytes
    ├── Conflict             11   the state of a job or source does not allow the operation
    │   └── StateRestored         the control plane's own state is older than its peers know
    ├── ControlFailed        12   the control plane is unreachable or failed
    └── Interrupted         130   stopped on request

The number is the exit code of the command line. `retryable` says whether the same call may succeed later without
anybody changing anything.
"""

from __future__ import annotations

from typing import ClassVar

from connector.names import visible

EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "a defect",
    2: "bad input",
    3: "nothing of that name, or several",
    4: "certificate, password or privilege",
    5: "a machine or disk cannot be migrated as it is",
    6: "vCenter failed a call",
    7: "a reader is missing, unfit, or failed to read",
    8: "the connection to the instance broke",
    9: "the target cannot store it: full, or its port is taken",
    10: "bytes differ",
    11: "the state does not allow it",
    12: "the control plane or the appliance failed; in a wave also a call, a hook or a machine's job",
    13: "an image does not boot",
    130: "stopped on request; run again to resume",
}


def one_line(text: str) -> str:
    """`text` for people: no character in it ends the line or controls the terminal."""
    return visible(text)


class ConnectorError(Exception):
    """What failed, on which object, what to do next. `str()` is one line and never holds a secret."""

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    retryable: bool = False

    def __init__(self, what: str, *, on: str = "", remedy: str = "", retryable: bool | None = None) -> None:
        super().__init__(what)
        self.what = " ".join(what.split())
        self.on = on
        self.remedy = " ".join(remedy.split())
        if retryable is not None:
            self.retryable = retryable

    @property
    def id(self) -> str:
        """The error's stable name in the catalogue, also for a subclass that a room defines."""
        return next(kind.__name__ for kind in type(self).__mro__ if kind.__module__ == __name__)

    def __str__(self) -> str:
        subject = f"{self.on}: " if self.on else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return one_line(f"{subject}{self.what}{remedy}")

    def to_json(self) -> dict[str, object]:
        """The shape in which errors cross HTTP between our own processes."""
        return {
            "error": self.id,
            "what": self.what,
            "on": self.on,
            "remedy": self.remedy,
            "retryable": self.retryable,
        }


class BadInput(ConnectorError):
    """The request is malformed or contradicts itself."""

    exit_code = 2
    http_status = 400


class NotFound(ConnectorError):
    """No object answers to that name."""

    exit_code = 3
    http_status = 404


class Ambiguous(ConnectorError):
    """Several objects answer to that name."""

    exit_code = 3
    http_status = 409


class TrustFailed(ConnectorError):
    """The peer's certificate is neither pinned nor signed by the given authority."""

    exit_code = 4
    http_status = 495


class EvidenceDamaged(TrustFailed):
    """A manifest is not as it was signed; the message says where."""

    http_status = 422


class AuditLogDamaged(TrustFailed):
    """The audit log is not as it was written; the message says at which line."""

    http_status = 422


class AuthenticationFailed(ConnectorError):
    """User, password, cookie or token refused. Nothing is tried again by itself, because accounts lock."""

    exit_code = 4
    http_status = 401


class NotPermitted(ConnectorError):
    """A privilege is missing; the message names it."""

    exit_code = 4
    http_status = 403


class Ineligible(ConnectorError):
    """This machine or disk cannot be migrated as it is."""

    exit_code = 5
    http_status = 422


class VCenterFault(ConnectorError):
    """vCenter refused or failed a call."""

    exit_code = 6
    http_status = 502


class SessionExpired(VCenterFault):
    """The session is gone; logging in again helps."""

    retryable = True


class ChangesUnknown(VCenterFault):
    """CBT cannot be trusted for this disk. It never means "no changes"."""


class Unreachable(VCenterFault):
    """No answer from vCenter."""

    retryable = True


class ReaderFailed(ConnectorError):
    """A reader (VDDK, NFC, HTTPS) is missing or unfit, or a read failed."""

    exit_code = 7
    http_status = 502


class TransferFailed(ConnectorError):
    """The connection to the intermediate instance broke; resuming continues inside the disk."""

    exit_code = 8
    http_status = 502
    retryable = True


class WireViolation(TransferFailed):
    """A peer sent bytes that the format does not allow."""

    http_status = 400
    retryable = False


class PeerRefused(TransferFailed):
    """The peer declined and said why."""

    http_status = 409
    retryable = False


class TargetFailed(ConnectorError):
    """The target side cannot store what was sent."""

    exit_code = 9
    http_status = 507


class TargetFull(TargetFailed):
    """No space left at the target."""


class PortInUse(TargetFailed):
    """Another program listens on a port of the instance."""


class ProofFailed(ConnectorError):
    """Source and target differ."""

    exit_code = 10
    http_status = 409


class ChangesMissed(ProofFailed):
    """An audit found bytes that differ where CBT says that nothing changed; the next pass compares."""


class BootFailed(ConnectorError):
    """A copy of an image was started and did not come up."""

    exit_code = 13


class Conflict(ConnectorError):
    """The state of a job or source does not allow the operation."""

    exit_code = 11
    http_status = 409


class StateRestored(Conflict):
    """The control plane's state was restored from an older copy; it begins nothing until an administrator confirms."""


class ControlFailed(ConnectorError):
    """The control plane is unreachable or failed."""

    exit_code = 12
    http_status = 503
    retryable = True


class Interrupted(ConnectorError):
    """Stopped on request; nothing is lost, running again resumes."""

    exit_code = 130
    http_status = 503
    retryable = True


def catalogue() -> dict[str, type[ConnectorError]]:
    """Every error class of this module by its id. Subclasses of rooms are not sent to other processes."""
    classes: dict[str, type[ConnectorError]] = {}
    pending: list[type[ConnectorError]] = [ConnectorError]
    while pending:
        kind = pending.pop()
        if kind.__module__ == __name__:
            classes[kind.__name__] = kind
        pending.extend(kind.__subclasses__())
    return classes


def from_json(body: object, fallback: type[ConnectorError] = ControlFailed) -> ConnectorError:
    """Rebuild the error that a peer reported; anything unknown becomes `fallback`."""
    if not isinstance(body, dict):
        return fallback("the peer answered without a reason")
    kind = catalogue().get(str(body.get("error")), fallback)
    return kind(
        str(body.get("what") or "unknown failure"),
        on=str(body.get("on") or ""),
        remedy=str(body.get("remedy") or ""),
        retryable=bool(body.get("retryable")),
    )
