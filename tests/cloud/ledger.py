"""A ledger in memory, which outlives the providers of a test as the control plane's database would."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from connector.cloud.provider import LedgerEntry


class MemoryLedger:
    def __init__(self) -> None:
        self.lines: dict[str, LedgerEntry] = {}

    def intend(self, owner: str, kind: str, token: str) -> None:
        self.lines.setdefault(token, LedgerEntry(token, kind, None, False, time.time()))

    def made(self, owner: str, kind: str, token: str, reference: str) -> None:
        self.intend(owner, kind, token)
        self.lines[token] = replace(self.lines[token], reference=reference, gone=False)

    def gone(self, owner: str, kind: str, token: str) -> None:
        self.intend(owner, kind, token)
        self.lines[token] = replace(self.lines[token], gone=True)

    def entries(self, owner: str) -> Sequence[LedgerEntry]:
        return [line for line in self.lines.values() if line.token.startswith(owner)]

    def standing(self, kind: str = "") -> list[LedgerEntry]:
        """What is thought to exist, of everybody."""
        return [line for line in self.lines.values() if not line.gone and kind in ("", line.kind)]
