"""The program of the child process that holds the library. The main thread owns the library; one thread
listens.

It imports nothing that could bind to the library's own copies of libssl or libcrypto. When its owner is gone
it closes the disk (so that the machine is not left locked), within a time limit, and ends.
"""

import logging
import mmap
import os
import queue
import shutil
import socket
import sys
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from vddk import loading, wire
from vddk.allocation import Window
from vddk.connection import release
from vddk.disk import LibraryDisk
from vddk.errors import DiskClosed, VddkError, to_fields

FAREWELL_PATIENCE: Final = 20.0
"""Seconds in which an orphaned worker closes its disk before it ends regardless."""

CRASHED: Final = 70
RECORD: Final = "\x1e"
FIELD: Final = "\x1f"

Item = wire.Packet | None
"""A packet, an empty packet of kind W when a read has ended, None when the owner is gone."""
WAKE: Final = wire.Packet("W", b"", ())


class _Lines(logging.Formatter):
    """One record, one line: level, logger, text. Whatever else appears on stderr is not ours."""

    def format(self, record: logging.LogRecord) -> str:
        text = " ".join(record.getMessage().split())
        return f"{RECORD}{record.levelno}{FIELD}{record.name}{FIELD}{text}"


class Server:
    """Serves one owner until it closes or disappears. Everything but `listen` runs on the main thread."""

    def __init__(self, channel: wire.Channel) -> None:
        self._channel = channel
        self._inbox: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._regions: dict[int, mmap.mmap] = {}
        self._disk: LibraryDisk | None = None
        self._tmp: Path | None = None
        self._commands = {
            "open": self._open,
            "probe": self._probe,
            "release": self._release,
            "allocated": self._allocated,
            "metadata": self._metadata,
            "close": self._close,
        }

    def listen(self) -> None:
        """Thread: moves packets to the main thread; ends the process if that does not after the owner has
        gone.
        """
        try:
            while True:
                self._inbox.put(self._channel.receive())
        except EOFError:
            self._inbox.put(None)
        time.sleep(FAREWELL_PATIENCE)
        if self._tmp is not None:
            shutil.rmtree(self._tmp, ignore_errors=True)
        os._exit(CRASHED)

    def run(self) -> None:
        while (packet := self._inbox.get()) is not None:
            if packet.kind == "W":
                self._report()
            elif packet.kind == "R":
                self._read(packet.read())
            elif self._obey(packet) == "close":
                return
        self._close({})

    def _obey(self, packet: wire.Packet) -> str:
        request = packet.json()
        name = str(request["do"])
        if name == "map":
            self._map(request, packet.fds)
            return name
        try:
            answer = {"answer": self._commands[name](request)}
        except VddkError as error:
            answer = {"error": [type(error).__name__, to_fields(error)]}
        self._channel.send_json(answer)
        return name

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        disk = LibraryDisk(
            self._started(request),
            wire.disk_from(request["disk"]),
            request["depth"],
            lambda: self._inbox.put(WAKE),
        )
        self._disk = disk
        return {"info": asdict(disk.info), "transport": disk.transport}

    def _started(self, request: dict[str, Any]) -> loading.Library:
        self._tmp = Path(request["tmp"])
        return loading.library(wire.installation_from(request["installation"]), self._tmp)

    def _probe(self, request: dict[str, Any]) -> dict[str, Any]:
        return asdict(loading.probe(Path(request["directory"])))

    def _release(self, request: dict[str, Any]) -> int:
        return release(self._started(request), wire.disk_from(request["disk"]))

    def _map(self, request: dict[str, Any], fds: tuple[int, ...]) -> None:
        self._regions[request["region"]] = mmap.mmap(fds[0], request["size"])
        wire.close_all(fds)

    @property
    def _opened(self) -> LibraryDisk:
        if self._disk is None:
            raise DiskClosed("the disk of this worker")
        return self._disk

    def _read(self, read: wire.Read) -> None:
        memory = memoryview(self._regions[read.region])[read.start : read.start + read.length]
        try:
            self._opened.submit(read.offset, memory, read.key)
        except VddkError as error:
            self._failed(read.key, error)

    def _report(self) -> None:
        """Many reads may have ended since the wake-up that brings us here, and some wake-ups find none."""
        ended = self._disk.completions(0.0) if self._disk is not None else []
        good = [key for key, error in ended if error is None]
        if good:
            self._channel.send_done(good)
        for key, error in ended:
            if error is not None:
                self._failed(key, error)

    def _failed(self, key: int, error: VddkError) -> None:
        self._channel.send_json({"failed": key, "error": [type(error).__name__, to_fields(error)]})

    def _allocated(self, request: dict[str, Any]) -> None:
        self._channel.send_extents(
            self._opened.query(Window(request["start"], request["length"], answerable=True))
        )

    def _metadata(self, _: dict[str, Any]) -> dict[str, str]:
        return self._opened.metadata()

    def _close(self, _: dict[str, Any]) -> None:
        if self._disk is not None:
            self._disk.close()


def _log_to_stderr(level: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logging.basicConfig(level=level, handlers=[handler])


def main(fd: int, level: int) -> None:
    """Never returns: the library's own exit handlers may change the exit status, so the process ends without
    them.
    """
    status = CRASHED
    try:
        os.set_inheritable(fd, False)
        _log_to_stderr(level)
        server = Server(wire.Channel(socket.socket(fileno=fd)))
        threading.Thread(target=server.listen, name="vddk-listen", daemon=True).start()
        server.run()
        loading.stop_library()
        status = 0
    except (BrokenPipeError, ConnectionResetError):
        loading.stop_library()
    except Exception:  # noqa: BLE001  The outermost handler of this process
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
