"""A disk of a host, open for reading over NFC. Same interface as a disk of VDDK.

Calls may come from any thread, one at a time; the connection has a thread of its own, see `nfc.engine`.
"""

import logging
import mmap
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from nfc import aio, allocation, codec
from nfc.connection import HostIdentity, Observer, connect
from nfc.conversation import Conversation
from nfc.engine import Engine
from nfc.errors import BufferRefused, ConnectionFailed, DiskClosed, HostError, NfcError, OutOfMemory
from nfc.flight import Flight
from nfc.spec import METADATA, Completion, DiskInfo, DiskSpec, Extent, Memory

LOGGER: Final = logging.getLogger("nfc.disk")


class NfcDisk:
    """One disk on one connection; made by `open_disk`."""

    def __init__(self, spec: DiskSpec, observer: Observer | None = None) -> None:
        self._spec = spec
        self._closed = False
        self._turn = threading.Lock()
        connection = connect(spec.ticket, spec.pin, spec.patience, observer, spec.authority)
        self._identity, self._version = connection.identity, connection.version
        conversation = Conversation(spec.path, codec.wanted(spec.compression))
        self._engine = Engine(connection, conversation, spec.patience.silence)
        with ExitStack() as unless_open:
            unless_open.callback(self._engine.stop, politely=False)
            self._buffer = self._open_session()
            self._engine.ask(aio.set_socket_options())
            self._engine.ask(aio.set_resource_pool())
            self._file = aio.parse_file(self._engine.ask(aio.open_file(spec.path)).payload)
            self._reads = Flight(self._engine, self._file.handle, self._file.capacity, spec.depth)
            unless_open.pop_all()

    @property
    def info(self) -> DiskInfo:
        return DiskInfo(self._file.capacity, self._file.sector)

    @property
    def transport(self) -> str:
        return "nfcssl"

    @property
    def identity(self) -> HostIdentity:
        """What the host showed, and what vouches for it."""
        return self._identity

    @property
    def version(self) -> int:
        """The host's version of NFC."""
        return self._version

    @property
    def host_buffer(self) -> tuple[int, int]:
        """Size and count of the buffers that the host accepted; zeros are its defaults."""
        return self._buffer

    def buffers(self, count: int, size: int) -> Sequence[memoryview]:
        """Writable memory that begins at pages."""
        self._require_open()
        stride = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = memoryview(mmap.mmap(-1, max(count * stride, 1)))
        return [memory[index * stride : index * stride + size] for index in range(count)]

    def read_into(self, offset: int, buffer: Memory) -> None:
        """Fills the whole buffer. Raises what the first failing piece raised, after every piece has ended."""
        with self._turn:
            self._flight.read_into(offset, buffer)

    def submit(self, offset: int, buffer: Memory, token: int) -> None:
        """Queues a read and returns at once. The buffer must stay alive and untouched until its completion.

        Raises `TooManyInFlight` beyond the depth, `Misaligned`, `OutOfRange`, `BadBuffer`. All else comes with the completion.
        """
        with self._turn:
            self._flight.submit(offset, buffer, token)

    def completions(self, timeout: float | None = None) -> list[Completion]:
        """Waits for at least one submitted read to end, and returns all that have. Empty: none in flight, or timeout."""
        with self._turn:
            return self._flight.completions(timeout)

    def allocated(self, start: int, length: int) -> Iterator[Extent]:
        """Ranges that may hold data, ascending, coalesced, clipped. The rest reads as zeros.

        A storage that cannot tell yields everything asked for.
        """
        self._require_open()
        return allocation.extents(self._query, self._file.capacity, start, length, self._spec.chunk)

    def metadata(self) -> dict[str, str]:
        """The disk's metadata, as far as it has any."""
        with self._turn:
            self._require_open()
            values = {
                key: self._engine.ask(aio.get_metadata(self._file.handle, key)).extra for key in METADATA
            }
            return {key: value.decode(errors="replace") for key, value in values.items() if value}

    def cancel(self) -> None:
        """Ends the session at once, from any thread; what is waiting ends with `SessionCut`."""
        self._engine.cancel("the read was cancelled")

    def close(self) -> None:
        """Waits for reads in flight, then closes. May be called twice."""
        with self._turn:
            if self._closed:
                return
            self._closed = True
            with ExitStack() as stack:
                polite = self._farewell()
                stack.callback(self._engine.stop, politely=polite)

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
    def _flight(self) -> Flight:
        self._require_open()
        return self._reads

    def _open_session(self) -> tuple[int, int]:
        """Smaller buffers after a refusal, at last the host's own choice. That one connection bears several tries is a guess."""
        wanted = (self._spec.buffer, self._spec.buffers)
        sizes = [wanted, *(size for size in ((self._spec.buffer, 1), (0, 0)) if size != wanted)]
        for size in sizes[:-1]:
            try:
                self._engine.ask(aio.open_session(*size))
            except BufferRefused as error:
                LOGGER.warning("trying smaller buffers: %s", error)
            else:
                return size
        try:
            self._engine.ask(aio.open_session(*sizes[-1]))
        except (
            BufferRefused
        ) as error:  # even what the host itself prefers: other sessions have taken its memory
            raise OutOfMemory(error.code, error.call, error.target, error.words) from error
        return sizes[-1]

    def _query(self, window: allocation.Window) -> list[Extent]:
        count = window.length // self._spec.chunk
        question = aio.query_allocated(self._file.handle, window.start, count, self._spec.chunk)
        with self._turn:
            self._require_open()
            try:
                bitmap = self._engine.ask(question).extra
            except HostError as error:
                if error.retryable:
                    raise
                LOGGER.warning("all of it counts as allocated: %s", error)
                return [Extent(window.start, window.length)]
        return allocation.bitmap_extents(bitmap, count, window.start, self._spec.chunk)

    def _farewell(self) -> bool:
        """Whether the host was told of the end in all forms."""
        late = threading.Timer(self._spec.patience.closing, self._engine.cancel, ["closing took too long"])
        late.daemon = True
        late.start()
        try:
            self._reads.drain(self._spec.patience.closing)
            self._engine.ask(aio.close_file(self._file.handle))
            self._engine.ask(aio.close_session())
        except ConnectionFailed as error:
            LOGGER.info("closing: %s", error)
            return False
        except NfcError as error:
            LOGGER.warning("closing: %s", error)
            return False
        finally:
            late.cancel()
        return True


def open_disk(spec: DiskSpec, observer: Observer | None = None) -> NfcDisk:
    """Opens one disk with one ticket. Raises what `nfc.errors` lists; at any time later `ConnectionFailed` and its like.

    `observer` hears all that is said, from the greeting to the end.
    """
    return NfcDisk(spec, observer)
