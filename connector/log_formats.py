"""What a message looks like: as a line of text, as JSON, in the journal, and for syslog. In none can a name forge a message."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
import traceback
from collections.abc import Mapping
from typing import Any, Final

from connector import log_context
from connector.errors import ConnectorError

FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
JOURNAL: Final = "/run/systemd/journal/socket"
#: Bytes of a message for syslog: what fits into a datagram that no network has to cut.
SYSLOG: Final = 1200
_MEMORY_SEALS: Final = 0x1 | 0x2 | 0x4 | 0x8  # seal, shrink, grow, write
_ADD_SEALS: Final = 1033
_LARGEST: Final = 1 << 20  # bytes of a message
_PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_FACILITY: Final = 3  # of syslog: a system daemon
_DETAILS: Final = "connector@32473"  # 32473 is the number for examples; we have none of our own


class OneLine(logging.Formatter):
    """Escapes control characters, and indents lines of a traceback, so that none of them looks like a message."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = one_line(record.message)
        known = " ".join(f"{name}={one_line(value)}" for name, value in ids(record).items())
        text = super().formatMessage(record)
        return f"{text} [{known}]" if known else text

    def formatException(self, ei: Any) -> str:
        return "\n".join(f"    {one_line(line)}" for line in super().formatException(ei).splitlines())


class JsonLine(logging.Formatter):
    """One JSON object on one line of ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **ids(record),
        }
        if name := error_id(record):
            told["error"] = name
        if record.exc_info and record.exc_info[0] is not None:
            told["traceback"] = _traceback(record)
        return json.dumps(told)


class JournalText(logging.Formatter):
    """Text with the priority that systemd reads from standard error, for a journal whose socket cannot be reached."""

    def format(self, record: logging.LogRecord) -> str:
        text = OneLine("%(name)s: %(message)s").format(record)
        return "\n".join(f"<{priority(record.levelno)}>{line}" for line in text.splitlines())


class JournalHandler(logging.Handler):
    """Sends each message with its fields by the journal's own protocol. What cannot be sent goes to `other`."""

    def __init__(self, other: logging.Handler, address: str = JOURNAL) -> None:
        super().__init__()
        self._other, self._address = other, address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(1.0)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(_datagram(_fields(record)))
        except OSError:
            self._other.handle(record)
        except Exception:  # noqa: BLE001 - a message that cannot be written must not end the work that it is about
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()

    def _send(self, datagram: bytes) -> None:
        try:
            self._socket.sendto(datagram, self._address)
        except OSError as failed:
            if failed.errno not in (errno.EMSGSIZE, errno.ENOBUFS):  # too large for a datagram
                raise
            self._send_memory(datagram)

    def _send_memory(self, datagram: bytes) -> None:
        memory = os.memfd_create("journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with open(memory, "wb", closefd=False) as out:
                out.write(datagram)
            fcntl.fcntl(memory, _ADD_SEALS, _MEMORY_SEALS)
            self._socket.connect(self._address)
            socket.send_fds(self._socket, [b""], [memory])
        finally:
            os.close(memory)


class SyslogLine(logging.Formatter):
    """One datagram of RFC 5424. `service`: which of ours it is."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._head = f"{socket.gethostname()[:255] or '-'} connector-{service} {os.getpid()} -"

    def format(self, record: logging.LogRecord) -> str:
        known = "".join(f' {name}="{_quoted(value)}"' for name, value in _named(record).items())
        details = f"[{_DETAILS}{known}]" if known else "-"
        text = " ".join(_with_traceback(record).split("\n"))
        number = _FACILITY * 8 + priority(record.levelno)
        line = f"<{number}>1 {_utc(record.created)} {self._head} {details} {record.name}: {text}"
        return line.encode("utf-8", "replace")[:SYSLOG].decode("utf-8", "ignore")


def note_ids(record: logging.LogRecord) -> bool:
    """A filter that refuses nothing: it writes the ids of the work into the record, in the thread that does the work."""
    if not hasattr(record, "ids"):
        record.ids = dict(log_context.current())
        record.error_id = error_id(record)
    return True


def ids(record: logging.LogRecord) -> Mapping[str, str]:
    """The ids of a record."""
    known: Mapping[str, str] = getattr(record, "ids", None) or {}
    return known


def error_id(record: logging.LogRecord) -> str:
    """The id of the error that a message is about; empty if there is none."""
    if kept := getattr(record, "error_id", ""):
        return str(kept)
    raised = record.exc_info[1] if record.exc_info else None
    told = record.args if isinstance(record.args, tuple) else ()
    return next((one.id for one in (raised, *told) if isinstance(one, ConnectorError)), "")


def priority(level: int) -> int:
    """The priority of a level, as syslog and the journal count."""
    return next((number for least, number in _PRIORITIES if level >= least), 7)


def one_line(text: str) -> str:
    """The text with its control characters written out."""
    return text if text.isprintable() else "".join(map(_shown, text))


def one_line_each(text: str) -> str:
    """The lines of a text, each without control characters. Only an end of a line that was written as one ends a line."""
    return "\n".join(map(one_line, text.replace("\r\n", "\n").split("\n")))


def _shown(character: str) -> str:
    if character.isprintable() or character == "\t":
        return character
    return character.encode("unicode_escape").decode("ascii")


def _utc(seconds: float) -> str:
    whole, part = divmod(int(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{part:03d}Z"


def _traceback(record: logging.LogRecord) -> str:
    return "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""


def _with_traceback(record: logging.LogRecord) -> str:
    message = one_line(record.getMessage())
    if record.exc_info and record.exc_info[0] is not None:
        message += "\n" + OneLine().formatException(record.exc_info)
    return message


def _named(record: logging.LogRecord) -> dict[str, str]:
    error = error_id(record)
    return {**ids(record), **({"error": error} if error else {})}


def _fields(record: logging.LogRecord) -> dict[str, str]:
    return {
        "MESSAGE": _with_traceback(record),
        "PRIORITY": str(priority(record.levelno)),
        "SYSLOG_IDENTIFIER": "connector",
        "LOGGER": record.name,
        "THREAD_NAME": record.threadName or "",
        **{f"CONNECTOR_{name.upper()}": value for name, value in _named(record).items()},
    }


def _datagram(fields: Mapping[str, str]) -> bytes:
    """Each value with its length before it, so that no value can begin another field."""
    parts = []
    for name, text in fields.items():
        value = text.encode("utf-8", "replace")[:_LARGEST]
        parts.append(name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n")
    return b"".join(parts)


def _quoted(value: str) -> str:
    return one_line(value).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
