"""A line of the log is one line: whatever a peer, a name or a file put into a message, it begins no other.

What a person reads is ours. Libraries tell of retries and of their own affairs: only their errors are passed on.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

_OURS = ("connector", "vddk", "nfc", "simulator", "root", "__main__")
_LIBRARY = "vddk.library"
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class OneLine(logging.Formatter):
    """Control characters are shown escaped; lines of a traceback are indented, so that none looks like a line of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = "".join(map(_shown, record.message))
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        lines = super().formatException(ei).splitlines()
        return "\n".join("    " + "".join(map(_shown, line)) for line in lines)


def to_stderr(level: int, form: str = FORMAT) -> None:
    """The log of a service."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(form))
    handler.addFilter(ours)
    logging.basicConfig(level=level, handlers=[handler])
    if (
        sys.stderr.isatty()
    ):  # a log file keeps what VMware's library says about each connection; a terminal does not
        logging.getLogger(_LIBRARY).setLevel(logging.WARNING)
    _hush_engine()


def for_a_person() -> None:
    """The log of a command: warnings of ours, without time and place. Repeatable."""
    root = logging.getLogger()
    if not any(isinstance(handler, _Plain) for handler in root.handlers):
        root.addHandler(_Plain())
        _hush_engine()


def _hush_engine() -> None:
    """Without a handler of its own it would add one that writes to standard error."""
    logging.getLogger("dbos").addHandler(logging.NullHandler())


def ours(record: logging.LogRecord) -> bool:
    """Whether a record is for whoever reads standard error."""
    return record.name.partition(".")[0] in _OURS or record.levelno >= logging.ERROR


class _Plain(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at that moment."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setLevel(logging.WARNING)
        self.setFormatter(OneLine("%(message)s"))
        self.addFilter(lambda record: record.name.partition(".")[0] in _OURS)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _shown(character: str) -> str:
    if character.isprintable() or character == "\t":
        return character
    return character.encode("unicode_escape").decode("ascii")
