"""Tells the service manager that started this process how it is, by systemd's protocol (sd_notify(3)).

The rule: `alive` is called by the main loop itself, once in each turn. A thread that only says "alive" would go on when the
loop hangs, and the watchdog would watch nothing. Other loops that must turn too are watched: a silent one silences `alive`.
Where no service manager asks for messages, nothing is sent.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_LOG: Final = logging.getLogger(__name__)
_SOCKET: Final = "NOTIFY_SOCKET"
#: systemd allows us one period between two messages. We use a quarter of it, because the computer may be busy.
_SHARE: Final = 4
_SENDING: Final = 5.0  # seconds that a message may wait for a manager that does not read
#: Seconds after which a main loop that has not turned hangs, where no manager says otherwise.
MAIN_LOOP: Final = 120.0


class ServiceManager:
    """The connection to the service manager. Any thread may call it; no call raises, because none is worth a service's end.

    It also knows for others how the service is (`is_ready`, `hanging`), whether there is a manager or not.
    """

    def __init__(
        self, address: str = "", watchdog: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`address`: a path, or with `@` in front a name in the abstract namespace; empty: there is no manager.

        `watchdog`: seconds after which the manager ends a silent service; 0: never.
        """
        self._patience = watchdog or MAIN_LOOP
        self._turned = clock()  # when the main loop turned last
        self._is_ready = False
        self._address, self._watchdog, self._clock = address, watchdog, clock
        self._lock = threading.Lock()  # guards all below
        self._said = float("-inf")
        self._loops: dict[str, tuple[float, float]] = {}  # last turn and patience, by name
        self._silent = ""
        self._unheard = False
        self._ends = False

    @classmethod
    def found(cls) -> ServiceManager:
        """The manager that started this process. Its variables are removed: our children are no services of their own."""
        address = os.environ.pop(_SOCKET, "")
        seconds, process = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        ours = seconds.isdigit() and process in ("", str(os.getpid()))
        return cls(address, int(seconds) / 1e6 if ours else 0.0)

    @property
    def listens(self) -> bool:
        """Whether a service manager started this process and asks how it is."""
        return bool(self._address)

    @property
    def is_ready(self) -> bool:
        """Whether the manager was told that the service is ready, and not yet that it ends."""
        return self._is_ready and not self._ends

    def hanging(self) -> str:
        """Which loop hangs; empty while all turn. A service that starts or ends is given its time by the manager."""
        if not self.is_ready:
            return ""
        if self._clock() - self._turned > self._patience:
            return "the main loop"
        return self._silent_loop()

    def ready(self, status: str) -> None:
        """The service can be used, or waits for something that `status` names. May be said again with another status."""
        self._turned, self._is_ready = self._clock(), True
        if not self._ends:
            self._send("READY=1", f"STATUS={_one_line(status)}", *self._beat())

    def stopping(self) -> None:
        """The service ends now; it is never ready again. May be called by a signal handler."""
        self._ends = True
        self._send("STOPPING=1", "STATUS=ends")

    def alive(self) -> None:
        """One turn of the main loop. Nothing is sent while another loop hangs."""
        self._turned = self._clock()
        if self._watchdog and self._due() and not self._hanging():
            self._send(*self._beat())

    def loop(self, name: str, patience: float) -> Callable[[], None]:
        """Watch another loop, from now on: it calls what this answers once in each turn, at least every `patience` seconds."""

        def turned() -> None:
            with self._lock:
                self._loops[name] = (self._clock(), patience)

        turned()
        return turned

    @contextmanager
    def longer(self, seconds: float) -> Iterator[None]:
        """Give the main thread this long for one step that is no loop."""
        patience, self._patience = self._patience, seconds
        if self._watchdog:
            self._send(f"WATCHDOG_USEC={int(seconds * 1e6)}")
        try:
            yield
        finally:
            self._turned, self._patience = self._clock(), patience
            if self._watchdog:
                self._send(f"WATCHDOG_USEC={int(self._watchdog * 1e6)}", *self._beat())

    def _beat(self) -> tuple[str, ...]:
        if not self._watchdog:
            return ()
        self._said = self._clock()
        return ("WATCHDOG=1",)

    def _due(self) -> bool:
        return self._clock() - self._said >= self._watchdog / _SHARE

    def _hanging(self) -> bool:
        """Whether a watched loop is silent for too long; it is logged once."""
        silent = self._silent_loop()
        with self._lock:
            new, self._silent = silent and silent != self._silent, silent
        if new:
            _LOG.error("%s hangs: the service manager will start this service again", silent)
        return bool(silent)

    def _silent_loop(self) -> str:
        with self._lock:
            now = self._clock()
            return next((name for name, (last, patience) in self._loops.items() if now - last > patience), "")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(_SENDING)
                sender.sendto("\n".join(lines).encode(), address)
        except OSError as failed:
            if not self._unheard:
                _LOG.warning("the service manager does not hear us: %s", failed.strerror or failed)
            self._unheard = True


def _one_line(text: str) -> str:
    return " ".join(text.split())
