"""Runs a service of ours as a child process: configuration on its stdin, one ready line on its stdout; end of stdin stops it.

When the parent dies, by any signal, the kernel closes the pipe and the child stops by itself.
Secrets are in the configuration, so that they are in no argument vector and no environment.
The child does not inherit the secrets of our own environment.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from connector import environment, private
from connector.errors import BadInput, Conflict, ConnectorError, ControlFailed, from_json

#: This variable tells a child that its starter reads its first line.
AWAITED = "CONNECTOR_STARTER_READS_JSON"
READY_TIMEOUT = (
    120.0  # seconds; one that ends is noticed at once, so this is only for computers that are very busy
)
STOP_TIMEOUT = 20.0
LONGEST_LINE = 16 << 20  # bytes of one line of a child


class Child:
    """One running service. A context manager: leaving it stops the service, by force after a deadline.

    `ready` is the JSON object of the ready line. A service that fails before it is ready prints its error
    (`ConnectorError.to_json()`) in place of that line; it is raised here as the same error.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], name: str, ready: Mapping[str, object], rest: bytes = b""
    ) -> None:
        self._process = process
        self._rest = bytearray(rest)  # what it wrote after its ready line
        self.name = name
        self.ready = ready

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self._process.poll()

    def line(self, timeout: float) -> bytes | None:
        """The next line after the ready line; None if there was no whole one in time, empty at the end of its output.

        A line is cut after `LONGEST_LINE` bytes.
        """
        return _line(self._process, self._rest, timeout)

    def stop(self, timeout: float = STOP_TIMEOUT) -> int:
        """Close the pipe and wait; kill after `timeout` seconds. A stopped service stays stopped."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(
    module: str,
    arguments: Sequence[str] = (),
    *,
    name: str,
    configuration: Mapping[str, object] | None = None,
    log: Path | None = None,
    timeout: float = READY_TIMEOUT,
) -> Child:
    """Run `python -m module`, send `configuration` as one JSON line, and wait for the ready line.

    The child's stderr goes to `log` (appended) or is inherited. It gets a process group of its own, so that an
    interrupt on the terminal reaches only the parent, which then decides in which order to stop.
    """
    stderr = _log(log) if log is not None else None
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment.without_secrets() | {AWAITED: "1"},
            process_group=0,
        )
    finally:
        if stderr is not None:
            stderr.close()
    try:
        if configuration is not None:
            _hand_over(process, configuration)
        rest = bytearray()
        ready = _ready_line(process, rest, name, log, timeout)
        return Child(process, name, ready, bytes(rest))
    except BaseException:
        process.kill()
        process.communicate()
        raise


def _log(path: Path) -> BinaryIO:
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


def _hand_over(process: subprocess.Popen[bytes], configuration: Mapping[str, object]) -> None:
    if process.stdin is None:
        raise AssertionError("the child has no standard input")
    try:
        process.stdin.write(json.dumps(configuration).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return  # it died before reading; the ready line, or the lack of it, says why


def _ready_line(
    process: subprocess.Popen[bytes], rest: bytearray, name: str, log: Path | None, timeout: float
) -> Mapping[str, object]:
    line = _line(process, rest, timeout) or b""
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and "error" in answer:
        raise from_json(answer, ControlFailed)
    if not isinstance(answer, dict):
        raise ControlFailed(_why_not_ready(process, timeout), on=name, remedy=f"see {log}" if log else "")
    return answer


def _line(process: subprocess.Popen[bytes], rest: bytearray, timeout: float) -> bytes | None:
    """As `Child.line`. `rest`: what was read before and is no part of an earlier line; it is kept up to date."""
    if process.stdout is None:
        raise AssertionError("the child has no standard output")
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while b"\n" not in rest and len(rest) < LONGEST_LINE:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return None
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece:
                line = bytes(rest)
                rest.clear()
                return line
            rest += piece
    end = (rest.find(b"\n") + 1) or len(rest)
    line = bytes(rest[:end])
    del rest[:end]
    return line


def _why_not_ready(process: subprocess.Popen[bytes], timeout: float) -> str:
    try:
        code = process.wait(1.0)
    except subprocess.TimeoutExpired:
        return f"did not become ready within {timeout:.0f} s"
    return f"ended with exit code {code} before it was ready"


def awaited() -> bool:
    """Child side: whether a program waits for our first line. Removes the variable, so that our own children do not get it."""
    return os.environ.pop(AWAITED, "") == "1"


def report_ready(facts: Mapping[str, object], text: str = "") -> None:
    """Child side: the service can be used now. A terminal shows `text` instead, if there is one."""
    sys.stdout.write((text if text and sys.stdout.isatty() else json.dumps(facts)) + "\n")
    sys.stdout.flush()


def report_failure(failed: ConnectorError) -> None:
    """Child side: say why the service cannot start."""
    report_ready(failed.to_json())


def read_configuration() -> dict[str, object]:
    """Child side: the parent's JSON line. Raises ControlFailed when there is none."""
    try:
        configuration = json.loads(sys.stdin.readline())
    except ValueError:
        configuration = None
    if not isinstance(configuration, dict):
        raise ControlFailed(
            "expected one line of JSON configuration on standard input",
            remedy="write the configuration as one line of JSON, or leave --exit-with-stdin off",
        )
    return configuration


def wait_for_release() -> None:
    """Child side: wait until the parent closes the pipe (end of standard input)."""
    while sys.stdin.buffer.read(4096):
        pass


def own_directory(path: Path, who: str) -> int:
    """Make `path` for this user alone, and lock it for this process; the lock ends with the process.

    Raises BadInput when it cannot be used or is not ours alone, Conflict when another process has it. `who` names
    that other process.
    """
    private.directory(path)
    try:
        handle = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as failed:
        raise BadInput(f"cannot use this directory: {failed.strerror}", on=str(path)) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise Conflict(
            f"{who} works in this directory",
            on=str(path),
            remedy="wait for its end, or use another directory",
        ) from None
    return handle
