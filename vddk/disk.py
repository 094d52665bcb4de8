"""An open disk of the library in this process: bytes outside, sectors inside, one owner thread, asynchronous
reads only.

A completion may run before ReadAsync returns, on any thread. So a read is registered and its buffer pinned
before the call, the callback only queues, and everything else happens on the owner thread.
"""

import ctypes
import logging
import mmap
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Final, Self

from vddk import abi, allocation
from vddk.connection import Connection
from vddk.errors import (
    DiskClosed,
    InvalidRequest,
    LibraryMisbehaved,
    UnexplainedFailure,
    Unsupported,
    VddkError,
    VixError,
    WrongThread,
    from_value,
)
from vddk.flight import Ended, Flight
from vddk.loading import Library, library
from vddk.spec import DEPTH, Completion, Disk, DiskInfo, DiskSpec, Extent, Installation, Memory

LOGGER: Final = logging.getLogger("vddk")
CLOSING_PATIENCE: Final = 30.0
"""Seconds that a completion may lag behind Wait before its buffer is given up as never coming back."""


class _Reads:
    """The `vddk.flight.Engine` over one handle. ``notify`` is called, on a foreign thread, when a read has
    ended.
    """

    def __init__(self, owner: Library, handle: Any, path: str, notify: Callable[[], None] | None) -> None:
        self._library, self._handle, self._path = owner, handle, path
        self._arrived: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self._pins: dict[int, Any] = {}
        self._mark = owner.callbacks.written
        self._notify = notify
        self._completed = abi.Completion(self._complete)

    def start(self, key: int, offset: int, memory: memoryview) -> None:
        length = len(memory)
        self._pins[key] = pin = (ctypes.c_char * length).from_buffer(memory)
        answer = self._library.invoke(
            "ReadAsync", self._handle, offset // abi.SECTOR, length // abi.SECTOR,
            ctypes.addressof(pin), self._completed, key,
        )  # fmt: skip
        if answer & 0xFFFF != abi.VIX_ASYNC:
            self._complete(key, answer or abi.VIX_ASYNC)

    def ended(self, timeout: float | None) -> list[Ended]:
        ended: list[Ended] = []
        with suppress(queue.Empty):
            item = self._arrived.get(block=timeout != 0.0, timeout=timeout)
            while True:
                if self._pins.pop(item[0], None) is not None:
                    ended.append(Ended(item[0], self._error(item[1])))
                item = self._arrived.get_nowait()
        return ended

    def abandoned(self) -> list[Any]:
        """Everything that a late completion would still touch."""
        return [self._completed, *self._pins.values()] if self._pins else []

    def _complete(self, key: int | None, result: int) -> None:
        self._arrived.put((key or 0, result))
        if self._notify is not None:
            self._notify()

    def _error(self, result: int) -> VddkError | None:
        if result == abi.VIX_OK:
            return None
        if result == abi.VIX_ASYNC:
            return LibraryMisbehaved("ReadAsync", f"of {self._path} answered 0 instead of {abi.VIX_ASYNC}")
        lines, self._mark = self._library.callbacks.since(self._mark), self._library.callbacks.written
        return from_value(result, "ReadAsync", self._path, self._library.error_text(result), lines)


class LibraryDisk:
    """See `vddk.spec.Disk`."""

    def __init__(
        self, owner: Library, spec: DiskSpec, depth: int = DEPTH, notify: Callable[[], None] | None = None
    ) -> None:
        self._library, self._spec = owner, spec
        self._thread = threading.current_thread()
        self._handle = abi.Handle()
        self._tells_allocation = True
        self._closed = False
        with owner.lifecycle, ExitStack() as stack:
            connection = Connection(owner, spec)
            stack.callback(connection.close)
            flags = abi.OPEN_READ_ONLY | abi.COMPRESSION[spec.compression]
            owner.call(
                "Open",
                connection.handle,
                spec.path.encode(),
                flags,
                ctypes.byref(self._handle),
                target=spec.path,
            )
            stack.callback(self._close_handle)
            self._info = _info(owner, self._handle, spec.path)
            mode = owner.invoke("GetTransportMode", self._handle)
            self._transport = mode.decode("utf-8", "replace") if mode else ""
            self._unwind = stack.pop_all()
        self._reads = _Reads(owner, self._handle, spec.path, notify)
        self._flight = Flight(self._reads, self._info.capacity, depth)
        owner.open_disks.append(self)

    @property
    def info(self) -> DiskInfo:
        return self._info

    @property
    def transport(self) -> str:
        return self._transport

    def buffers(self, count: int, size: int) -> Sequence[memoryview]:
        self._mine("buffers")
        stride = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = memoryview(mmap.mmap(-1, max(count * stride, 1)))
        return [memory[index * stride : index * stride + size] for index in range(count)]

    def read_into(self, offset: int, buffer: Memory) -> None:
        self._mine("read_into")
        self._flight.read_into(offset, buffer)

    def submit(self, offset: int, buffer: Memory, token: int) -> None:
        self._mine("submit")
        self._flight.submit(offset, buffer, token)

    def completions(self, timeout: float | None = None) -> list[Completion]:
        self._mine("completions")
        return self._flight.completions(timeout)

    def allocated(self, start: int, length: int) -> Iterator[Extent]:
        self._mine("allocated")
        return allocation.extents(self.query, self._info.capacity, start, length, self._spec.chunk)

    def query(self, window: allocation.Window) -> list[Extent]:
        """The answer to one chunk query; the whole window when the storage does not know or answers nonsense."""
        self._mine("allocated")
        everything = [Extent(window.start, window.length)]
        if not self._tells_allocation:
            return everything
        try:
            blocks = self._ask(window)
        except (Unsupported, InvalidRequest, UnexplainedFailure) as error:
            LOGGER.warning("%s; reading all of %s instead", error, self._spec.path)
            self._tells_allocation = False
            return everything
        if blocks is None or not allocation.sound(blocks, window):
            LOGGER.warning(
                "VDDK's list of allocated blocks of %s makes no sense; reading all", self._spec.path
            )
            return everything
        return blocks

    def metadata(self) -> dict[str, str]:
        self._mine("metadata")
        if not (self._library.has("GetMetadataKeys") and self._library.has("ReadMetadata")):
            return {}
        try:
            keys = self._grown("GetMetadataKeys", self._handle).split(b"\0")
            return {_decoded(key): self._metadata_value(key) for key in keys if key}
        except Unsupported:
            return {}

    def close(self) -> None:
        if self._closed:
            return
        self._mine("close")
        self.shut()

    def shut(self) -> None:
        """Closes on any thread; for the end of the process, when the owner may be gone."""
        self._closed = True
        self._tried("Wait")
        if self._flight.drain(CLOSING_PATIENCE):
            LOGGER.error("VDDK kept reads of %s beyond Wait; their memory is never reused", self._spec.path)
            self._library.abandoned.extend(self._reads.abandoned())
        with self._library.lifecycle:
            self._unwind.close()
        with suppress(ValueError):
            self._library.open_disks.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _mine(self, call: str) -> None:
        if self._closed:
            raise DiskClosed(self._spec.path)
        if threading.current_thread() is not self._thread:
            raise WrongThread(call, self._thread.name)

    def _tried(self, name: str) -> None:
        try:
            self._library.call(name, self._handle, target=self._spec.path)
        except VixError as error:
            LOGGER.warning("%s", error)

    def _close_handle(self) -> None:
        self._tried("Close")

    def _ask(self, window: allocation.Window) -> list[Extent] | None:
        pointer = ctypes.c_void_p()
        start, count, chunk = (size // abi.SECTOR for size in (window.start, window.length, self._spec.chunk))
        self._library.call(
            "QueryAllocatedBlocks",
            self._handle,
            start,
            count,
            chunk,
            ctypes.byref(pointer),
            target=self._spec.path,
        )
        if not pointer.value:
            return None
        try:
            return _blocks(pointer.value, most=count // chunk)
        finally:
            self._library.invoke("FreeBlockList", pointer)

    def _metadata_value(self, key: bytes) -> str:
        return _decoded(self._grown("ReadMetadata", self._handle, key).split(b"\0")[0])

    def _grown(self, name: str, *arguments: Any) -> bytes:
        """The two-step pattern: ask with no buffer how much is required, then ask again with that much."""
        required = ctypes.c_size_t()
        value = self._library.invoke(name, *arguments, None, 0, ctypes.byref(required))
        if value & 0xFFFF not in (abi.VIX_OK, abi.VIX_BUFFER_TOO_SMALL):
            raise from_value(value, name, self._spec.path, self._library.error_text(value))
        buffer = ctypes.create_string_buffer(required.value + 1)
        self._library.call(
            name, *arguments, buffer, required.value, ctypes.byref(required), target=self._spec.path
        )
        return buffer.raw


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _blocks(address: int, most: int) -> list[Extent] | None:
    """The list behind a BlockList pointer; None when it claims more blocks than there are chunks, and is not
    read.
    """
    count = abi.BlockList.from_address(address).count
    if count > most:
        return None
    blocks = (abi.Block * count).from_address(address + abi.BlockList.blocks.offset)
    return [Extent(block.offset * abi.SECTOR, block.length * abi.SECTOR) for block in blocks]


def _info(owner: Library, handle: Any, path: str) -> DiskInfo:
    pointer = ctypes.c_void_p()
    owner.call("GetInfo", handle, ctypes.byref(pointer), target=path)
    if not pointer.value:
        raise LibraryMisbehaved("GetInfo", f"of {path} answered nothing")
    try:
        short = abi.InfoBefore7.from_address(pointer.value)
        full = abi.Info.from_address(pointer.value) if owner.major >= 7 else None
        return DiskInfo(
            capacity=short.capacity * abi.SECTOR,
            adapter=abi.ADAPTERS.get(short.adapter, "unknown"),
            links=short.links,
            uuid=_decoded(short.uuid) if short.uuid else None,
            logical_sector_size=(full.logical_sector_size if full else 0) or abi.SECTOR,
            physical_sector_size=(full.physical_sector_size if full else 0) or abi.SECTOR,
            parent_hint=_decoded(short.parent_hint) if short.parent_hint else None,
        )
    finally:
        owner.invoke("FreeInfo", pointer)


def open_in_process(installation: Installation, spec: DiskSpec, depth: int = DEPTH) -> Disk:
    """Opens a disk with the library in this very process, whose first call must come from the main thread.

    For short-lived processes only: a crash of the library is a crash of the process.
    """
    return LibraryDisk(library(installation), spec, depth)
