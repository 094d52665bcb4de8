"""The authentication daemon at port 902: its greeting, commands and answers. Pure.

    S  220 VMware Authentication Daemon Version ... SSL Required ... NFCSSL supported ... SHA256 supported      in clear [P]
    -  first TLS handshake [P]
    C  SESSION <sessionId>              no answer of its own [P]
    C  BANNER                           with the trailing blank; answer 220 [P]
    C  THUMBPRINT_SHA2 PlainText        answer 200 <sha256>: of the second layer's certificate [?]
    C  PROXY vpxa-nfcssl                answer 200 Connect ha-nfcssl [P]
    -  the first layer is left without close_notify, second TLS handshake on the same connection [P]

Lines end in CR LF [P].
"""

import re
from typing import Final, NamedTuple

from nfc.errors import (
    BadSetting,
    CommandRefused,
    HttpAnswer,
    MalformedAnswer,
    NfcOverTlsMissing,
    SizeOutOfBounds,
    TicketRefused,
    TlsMissing,
    UnexpectedAnswer,
    UnknownGreeting,
    readable,
)

LONGEST_LINE: Final = 2048
"""Bytes. The greeting has about 200."""
BANNER: Final = b"BANNER \r\n"
THUMBPRINT: Final = b"THUMBPRINT_SHA2 PlainText\r\n"
NOT_LOGGED_IN: Final = 530
_ARGUMENT: Final = re.compile(r"[!-~](?:[ -~]{0,510}[!-~])?")
_REPLY: Final = re.compile(r"(\d{3})(?: (.*))?")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Reply(NamedTuple):
    code: int
    text: str

    def __str__(self) -> str:
        return readable(f"{self.code} {self.text}")


class LineDecoder:
    """Bytes of the daemon in, one line out. Nothing may follow the line, because the daemon waits for us after each."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, received: bytes) -> str | None:
        """The line without its end, once it is complete."""
        self._bytes += received
        line, end, rest = bytes(self._bytes).partition(b"\n")
        if len(line) > LONGEST_LINE:
            raise SizeOutOfBounds(f"a line of the authentication daemon is longer than {LONGEST_LINE} bytes")
        if not end:
            return None
        if rest:
            raise UnexpectedAnswer(
                f"{len(rest)} bytes follow a line of the authentication daemon, which nobody asked for"
            )
        self._bytes.clear()
        return line.removesuffix(b"\r").decode("ascii", "backslashreplace")


def check_greeting(line: str, host: str) -> None:
    """Raises unless the host requires TLS, and offers NFC over TLS and the digest of its certificate."""
    words = readable(line)
    if line.startswith("HTTP/"):
        raise HttpAnswer(host, words)
    if not line.startswith("220 ") or "Authentication Daemon" not in line:
        raise UnknownGreeting(host, words)
    if "SSL Required" not in line:
        raise TlsMissing(host, words)
    if "NFCSSL supported" not in line or "SHA256 supported" not in line:
        raise NfcOverTlsMissing(host, words)


def session(session_id: str) -> bytes:
    """The command that shows the ticket. It is never part of an error."""
    return _command("SESSION", session_id, "", "ticket's session id")


def proxy(service: str) -> bytes:
    """The command that asks for the service behind the daemon, over TLS."""
    return _command("PROXY", service, "ssl", "ticket's service")


def _command(word: str, argument: str, suffix: str, name: str) -> bytes:
    if not _ARGUMENT.fullmatch(argument):
        raise BadSetting(name, "it is empty, too long or not of printable ASCII characters")
    return f"{word} {argument}{suffix}\r\n".encode("ascii")


def reply(line: str) -> Reply:
    match = _REPLY.fullmatch(line)
    if match is None:
        raise MalformedAnswer(f"{readable(line)!r} is no answer of an authentication daemon")
    return Reply(int(match[1]), match[2] or "")


def check(answer: Reply, expected: int, command: str, host: str) -> None:
    """Raises unless the command was accepted."""
    if answer.code == NOT_LOGGED_IN:
        raise TicketRefused(host, str(answer))
    if answer.code != expected:
        raise CommandRefused(host, str(answer), command)


def digest(answer: Reply) -> str:
    """The SHA-256 that the daemon names, as hexadecimal digits without colons."""
    digits = answer.text.strip().replace(":", "").lower()
    if not _SHA256.fullmatch(digits):
        raise MalformedAnswer(f"{str(answer)!r} names no SHA-256 digest")
    return digits


def check_connected(answer: Reply, host: str) -> None:
    """Raises unless the service is connected and expects TLS."""
    check(answer, 200, "PROXY", host)
    if not answer.text.startswith("Connect ") or not answer.text.endswith("nfcssl"):
        raise CommandRefused(host, str(answer), "PROXY")
