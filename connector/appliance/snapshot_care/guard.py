"""The guard watches an open snapshot: its thread looks at vCenter and the host's refusals, and sets the pace of all reads.

Thread rule: `pace`, `failed` and `hearing` may be called from any thread while the guard is entered.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

from connector.appliance.progress import PassProgress, SnapshotFigures
from connector.appliance.snapshot_care.governor import (
    TREND,
    WINDOW,
    Pace,
    PaceDecision,
    Sample,
    Thresholds,
    fullest,
    judge,
)
from connector.cancellation import Cancellation
from connector.errors import ConnectorError, Unreachable
from connector.log_context import carried
from connector.model import Pressure
from connector.outages import Outages
from connector.sources.reader import refused_by

log = logging.getLogger(__name__)

_PHASES: Final = {
    Pace.GO: "copying",
    Pace.SLOW: "copying slowly",
    Pace.PAUSE: "paused",
    Pace.GIVE_BACK: "giving the snapshot back",
}


class Guard:
    """A context manager while a snapshot is open. `given_back` is set once, when the snapshot must go.

    `history` has every change of pace: seconds since the epoch, the pace, the reason.
    """

    def __init__(
        self,
        look: Callable[[], Pressure],
        thresholds: Thresholds,
        board: PassProgress,
        *,
        running: bool,
        disks: int,
        age: float = 0.0,
    ) -> None:
        """`age`: seconds since an adopted snapshot was taken, by the clock that stamped it."""
        self._look, self._thresholds, self._board = look, thresholds, board
        self._running, self._disks = running, disks
        self._age = max(0.0, age)
        self._outages = Outages(log, {Unreachable: "vCenter"})
        self._began = time.monotonic()
        self._samples: list[Sample] = []
        self._refusals: list[tuple[float, str]] = []  # when, and by whom
        self._paused: float | None = None
        self._unread: set[str] = set()  # datastores that were told already
        self._lock = threading.Lock()  # guards _refusals; the rest is written by the thread of `_loop` alone
        self._wake, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=carried(self._loop), name="guard", daemon=True)
        self.verdict = PaceDecision(Pace.GO)  # replaced as a whole, and never again once `given_back` is set
        self.given_back = Cancellation()
        self.history: list[dict[str, Any]] = []

    @property
    def rest(self) -> float:
        return self._thresholds.rest

    def pace(self, depth: int) -> int:
        """How many reads of at most `depth` may be in flight."""
        return self.verdict.depth(depth)

    def failed(self, error: ConnectorError) -> None:
        """Count a failed read or opening. If it was refused for want of memory or time, the pace is set again at once."""
        if by := refused_by(error):
            with self._lock:
                self._refusals.append((time.monotonic(), by))
            self._wake.set()

    @contextmanager
    def hearing(self) -> Iterator[None]:
        """Count a failure inside the block, and raise it again."""
        try:
            yield
        except ConnectorError as error:
            self.failed(error)
            raise

    def once(self) -> None:
        """Look and judge. When vCenter does not answer, the pace stays as it was."""
        try:
            pressure = self._look()
        except ConnectorError as failed:
            self._outages.missed("the snapshot is not watched for now", failed)
            return
        self._outages.heard(Unreachable)
        self._judge(pressure)

    def __enter__(self) -> Self:
        self._board.enter(_PHASES[Pace.GO])
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._wake.set()
        self._thread.join()

    def _loop(self) -> None:
        due = time.monotonic()
        while not self._ended.is_set():
            if time.monotonic() >= due:
                self.once()
                due = time.monotonic() + self._thresholds.every
            elif self._samples:
                self._judge(self._samples[-1].pressure)
            # errors leave their window between two looks, so the pace is set more often than vCenter is asked
            self._wake.wait(min(max(0.05, due - time.monotonic()), 5.0))
            self._wake.clear()

    def _judge(self, pressure: Pressure) -> None:
        now = time.monotonic()
        self._tell_unread(pressure)
        if not pressure.measured and self._samples:  # the delta is not smaller than before
            pressure = replace(pressure, delta=self._samples[-1].pressure.delta)
        with self._lock:
            self._refusals = [refusal for refusal in self._refusals if now - refusal[0] < WINDOW]
            refused = [by for _, by in self._refusals]
        sample = Sample(
            at=now,
            age=self._age + now - self._began,
            pressure=pressure,
            running=self._running,
            disks=self._disks,
            nfc=len(refused),
            refused_by=refused[-1] if refused else "",
            paused=now - self._paused if self._paused is not None else 0.0,
        )
        self._board.snapshot = SnapshotFigures(self._began - self._age, pressure.delta, fullest(pressure))
        self._samples = [*(s for s in self._samples if now - s.at <= TREND), sample]
        self._apply(judge(self._thresholds, self._samples), now)

    def _tell_unread(self, pressure: Pressure) -> None:
        """Say once that a datastore goes unwatched. The delta of a machine that is off does not grow."""
        for name in pressure.unread if self._running else ():
            if name not in self._unread:
                log.warning(
                    "vCenter does not show how full datastore %s is: nothing gives the snapshot back before it is full."
                    " Give the user System.Read on it",
                    name,
                )
        self._unread.update(pressure.unread)

    def _apply(self, verdict: PaceDecision, now: float) -> None:
        if self.given_back.is_set():
            return
        before, self.verdict = self.verdict, verdict
        if verdict.pace is not Pace.PAUSE:
            self._paused = None
        elif self._paused is None:
            self._paused = now
        if verdict.pace is before.pace:
            return
        phase = _PHASES[verdict.pace]
        log.warning("%s%s", phase, f": {verdict.reason}" if verdict.reason else "")
        self._board.enter(f"{phase}: {verdict.reason}" if verdict.reason else phase)
        pace = verdict.pace.name.lower().replace("_", " ")
        self.history.append({"at": time.time(), "pace": pace, "reason": verdict.reason})
        if verdict.pace is Pace.GIVE_BACK:
            self.given_back.set()
