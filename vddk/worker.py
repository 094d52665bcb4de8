"""A disk served by a child process over shared memory: same interface, but a crash of the library is a typed
error.

Blocks lie in a memfd mapped on both sides. A read into other memory goes through a spare piece of it and is
copied. Calls may come from any one thread at a time; the library's own thread rules are kept in the child.
"""

import ctypes
import fcntl
import logging
import mmap
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from vddk import allocation, wire
from vddk.errors import BadBuffer, BadSetting, DiskClosed, VddkError, WorkerError, from_fields
from vddk.flight import Ended, Flight
from vddk.loading import Probe
from vddk.process import Worker
from vddk.spec import (
    DEPTH,
    REQUEST,
    Completion,
    DiskInfo,
    DiskSpec,
    Extent,
    Installation,
    Memory,
)

LOGGER: Final = logging.getLogger("vddk.worker")
DEEPEST: Final = 256
CLOSING_DEADLINE: Final = 120.0
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
"""The size is fixed, so that nothing the child does can take mapped memory away from this process."""


class _Region(NamedTuple):
    number: int
    address: int
    memory: mmap.mmap


class _Spare(NamedTuple):
    slot: memoryview
    target: memoryview


class Remote:
    """The `vddk.flight.Engine` over a worker, and the requests that are answered one by one."""

    def __init__(self, worker: Worker, deadline: float | None) -> None:
        self._worker = worker
        self._deadline = deadline
        self._regions: list[_Region] = []
        self._waiting: set[int] = set()
        self._found: list[Ended] = []
        self._spare: list[memoryview] = []
        self._borrowed: dict[int, _Spare] = {}
        self._heard = time.monotonic()

    def buffers(self, count: int, size: int) -> list[memoryview]:
        stride = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = memoryview(self._shared(max(count * stride, 1)).memory)
        return [memory[index * stride : index * stride + size] for index in range(count)]

    def start(self, key: int, offset: int, memory: memoryview) -> None:
        region, start = self._located(memory) or self._lent(key, memory)
        if not self._waiting:
            self._heard = time.monotonic()
        self._waiting.add(key)
        self._send(wire.Read(key, region.number, start, len(memory), offset))

    def ended(self, timeout: float | None) -> list[Ended]:
        """Takes what has come; waits only when nothing had."""
        until = None if timeout is None else time.monotonic() + timeout
        with suppress(TimeoutError):
            while self._waiting and not self._found:
                left = None if until is None else until - time.monotonic()
                self._sort(self._receive("read", left))
            while self._waiting:
                self._sort(self._receive("read", 0.0))
        ended, self._found = self._found, []
        return ended

    def ask(self, request: dict[str, Any], deadline: float | None = None) -> tuple[Any, list[Extent]]:
        """Sends a request and waits for its answer; extents that came before it are returned beside it."""
        self._heard = time.monotonic()
        self._send(request)
        extents: list[Extent] = []
        while True:
            packet = self._receive(str(request["do"]), None, deadline)
            if packet.kind == "X":
                extents += packet.extents()
                continue
            fields = packet.json() if packet.kind == "J" else {}
            if "answer" in fields:
                return fields["answer"], extents
            if "error" in fields and "failed" not in fields:
                raise from_fields(*fields["error"])
            self._sort(packet)

    def forget(self) -> None:
        """Lets go of the shared memory; what the owner of a buffer still holds goes with that."""
        slots = [*self._spare, *(spare.slot for spare in self._borrowed.values())]
        self._spare.clear()
        self._borrowed.clear()
        for slot in slots:
            with suppress(BufferError):
                slot.release()
        for region in self._regions:
            with suppress(BufferError):
                region.memory.close()
        self._regions.clear()

    def _send(self, message: wire.Read | dict[str, Any], fds: Sequence[int] = ()) -> None:
        try:
            if isinstance(message, wire.Read):
                self._worker.channel.send_read(message)
            else:
                self._worker.channel.send_json(message, fds)
        except OSError as error:
            raise self._worker.died() from error

    def _receive(self, call: str, timeout: float | None, deadline: float | None = None) -> wire.Packet:
        """The next packet, or `TimeoutError`; silence as long as the deadline is `WorkerTimedOut`."""
        limit = deadline or self._deadline
        left = None if limit is None else max(self._heard + limit - time.monotonic(), 0.0)
        waits = [wait for wait in (timeout, left) if wait is not None]
        try:
            packet = self._worker.channel.receive(min(waits) if waits else None)
        except TimeoutError:
            if limit is not None and time.monotonic() >= self._heard + limit:
                raise self._worker.overdue(call, limit) from None
            raise
        except (EOFError, OSError) as error:
            raise self._worker.died() from error
        self._heard = time.monotonic()
        return packet

    def _sort(self, packet: wire.Packet) -> None:
        if packet.kind == "D":
            for key in packet.done():
                self._end(key, None)
        elif packet.kind == "J":
            fields = packet.json()
            self._end(fields["failed"], from_fields(*fields["error"]))

    def _end(self, key: int, error: VddkError | None) -> None:
        self._waiting.discard(key)
        spare = self._borrowed.pop(key, None)
        if spare is not None:
            if error is None:
                spare.target[:] = spare.slot[: len(spare.target)]
            self._spare.append(spare.slot)
        self._found.append(Ended(key, error))

    def _shared(self, size: int) -> _Region:
        number = len(self._regions)
        with ExitStack() as stack:
            fd = os.memfd_create("vddk-blocks", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            stack.callback(os.close, fd)
            os.ftruncate(fd, size)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            memory = mmap.mmap(fd, size)
            with ExitStack() as unless_sent:
                unless_sent.callback(memory.close)
                self._send({"do": "map", "region": number, "size": size}, (fd,))
                unless_sent.pop_all()
        region = _Region(number, ctypes.addressof(ctypes.c_char.from_buffer(memory)), memory)
        self._regions.append(region)
        return region

    def _located(self, memory: memoryview) -> tuple[_Region, int] | None:
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for region in self._regions:
            start = address - region.address
            if 0 <= start <= len(region.memory) - len(memory):
                return region, start
        return None

    def _lent(self, key: int, memory: memoryview) -> tuple[_Region, int]:
        """Where a read into other memory goes first."""
        slot = self._borrow(len(memory))
        self._borrowed[key] = _Spare(slot, memory)
        place = self._located(slot)
        if place is None:
            raise BadBuffer(f"a spare piece of {len(slot)} bytes lies in no shared memory")
        return place

    def _borrow(self, length: int) -> memoryview:
        for index, slot in enumerate(self._spare):
            if len(slot) >= length:
                return self._spare.pop(index)
        return self.buffers(1, max(length, REQUEST))[0]


class WorkerDisk:
    """See `vddk.spec.Disk`; made by `open_in_worker`."""

    def __init__(
        self, installation: Installation, spec: DiskSpec, depth: int, deadline: float | None = None
    ) -> None:
        if not 0 < depth <= DEEPEST:
            raise BadSetting("depth", f"{depth} is not from 1 to {DEEPEST}")
        self._spec = spec
        self._closed = False
        self._deadline = deadline
        self._turn = threading.Lock()
        self._worker = Worker(installation.directory, spec.path, spec.connection.secrets)
        with ExitStack() as stack:
            stack.callback(self._discard)
            self._remote = Remote(self._worker, deadline)
            answer, _ = self._remote.ask(
                {
                    "do": "open",
                    "tmp": str(self._worker.tmp),
                    "installation": wire.installation_fields(installation),
                    "disk": wire.disk_fields(spec),
                    "depth": depth,
                }
            )
            self._info = DiskInfo(**answer["info"])
            self._transport = str(answer["transport"])
            self._reads = Flight(self._remote, self._info.capacity, depth)
            stack.pop_all()

    @property
    def info(self) -> DiskInfo:
        return self._info

    @property
    def transport(self) -> str:
        return self._transport

    @property
    def pid(self) -> int:
        """The process id of the child, for those who watch processes."""
        return self._worker.pid

    def buffers(self, count: int, size: int) -> Sequence[memoryview]:
        with self._turn:
            return self._open.buffers(count, size)

    def read_into(self, offset: int, buffer: Memory) -> None:
        with self._turn:
            self._flight.read_into(offset, buffer)

    def submit(self, offset: int, buffer: Memory, token: int) -> None:
        with self._turn:
            self._flight.submit(offset, buffer, token)

    def completions(self, timeout: float | None = None) -> list[Completion]:
        with self._turn:
            return self._flight.completions(timeout)

    def allocated(self, start: int, length: int) -> Iterator[Extent]:
        self._require_open()
        return allocation.extents(self._query, self._info.capacity, start, length, self._spec.chunk)

    def metadata(self) -> dict[str, str]:
        with self._turn:
            answer, _ = self._open.ask({"do": "metadata"})
            return dict(answer)

    def cancel(self) -> None:
        """Ends the child at once, from any thread; a call that is waiting raises `WorkerDied`."""
        self._worker.kill()

    def close(self) -> None:
        with self._turn:
            if self._closed:
                return
            self._closed = True
            try:
                self._remote.ask({"do": "close"}, self._deadline or CLOSING_DEADLINE)
            except WorkerError as error:
                LOGGER.warning("closing: %s", error)
            finally:
                self._worker.end()
                self._remote.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._closed:
            raise DiskClosed(self._spec.path)

    @property
    def _open(self) -> Remote:
        self._require_open()
        return self._remote

    @property
    def _flight(self) -> Flight:
        self._require_open()
        return self._reads

    def _query(self, window: allocation.Window) -> list[Extent]:
        with self._turn:
            return self._open.ask({"do": "allocated", "start": window.start, "length": window.length})[1]

    def _discard(self) -> None:
        self._worker.channel.close()
        self._worker.end()


def open_in_worker(
    installation: Installation, spec: DiskSpec, depth: int = DEPTH, deadline: float | None = None
) -> WorkerDisk:
    """Opens a disk in a process of its own. ``deadline`` bounds, in seconds, the silence of any one library
    call.

    Raises what the library or the installation has to say; `WorkerDied` or `WorkerTimedOut` from here on at
    any time.
    """
    return WorkerDisk(installation, spec, depth, deadline)


def _asked(worker: Worker, request: dict[str, Any], deadline: float | None) -> Any:
    with ExitStack() as stack:
        stack.callback(worker.end)
        stack.callback(worker.channel.close)
        return Remote(worker, deadline).ask(request)[0]


def probe(directory: Path, deadline: float | None = 60.0) -> Probe:
    """What an installation offers, asked in a process of its own with the environment of a disk's worker."""
    worker = Worker(directory, str(directory))
    answer = _asked(worker, {"do": "probe", "directory": str(directory.resolve())}, deadline)
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in answer.items()
    }
    return Probe(**fields)


def release_in_worker(installation: Installation, spec: DiskSpec, deadline: float | None = 60.0) -> int:
    """Undoes what a killed worker of this disk left behind, see `vddk.connection.release`.

    Returns how many leftovers remain.
    """
    worker = Worker(installation.directory, spec.path, spec.connection.secrets)
    request = {
        "do": "release",
        "tmp": str(worker.tmp),
        "installation": wire.installation_fields(installation),
        "disk": wire.disk_fields(spec),
    }
    return int(_asked(worker, request, deadline))
