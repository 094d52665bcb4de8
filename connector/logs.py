"""A log message is one line, whatever a peer, a name or a file puts into it.

People read our messages. Of the messages of libraries only errors are passed on.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

_OURS = ("connector", "vddk", "nfc", "simulator", "root", "__main__")
_LIBRARY = "vddk.library"
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class OneLine(logging.Formatter):
    """Escapes control characters, and indents lines of a traceback, so that none of them looks like a message."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = "".join(map(_shown, record.message))
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        lines = super().formatException(ei).splitlines()
        return "\n".join("    " + "".join(map(_shown, line)) for line in lines)


def to_stderr(level: int, form: str = FORMAT) -> None:
    """Set up the log of a service."""
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


def one_line_each(text: str) -> str:
    """The lines of a text, each without control characters. Only an end of a line that was written as one ends a line."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(line if line.isprintable() else "".join(map(_shown, line)) for line in lines)


def _shown(character: str) -> str:
    if character.isprintable() or character == "\t":
        return character
    return character.encode("unicode_escape").decode("ascii")
