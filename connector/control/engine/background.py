"""Calls to a cloud that may take minutes run in threads of their own, so that the runner goes on looking."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from connector.errors import ConnectorError

_LOG: Final = logging.getLogger(__name__)


class Background:
    """Runs work in at most one thread for each key. A failure is logged; the caller looks again and asks again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: set[str] = set()

    def once(self, key: str, work: Callable[[], None]) -> None:
        """Begin `work`, unless earlier work for `key` has not ended yet."""
        with self._lock:
            if key in self._under_way:
                return
            self._under_way.add(key)
        threading.Thread(target=self._do, args=(key, work), name=key, daemon=True).start()

    def _do(self, key: str, work: Callable[[], None]) -> None:
        try:
            attempt(key, work)
        finally:
            with self._lock:
                self._under_way.discard(key)


class Foreground:
    """Does the work at once, in the caller's thread."""

    def once(self, key: str, work: Callable[[], None]) -> None:
        attempt(key, work)


def attempt(key: str, work: Callable[[], None]) -> None:
    """Do the work and log its failure: the outermost handler of such a thread."""
    try:
        work()
    except ConnectorError as failed:
        _LOG.warning("%s: %s", key, failed)
    except Exception:  # noqa: BLE001 - outermost handler of a thread
        _LOG.exception("%s stumbled", key)


BackgroundWork = Background | Foreground
