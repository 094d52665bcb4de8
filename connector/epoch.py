"""How far a control plane has come in which history, as those remember it whom it has told.

A *mark* names the epoch (number and random id), the sequence within it, and the process that wrote that far. The proof is the
control plane's own: nobody else can make a mark. Each control plane, appliance and instance keeps the latest that it was told.
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

#: Under this name a mark travels beside requests and answers of the agents' API.
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
        """What the proof is of."""
        return f"{self.number}.{self.sequence}.{self.epoch}.{self.writer}"

    def __str__(self) -> str:
        return f"{self.body}.{self.proof}"

    def is_after(self, other: EpochMark | None) -> bool:
        """Whether it is worth more to remember."""
        return other is None or (self.number, self.sequence) > (other.number, other.sequence)


def read(text: str) -> EpochMark | None:
    """The mark; None for anything that is not of its form."""
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
        """Keep it if it is the later one; answers what was known before, which its control plane must hear."""
        with self._lock:
            before = self._mark
            if mark.is_after(before):
                replace(self._file, f"{mark}\n".encode())
                self._mark = mark
            return before
