"""One place sets up the log of every program of ours. A message is one line, whatever a peer, a name or a file puts into it.

People read our messages. Of the messages of libraries only errors are passed on.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Final, TextIO

from connector.log_formats import (
    FORMAT,
    JournalHandler,
    JournalText,
    JsonLine,
    OneLine,
    note_ids,
    one_line_each,
)

__all__ = ["FORMAT", "FORMATS", "OneLine", "for_a_person", "one_line_each", "ours", "set_up", "to_stderr"]

_OURS = ("connector", "vddk", "nfc", "simulator", "root", "__main__")
_LIBRARY = "vddk.library"
FORMATS: Final = ("text", "json", "journald")


def to_stderr(level: int, form: str = FORMAT) -> None:
    """Set up the log of a service, before its settings are known."""
    _install([_handler("", form)], level)


def set_up(how: str, level: int, *, service: str = "", syslog: str = "", form: str = FORMAT) -> None:
    """Set it up again by the settings. `how`: one of `FORMATS`; empty: as systemd reads it, else text. `syslog`: udp://HOST[:PORT]."""
    handlers = [_handler(how, form)]
    if syslog:
        from connector.log_forwarding import Forwarding

        handlers.append(Forwarding(syslog, service))
    _install(handlers, level)


def _install(handlers: list[logging.Handler], level: int) -> None:
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if getattr(handler, "is_our_log", False)]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.addFilter(ours)
        handler.addFilter(note_ids)
        handler.is_our_log = True  # type: ignore[attr-defined]
        root.addHandler(handler)
    root.setLevel(level)
    if (
        sys.stderr.isatty()
    ):  # a log file keeps what VMware's library says about each connection; a terminal does not
        logging.getLogger(_LIBRARY).setLevel(logging.WARNING)
    _hush_engine()


def _handler(how: str, form: str) -> logging.Handler:
    how = how or ("journald" if _is_journal() else "text")
    stream: logging.Handler = logging.StreamHandler(sys.stderr)
    if how == "journald":
        stream.setFormatter(JournalText() if _is_journal() else OneLine(form))
        return JournalHandler(stream)
    stream.setFormatter(JsonLine() if how == "json" else OneLine(form))
    return stream


def _is_journal() -> bool:
    """Whether standard error is the journal's stream (systemd.exec(5)). Children inherit the variable."""
    try:
        facts = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{facts.st_dev}:{facts.st_ino}"


def for_a_person() -> None:
    """Set up the log of a command: our warnings, without time and logger. May be repeated."""
    root = logging.getLogger()
    if not any(isinstance(handler, _Plain) for handler in root.handlers):
        root.addHandler(_Plain())
        _hush_engine()


def _hush_engine() -> None:
    """Give the workflow engine's logger a handler; otherwise it adds one that writes to standard error."""
    logging.getLogger("dbos").addHandler(logging.NullHandler())


def ours(record: logging.LogRecord) -> bool:
    """Whether a record is for the readers of standard error."""
    return record.name.partition(".")[0] in _OURS or record.levelno >= logging.ERROR


class _Plain(logging.StreamHandler[TextIO]):
    """Writes to the present standard error, which tests may replace."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setLevel(logging.WARNING)
        self.setFormatter(OneLine("%(message)s"))
        self.addFilter(lambda record: record.name.partition(".")[0] in _OURS)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)
