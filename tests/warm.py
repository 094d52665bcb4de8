"""Our services as processes that start at once: a parent that has imported everything forks them.

A test that starts the whole house would spend most of its time in imports. The stub stands in for `sys.executable`: what
it is asked to run as `-m MODULE` is forked with the caller's arguments, directory, environment and standard streams;
everything else is run by the real interpreter. Signals reach the process through the stub, a stub that goes takes its
process along, and a process that dies of a signal is seen to die of it.

What looks at a process from the outside (/proc, sockets, memory) sees the stub: such a test has the marker `cold`.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.waiting import PATIENCE

MODULES: Final = (
    "connector.control",
    "connector.appliance",
    "connector.instance",
    "connector.cli.main",
    "tests.control.fake_plane",
)

#: What they import when they are used.
_LATER: Final = (
    "anyio._backends._asyncio",
    "rich.live",
    "rich.progress",
    "rich.table",
    "stringprep",
    "uvicorn.lifespan.off",
)

_STUB: Final = """#!{python} -ISs
import array, json, os, signal, socket, sys
if len(sys.argv) < 3 or sys.argv[1] != "-m" or sys.argv[2] not in {modules}:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
mask = os.umask(0)
os.umask(mask)
order = dict(words=sys.argv[2:], mask=mask, where=os.getcwd(), environment=dict(os.environ), group=os.getpgrp() == os.getpid())
line = json.dumps(order).encode()
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as way:
    way.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    try:
        way.connect({address!r})
    except OSError:  # its parent is gone: slower, but the same
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.execv({python!r}, [{python!r}, *sys.argv[1:]])
    for number in SIGNALS:
        signal.signal(number, lambda number, _: way.send(b"%d" % number))
    way.sendmsg([line], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # a signal is passed on after the order, never before it
    for stream in (0, 1):
        os.close(stream)
    code = int(way.recv(16) or b"70")
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@contextmanager
def parent(root: Path) -> Iterator[Path]:
    """The stub of a parent that lives inside the block; `root` is made for the two."""
    root.mkdir(parents=True)
    address, stub = root / "socket", root / "python"
    stub.write_text(_STUB.format(python=sys.executable, modules=MODULES, address=str(address)))
    stub.chmod(0o700)
    order = [sys.executable, "-m", "tests.warm", str(address), str(stub)]
    process = subprocess.Popen(
        order, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    try:
        yield stub
    finally:
        process.communicate(timeout=PATIENCE)


@contextmanager
def in_place(stub: Path) -> Iterator[None]:
    """Inside the block `sys.executable` is the stub, here and in every process that is started by it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(stub))
        # Everything is pinned: to read the machine's authorities for each connection costs most of all.
        patch.setenv("SSL_CERT_FILE", os.devnull)
        yield


@contextmanager
def warm(root: Path) -> Iterator[None]:
    """Both."""
    with parent(root) as stub, in_place(stub):
        yield


class _Parent:
    """Has one thread: it forks."""

    def __init__(self, address: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(address)
        self._listener.listen(16)
        self._pids: dict[int, tuple[int, socket.socket]] = {}  # by pidfd
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(0, selectors.EVENT_READ, None)

    def serve(self) -> None:
        """Until standard input ends; whatever still runs then is killed."""
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return self._end()
                if self._selector.get_map().get(key.fd) is not key:  # by number: a closed socket has none
                    continue  # what was done for another event of this round has ended it
                key.data(key.fileobj)

    def _accept(self, _listener: object) -> None:
        way, _ = self._listener.accept()
        self._selector.register(way, selectors.EVENT_READ, self._ordered)

    def _ordered(self, way: socket.socket) -> None:
        self._selector.unregister(way)
        line, control = b"", []
        with contextlib.suppress(OSError):
            line, control, _, _ = way.recvmsg(1 << 20, socket.CMSG_SPACE(3 * 4))
        if not line or not control:  # its stub was killed before it said anything, or it is no stub
            way.close()
            return
        streams = array.array("i", control[0][2])
        pid = os.fork()
        if not pid:
            _become(json.loads(line), list(streams))
        for stream in streams:
            os.close(stream)
        handle = os.pidfd_open(pid)
        self._pids[handle] = pid, way
        self._selector.register(handle, selectors.EVENT_READ, self._ended)
        self._selector.register(way, selectors.EVENT_READ, self._signalled)

    def _ended(self, handle: int) -> None:
        """Its stub goes next. Until then the connection stays: closed with a signal unread, it would lose the exit code."""
        pid, way = self._pids.pop(handle)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(OSError):
            way.send(b"%d" % code)
        self._selector.unregister(handle)
        os.close(handle)

    def _signalled(self, way: socket.socket) -> None:
        """Its stub passes a signal on, or is gone."""
        said = b""
        with contextlib.suppress(OSError):
            said = way.recv(16)
        for handle, (pid, its) in list(self._pids.items()):
            if its is way:
                os.kill(pid, int(said or signal.SIGKILL))
                if not said:
                    self._ended(handle)
        if not said:
            self._selector.unregister(way)
            way.close()

    def _end(self) -> None:
        for pid, _ in self._pids.values():
            os.kill(pid, signal.SIGKILL)


def _become(order: dict[str, object], streams: list[int]) -> None:
    """The child of a fork: never returns."""
    code = 70
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(3, 1 << 10)
        if order["group"]:
            os.setpgid(0, 0)
        os.umask(int(order["mask"]))  # type: ignore[call-overload]
        os.chdir(str(order["where"]))
        os.environ.clear()
        os.environ.update(order["environment"])  # type: ignore[call-overload]
        words = list(order["words"])  # type: ignore[call-overload]
        sys.argv = words
        for name in (words[0], f"{words[0]}.__main__"):
            if not hasattr(sys.modules.get(name), "__path__"):
                sys.modules.pop(name, None)  # it is run as a program now, not imported
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - the outer door of a process
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def main() -> None:
    for module in MODULES:
        for name in (module, f"{module}.__main__"):
            if importlib.util.find_spec(name.rpartition(".")[0]).submodule_search_locations is not None:  # type: ignore[union-attr]
                importlib.import_module(name)
    commands = importlib.import_module("connector.cli").__path__
    later = [
        f"connector.cli.{module.name}" for module in pkgutil.iter_modules(commands) if module.name != "main"
    ]
    for name in (*_LATER, *later):
        importlib.import_module(name)
    sys.executable = sys.argv[2]
    assert threading.active_count() == 1, threading.enumerate()
    parent = _Parent(sys.argv[1])
    gc.collect()
    gc.freeze()
    os.write(1, b"ready\n")
    parent.serve()


if __name__ == "__main__":
    main()
