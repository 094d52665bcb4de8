"""Policies are block sources that wrap a block source: retry, delay, injected errors. The reader knows none of them.

Rates are no policy, because they limit the wire and not the source: see `flow`.
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
    """Passes every call on to the wrapped source."""

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
    """Repeats a read, or a question, after a retryable error, with growing pauses; each delivered block restores all tries.

    `reopen` replaces the source before each new try, because a dead worker cannot be read again. `failed` is called with
    every error that is followed by a new try. After an error that no try helps against, `other_source` says whether `reopen`
    will give another kind of source, which then has all tries again. `halt` ends the pauses of a question with Interrupted.
    """

    def __init__(
        self,
        source: BlockSource,
        tries: int = 5,
        backoff: Backoff = TRANSFER,
        reopen: Callable[[], BlockSource] | None = None,
        failed: Callable[[ConnectorError], None] = lambda _: None,
        other_source: Callable[[ConnectorError], bool] = lambda _: False,
        halt: threading.Event | None = None,
    ) -> None:
        super().__init__(source)
        self._tries, self._backoff, self._reopen = tries, backoff, reopen
        self._failed, self._other_source, self._halt = failed, other_source, halt

    def allocated(self, extent: Extent) -> list[Extent]:
        failures = 0
        while True:
            try:
                return self._source.allocated(extent)
            except ConnectorError as error:
                failures = self._retry(error, failures + 1, self._halt)

    def read(self, extents: Iterable[Extent], halt: threading.Event | None = None) -> Iterator[Block]:
        remaining, failures = ranges.normalise(extents), 0
        while remaining:
            done: list[Extent] = []
            try:
                for block in self._source.read(remaining, halt):
                    done.append(Extent(block.offset, len(block.data)))
                    yield block
            except ConnectorError as error:
                failures = self._retry(error, 1 if done else failures + 1, halt)
            remaining = ranges.subtract(remaining, done)

    def _retry(self, error: ConnectorError, failures: int, halt: threading.Event | None) -> int:
        """Make the source ready for another try; returns the failures in a row that count. Raises `error` when no try is left."""
        if isinstance(error, Interrupted):
            raise error
        if not error.retryable or failures >= self._tries:
            if not self._other_source(error):
                raise error
            failures = 0
        self._failed(error)
        _pause(self._backoff.pause(failures), halt)
        self._renew()
        return failures

    def _renew(self) -> None:
        if self._reopen is not None:
            self._source.close()
            self._source = self._reopen()


class Delayed(Wrapper):
    """Delivers every block `seconds` late: a slow host, for tests and rehearsals."""

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
    """Raises what `fault(offset)` returns instead of delivering the block: a bad host, for tests and rehearsals."""

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
    """Wait; raises Interrupted when `halt` is set meanwhile."""
    if seconds <= 0:
        return
    if (halt or threading.Event()).wait(seconds):
        raise Interrupted("reading was stopped")
