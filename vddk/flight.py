"""Reads in flight over one disk: depth, tokens, and a waiting read made of asynchronous ones. Same for both
kinds of disk.

Used by the owner thread only. An `Engine` starts a read and later reports it; it never blocks in `start`.
"""

import time
from contextlib import ExitStack
from typing import NamedTuple, Protocol

from vddk.abi import SECTOR
from vddk.errors import BadBuffer, Misaligned, OutOfRange, TooManyInFlight, VddkError
from vddk.spec import REQUEST, Completion, Memory


class Ended(NamedTuple):
    key: int
    error: VddkError | None


class Engine(Protocol):
    """What performs the reads."""

    def start(self, key: int, offset: int, memory: memoryview) -> None:
        """Queues a read of a valid range into ``memory``, which is held until ``key`` has ended."""
        ...

    def ended(self, timeout: float | None) -> list[Ended]:
        """Reads that ended since the last call. Waits for one, ``timeout`` seconds or (None) for ever."""
        ...


def writable(buffer: Memory) -> memoryview:
    """The bytes of a buffer, or `BadBuffer`."""
    try:
        memory = memoryview(buffer).cast("B")
    except (TypeError, ValueError) as error:
        raise BadBuffer(str(error)) from error
    if memory.readonly:
        raise BadBuffer("it is read-only")
    return memory


class Flight:
    def __init__(self, engine: Engine, capacity: int, depth: int) -> None:
        self._engine = engine
        self._capacity = capacity
        self._depth = depth
        self._keys = 0
        self._tokens: dict[int, int] = {}
        self._pieces: set[int] = set()
        self._failed: list[VddkError] = []
        self._kept: list[Completion] = []

    @property
    def count(self) -> int:
        """Reads that the engine has not ended."""
        return len(self._tokens) + len(self._pieces)

    def submit(self, offset: int, buffer: Memory, token: int) -> None:
        memory = self._valid(offset, buffer)
        if self.count >= self._depth:
            raise TooManyInFlight(self._depth)
        self._launch(offset, memory, token)

    def completions(self, timeout: float | None) -> list[Completion]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._tokens and not self._kept:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            self._take(left)
            if left == 0.0:
                break
        if self._tokens and self._kept:
            self._take(0.0)
        completions, self._kept = self._kept, []
        return completions

    def read_into(self, offset: int, buffer: Memory) -> None:
        memory = self._valid(offset, buffer)
        self._failed = []
        try:
            for start in range(0, len(memory), REQUEST):
                while self.count >= self._depth:
                    self._take(None)
                if self._failed:
                    break
                self._launch(offset + start, memory[start : start + REQUEST])
        finally:
            while self._pieces:
                self._take(None)
        if self._failed:
            raise self._failed[0]

    def drain(self, timeout: float) -> int:
        """Waits for everything in flight; how many reads were still out when the time was over."""
        deadline = time.monotonic() + timeout
        while self.count and (left := deadline - time.monotonic()) > 0:
            self._take(left)
        return self.count

    def _launch(self, offset: int, memory: memoryview, token: int | None = None) -> None:
        """Registered first, because it may end before `start` returns; without a token it is a piece."""
        self._keys = key = self._keys + 1
        with ExitStack() as unless_started:
            if token is None:
                self._pieces.add(key)
                unless_started.callback(self._pieces.discard, key)
            else:
                self._tokens[key] = token
                unless_started.callback(self._tokens.pop, key)
            self._engine.start(key, offset, memory)
            unless_started.pop_all()

    def _take(self, timeout: float | None) -> None:
        for key, error in self._engine.ended(timeout):
            if key in self._tokens:
                self._kept.append(Completion(self._tokens.pop(key), error))
            elif key in self._pieces:
                self._pieces.discard(key)
                if error is not None:
                    self._failed.append(error)

    def _valid(self, offset: int, buffer: Memory) -> memoryview:
        memory = writable(buffer)
        length = len(memory)
        if offset % SECTOR or length % SECTOR or not length:
            raise Misaligned(offset, length)
        if offset < 0 or offset + length > self._capacity:
            raise OutOfRange(offset, length, self._capacity)
        return memory
