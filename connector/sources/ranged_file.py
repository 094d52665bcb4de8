"""One file on an HTTPS server, read by Range over several connections; every answer is compared with what was asked.

Nothing is guessed: a status, a range, a length or a file that differs is an error, never a byte. Redirects are not followed,
because the cookie belongs to one server.
"""

from __future__ import annotations

import mmap
import queue
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Final

from connector.errors import ConnectorError, NotPermitted, ReaderFailed, SessionExpired
from connector.model import FileRoute
from connector.sources.reader import HostOverloaded, SourceChanged
from connector.vcenter.trust import PinnedConnection, VCenterTrust

PRIVILEGE: Final = "Datastore.Browse"
_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
_SMALL: Final = 64 << 10  # bytes of an answer that is read only to keep the connection
_OTHER_READER: Final = "read the disk with another reader (reader: vddk or nfc)"
_NETWORK: Final = "check the server and the network in between"
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


class Way:
    """The route to one file, which all connections to it share; it is asked for again when its cookie is refused. Thread-safe."""

    def __init__(self, ask: Callable[[], FileRoute]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._route: FileRoute | None = None

    def route(self, refused: FileRoute | None = None) -> FileRoute:
        """The route; a new one when the present one is `refused`."""
        with self._lock:
            if self._route is None or self._route is refused:
                self._route = self._ask()
            return self._route


class FileConnection:
    """One kept-alive connection to the server of a file. One thread at a time."""

    def __init__(self, way: Way, on: str, silence: float) -> None:
        self._way, self._on, self._silence = way, on, silence
        self._route: FileRoute | None = None
        self._connection: PinnedConnection | None = None
        self._used = self._over = False

    @contextmanager
    def get(self, headers: Mapping[str, str]) -> Iterator[HTTPResponse]:
        """The answer to one request. Raises ReaderFailed and others for a status without content.

        What is left of the answer in the end is dropped together with the connection.
        """
        try:
            answer = self._answered(headers)
            try:
                _accept(answer, self._on)
                yield answer
            finally:
                if not answer.isclosed():
                    self.close()
        except (OSError, HTTPException) as broken:
            self.close()
            raise ReaderFailed(
                f"the connection broke ({_words(broken)})", on=self._on, remedy=_NETWORK, retryable=True
            ) from broken

    def close(self) -> None:
        """Drop the connection; the next request makes a new one."""
        connection, self._connection, self._used = self._connection, None, False
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        """Let the request that is under way fail, and send no other. From any thread."""
        self._over = True
        sock = None if self._connection is None else self._connection.sock
        if sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # that of TLS would wait for its lock

    def _answered(self, headers: Mapping[str, str]) -> HTTPResponse:
        answer = self._asked(headers)
        if answer.status in (401, 403):  # the session may have been renewed, and its cookie with it
            answer.read(_SMALL)
            self._route = self._way.route(self._route)
            answer = self._asked(headers)
        return answer

    def _asked(self, headers: Mapping[str, str]) -> HTTPResponse:
        """Send the request. A connection that was kept alive may be closed by now: then on a new one."""
        if self._used:
            try:
                return self._sent(headers)
            except TimeoutError:
                raise
            except (OSError, HTTPException):
                self.close()
        return self._sent(headers)

    def _sent(self, headers: Mapping[str, str]) -> HTTPResponse:
        if self._over:
            raise _closed(self._on)
        route = self._route = self._route or self._way.route()
        if self._connection is None:
            trust = VCenterTrust(route.pin, route.authority)
            self._connection = PinnedConnection(route.host, route.port, trust=trust, patience=self._silence)
        fixed = {"Cookie": route.cookie, "Accept-Encoding": "identity", "User-Agent": "connector"}
        self._connection.request("GET", route.target, headers={**fixed, **headers})
        answer = self._connection.getresponse()
        self._used = True
        return answer


def whole_text(connection: FileConnection, most: int, on: str) -> bytes:
    """A small file. Raises ReaderFailed when it is longer than `most`."""
    with connection.get({}) as answer:
        if answer.status != 200:
            raise _strange(f"the server answers {answer.status} to a request for the whole file", on)
        content = answer.read(most + 1)
        if len(content) > most:
            raise _strange(f"the file is longer than {most} bytes", on)
        if answer.length:
            raise ReaderFailed("the answer ended early", on=on, remedy=_NETWORK, retryable=True)
        return content


class RangedFile:
    """See `disk_source.OpenDisk`. The file has `capacity` bytes, and `connections` requests are under way at most.

    `in_use` gives the areas that may hold anything but zeros; it is asked at most once. `look` is called before completions are
    answered, and may raise an error of ours: then no read counts any more.
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
    ) -> None:
        self.info = FileInfo(capacity)
        self._way, self._path, self._silence = Way(ask_route), path, silence
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
        except RuntimeError as closed:
            raise ReadFailed(_closed(self._path)) from closed
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
                _receive(answer, buffer, self._path)

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
                raise _closed(self._path)
            connection = self._resting.pop() if self._resting else None
            if connection is None:
                connection = FileConnection(self._way, self._path, self._silence)
                self._all.append(connection)
        try:
            yield connection
        finally:
            with self._lock:
                self._resting.append(connection)

    def _compare(self, answer: HTTPResponse, start: int, length: int) -> None:
        """Raise unless the answer is exactly these bytes of a file that is as it was."""
        if answer.status != 206:
            raise _strange(f"the server answers {answer.status} to a request for a range", self._path)
        match = _RANGE.fullmatch((answer.headers.get("Content-Range") or "").strip())
        if match is None:
            raise _strange("the server does not say which range its answer is", self._path)
        first, last, total = (int(number) for number in match.groups())
        if total != self.info.capacity:
            raise changed(f"the file has {total} bytes, and not {self.info.capacity}", self._path)
        if (first, last) != (start, start + length - 1):
            asked = f"[{start}, {start + length})"
            raise _strange(f"asked for {asked}, the server answers [{first}, {last + 1})", self._path)
        if answer.length is not None and answer.length != length:
            raise _strange(f"the answer to a request for {length} bytes has {answer.length}", self._path)
        if (answer.headers.get("Content-Encoding") or "identity").lower() != "identity":
            raise _strange("the answer is encoded although that was not asked for", self._path)
        self._remember(answer)

    def _remember(self, answer: HTTPResponse) -> None:
        for name in _MARKS:
            value = answer.headers.get(name)
            with self._lock:
                before = self._marks.setdefault(name, value) if value else value
            if before != value:
                raise changed(f"the file is not as it was ({name} was {before}, is {value})", self._path)


def changed(what: str, on: str) -> SourceChanged:
    """The error after which nothing that was read counts."""
    return SourceChanged(
        f"{what}: what was read cannot be trusted",
        on=on,
        remedy="the next attempt compares the disk; look for who removes snapshots of this machine or moves it",
    )


def _receive(answer: HTTPResponse, room: memoryview, on: str) -> None:
    filled = 0
    while filled < len(room):
        count = answer.readinto(room[filled:])
        if not count:
            raise ReaderFailed(
                f"the answer ended after {filled} of {len(room)} bytes",
                on=on,
                remedy=_NETWORK,
                retryable=True,
            )
        filled += count
    if answer.read(1):
        raise _strange("the answer is longer than asked for", on)


def _accept(answer: HTTPResponse, on: str) -> None:
    """Raise the error of a status that is no content."""
    status = answer.status
    if status in (200, 206):
        return
    if status == 401:
        raise SessionExpired("the server does not accept the session", on=on)
    if status == 403:
        raise NotPermitted(
            f"the server refuses the file (HTTP {status})",
            on=on,
            remedy=f"grant {PRIVILEGE} on its datastore; a machine without a snapshot locks its files",
        )
    if status in (404, 410, 416):
        raise _strange(f"there is no such file or range (HTTP {status})", on)
    if status in (429, 503):
        raise HostOverloaded(f"the server is busy (HTTP {status})", on=on, retryable=True)
    if 300 <= status < 400:
        raise _strange(f"the server refers to another address (HTTP {status}), which is not followed", on)
    raise ReaderFailed(f"the server answers HTTP {status}", on=on, remedy=_NETWORK, retryable=status >= 500)


def _strange(what: str, on: str) -> ReaderFailed:
    return ReaderFailed(what, on=on, remedy=_OTHER_READER)


def _closed(on: str) -> ReaderFailed:
    return ReaderFailed("the disk is closed", on=on, remedy="open it again")


def _words(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__


def _outcome(done: Future[None], on: str) -> Exception | None:
    if done.cancelled():
        return ReadFailed(_closed(on))
    error = done.exception()
    if isinstance(error, ConnectorError):
        return ReadFailed(error)
    return (
        error
        if error is None or isinstance(error, Exception)
        else ReadFailed(ReaderFailed(str(error), on=on))
    )


@contextmanager
def _carried() -> Iterator[None]:
    try:
        yield
    except ConnectorError as error:
        raise ReadFailed(error) from error
