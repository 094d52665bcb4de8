"""Policies are sources that wrap a source: retry, delay, injected errors. Stack them; the reader knows none.

Rates are no policy: what is limited is the wire, see `flow`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

from connector.backoff import TRANSFER, Backoff
from connector.errors import ConnectorError, Interrupted
from connector.model import Extent
from connector.transfer import extents as ranges
from connector.transfer.source import Block, BlockSource


class Wrapper:
    """Passes everything on."""

    def __init__(self, source: BlockSource) -> None:
        self._source = source

    @property
    def capacity(self) -> int:
        return self._source.capacity

    def allocated(self, extent: Extent) -> list[Extent]:
        return self._source.allocated(extent)

    def read(self, extents: Iterable[Extent], halt: threading.Event | None = None) -> Iterator[Block]:
        yield from self._source.read(extents, halt)

    def close(self) -> None:
        self._source.close()


class Retrying(Wrapper):
    """Reads again, after a pause that doubles, what a retryable error left undone; progress restores all
    tries.

    `reopen`, when given, replaces the source before each new try (a dead worker cannot be read again). `failed`
    hears of every error that is tried again.
    """

    def __init__(
        self,
        source: BlockSource,
        tries: int = 5,
        backoff: Backoff = TRANSFER,
        reopen: Callable[[], BlockSource] | None = None,
        failed: Callable[[ConnectorError], None] = lambda _: None,
    ) -> None:
        super().__init__(source)
        self._tries, self._backoff, self._reopen = tries, backoff, reopen
        self._failed = failed

    def read(self, extents: Iterable[Extent], halt: threading.Event | None = None) -> Iterator[Block]:
        left, failures = ranges.normalise(extents), 0
        while left:
            done: list[Extent] = []
            try:
                for block in self._source.read(left, halt):
                    done.append(Extent(block.offset, len(block.data)))
                    yield block
            except ConnectorError as error:
                failures = 1 if done else failures + 1
                if not error.retryable or isinstance(error, Interrupted) or failures >= self._tries:
                    raise
                self._failed(error)
                _pause(self._backoff.pause(failures), halt)
                self._renew()
            left = ranges.subtract(left, done)

    def _renew(self) -> None:
        if self._reopen is not None:
            self._source.close()
            self._source = self._reopen()


class Delayed(Wrapper):
    """Every block comes `seconds` late: a slow host, for tests and rehearsals."""

    def __init__(self, source: BlockSource, seconds: float) -> None:
        super().__init__(source)
        self._seconds = seconds

    def read(self, extents: Iterable[Extent], halt: threading.Event | None = None) -> Iterator[Block]:
        for block in self._source.read(extents, halt):
            try:
                _pause(self._seconds, halt)
            except Interrupted:
                block.release()
                raise
            yield block


class Failing(Wrapper):
    """Raises what `fault(offset)` returns instead of handing out that block: a bad host, for tests and
    rehearsals.
    """

    def __init__(self, source: BlockSource, fault: Callable[[int], ConnectorError | None]) -> None:
        super().__init__(source)
        self._fault = fault

    def read(self, extents: Iterable[Extent], halt: threading.Event | None = None) -> Iterator[Block]:
        for block in self._source.read(extents, halt):
            error = self._fault(block.offset)
            if error is not None:
                block.release()
                raise error
            yield block


def _pause(seconds: float, halt: threading.Event | None) -> None:
    """Wait, but not longer than until `halt`: then Interrupted."""
    if seconds <= 0:
        return
    if (halt or threading.Event()).wait(seconds):
        raise Interrupted("reading was stopped")
