"""An outage of a peer is logged once when it begins and once when it ends, however many calls fail meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from connector.amounts import span
from connector.errors import ConnectorError, ControlFailed

BORNE: Final = 60.0  # seconds without an answer after which a control plane counts as gone


class Outages:
    """The outages of some peers. Thread-safe; all callers of the same peers share it.

    `peers`: the name of each peer, by the error that means its outage. Only a failure that may pass by itself is an
    outage; any other is logged each time.
    """

    def __init__(
        self,
        log: logging.Logger,
        peers: Mapping[type[ConnectorError], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._peers, self._clock = log, dict(peers), clock
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}
        self._failed: dict[str, int] = {}

    def silences(self) -> dict[str, float]:
        """Seconds since each peer stopped answering; 0 for one that answers."""
        with self._lock:
            now = self._clock()
            return {name: now - self._since.get(name, now) for name in self._peers.values()}

    def missed(self, what: str, failed: ConnectorError) -> None:
        """Record a failed call; `what` names it for the log."""
        peer = next((name for kind, name in self._peers.items() if isinstance(failed, kind)), "")
        if not peer or not failed.retryable:
            self._log.warning("%s: %s", what, failed)
            return
        with self._lock:
            self._failed[peer] = self._failed.get(peer, 0) + 1
            if peer in self._since:
                return
            self._since[peer] = self._clock()
        self._log.warning("%s: %s; it is tried again, and logged when %s answers", what, failed, peer)

    def heard(self, *kinds: type[ConnectorError]) -> None:
        """Record that these peers have answered."""
        for kind in kinds:
            peer = self._peers[kind]
            if peer not in self._since:
                continue
            with self._lock:
                began, failed = self._since.pop(peer, None), self._failed.pop(peer, 0)
            if began is not None:
                lasted = span(self._clock() - began)
                self._log.warning("%s answers again after %s; calls that failed: %d", peer, lasted, failed)


class Silence:
    """A command that watches accepts a silent control plane for `limit` seconds: a replica may be taking over.

    `say` gets a line when the silence begins and a line when it ends.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        limit: float = BORNE,
    ) -> None:
        self._say, self._clock, self._limit = say, clock, limit
        self.since: float | None = None

    def bear(self, failed: ControlFailed) -> None:
        """Record a failure. Raises it when it does not pass by itself, or the silence lasts too long."""
        if not failed.retryable:
            raise failed
        now = self._clock()
        if self.since is None:
            self.since = now
            self._say(f"{failed}; still trying")
        if now - self.since > self._limit:
            raise failed

    def heard(self) -> None:
        if self.since is not None:
            self._say(f"the control plane answers again after {span(self._clock() - self.since)}")
        self.since = None
