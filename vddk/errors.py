"""The errors of this room in one tree; each error is one line: what failed, on what, what to do
next.

    VddkError
    +-- InstallationError           the VDDK on this machine
    |   +-- LibraryNotFound  LibraryUnloadable  SymbolMissing  VersionOutsideRange
    +-- UsageError                  our caller broke a rule; nothing was asked of the library
    |   +-- Misaligned  OutOfRange  BadBuffer  BadSetting  TooManyInFlight
    |   +-- WrongThread  AlreadyInitialised  DiskClosed
    +-- LibraryMisbehaved           an answer that the interface does not allow
    +-- WorkerError                 the child process that holds the library
    |   +-- WorkerDied (LibraryPanicked)  WorkerTimedOut
    +-- VixError                    the library's own codes, one class per family, see `vddk.codes`

Errors carry plain fields only, so that they cross the process border unchanged (`to_fields`, `from_fields`).
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from vddk.codes import CODES, HINTS, UNKNOWN, Code


@dataclass(eq=False)
class VddkError(Exception):
    """Root of the tree. ``retryable``: the same call can succeed later without a person doing something."""

    message: ClassVar[str] = "VDDK failed"

    def __str__(self) -> str:
        return " ".join(self.message.format(self).split())

    @property
    def retryable(self) -> bool:
        return False

    def __reduce__(self) -> tuple[Any, ...]:
        return from_fields, (type(self).__name__, to_fields(self))


class InstallationError(VddkError):
    """The directory given as VDDK installation cannot be used."""


@dataclass(eq=False)
class LibraryNotFound(InstallationError):
    directory: str
    names: str
    message = "no {0.names} in {0.directory}/lib64 or {0.directory}; give the directory that VDDK unpacks to"


@dataclass(eq=False)
class LibraryUnloadable(InstallationError):
    path: str
    reason: str
    message = (
        "{0.path} does not load: {0.reason}; its dependencies are searched through LD_LIBRARY_PATH, "
        "which must hold its directory before the process starts"
    )


@dataclass(eq=False)
class SymbolMissing(InstallationError):
    path: str
    symbol: str
    since: str
    oldest: str
    message = (
        "{0.path} lacks {0.symbol}, which VDDK has since {0.since}; "
        "the oldest supported version is {0.oldest}: install a newer VDDK"
    )


@dataclass(eq=False)
class VersionOutsideRange(InstallationError):
    vddk: str
    vsphere: str
    supported: str
    message = (
        "VDDK {0.vddk} does not support vSphere {0.vsphere}; "
        "it supports {0.supported}: install a matching VDDK"
    )


class UsageError(VddkError):
    """A rule of this package was broken by its caller."""


@dataclass(eq=False)
class Misaligned(UsageError, ValueError):
    offset: int
    length: int
    message = (
        "read of {0.length} bytes at {0.offset}: offset and length must be multiples of 512, length above 0"
    )


@dataclass(eq=False)
class OutOfRange(UsageError, ValueError):
    offset: int
    length: int
    capacity: int
    message = "{0.length} bytes at {0.offset} are not inside a disk of {0.capacity} bytes"


@dataclass(eq=False)
class BadBuffer(UsageError, ValueError):
    reason: str
    message = "the buffer cannot be read into: {0.reason}; give writable contiguous memory"


@dataclass(eq=False)
class BadSetting(UsageError, ValueError):
    name: str
    reason: str
    message = "setting {0.name}: {0.reason}"


@dataclass(eq=False)
class TooManyInFlight(UsageError):
    depth: int
    message = "{0.depth} reads are in flight already; take completions before submitting more"


@dataclass(eq=False)
class WrongThread(UsageError):
    call: str
    owner: str
    message = "{0.call} outside its owner thread ({0.owner}); use a disk on the thread that opened it"


@dataclass(eq=False)
class AlreadyInitialised(UsageError):
    directory: str
    message = (
        "this process has initialised VDDK from {0.directory} already; use a worker for another installation"
    )


@dataclass(eq=False)
class DiskClosed(UsageError):
    path: str
    message = "{0.path} is closed"


@dataclass(eq=False)
class LibraryMisbehaved(VddkError):
    call: str
    what: str
    message = "VixDiskLib_{0.call} {0.what}; probe the installation and compare its version with vCenter's"


class WorkerError(VddkError):
    """The child process that holds the library failed; the disk can be opened again in a new one."""

    @property
    def retryable(self) -> bool:
        return True


@dataclass(eq=False)
class WorkerDied(WorkerError):
    """``status`` is an exit code, or minus the number of the signal that ended the process."""

    path: str
    status: int
    lines: tuple[str, ...] = ()
    message = "the VDDK worker of {0.path} died ({0.how}); open the disk again{0.last_words}"

    @property
    def signal(self) -> int | None:
        return -self.status if self.status < 0 else None

    @property
    def how(self) -> str:
        return f"signal {self.signal}" if self.signal else f"exit code {self.status}"

    @property
    def last_words(self) -> str:
        return "; last log lines: " + " | ".join(self.lines) if self.lines else ""


class LibraryPanicked(WorkerDied):
    """The library called its panic callback, so the process that held it ended itself."""

    message = "VDDK panicked while serving {0.path}; open the disk again{0.last_words}"


@dataclass(eq=False)
class WorkerTimedOut(WorkerError):
    path: str
    call: str
    seconds: float
    message = "{0.call} on {0.path} took more than {0.seconds:g} s; its worker was ended: open the disk again"


@dataclass(eq=False)
class VixError(VddkError):
    """A code answered by the library.

    ``value`` is the whole 64-bit answer, of which the low 16 bits are the code; ``text`` is the library's own
    wording; ``hint`` is a log line of the failing call that explains more than the code does.
    """

    value: int
    call: str
    target: str = ""
    text: str = ""
    hint: str = ""
    message = "VixDiskLib_{0.call} {0.target}: {0.code} {0.name} ({0.wording}): {0.cause}; {0.remedy}"

    @property
    def code(self) -> int:
        return self.value & 0xFFFF

    @property
    def row(self) -> Code:
        return CODES.get(self.code, UNKNOWN)

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def wording(self) -> str:
        return self.text or "no text"

    @property
    def cause(self) -> str:
        return self.hint or self.row.cause

    @property
    def remedy(self) -> str:
        return next((hint.remedy for hint in HINTS if self.hint and hint.text in self.hint), self.row.remedy)

    @property
    def retryable(self) -> bool:
        answers = (hint.retryable for hint in HINTS if self.hint and hint.text in self.hint)
        return next(answers, self.row.retryable)


class UnexplainedFailure(VixError):
    """Code 1 and similar codes: the library does not say why, but its log lines may."""


class InvalidRequest(VixError):
    """A range, size, name or type that the library refuses."""


class PastTheEnd(InvalidRequest):
    """The range ends after the disk does."""


class NotFound(VixError):
    """A file, machine, object or key does not exist."""


class AccessDenied(VixError):
    """A privilege, lock or mode forbids it."""


class AuthenticationFailed(VixError):
    """User, password or cookie are wrong. Do not repeat the call by itself: accounts get locked."""


class SessionExpired(AuthenticationFailed):
    """The session cookie is no longer known: log in again, then connect."""


class UntrustedServer(VixError):
    """The certificate is not the one that was pinned."""


class LicenseMissing(VixError):
    """The host's licence excludes the storage API."""


class EncryptedDisk(VixError):
    """The disk is encrypted and the key is out of reach."""


class Unsupported(VixError):
    """This storage, disk or connection does not support it."""


class Busy(VixError):
    """The object is in use elsewhere."""


class OutOfResources(VixError):
    """Memory, handles, sessions or space ran out: wait, and request less."""


class NetworkFailure(VixError):
    """The connection broke: reconnect and resume."""


class NameUnresolved(NetworkFailure):
    """A host's name does not resolve from here."""


class ConnectionRefused(NetworkFailure):
    """A port is closed."""


class HostUnavailable(VixError):
    """The ESXi host is leaving, gone or in maintenance: wait for the machine to move."""


class StorageFailure(VixError):
    """Reading or writing the disk failed on the host."""


class BrokenChain(VixError):
    """The snapshot chain or a link of it is damaged."""


class SnapshotRefused(VixError):
    """The machine's disks do not allow the snapshot."""


class RuleBroken(VixError):
    """The library says that its calling rules were broken: a defect of this package."""


class UnknownVixError(VixError):
    """A code that is not in the table."""


def _tree(root: type[VddkError]) -> Iterator[type[VddkError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


CLASSES: Final[dict[str, type[VddkError]]] = {cls.__name__: cls for cls in _tree(VddkError)}
VIX_CLASSES: Final[dict[str, type[VixError]]] = {
    name: cls for name, cls in CLASSES.items() if issubclass(cls, VixError)
}


def from_value(
    value: int, call: str, target: str = "", text: str = "", log: tuple[str, ...] = ()
) -> VixError:
    """The typed error for a non-zero answer. ``log`` are the lines that the library wrote during the call."""
    code = CODES.get(value & 0xFFFF, UNKNOWN)
    match = next(((hint, line) for hint in HINTS for line in reversed(log) if hint.text in line), None)
    family, line = (match[0].family, match[1]) if match else (code.family, "")
    return VIX_CLASSES[family](value, call, target, text, line)


def to_fields(error: VddkError) -> dict[str, Any]:
    """The fields of an error as plain values."""
    return {field.name: getattr(error, field.name) for field in dataclasses.fields(error)}


def from_fields(name: str, fields: dict[str, Any]) -> VddkError:
    """The inverse of `to_fields`; ``name`` is the name of a class of this tree."""
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return CLASSES[name](**plain)


GENERATIONS: Final = ("5.0", "5.1", "5.5", "6.0", "6.5", "6.7", "7.0", "8.0", "9.0")
"""Releases of vSphere, in order. A version between two counts as the earlier one (8.0.3 and 8.1 as 8.0)."""


def _numbers(version: str) -> tuple[int, ...]:
    digits = (part for part in version.replace("-", ".").split("."))
    return tuple(int(part) for part in digits if part.isdigit())


def _generation(version: str) -> int:
    known = [index for index, name in enumerate(GENERATIONS) if _numbers(name) <= _numbers(version)[:2]]
    if _numbers(version)[:1] > _numbers(GENERATIONS[-1])[:1]:
        return len(GENERATIONS)
    return known[-1] if known else -1


def check_versions(vddk: str, vsphere: str) -> None:
    """Raises `VersionOutsideRange` unless VDDK n meets vSphere n-2 .. n+1.

    Outside this range a disk can open and tell its size, and then fail at the first read.
    """
    have = _generation(vddk)
    if have - 2 <= _generation(vsphere) <= have + 1:
        return
    names = GENERATIONS[max(have - 2, 0) : have + 2]
    raise VersionOutsideRange(vddk, vsphere, ", ".join(names) or "no known release")


def markdown_table() -> str:
    """The error table as documentation; ``docs/vddk.md`` holds a copy."""
    head = "| code | name | raised as | likely cause | what to do | retry |\n|---|---|---|---|---|---|\n"
    return head + "".join(
        f"| {row.number} | {row.name} | `{row.family}` | {row.cause} | {row.remedy} | "
        f"{'yes' if row.retryable else 'no'} |\n"
        for row in CODES.values()
    )
