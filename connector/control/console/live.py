"""One watcher reads the store for all live pages and gives each stream what has changed. A stream only passes it on.

Everything here runs on the event loop. `look` and `alive` are called in threads, one at a time.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Set
from typing import Final, NamedTuple

from starlette.concurrency import run_in_threadpool

from connector.control.console.templating import Fragment
from connector.errors import ConnectorError

_LOG: Final = logging.getLogger(__name__)

#: The numbers of streams at once. If the process has too many, a page asks again later. If one session or access key
#: has too many, its oldest stream ends, so that nobody takes the places of others.
MOST: Final = 200
MOST_OF_ONE: Final = 12
MOST_OF_KEY: Final = 24
#: Seconds between two looks, and between two signs of life on a stream without changes.
PACE: Final = 1.0
SIGN: Final = 15.0


class Topic(NamedTuple):
    """What a page watches. `may_operate`: it shows buttons."""

    kind: str
    id: str
    may_operate: bool


#: The parts of pages by their element's id, for every topic. A topic without parts is gone.
ReadParts = Callable[[Set[Topic]], Mapping[Topic, Mapping[str, Fragment]]]
#: Answers which of these sessions are alive.
Alive = Callable[[Collection[str]], Collection[str]]


class EventStream:
    """The changes that one page has not received yet. It never grows beyond the parts of that page."""

    def __init__(self, session: str, key: str, topics: frozenset[Topic]) -> None:
        self.session = session
        self.key = key
        self.topics = topics
        self.ended = False
        self._last = b""
        self._known: dict[str, str] = {}
        self._pending: dict[str, Fragment] = {}
        self._wake = asyncio.Event()

    def offer(self, parts_of: Mapping[Topic, Mapping[str, Fragment]]) -> None:
        """Keep the parts that this page does not show yet. A newer version replaces an older one that was not sent."""
        for topic in self.topics:
            for name, part in parts_of.get(topic, {}).items():
                if self._known.get(name) != part.version:
                    self._known[name] = part.version
                    self._pending[name] = part
        if self._pending:
            self._wake.set()

    def end(self, event: str = "end") -> None:
        """End the stream: the session is over, or a newer stream `replaced` it."""
        self.ended = True
        self._last = f"event: {event}\ndata: {{}}\n\n".encode()
        self._wake.set()

    async def messages(self) -> AsyncIterator[bytes]:
        """Server-sent events until the session ends."""
        yield b"retry: 2000\n\n"
        while not self.ended:
            try:
                await asyncio.wait_for(self._wake.wait(), SIGN)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            self._wake.clear()
            pending, self._pending = self._pending, {}
            for name, part in pending.items():
                body = json.dumps({"id": name, "version": part.version, "html": str(part.html)})
                yield f"event: part\ndata: {body}\n\n".encode()
        yield self._last


class Feed:
    """All streams, and the one watcher that runs while there are any."""

    def __init__(
        self,
        look: ReadParts,
        alive: Alive,
        *,
        pace: float = PACE,
        most: int = MOST,
        most_of_one: int = MOST_OF_ONE,
        most_of_key: int = MOST_OF_KEY,
    ) -> None:
        self._look = look
        self._alive = alive
        self._pace = pace
        self._most = most
        self._most_of_one = most_of_one
        self._most_of_key = most_of_key
        self._streams: dict[EventStream, None] = {}  # the oldest first
        self._watcher: asyncio.Task[None] | None = None

    async def follow(self, session: str, key: str, topics: frozenset[Topic]) -> AsyncIterator[bytes]:
        """The events of one page: first everything that it watches, then changes.

        If its session or access key then has too many streams, the oldest of them ends.
        """
        stream = EventStream(session, key, topics)
        self._streams[stream] = None
        self._replace([s for s in self._open() if s.session == session], self._most_of_one)
        self._replace([s for s in self._open() if s.key == key], self._most_of_key)
        try:
            if self._watcher is None or self._watcher.done():
                self._watcher = asyncio.create_task(self._watch(), name="console watcher")
            async for message in stream.messages():
                yield message
        finally:
            self._streams.pop(stream, None)

    def has_room(self, session: str, key: str) -> bool:
        """Whether one more stream may begin: there is room, or it replaces one of its own session or key."""
        streams = self._open()
        replaces = (
            sum(stream.session == session for stream in streams) >= self._most_of_one
            or sum(stream.key == key for stream in streams) >= self._most_of_key
        )
        return replaces or len(streams) < self._most

    def _open(self) -> list[EventStream]:
        return [stream for stream in self._streams if not stream.ended]

    @staticmethod
    def _replace(streams: list[EventStream], most: int) -> None:
        for oldest in streams[: max(0, len(streams) - most)]:
            oldest.end("replaced")

    async def _watch(self) -> None:
        rounds = 0
        while self._streams:
            await self._once(check=rounds % max(1, round(SIGN / self._pace)) == 0)
            rounds += 1
            await asyncio.sleep(self._pace)

    async def _once(self, *, check: bool) -> None:
        try:
            if check:
                sessions = {stream.session for stream in self._open()}
                alive = await run_in_threadpool(self._alive, sessions)
                for stream in self._open():
                    if stream.session in sessions and stream.session not in alive:
                        stream.end()
            topics = frozenset(topic for stream in self._open() for topic in stream.topics)
            parts_of = await run_in_threadpool(self._look, topics)
            for stream in self._open():
                stream.offer(parts_of)
        except ConnectorError as failed:
            _LOG.warning("the console cannot look: %s", failed)
        except Exception:  # noqa: BLE001 - outermost handler of a task: pages must come to life again
            _LOG.exception("a look of the console's watcher failed unexpectedly; it goes on")
