"""One file on an HTTPS server, read by Range over several connections; every answer is compared with what was asked.

Nothing is guessed: a status, a range, a length or a file that differs is an error, never a byte.
"""

from __future__ import annotations

import mmap
import queue
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from connector.errors import ConnectorError
from connector.model import FileRoute
from connector.sources.file_connection import Answer, FileConnection, Way, closed, receive, strange
from connector.sources.reader import changed

_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
#: By these headers a file that was replaced or written to is known.
_MARKS: Final = ("ETag", "Last-Modified")


class ReadFailed(Exception):
    """Carries one of our errors through the interface of disks."""

    def __init__(self, error: ConnectorError) -> None:
        super().__init__(str(error))
        self.error = error
        self.retryable = error.retryable


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of one submitted read; see `disk_source.EndedRead`."""

    token: int
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class FileInfo:
    """See `disk_source.HasCapacity`."""

    capacity: int


class RangedFile:
    """See `disk_source.OpenDisk`. The file has `capacity` bytes, and `connections` requests are under way at most.

    `in_use` gives the areas that may hold anything but zeros; it is asked at most once. `look` is called before completions are
    answered, and may raise an error of ours: then no read counts any more. `shared`: one route serves all connections.
    """

    def __init__(
        self,
        ask_route: Callable[[], FileRoute],
        path: str,
        capacity: int,
        *,
        connections: int,
        silence: float,
        in_use: Callable[[], Sequence[tuple[int, int]]],
        look: Callable[[], None] = lambda: None,
        shared: bool = True,
    ) -> None:
        self.info = FileInfo(capacity)
        self._ask_route, self._path, self._silence = ask_route, path, silence
        self._way = Way(ask_route) if shared else None
        self._in_use, self._look = in_use, look
        self._areas: Sequence[tuple[int, int]] | None = None
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the four below
        self._resting: list[FileConnection] = []
        self._all: list[FileConnection] = []
        self._marks: dict[str, str] = {}
        self._closed = False
        self._pool = ThreadPoolExecutor(max(1, connections), thread_name_prefix="file")

    def buffers(self, count: int, size: int) -> list[memoryview]:
        view = memoryview(mmap.mmap(-1, count * size))
        return [view[at : at + size] for at in range(0, count * size, size)]

    def submit(self, offset: int, buffer: memoryview, token: int) -> None:
        try:
            reading = self._pool.submit(self.fill, offset, buffer)
        except RuntimeError as ended:
            raise ReadFailed(closed(self._path)) from ended
        reading.add_done_callback(lambda done: self._ended.put(Ended(token, _outcome(done, self._path))))

    def completions(self, timeout: float | None = None) -> list[Ended]:
        with _carried():
            self._look()
        ended: list[Ended] = []
        with suppress(queue.Empty):
            ended.append(self._ended.get(timeout=timeout))
            while True:
                ended.append(self._ended.get_nowait())
        return ended

    def allocated(self, start: int, length: int) -> Iterator[tuple[int, int]]:
        with _carried():
            if self._areas is None:
                self._areas = self._in_use()
        for area, size in self._areas:
            first, after = max(start, area), min(start + length, area + size)
            if first < after:
                yield first, after - first

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Read the bytes at `offset` into the whole buffer. Any thread. Raises our errors."""
        with self._borrowed() as connection:
            wanted = f"bytes={offset}-{offset + len(buffer) - 1}"
            with connection.get({"Range": wanted}) as answer:
                self._compare(answer, offset, len(buffer))
                receive(answer, buffer, self._path)

    def close(self) -> None:
        with self._lock:
            self._closed, connections = True, list(self._all)
        self._pool.shutdown(wait=False, cancel_futures=True)
        for connection in connections:
            connection.interrupt()
        self._pool.shutdown(wait=True)
        for connection in connections:
            connection.close()

    @contextmanager
    def _borrowed(self) -> Iterator[FileConnection]:
        with self._lock:
            if self._closed:
                raise closed(self._path)
            connection = self._resting.pop() if self._resting else None
            if connection is None:
                way = self._way or Way(self._ask_route)
                connection = FileConnection(way, self._path, self._silence)
                self._all.append(connection)
        try:
            yield connection
        finally:
            with self._lock:
                self._resting.append(connection)

    def _compare(self, answer: Answer, start: int, length: int) -> None:
        """Raise unless the answer is exactly these bytes of a file that is as it was."""
        if answer.status != 206:
            raise strange(f"the server answers {answer.status} to a request for a range", self._path)
        match = _RANGE.fullmatch((answer.headers.get("Content-Range") or "").strip())
        if match is None:
            raise strange("the server does not say which range its answer is", self._path)
        first, last, total = (int(number) for number in match.groups())
        if total != self.info.capacity:
            raise changed(f"the file has {total} bytes, and not {self.info.capacity}", self._path)
        if (first, last) != (start, start + length - 1):
            wanted = f"[{start}, {start + length})"
            raise strange(f"asked for {wanted}, the server answers [{first}, {last + 1})", self._path)
        if answer.length is not None and answer.length != length:
            raise strange(f"the answer to a request for {length} bytes has {answer.length}", self._path)
        if (answer.headers.get("Content-Encoding") or "identity").lower() != "identity":
            raise strange("the answer is encoded although that was not asked for", self._path)
        self._remember(answer)

    def _remember(self, answer: Answer) -> None:
        for name in _MARKS:
            value = answer.headers.get(name)
            with self._lock:
                before = self._marks.setdefault(name, value) if value else value
            if before != value:
                raise changed(f"the file is not as it was ({name} was {before}, is {value})", self._path)


def _outcome(done: Future[None], on: str) -> Exception | None:
    if done.cancelled():
        return ReadFailed(closed(on))
    error = done.exception()
    if isinstance(error, ConnectorError):
        return ReadFailed(error)
    return error if error is None or isinstance(error, Exception) else ReadFailed(closed(on))


@contextmanager
def _carried() -> Iterator[None]:
    try:
        yield
    except ConnectorError as error:
        raise ReadFailed(error) from error
