"""The appliance's loop sends heartbeats, takes orders, carries them out and reports; nothing ever calls the appliance.

A pass that the control plane wants no longer is stopped within a heartbeat, and its snapshot is removed. A new rate or
compression reaches a pass within a heartbeat too. When the appliance itself must stop, it stops every pass, reports, and then
ends.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from connector.appliance.passes.give_back import GivenBack
from connector.appliance.passes.order import Order, PassControl, order_from_json
from connector.appliance.progress import PassProgress
from connector.appliance.tally import ApplianceTally
from connector.clients.heartbeat import HEARTBEAT, HeartbeatAnswer
from connector.errors import (
    AuthenticationFailed,
    BadInput,
    Conflict,
    ConnectorError,
    ControlFailed,
    Interrupted,
    NotFound,
    NotPermitted,
)
from connector.log_context import carried, log_context
from connector.outages import Outages
from connector.service_manager import ServiceManager

log = logging.getLogger(__name__)

TAKE_WAIT = 1.0  # seconds that one call waits for an order; a stop may wait as long
REPORT_EVERY = 0.5  # seconds between two progress reports of one pass
BACK_OFF = 2.0  # seconds after a call that failed
END_POLL_INTERVAL = 1.0  # seconds between two looks at passes that end
#: An order's task, in a line of the log.
_TASKS = {"read": "pass", "final": "cutover pass", "shutdown": "shutdown", "power-on": "rollback"}
POWER_TASKS = 8  # power tasks at a time
#: Seconds after which a loop that has not turned hangs. A call that waits for a silent server ends long before.
HANGS = 600.0


class Control(Protocol):
    """The control plane as one thread of an appliance calls it. Raises ConnectorError; every call may be repeated."""

    def heartbeat(self, passes: Sequence[str]) -> HeartbeatAnswer:
        """Name the running passes; answers what the control plane asks of them."""

    def take(self, wait: float, power_tasks: bool = False) -> dict[str, Any] | None:
        """The next order, or None after `wait` seconds. With `power_tasks` it is a power task, otherwise a pass that reads."""

    def progress(
        self, pass_id: str, phase: str, disks: Sequence[Mapping[str, Any]], free: float | None = None
    ) -> None:
        """`free`: share of the fullest datastore under the open snapshot, 0 to 1; None while none is watched."""

    def finish(
        self,
        pass_id: str,
        outcome: str,
        error: ConnectorError | None,
        result: Mapping[str, Any],
        rest: float = 0.0,
    ) -> None: ...

    def close(self) -> None: ...


Connect = Callable[[], Control]
"""Returns a connection for the calling thread; the caller closes it."""


Carry = Callable[[Order, PassProgress, PassControl], Mapping[str, Any]]
"""Carries out one order and returns its measured result. Raises ConnectorError, Interrupted after a stop, and GivenBack when
the pass cannot go on now."""


@dataclass(slots=True)
class _Running:
    order: Order
    room: threading.Semaphore
    pass_control: PassControl
    board: PassProgress
    future: Future[None] | None = None


@dataclass(frozen=True, slots=True)
class RunningPass:
    """A pass that is carried out now, for whoever watches."""

    job_id: str
    task: str
    board: PassProgress


class Agent:
    """Takes at most `limit` orders that read at a time, and besides them some power tasks: no cutover waits for a copy.

    `run` returns after `stop` is set and every running pass has ended.
    """

    def __init__(
        self,
        connect: Connect,
        carry: Carry,
        limit: int,
        stop: threading.Event,
        heartbeat: float = HEARTBEAT,
        rotate: Callable[[], None] = lambda: None,
        outages: Outages | None = None,
        hear: Callable[[HeartbeatAnswer], None] = lambda _: None,
        manager: ServiceManager | None = None,
        tally: ApplianceTally | None = None,
    ) -> None:
        """`rotate` fetches a new secret and key; it is called when a heartbeat asks for it. `hear` gets every answer."""
        self._manager = manager or ServiceManager()
        self._tally = tally or ApplianceTally()
        self._outages = outages or Outages(log, {ControlFailed: "the control plane"})
        self._connect, self._carry, self._limit, self._stop, self._heartbeat = (
            connect,
            carry,
            limit,
            stop,
            heartbeat,
        )
        self._rotate, self._hear = rotate, hear
        self._lock = threading.Lock()  # guards _running
        self._running: dict[str, _Running] = {}
        self._room = {False: threading.Semaphore(limit), True: threading.Semaphore(POWER_TASKS)}

    def running(self) -> list[RunningPass]:
        """What is carried out now."""
        with self._lock:
            return [
                RunningPass(running.order.job_id, running.order.task, running.board)
                for running in self._running.values()
            ]

    @property
    def limit(self) -> int:
        """Passes that read at a time, at most."""
        return self._limit

    def run(self) -> None:
        """Run until stopped. Raises AuthenticationFailed when the control plane knows this appliance no longer, NotPermitted
        when it was revoked.
        """
        with ThreadPoolExecutor(self._limit + POWER_TASKS, thread_name_prefix="pass") as pool:
            beat = threading.Thread(target=self._beat, name="heartbeat")
            power_tasks = threading.Thread(target=self._run_power_tasks, args=(pool,), name="power tasks")
            beat.start()
            power_tasks.start()
            try:
                self._take_all(pool, self._manager.alive, power_tasks=False)
            finally:
                self._stop.set()
                power_tasks.join()
                self._end_passes()
                beat.join()

    def _run_power_tasks(self, pool: ThreadPoolExecutor) -> None:
        try:
            self._take_all(pool, self._manager.loop("the loop of power tasks", HANGS), power_tasks=True)
        except (
            AuthenticationFailed,
            NotPermitted,
        ) as unknown:  # the main thread gets the same error, and ends
            log.error("%s", unknown)

    def _take_all(self, pool: ThreadPoolExecutor, turned: Callable[[], None], *, power_tasks: bool) -> None:
        with closing(self._connect()) as control:
            while not self._stop.is_set():
                self._take_one(control, pool, power_tasks)
                turned()

    def _take_one(self, control: Control, pool: ThreadPoolExecutor, power_tasks: bool) -> None:
        room = self._room[power_tasks]
        if not room.acquire(timeout=0.5):
            return
        order = None
        try:
            body = control.take(TAKE_WAIT, power_tasks)
            self._outages.heard(ControlFailed)
            order = None if body is None else order_from_json(body)
        except (AuthenticationFailed, NotPermitted):
            raise
        except ConnectorError as failed:
            self._outages.missed("no order", failed)
            self._stop.wait(BACK_OFF)
        finally:
            if order is None:
                room.release()
        if order is not None:
            self._begin(order, pool, room)

    def _begin(self, order: Order, pool: ThreadPoolExecutor, room: threading.Semaphore) -> None:
        board = PassProgress(self._tally.moved)
        running = _Running(order, room, PassControl(order.replication), board)
        with self._lock:
            self._running[order.pass_id] = running
        with log_context(job=order.job_id, machine=order.moref, pass_id=order.pass_id):
            log.info("%s: %s begins", order.name, _TASKS.get(order.task, order.task))
            running.future = pool.submit(carried(self._work), running)

    def _work(self, running: _Running) -> None:
        """The outermost handler of a pass: every error is reported as the pass's outcome."""
        order = running.order
        outcome = "failed"
        error: ConnectorError | None = None
        result: dict[str, Any] = {}
        rest = 0.0
        with _Reporter(self._connect, running, self._outages):
            try:
                result = dict(self._carry(order, running.board, running.pass_control))
                outcome = "done"
                log.info("%s: %s is done", order.name, _TASKS.get(order.task, order.task))
            except GivenBack as later:
                outcome, error, rest = "stopped", later, later.rest
                log.warning("given back for %g s: %s", rest, later)
            except Interrupted as stopped:
                outcome = "stopped"
                log.info("%s: %s", order.name, stopped)
            except ConnectorError as failed:
                error = failed
                log.error("%s", failed)
            except Exception as unforeseen:
                log.exception("%s: unforeseen", order.name)
                error = ConnectorError(
                    f"unforeseen {type(unforeseen).__name__}",  # its text may contain anything, so it is left out
                    on=order.name,
                    remedy="see the appliance's log",
                )
        self._tally.ended(order.task, outcome, error, result)
        try:
            self._report(order.pass_id, outcome, error, result, rest)
        finally:
            with self._lock:
                del self._running[order.pass_id]
            running.room.release()

    def _report(
        self,
        pass_id: str,
        outcome: str,
        error: ConnectorError | None,
        result: Mapping[str, Any],
        rest: float,
    ) -> None:
        """Report the end of a pass until it is accepted; after a stop at most three times (the next start resumes)."""
        attempts = 0
        while True:
            try:
                with closing(self._connect()) as control:
                    control.finish(pass_id, outcome, error, result, rest)
                self._outages.heard(ControlFailed)
                return
            except ConnectorError as failed:
                attempts += 1
                self._outages.missed(f"the end of pass {pass_id} was not reported", failed)
                if not failed.retryable or (self._stop.is_set() and attempts >= 3):
                    return
                self._stop.wait(BACK_OFF)

    def _beat(self) -> None:
        turned = self._manager.loop("the heartbeat", HANGS)
        with closing(self._connect()) as control:
            while not self._stop.wait(self._heartbeat):
                self._beat_once(control)
                turned()

    def _beat_once(self, control: Control) -> None:
        with self._lock:
            carried = list(self._running)
        try:
            answer = control.heartbeat(carried)
        except ConnectorError as failed:
            self._outages.missed("heartbeat", failed)
            return
        self._outages.heard(ControlFailed)
        self._hear(answer)
        if answer.rotate:
            self._renew()
        with self._lock:
            for pass_id in set(answer.stop) & set(self._running):
                self._running[pass_id].pass_control.stop.set()
            for pass_id in set(answer.replication) & set(self._running):
                self._running[pass_id].pass_control.replication = answer.replication[pass_id]

    def _renew(self) -> None:
        try:
            self._rotate()
        except ConnectorError as failed:
            log.warning("no new secret and key: %s", failed)

    def _end_passes(self) -> None:
        with self._lock:
            carried = list(self._running.values())
        for running in carried:
            running.pass_control.stop.set()
        futures = {running.future for running in carried if running.future is not None}
        while wait(futures, END_POLL_INTERVAL).not_done:
            self._manager.alive()


class _Reporter:
    """Sends a pass's progress while it is carried out, and once more at its end."""

    def __init__(self, connect: Connect, running: _Running, outages: Outages) -> None:
        self._connect, self._running, self._outages = connect, running, outages
        self._tells_free = True
        self._done = threading.Event()
        self._thread = threading.Thread(target=carried(self._loop), name=f"report {running.order.name}")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _loop(self) -> None:
        with closing(self._connect()) as control:
            while not self._done.wait(REPORT_EVERY):
                self._send(control)
            self._send(control)

    def _send(self, control: Control) -> None:
        phase, disks = self._running.board.read()
        snapshot = self._running.board.snapshot
        free = snapshot.free if snapshot is not None and self._tells_free else None
        try:
            control.progress(self._running.order.pass_id, phase, disks, free)
        except BadInput as refused:
            if free is None:
                self._outages.missed(f"progress of {self._running.order.name}", refused)
            self._tells_free = False  # a control plane of an earlier release knows no such field
        except (NotFound, Conflict):  # the pass was given to somebody else
            self._running.pass_control.stop.set()
        except ConnectorError as failed:
            self._outages.missed(f"progress of {self._running.order.name}", failed)
