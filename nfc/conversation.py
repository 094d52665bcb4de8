"""One asynchronous session without its socket: what was asked under which id, and where each answer belongs. Pure.

Answers come in any order, the fragments of a read too [P]. Each is checked against its request before one byte is taken.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

from nfc import aio, codec
from nfc.aio import Frame, Question
from nfc.codec import Compression
from nfc.errors import (
    AnswerTooLarge,
    BadFragment,
    NfcError,
    SizeOutOfBounds,
    UnexpectedAnswer,
    UnknownCompression,
    from_code,
)

MOST_PIECES: Final = 1024
"""Separate pieces of one read that may have come; a host that tears a read further apart is refused."""


class Coverage:
    """Which parts of a read have come: ascending, apart from each other, never twice."""

    def __init__(self, length: int) -> None:
        self.length = self.missing = length
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, place: int, length: int) -> None:
        """Raises `BadFragment` for what lies outside or came before."""
        end = place + length
        if not length or end > self.length:
            raise BadFragment(
                f"a fragment of {length} bytes at {place} lies outside of a read of {self.length}"
            )
        index = bisect_right(self._starts, place)
        if (index and self._ends[index - 1] > place) or (
            index < len(self._starts) and self._starts[index] < end
        ):
            raise BadFragment(f"a fragment of {length} bytes at {place} overlaps another")
        self._insert(index, place, end)
        self.missing -= length
        if len(self._starts) > MOST_PIECES:
            raise BadFragment(
                f"a read of {self.length} bytes came in more than {MOST_PIECES} separate pieces"
            )

    def _insert(self, index: int, place: int, end: int) -> None:
        joins_next = index < len(self._starts) and self._starts[index] == end
        if index and self._ends[index - 1] == place:
            self._ends[index - 1] = self._ends[index] if joins_next else end
            if joins_next:
                del self._starts[index], self._ends[index]
        elif joins_next:
            self._starts[index] = place
        else:
            self._starts.insert(index, place)
            self._ends.insert(index, end)


class Answer(NamedTuple):
    """What came for a question."""

    payload: bytes
    extra: bytes


class Ended(NamedTuple):
    """The end of a request, under the key of who asked. A read that succeeded has neither error nor answer."""

    key: int
    error: NfcError | None
    answer: Answer | None = None


class _Asked:
    """A question that waits for its answer."""

    def __init__(self, key: int, question: Question) -> None:
        self.key, self.name = key, question.kind.name
        self._question = question
        self._extra = bytearray()

    def begin(self, frame: Frame) -> memoryview:
        if frame.kind != self._question.kind:
            raise UnexpectedAnswer(f"a frame of type {frame.kind} answers {self.name}")
        self._extra = bytearray(self._question.extra_of(frame.payload))
        return memoryview(self._extra)

    def end(self, frame: Frame) -> Ended:
        return Ended(self.key, None, Answer(frame.payload, bytes(self._extra)))

    @property
    def state(self) -> str:
        return self.name


class _Read:
    """A read and the fragments that have come."""

    name = "IO"

    def __init__(self, key: int, offset: int, memory: memoryview, compression: Compression) -> None:
        self.key = key
        self._offset, self._memory, self._wanted = offset, memory, compression
        self._coverage = Coverage(len(memory))
        self._plain = memory[:0]
        self._packed: memoryview | None = None
        self._method = Compression.NONE

    def begin(self, frame: Frame) -> memoryview:
        if frame.kind != aio.Kind.IO:
            raise UnexpectedAnswer(f"a frame of type {frame.kind} answers a read")
        part = aio.parse_fragment(frame.payload)
        self._check(part)
        self._coverage.add(part.place, part.plain)
        self._plain = self._memory[part.place : part.place + part.plain]
        self._packed = None if self._method is Compression.NONE else memoryview(bytearray(part.packed))
        return self._plain if self._packed is None else self._packed

    def end(self, _: Frame) -> Ended | None:
        if self._packed is not None:
            codec.unpack(self._method, self._packed, self._plain)
            self._packed = None
        return None if self._coverage.missing else Ended(self.key, None)

    @property
    def state(self) -> str:
        coverage = self._coverage
        return f"a read at {self._offset}, of which {coverage.missing} of {coverage.length} bytes are missing"

    def _check(self, part: aio.Fragment) -> None:
        length = len(self._memory)
        if part.total > length or part.plain > length:
            raise AnswerTooLarge(f"{max(part.total, part.plain)} bytes answer a read of {length}")
        if part.total < length:
            raise BadFragment(
                f"{length - part.total} bytes are missing: {part.total} answer a read of {length}"
            )
        if part.offset != self._offset:
            raise BadFragment(f"a fragment of a read at {part.offset} answers the read at {self._offset}")
        self._method = codec.announced(part.compression)
        if self._method not in (Compression.NONE, self._wanted):
            raise UnknownCompression(
                f"a fragment is compressed with {self._method.name}, which was not asked for"
            )
        if part.packed > part.plain or (self._method is Compression.NONE and part.packed != part.plain):
            raise SizeOutOfBounds(f"a fragment of {part.plain} bytes takes {part.packed} on the wire")


class Conversation:
    """Requests out, their ends in. Give received bytes to `decoder`; take from `take` what ended.

    A MalformedAnswer that comes out of the decoder ends the conversation: nothing that follows can be trusted.
    """

    def __init__(self, target: str, compression: Compression = Compression.NONE) -> None:
        self._target = target
        self._compression = compression
        self._operations = 0
        self._pending: dict[int, _Asked | _Read] = {}
        self._ended: list[Ended] = []
        self.decoder = aio.Decoder(self)

    @property
    def waiting(self) -> int:
        """Requests that have not ended."""
        return len(self._pending)

    def state(self) -> str:
        """What is waited for longest, in words."""
        first = next(iter(self._pending.values()), None)
        return "nothing is waited for" if first is None else f"waiting for {first.state}"

    def ask(self, key: int, question: Question) -> bytes:
        """The bytes to send."""
        operation = self._register(_Asked(key, question))
        return aio.frame(question.kind, operation, question.payload, question.extra)

    def read(
        self, key: int, handle: int, offset: int, memory: memoryview, compression: Compression | None = None
    ) -> bytes:
        """The bytes to send. `memory` is written to until the read has ended. A read may have a `compression` of its own."""
        wanted = self._compression if compression is None else compression
        operation = self._register(_Read(key, offset, memory, wanted))
        return aio.read(operation, handle, offset, len(memory), wanted)

    def take(self) -> list[Ended]:
        """What has ended since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def give_up(self, error: NfcError) -> list[Ended]:
        """Ends all that is waited for. What had ended before comes first."""
        rest = [Ended(request.key, error) for request in self._pending.values()]
        self._pending.clear()
        return [*self.take(), *rest]

    def begin(self, frame: Frame) -> memoryview:
        request = self._pending.get(frame.operation)
        if request is None:
            raise UnexpectedAnswer(
                f"a frame of type {frame.kind} answers operation {frame.operation}, which is not under way"
            )
        if frame.kind == aio.Kind.ERROR:
            return memoryview(bytearray())
        return request.begin(frame)

    def end(self, frame: Frame) -> None:
        request = self._pending[frame.operation]
        if frame.kind == aio.Kind.ERROR:
            code, words = aio.parse_error(frame.payload)
            ended: Ended | None = Ended(request.key, from_code(code, request.name, self._target, words))
        else:
            ended = request.end(frame)
        if ended is not None:
            del self._pending[frame.operation]
            self._ended.append(ended)

    def _register(self, request: _Asked | _Read) -> int:
        operation = next(self._free())
        self._pending[operation] = request
        self._operations = (operation + 1) & 0xFFFFFFFF
        return operation

    def _free(self) -> Iterator[int]:
        """Ids from the next one on, without those that are under way."""
        for step in range(len(self._pending) + 1):
            operation = (self._operations + step) & 0xFFFFFFFF
            if operation not in self._pending:
                yield operation
