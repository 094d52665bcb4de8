"""A line of the log is one line: whatever a peer, a name or a file put into a message, it begins no other."""

from __future__ import annotations

import logging
import sys
from typing import Any

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
    logging.basicConfig(level=level, handlers=[handler])


def _shown(character: str) -> str:
    if character.isprintable() or character == "\t":
        return character
    return character.encode("unicode_escape").decode("ascii")
