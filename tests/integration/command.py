"""The command line as a program: its exit code, what it printed, its processes, and how to kill one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.processes import command_line, kill, lives
from tests.waiting import PATIENCE, eventually, pauses

MARK = "CONNECTOR_TEST_RUN"
ROLES = {
    "cli": "connector.cli.main",
    "control": "connector.control",
    "appliance": "connector.appliance",
    "instance": "connector.instance",
    "worker": "vddk.worker_child",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command left. `events`: its JSON lines."""

    code: int
    stdout: str
    stderr: str
    events: tuple[dict[str, Any], ...]

    @property
    def complaint(self) -> str:
        """The one line that a failed command says at the end."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("connector: ")]
        assert len(lines) == 1, self.stderr
        return lines[0]

    def result(self, machine: str = "web-01") -> dict[str, Any]:
        return next(e for e in self.events if e.get("event") == "result" and e["machine"] == machine)

    def disks(self, machine: str = "web-01") -> list[dict[str, Any]]:
        """The disk rows of the last run in the result."""
        rows: list[dict[str, Any]] = self.result(machine)["disks"]
        keys = {row["key"] for row in rows}
        return rows[-len(keys) :]


class Command:
    """One run of `connector`. Its children carry the same mark in their environment, wherever they end up."""

    def __init__(self, words: list[str], where: Path, environment: Mapping[str, str]) -> None:
        self.mark = uuid.uuid4().hex
        temporary = where / "tmp"
        temporary.mkdir(exist_ok=True)
        self._stderr = where / f"stderr-{self.mark[:8]}"
        self._lines: list[str] = []
        self._heard = threading.Condition()
        self._hang_up = threading.Event()
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "connector.cli.main", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=where,
                env=os.environ | {MARK: self.mark, "TMPDIR": str(temporary)} | environment,
                start_new_session=True,
            )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def deaf(self) -> None:
        """Stop reading what it prints; its next line finds nobody."""
        self._hang_up.set()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._heard:
                self._lines.append(line.decode())
                self._heard.notify_all()
            if self._hang_up.is_set():
                self.process.stdout.close()
                break
        with self._heard:
            self._heard.notify_all()

    def until(self, wanted: Callable[[dict[str, Any]], bool], seconds: float = PATIENCE) -> dict[str, Any]:
        """The first JSON line that fits; fails when the command ends before."""
        deadline = time.monotonic() + seconds
        seen = 0
        with self._heard:
            while time.monotonic() < deadline:
                while seen < len(self._lines):
                    event = _event(self._lines[seen])
                    seen += 1
                    if event is not None and wanted(event):
                        return event
                if not self._thread.is_alive():
                    break
                self._heard.wait(0.2)
        raise AssertionError(f"never printed; stderr: {self._stderr.read_text()}")

    def heard(self) -> list[dict[str, Any]]:
        """Every JSON line so far."""
        with self._heard:
            return [event for line in self._lines if (event := _event(line)) is not None]

    def copied(self, share: float, seconds: float = PATIENCE) -> None:
        """Wait until `share` of some disk's plan is durable."""

        def far(event: dict[str, Any]) -> bool:
            return event.get("event") == "disk" and event["done"] > share * event["wanted"] > 0

        self.until(far, seconds)

    def processes(self, role: str = "") -> list[psutil.Process]:
        """What runs of this command now, its orphans included."""
        return [one for one in marked(self.mark) if not role or ROLES[role] in command_line(one)]

    def kill(self, role: str, seconds: float = PATIENCE) -> None:
        """kill -9 of every process of that role; waits until there is one."""
        for one in self.present(role, seconds):
            kill(one)

    def present(self, role: str, seconds: float = PATIENCE) -> list[psutil.Process]:
        """The processes of that role, as soon as there is one."""
        return eventually(lambda: self.processes(role), f"a {role} appears", seconds, pause=0.02)

    def interrupt(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> Outcome:
        code = self.process.wait(seconds)
        self._thread.join(PATIENCE)
        events = tuple(event for line in self._lines if (event := _event(line)) is not None)
        return Outcome(code, "".join(self._lines), self._stderr.read_text(), events)

    def gone(self, seconds: float = PATIENCE) -> None:
        """Nothing of it runs any more; orphans get a moment to notice."""
        deadline, waits = time.monotonic() + seconds, pauses()
        while left := self.processes():
            assert time.monotonic() < deadline, [command_line(one) for one in left]
            time.sleep(next(waits))

    def end(self) -> None:
        """Whatever is left is killed, so that one failing test does not disturb the next."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for one in self.processes():
            kill(one)


def marked(mark: str) -> list[psutil.Process]:
    found = []
    for one in psutil.process_iter():
        try:
            if lives(one) and one.environ().get(MARK) == mark:
                found.append(one)
        except psutil.Error:
            continue
    return found


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
