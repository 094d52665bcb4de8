"""Everything that can go wrong here, as one tree; each error is one line: what failed, on what, why, what to do next.

    NfcError
    +-- UsageError              our caller broke a rule; nothing was asked of the host
    |   +-- Misaligned  OutOfRange  BadBuffer  BadSetting  TooManyInFlight  DiskClosed
    +-- NotNfc                  what answers at the port cannot be used
    |   +-- HttpAnswer  UnknownGreeting  TlsMissing  NfcOverTlsMissing  ProtocolTooOld  AioRefused  CommandRefused
    +-- TicketRefused           the ticket is expired or was used
    +-- UntrustedHost           a certificate is another one than the one that was named
    |   +-- FirstLayerUntrusted  SecondLayerUntrusted  NotSigned
    +-- ConnectionFailed        reconnect with a new ticket and resume
    |   +-- Unreachable  TlsFailed  SessionCut  TimedOut
    +-- MalformedAnswer         an answer that the protocol does not allow; it was not used
    |   +-- WrongMagic  SizeOutOfBounds  UnexpectedAnswer  BadFragment  UnknownCompression  BadCompression  AnswerTooLarge
    +-- HostError               the host's own error codes
        +-- BufferRefused  OutOfMemory  DiskLocked  RunningWithoutSnapshot  NotWritable  OpenRefused

What a host wrote is shortened and stripped of control characters before it becomes part of an error. Tickets never do.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple

_REOPEN: Final = "open the disk again with a new ticket"
_COMPATIBLE: Final = "use VDDK or HTTPS for this host, and report its version and this line"
AUTHORITY: Final = "the authority"
"""The source of certificates that the caller gave."""
PIN: Final = "the pin"
"""The source of a digest that the caller gave."""
LONGEST: Final = 160
"""Characters that a host's own words may take of an error."""


def readable(words: bytes | str) -> str:
    """What a host wrote, short and in one line."""
    text = words.decode("ascii", "backslashreplace") if isinstance(words, bytes) else words
    shown = "".join(character if character.isprintable() else " " for character in text[: LONGEST + 1])
    return shown if len(shown) <= LONGEST else shown[:LONGEST] + "..."


@dataclass(eq=False)
class NfcError(Exception):
    """Root of the tree. ``retryable``: the same can succeed later, with a new ticket, without a person doing something."""

    message: ClassVar[str] = "NFC failed"
    cause: ClassVar[str] = ""
    remedy: ClassVar[str] = ""
    retryable: ClassVar[bool] = False

    @property
    def id(self) -> str:
        return type(self).__name__

    def __str__(self) -> str:
        parts = [part for part in (self.cause, self.remedy) if part]
        return " ".join((self.message.format(self) + (": " + "; ".join(parts) if parts else "")).split())


class UsageError(NfcError):
    """A rule of this package was broken by its caller."""


@dataclass(eq=False)
class Misaligned(UsageError, ValueError):
    offset: int
    length: int
    message = "read of {0.length} bytes at {0.offset}"
    remedy = "offset and length must be multiples of 512, length above 0"


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
class DiskClosed(UsageError):
    path: str
    message = "{0.path} is closed"


@dataclass(eq=False)
class NotNfc(NfcError):
    """``words`` is what the host said."""

    host: str
    words: str
    message = "{0.host} answers no NFC: {0.words!r}"
    remedy = "check that the port is 902 of the ESXi host and that no proxy stands before it"


class HttpAnswer(NotNfc):
    cause = "a web server answers at this port"


class UnknownGreeting(NotNfc):
    cause = "the first line is not the greeting of VMware's authentication daemon"


class TlsMissing(NotNfc):
    cause = "its authentication daemon does not require TLS, so nothing secret is sent to it"
    remedy = "update the ESXi host"


class NfcOverTlsMissing(NotNfc):
    cause = "its authentication daemon offers no NFC over TLS with a named certificate, and disks are never read in clear"
    remedy = "update the ESXi host, or use VDDK"


class ProtocolTooOld(NotNfc):
    cause = "its NFC version is below 3, which has no asynchronous reads"
    remedy = "update the ESXi host, or use VDDK"


class AioRefused(NotNfc):
    cause = "it did not switch to asynchronous reads"
    remedy = _COMPATIBLE


@dataclass(eq=False)
class CommandRefused(NotNfc):
    command: str
    message = "{0.host} refused {0.command}: {0.words!r}"
    cause = "its authentication daemon does not know the command or the service"
    remedy = _COMPATIBLE


@dataclass(eq=False)
class TicketRefused(NfcError):
    host: str
    words: str
    message = "{0.host} refused the ticket: {0.words!r}"
    cause = "a ticket serves one connection within a short time, and this one is expired, was used, or is for another host"
    remedy = "ask vCenter for a new one"
    retryable = True


@dataclass(eq=False)
class UntrustedHost(NfcError):
    """``seen`` and ``expected`` are digests of the certificate, and ``source`` says who named the expected one."""

    host: str
    kind: str
    seen: str
    expected: str
    source: str
    layer: ClassVar[str] = ""
    message = (
        "{0.host} shows a certificate with {0.kind} {0.seen} in {0.layer}, but {0.source} names {0.expected}"
    )
    cause = "the host's certificate was renewed, or somebody stands between"
    remedy = "compare with the certificate on the host's console before trusting it"


class FirstLayerUntrusted(UntrustedHost):
    layer = "the first TLS layer"


class SecondLayerUntrusted(UntrustedHost):
    layer = "the second TLS layer, the one that carries data"


class NotSigned(UntrustedHost):
    """No authority of ``source`` has signed the certificate for this host; ``expected`` is what is wrong, in OpenSSL's words."""

    message = "{0.host} shows a certificate in {0.layer} that {0.source} does not vouch for ({0.expected})"
    cause = "another authority has signed it, or signed it for another name, or it has ended"
    layer = "the first TLS layer"


@dataclass(eq=False)
class ConnectionFailed(NfcError):
    """The connection broke or never came to be. What was read is good."""

    host: str
    reason: str
    message = "{0.host}: {0.reason}"
    remedy = _REOPEN
    retryable = True


class Unreachable(ConnectionFailed):
    message = "no connection to {0.host}: {0.reason}"
    remedy = "open TCP 902 from here to every ESXi host that may run the machine; its name must resolve here"


class TlsFailed(ConnectionFailed):
    message = "TLS with {0.host} failed in {0.reason}"
    remedy = "check that nothing between here and the host ends TLS"
    retryable = False


class SessionCut(ConnectionFailed):
    message = "the session with {0.host} was cut: {0.reason}"


class TimedOut(ConnectionFailed):
    message = "{0.host} was silent: {0.reason}"
    cause = "the host is short of memory for NFC or overloaded, or the network swallows packets"


@dataclass(eq=False)
class MalformedAnswer(NfcError):
    """The session is over, because nothing that follows can be trusted."""

    what: str
    message = "the host's answer is malformed: {0.what}"
    remedy = _COMPATIBLE


class WrongMagic(MalformedAnswer):
    """A frame does not begin with the magic number."""


class SizeOutOfBounds(MalformedAnswer):
    """A size is larger than anything that this kind of answer can need."""


class UnexpectedAnswer(MalformedAnswer):
    """An answer to nothing that was asked, or of another kind."""


class BadFragment(MalformedAnswer):
    """A fragment of a read lies outside of it, overlaps another or is missing."""


class AnswerTooLarge(BadFragment):
    """More bytes than were asked for."""


class UnknownCompression(MalformedAnswer):
    """A fragment is compressed in a way that was not asked for or is not known."""


class BadCompression(MalformedAnswer):
    """A fragment does not unpack to what it says."""


@dataclass(eq=False)
class HostError(NfcError):
    """``code`` is the first number of the error frame [?], ``words`` the text behind it, if there is any [?]."""

    code: int
    call: str
    target: str
    words: str = ""
    message = "{0.call} of {0.target} failed with NFC error {0.code:#x}{0.quoted}"
    cause = "the host gives no reason that is known here"
    remedy = "look into the host's hostd.log and vmkernel.log at this time"
    retryable = False

    @property
    def quoted(self) -> str:
        return f" ({self.words})" if self.words else ""


class BufferRefused(HostError):
    cause = "the host does not give a session this much memory"
    remedy = "use fewer or smaller buffers, or fewer disks at once"


class OutOfMemory(HostError):
    cause = "the host's memory for NFC is used up by other sessions"
    remedy = "read fewer disks of this host at once"
    retryable = True


class DiskLocked(HostError):
    cause = "another process holds the disk: a running machine, a backup or a task of vCenter"
    remedy = "wait until it ends; read the parent of a snapshot, not the disk that the machine writes to"
    retryable = True


class RunningWithoutSnapshot(HostError):
    cause = "the machine runs and this is the disk that it writes to"
    remedy = "take a snapshot and read the disk that the snapshot lists"


class NotWritable(HostError):
    cause = "the session is for reading only"
    remedy = _COMPATIBLE


class OpenRefused(HostError):
    cause = "the path is wrong, the disk is locked or encrypted, or the machine runs without a snapshot"
    remedy = "check the path as the snapshot lists it, and that the snapshot is still there"


CODES: Final[dict[int, type[HostError]]] = {0x0B: NotWritable}
"""Codes seen [P]. What others mean is not known, so words and the call decide."""


class Hint(NamedTuple):
    word: str
    kind: type[HostError]


HINTS: Final = (
    Hint("memory", OutOfMemory),
    Hint("snapshot", RunningWithoutSnapshot),
    Hint("running", RunningWithoutSnapshot),
    Hint("lock", DiskLocked),
    Hint("in use", DiskLocked),
)
"""Words of a host that say more than its code, in any case of letters [?]. The first that fits decides."""
BY_CALL: Final[dict[str, type[HostError]]] = {"OPEN_SESSION": BufferRefused, "OPEN_FILE": OpenRefused}


def from_code(code: int, call: str, target: str, words: str = "") -> HostError:
    """The typed error for an error frame that answers `call`."""
    hinted = next((hint.kind for hint in HINTS if hint.word in words.lower()), None)
    kind = CODES.get(code) or hinted or BY_CALL.get(call, HostError)
    return kind(code, call, target, words)
