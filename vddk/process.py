"""A child process for the library, with its own environment, a socket for requests and a pipe for its output.

Secrets go through the socket only. Each side notices the death of the other by the end of the socket, at once, in
whatever call is waiting. (A parent-death signal would strike when the *thread* that opened the disk ends.)
"""

import contextlib
import contextvars
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import Final

from vddk import environment
from vddk.errors import LibraryPanicked, WorkerDied, WorkerTimedOut
from vddk.loading import find
from vddk.logs import PANIC_EXIT, Redactor
from vddk.wire import Channel
from vddk.worker_child import FIELD, RECORD

LOGGER: Final = logging.getLogger("vddk.worker")
LAST_WORDS: Final = 8
"""Log lines that an error about a dead worker repeats."""
ENDING_PATIENCE: Final = 10.0
"""Seconds that a worker, its disk closed, may take to stop the library (about 1 with VMware's)."""

LONGEST_LINE: Final = 1 << 16
_RECORD: Final = re.compile(f"{RECORD}([0-9]{{1,2}}){FIELD}(vddk[a-z.]*){FIELD}(.*)")

_PROGRAM: Final = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from vddk.worker_child import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)


class Worker:
    """A running child, not yet asked anything. `end` or `kill` must be called; both leave nothing behind."""

    def __init__(self, directory: Path, title: str, secrets: tuple[str, ...] = ()) -> None:
        """Raises `LibraryNotFound` before anything is started. ``title`` names the disk in errors."""
        place = find(directory.resolve()).parent
        self._title = title
        self._redact = Redactor()
        self._redact.add(*secrets)
        self._lines: deque[str] = deque(maxlen=LAST_WORDS)
        self._verdict: WorkerDied | None = None
        self.tmp = Path(tempfile.mkdtemp(prefix="vddk-"))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading, writing = os.pipe()
        with contextlib.ExitStack() as on_failure, contextlib.ExitStack() as always:
            always.callback(theirs.close)
            always.callback(os.close, writing)
            on_failure.callback(ours.close)
            on_failure.callback(os.close, reading)
            on_failure.callback(shutil.rmtree, self.tmp, ignore_errors=True)
            self._process = self._spawned(place, theirs.fileno(), writing)
            on_failure.pop_all()
        self.channel = Channel(ours)
        self._listener = threading.Thread(
            # in the context of the caller, who may note there which disk this is for
            target=contextvars.copy_context().run,
            args=(self._listen, reading),
            name="vddk-log",
            daemon=True,
        )
        self._listener.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """Ends the child at once, from any thread. Calls waiting for it raise `WorkerDied`."""
        self._process.kill()

    def died(self) -> WorkerDied:
        """The error for a socket that has ended: how the child ended, and its last log lines. Cleans up."""
        if self._verdict is None:
            self._end(1.0)
            kind = LibraryPanicked if self._process.returncode == PANIC_EXIT else WorkerDied
            self._verdict = kind(self._title, self._process.returncode, tuple(self._lines))
        again = self._verdict
        return type(again)(again.path, again.status, again.lines)

    def overdue(self, call: str, seconds: float) -> WorkerTimedOut:
        """The error for a child that does not answer in time; the child is killed first. Cleans up."""
        self.kill()
        self.died()
        return WorkerTimedOut(self._title, call, seconds)

    def end(self) -> int:
        """Waits for the child, which has been told to finish; kills one that does not. Returns its status."""
        return self._end(ENDING_PATIENCE)

    def _end(self, patience: float) -> int:
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            LOGGER.warning("the VDDK worker of %s does not end; killing it", self._title)
            self._process.kill()
            self._process.wait()
        self.channel.close()
        self._listener.join(0.5)
        shutil.rmtree(self.tmp, ignore_errors=True)
        return self._process.returncode

    def _spawned(self, place: Path, fd: int, writing: int) -> subprocess.Popen[bytes]:
        level = min(logging.getLogger("vddk").getEffectiveLevel(), logging.INFO)
        arguments = [str(Path(__file__).parent.parent), str(fd), str(level)]
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            pass_fds=(fd,),
            process_group=0,  # Ctrl-C is for its owner, which then closes the disk in order
            cwd="/",
            env=environment.of_worker(str(place)),
        )

    def _listen(self, reading: int) -> None:
        """Thread: reads until the child is gone, whatever comes; a full pipe would stop the child."""
        with open(reading, encoding="utf-8", errors="replace") as lines:
            while line := lines.readline(LONGEST_LINE):
                try:
                    self._take(line.rstrip("\n"))
                except Exception:  # noqa: BLE001  The outermost handler of this thread: a handler may fail, reading goes on
                    self._lines.append("(a line that could not be logged)")

    def _take(self, line: str) -> None:
        level, name, text = logging.WARNING, LOGGER.name, line
        record = _RECORD.fullmatch(line)
        if record:
            level, name, text = int(record[1]), record[2], record[3]
        text = self._redact(text)
        if text.strip():
            self._lines.append(text)
            logging.getLogger(name).log(level, "%s", text, extra={"worker": self.pid})
