"""The instance as a pass sees it: the calls that a pass makes, and the error about missing ranges."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from connector.errors import Conflict
from connector.model import Extent
from connector.transfer.tls import Channel


class MissingRanges(Conflict):
    """The journal lacks ranges of the plan; `missing` names them."""

    retryable = True
    missing: list[Extent]


class ReceivingInstance(Protocol):
    """The instance that a pass delivers to. Thread-safe; every call may be repeated."""

    def put_disk(self, key: str, capacity: int, label: str = "") -> dict[str, Any]: ...

    def disk(self, key: str) -> dict[str, Any]: ...

    def begin_pass(self, key: str, body: Mapping[str, object]) -> dict[str, Any]: ...

    def finish_pass(
        self, key: str, reading_id: str, cover: Sequence[Extent], todo: Sequence[Extent] = ()
    ) -> dict[str, Any]:
        """Raises MissingRanges when the journal lacks ranges of the plan."""

    def digests(self, key: str, extents: Sequence[Extent]) -> bytes: ...

    def prove(self, key: str, *, fresh: bool = False, stop: threading.Event | None = None) -> dict[str, Any]:
        """Waits for the proof. Raises ProofFailed, and Interrupted soon after `stop` is set."""

    def connect_blocks(self) -> Channel: ...
