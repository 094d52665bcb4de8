"""Every failure of a vCenter call becomes one of our errors, by the table here; no foreign exception leaves the room."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, IncompleteRead
from typing import Any, NamedTuple
from xml.parsers.expat import ExpatError

from connector.errors import (
    Ambiguous,
    AuthenticationFailed,
    BadInput,
    Conflict,
    ConnectorError,
    Ineligible,
    NotFound,
    NotPermitted,
    SessionExpired,
    TrustFailed,
    Unreachable,
    VCenterFault,
)
from connector.vcenter.vmomi import kind_of, vmodl

_SEE_EVENTS = "see the task and the events of the object in vCenter"


class FaultRule(NamedTuple):
    """The error for one fault class, and for every class below it that has no rule of its own."""

    error: type[ConnectorError]
    what: str
    remedy: str = _SEE_EVENTS
    retryable: bool = False
    details: tuple[str, ...] = ()  # attributes of the fault worth showing


_BUSY = "wait for the running task; a backup may hold the machine"
_SPACE = "free space on the datastore, or move the machine"
_RIGHTS = "grant the privilege to this user on the machine and its datastores, see the vCenter role"
_REFRESH = "refresh the inventory"
_ADDRESS = "check the address, the port and the network in between"
_QUIESCE = "take the snapshot without quiescing"

RULES: dict[str, FaultRule] = {
    # session and rights
    "InvalidLogin": FaultRule(
        AuthenticationFailed,
        "user or password refused",
        "check both; nothing is retried, because accounts lock",
    ),
    "InvalidLocale": FaultRule(BadInput, "locale refused"),
    "NotAuthenticated": FaultRule(SessionExpired, "the session has ended", retryable=True),
    "NoPermission": FaultRule(NotPermitted, "a privilege is missing", _RIGHTS, details=("privilegeId",)),
    "SecurityError": FaultRule(NotPermitted, "refused for security reasons", _RIGHTS),
    "AuthenticationRequired": FaultRule(AuthenticationFailed, "vCenter demands another kind of login"),
    "InvalidToken": FaultRule(AuthenticationFailed, "the login token was refused"),
    "SessionNotFound": FaultRule(SessionExpired, "the session has ended", retryable=True),
    "PasswordExpired": FaultRule(
        AuthenticationFailed, "the password has expired", "set a new one in vCenter"
    ),
    "RestrictedVersion": FaultRule(
        Ineligible, "the licence of this host forbids the call", "license the host"
    ),
    "RestrictedByAdministrator": FaultRule(NotPermitted, "the administrator has restricted this operation"),
    # what is asked about
    "ManagedObjectNotFound": FaultRule(NotFound, "the object is gone", _REFRESH, details=("obj",)),
    "NotFound": FaultRule(NotFound, "the snapshot or disk is gone", _REFRESH),
    "InvalidArgument": FaultRule(VCenterFault, "an argument was refused", details=("invalidProperty",)),
    "InvalidRequest": FaultRule(VCenterFault, "the request was not understood"),
    "InvalidType": FaultRule(
        VCenterFault, "this vCenter does not know the type of an argument", details=("argument",)
    ),
    "MethodNotFound": FaultRule(VCenterFault, "this vCenter does not offer the call", details=("method",)),
    "InvalidProperty": FaultRule(VCenterFault, "this vCenter does not know a property", details=("name",)),
    "InvalidCollectorVersion": FaultRule(SessionExpired, "the change notification was lost", retryable=True),
    "NotSupported": FaultRule(Ineligible, "not supported for this machine in its present state"),
    "NotImplemented": FaultRule(VCenterFault, "this vCenter does not implement the call"),
    "NotEnoughLicenses": FaultRule(Ineligible, "no licence is left for this operation"),
    "InvalidName": FaultRule(BadInput, "a name was refused", details=("name",)),
    "DuplicateName": FaultRule(Ambiguous, "an object of that name exists", details=("name",)),
    # state
    "TaskInProgress": FaultRule(Conflict, "another task is running on it", _BUSY, retryable=True),
    "ConcurrentAccess": FaultRule(
        Conflict, "somebody else changed it at the same time", "try again", retryable=True
    ),
    "InvalidState": FaultRule(Conflict, "its state does not allow the operation"),
    "InvalidPowerState": FaultRule(
        Conflict, "its power state does not allow the operation", details=("existingState", "requestedState")
    ),
    "ToolsUnavailable": FaultRule(
        Conflict,
        "VMware Tools do not run in the guest",
        "start them; without them, shut it down from inside or allow a hard power-off, and do not ask for quiesced snapshots",
    ),
    "Timedout": FaultRule(VCenterFault, "vCenter gave up waiting", "try again", retryable=True),
    "RequestCanceled": FaultRule(Conflict, "somebody cancelled the task", "try again", retryable=True),
    "HostNotConnected": FaultRule(
        VCenterFault, "its host is not connected", "reconnect the host", retryable=True
    ),
    "HostNotReachable": FaultRule(
        VCenterFault, "its host does not answer", "reconnect the host", retryable=True
    ),
    "HostCommunication": FaultRule(
        VCenterFault, "vCenter cannot talk to the host", "check the host", retryable=True
    ),
    "HostConnectFault": FaultRule(
        VCenterFault, "vCenter cannot connect to the host", "check the host", retryable=True
    ),
    "InsufficientResourcesFault": FaultRule(VCenterFault, "the host has not enough resources", "free some"),
    # snapshots, files, configuration
    "SnapshotFault": FaultRule(
        VCenterFault, "the snapshot failed", "see the machine's log (vmware.log)", retryable=True
    ),
    "ApplicationQuiesceFault": FaultRule(
        VCenterFault, "the guest could not be quiesced", _QUIESCE, retryable=True
    ),
    "FilesystemQuiesceFault": FaultRule(
        VCenterFault, "the guest could not be quiesced", _QUIESCE, retryable=True
    ),
    "TooManySnapshotLevels": FaultRule(Ineligible, "too many snapshot levels", "delete old snapshots first"),
    "SnapshotDisabled": FaultRule(
        Ineligible, "snapshots are disabled for this machine", "enable them in its options"
    ),
    "SnapshotLocked": FaultRule(Conflict, "snapshots of this machine are locked", _BUSY, retryable=True),
    "SnapshotIncompatibleDeviceInVm": FaultRule(
        Ineligible,
        "a device of this machine does not allow snapshots",
        "remove the device or migrate it powered off",
    ),
    "MemorySnapshotOnIndependentDisk": FaultRule(
        VCenterFault, "an independent disk does not allow a memory snapshot"
    ),
    "MultipleSnapshotsNotSupported": FaultRule(
        Ineligible, "this machine allows one snapshot only", "delete the other"
    ),
    "SnapshotNoChange": FaultRule(VCenterFault, "nothing changed since the last snapshot"),
    "VmConfigFault": FaultRule(Ineligible, "its configuration does not allow the operation"),
    "GenericVmConfigFault": FaultRule(
        VCenterFault, "its configuration does not allow the operation", details=("reason",)
    ),
    "FileFault": FaultRule(VCenterFault, "a file could not be used", details=("file",)),
    "FileNotFound": FaultRule(VCenterFault, "a file is missing on the datastore", details=("file",)),
    "FileLocked": FaultRule(Conflict, "a file is locked", _BUSY, retryable=True, details=("file",)),
    "NoDiskSpace": FaultRule(VCenterFault, "the datastore is full", _SPACE, details=("datastore", "file")),
    "InvalidDatastore": FaultRule(VCenterFault, "the datastore cannot be used", details=("name",)),
    "InaccessibleDatastore": FaultRule(
        VCenterFault, "the datastore is not accessible", details=("name",), retryable=True
    ),
    # vCenter itself
    "MethodDisabled": FaultRule(
        Conflict, "the call is switched off for this machine", _BUSY, True, ("source",)
    ),
    "MethodAlreadyDisabledFault": FaultRule(
        Conflict, "the call is switched off for this machine", _BUSY, True
    ),
    "VAppOperationInProgress": FaultRule(Conflict, "its vApp is busy", _BUSY, retryable=True),
    "DisallowedChangeByService": FaultRule(Conflict, "another service manages it", details=("serviceName",)),
    "ConflictingDatastoreFound": FaultRule(
        VCenterFault, "two datastores share a name or an address", details=("name",)
    ),
    "DatabaseError": FaultRule(VCenterFault, "vCenter's database failed", "check vCenter", retryable=True),
    "OperationDisallowedOnHost": FaultRule(VCenterFault, "its host does not allow the operation"),
    "DisallowedOperationOnFailoverHost": FaultRule(VCenterFault, "its host is reserved for failover"),
    "FailToLockFaultToleranceVMs": FaultRule(Conflict, "Fault Tolerance does not allow the operation", _BUSY),
    "LicenseAssignmentFailed": FaultRule(
        Ineligible, "the licence could not be used", "check vCenter's licences"
    ),
    "ThirdPartyLicenseAssignmentFailed": FaultRule(
        Ineligible, "the licence could not be used", "check the licences"
    ),
    "CannotDisableDrsOnClustersWithVApps": FaultRule(VCenterFault, "the cluster's vApps forbid it"),
    "InvalidProfileReferenceHost": FaultRule(VCenterFault, "the host profile has no reference host"),
    "InvalidScheduledTask": FaultRule(VCenterFault, "a scheduled task is invalid"),
    "HostConfigFault": FaultRule(VCenterFault, "the host's configuration failed"),
    "SystemError": FaultRule(
        VCenterFault, "vCenter reports an internal error", details=("reason",), retryable=True
    ),
    "UnexpectedFault": FaultRule(VCenterFault, "vCenter reports an unexpected fault", retryable=True),
    "OutOfBounds": FaultRule(VCenterFault, "a limit of vCenter was passed", details=("argumentName",)),
}

_STARTING = ("502", "503", "504")  # the proxy's answers while vCenter starts

FALLBACK = FaultRule(VCenterFault, "vCenter answered with a fault")


def rule(fault: type[object]) -> FaultRule:
    """The rule of the nearest class in the fault's ancestry."""
    names = (kind.__name__.rpartition(".")[2] for kind in fault.__mro__)
    return next((RULES[name] for name in names if name in RULES), FALLBACK)


def translate(fault: Any, on: str = "") -> ConnectorError:
    """The error for a vim or vmodl fault, with vCenter's own words in brackets."""
    entry = rule(type(fault))
    details = [str(getattr(fault, name, "") or "") for name in entry.details]
    words = [kind_of(fault), *details, _words(fault)]
    quoted = ": ".join(dict.fromkeys(part.strip("'") for part in words if part))
    return entry.error(f"{entry.what} ({quoted})", on=on, remedy=entry.remedy, retryable=entry.retryable)


def _words(fault: Any) -> str:
    """vCenter's localized message, and its first explanation when it gives any."""
    messages = [str(getattr(fault, "msg", "") or "")]
    messages += [str(entry.message or "") for entry in (getattr(fault, "faultMessage", None) or [])[:1]]
    return " ".join(part for part in messages if part)


@contextmanager
def translated(on: str) -> Iterator[None]:
    """Turn what pyVmomi, TLS, HTTP or the socket raises inside into our errors about `on`.

    Our own errors pass; they get `on` when they name no object.
    """
    try:
        yield
    except ConnectorError as ours:
        ours.on = ours.on or on
        raise
    except (vmodl.MethodFault, vmodl.RuntimeFault) as fault:
        raise translate(fault, on) from fault
    except ssl.SSLCertVerificationError as problem:
        raise TrustFailed(
            f"certificate not trusted ({getattr(problem, 'verify_message', problem)})",
            on=on,
            remedy="compare its thumbprint with the one that vCenter shows and set it, or give the authority's file",
        ) from problem
    except ssl.SSLError as problem:
        raise Unreachable(
            f"TLS failed ({getattr(problem, 'reason', None) or problem})", on=on, remedy=_ADDRESS
        ) from problem
    except OSError as problem:
        raise Unreachable(_network(problem), on=on, remedy=_ADDRESS) from problem
    except IncompleteRead as problem:
        raise Unreachable("it hung up in the middle of its answer", on=on, remedy=_ADDRESS) from problem
    except HTTPException as problem:
        if str(problem)[:3] in _STARTING:
            raise Unreachable(f"it is not ready (HTTP {problem})", on=on, remedy=_ADDRESS) from problem
        raise not_a_vcenter(f"it answers with HTTP {problem}", on) from problem
    except ExpatError as problem:
        raise not_a_vcenter("its answer is not the vSphere API's", on) from problem


def _network(problem: OSError) -> str:
    if isinstance(problem, TimeoutError):
        return "no answer in time"
    return f"cannot be reached ({problem.strerror or problem or type(problem).__name__})"


def not_a_vcenter(what: str, on: str) -> VCenterFault:
    """The error for a server that answers, but not as the vSphere API does."""
    return VCenterFault(f"this does not look like a vCenter: {what}", on=on, remedy="check host and port")
