"""Of all processes on one database only one moves jobs: the active runner. The others wait to take its place.

Nothing calls the runner. It looks at the store, where every process writes what has to be done.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from connector.control.store import Store
from connector.control.store.database import PEERS, DatabaseSilent
from connector.errors import ConnectorError, StateRestored
from connector.outages import Outages

_LOG: Final = logging.getLogger(__name__)


class Engine(Protocol):
    """Runs the workflows. It exists only while this process is the active runner."""

    def launch(self) -> None: ...

    def sweep(self) -> None: ...

    def close(self) -> None: ...


class Runner:
    """A thread that becomes active as soon as it can. Then it sweeps every `pace` seconds and looks every `interval`.

    `fenced` is called when another process has become active instead: no further step may run here.
    """

    def __init__(
        self,
        store: Store,
        engine: Callable[[], Engine],
        monitors: Sequence[Callable[[], None]],
        *,
        fenced: Callable[[], None],
        held: Callable[[], str] = lambda: "",
        turned: Callable[[], None] = lambda: None,
        interval: float,
        pace: float = 0.5,
    ) -> None:
        """`held` answers why the state is held; empty if it is not. `turned` is called after each turn of the loop."""
        self._store = store
        self._make = engine
        self._monitors = monitors
        self._fenced = fenced
        self._held = held
        self._turned = turned
        self._outages = Outages(_LOG, PEERS)
        self._pace = pace
        self._interval = interval
        self._engine: Engine | None = None
        self._looked = float("-inf")
        self._wake = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="runner", daemon=True)

    @property
    def active(self) -> bool:
        """Whether this process moves the jobs."""
        return self._engine is not None

    def start(self) -> None:
        """Become active now if no other process is, so that a broken engine shows at once. Then go on in a thread."""
        self.step()
        self._thread.start()

    def poke(self) -> None:
        """Look now, if this process is the active runner: a request has written something into the store."""
        self._wake.set()

    def step(self) -> None:
        """One turn of the loop."""
        reason = self._held()
        if not self._store.become_runner():
            if self._engine is not None:
                self._fenced()
            return
        if reason:
            return
        if self._engine is None:
            try:
                engine = self._make()
            except StateRestored:
                return
            engine.launch()
            self._engine = engine
        self._engine.sweep()
        if self._store.ticks() - self._looked >= self._interval:
            self._looked = self._store.ticks()
            for look in self._monitors:
                self._guarded(look)

    def close(self) -> None:
        """Stop. It returns at once, even while a look is under way."""
        self._end.set()
        self._wake.set()
        if self._engine is not None:
            self._engine.close()

    def _loop(self) -> None:
        while not self._end.is_set():
            self._wake.wait(self._pace)
            self._wake.clear()
            if self._end.is_set():
                return
            self._guarded(self.step)
            self._turned()

    def _guarded(self, look: Callable[[], None]) -> None:
        """Look once and log a failure, so that the other monitors still look: the outermost handler of each look."""
        try:
            look()
            self._outages.heard(DatabaseSilent)
        except ConnectorError as failed:
            self._outages.missed("the runner cannot look", failed)
        except Exception:  # noqa: BLE001 - outermost handler of a thread
            _LOG.exception("a look of the runner failed unexpectedly; it goes on")
