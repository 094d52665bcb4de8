"""An epoch mark says how far a control plane is, and in which history of its database; its peers keep the latest mark.

A mark names the epoch (number and random id), the sequence within it, and the process that wrote it. Only the control plane
can make the proof in it. Each control plane, appliance and instance keeps the latest mark that it received.
"""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connector.files import replace

_FORM: Final = re.compile(r"(\d{1,9})\.(\d{1,18})\.([0-9a-f]{32})\.([0-9a-f]{16})\.([0-9a-f]{64})")

#: The header with a mark in requests and answers of the agents' API.
HEADER: Final = "X-Connector-Epoch"


@dataclass(frozen=True, slots=True)
class EpochMark:
    """`number` grows with each confirmed restore, `sequence` with each write that has consequences."""

    number: int
    sequence: int
    epoch: str
    writer: str
    proof: str = ""

    @property
    def body(self) -> str:
        """The text that the proof covers."""
        return f"{self.number}.{self.sequence}.{self.epoch}.{self.writer}"

    def __str__(self) -> str:
        return f"{self.body}.{self.proof}"

    def is_after(self, other: EpochMark | None) -> bool:
        """Whether it is later than the other mark."""
        return other is None or (self.number, self.sequence) > (other.number, other.sequence)


def read(text: str) -> EpochMark | None:
    """The mark in a text; None for another text."""
    parts = _FORM.fullmatch(text.strip())
    if parts is None:
        return None
    number, sequence, epoch, writer, proof = parts.groups()
    return EpochMark(int(number), int(sequence), epoch, writer, proof)


class EpochMemory:
    """The latest mark, in a file that survives a crash. Thread-safe."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._mark: EpochMark | None = None
        with suppress(OSError, UnicodeDecodeError):
            self._mark = read(file.read_text())

    @property
    def mark(self) -> EpochMark | None:
        return self._mark

    def learn(self, mark: EpochMark) -> EpochMark | None:
        """Keep the mark if it is later; returns the mark that was kept before, which the control plane must get."""
        with self._lock:
            before = self._mark
            if mark.is_after(before):
                replace(self._file, f"{mark}\n".encode())
                self._mark = mark
            return before
