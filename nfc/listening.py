"""Both sides of one connection, heard by a third: bytes in, whole messages out. Pure.

The client's requests are asked once more of a `Conversation` of the listener, so the host's frames make sense here exactly when
our client accepts them. The first byte that makes none raises an `NfcError`, and nothing may be fed after that.
"""

import struct
from collections.abc import Callable, Generator
from enum import Enum, auto
from typing import Final, Literal, NamedTuple

from nfc import aio, classic, codec
from nfc.aio import Frame
from nfc.authd import LONGEST_LINE
from nfc.classic import Kind
from nfc.conversation import Conversation
from nfc.errors import SizeOutOfBounds, UnexpectedAnswer, WrongMagic

LARGEST_READ: Final = 1 << 20
"""Bytes of one read that is listened to."""
MOST_WAITING: Final = 64
"""Requests that may wait for their answers."""
LONGEST_NAME: Final = 1024
_U32: Final = 4
_U32S: Final = struct.Struct("<II")

Speaker = Literal["C", "S"]
CLIENT: Final = "C"
HOST: Final = "S"

Parse = Generator[int, bytes, None]
"""Says how many bytes it needs, and is given exactly those."""


class Form(Enum):
    LINE = auto()
    CLASSIC = auto()
    NAMES = auto()
    """The two strings behind a classic message."""
    FRAME = auto()


class Message(NamedTuple):
    """One message as it was on the wire. `kind`: of a classic message or a frame. `extra`: what a frame's size does not count.

    `asked`: the payload of the request that a frame of the host answers.
    """

    form: Form
    data: bytes
    kind: int = 0
    operation: int = 0
    extra: bytes = b""
    asked: bytes = b""


class _Side:
    """What one side says, in whole parts."""

    def __init__(self, parse: Parse) -> None:
        self._parse, self._buffer = parse, bytearray()
        self._need = next(parse)
        self.begun = 0
        """Bytes of a message whose end has not come."""

    def feed(self, data: bytes) -> None:
        self._buffer += data
        self.begun += len(data)
        while len(self._buffer) >= self._need:
            part = bytes(self._buffer[: self._need])
            del self._buffer[: self._need]
            self._need = self._parse.send(part)

    def ended(self) -> None:
        """A message has ended with the last part."""
        self.begun = len(self._buffer)


class Listener:
    """Give what each side says to `sent` and `received`; each message is told when its last byte has come."""

    def __init__(self, tell: Callable[[Speaker, Message], None]) -> None:
        self._tell = tell
        self._conversation = Conversation("")
        self._extra = memoryview(b"")
        self._asked: dict[int, bytes] = {}
        self._sides: dict[Speaker, _Side] = {CLIENT: _Side(self._client()), HOST: _Side(self._host())}

    def hear(self, speaker: Speaker, data: bytes) -> None:
        """The next bytes of one side."""
        self._sides[speaker].feed(data)

    def begun(self, speaker: Speaker) -> int:
        """Bytes of a message of this side whose end has not come."""
        return self._sides[speaker].begun

    def begin(self, frame: Frame) -> memoryview:
        """Of the host's decoder."""
        self._extra = self._conversation.begin(frame)
        return self._extra

    def end(self, frame: Frame) -> None:
        """Of the host's decoder."""
        extra = bytes(self._extra)
        self._conversation.end(frame)
        self._conversation.take()
        requested = self._asked[frame.operation]
        self._told(HOST, Message(Form.FRAME, frame.payload, frame.kind, frame.operation, extra, requested))

    def _told(self, speaker: Speaker, message: Message) -> None:
        self._sides[speaker].ended()
        self._tell(speaker, message)

    def _client(self) -> Parse:
        yield from self._lines(CLIENT, b"PROXY ")
        yield from self._introduction()
        while True:
            header = yield aio.HEADER.size
            if header[:_U32] == classic.end()[:_U32]:
                break
            yield from self._request(header)
        rest = yield classic.SIZE - aio.HEADER.size
        self._told(CLIENT, Message(Form.CLASSIC, header + rest, Kind.END))
        yield 1
        raise UnexpectedAnswer("the client says something after its end")

    def _host(self) -> Parse:
        yield from self._lines(HOST, b"200 Connect ")
        yield from self._classic(HOST, Kind.ACCEPTED, classic.check_accepted)
        yield from self._classic(HOST, Kind.VERSION, lambda data: classic.check_version(data, ""))
        yield from self._classic(HOST, Kind.SWITCH)
        decoder = aio.Decoder(self)
        while True:
            target = decoder.target
            target[:] = yield len(target)
            decoder.advance(len(target))

    def _lines(self, speaker: Speaker, last: bytes) -> Parse:
        """Lines of the daemon's part, up to the one that begins with `last`."""
        line = b""
        while not line.startswith(last):
            gathered = bytearray()
            while not gathered.endswith(b"\n"):
                gathered += yield 1
                if len(gathered) > LONGEST_LINE:
                    raise SizeOutOfBounds(f"a line is longer than {LONGEST_LINE} bytes")
            line = bytes(gathered)
            self._told(speaker, Message(Form.LINE, line))

    def _introduction(self) -> Parse:
        """Classic messages of the client, up to the switch to frames."""
        for kind in (Kind.SECURITY, Kind.HELLO, Kind.VERSION):
            yield from self._classic(CLIENT, kind)
        sizes: list[int] = []
        yield from self._classic(CLIENT, Kind.CLIENT, lambda data: sizes.extend(_U32S.unpack_from(data, 4)))
        if sum(sizes) > LONGEST_NAME:
            raise SizeOutOfBounds(f"names of {sum(sizes)} bytes")
        self._told(CLIENT, Message(Form.NAMES, (yield sum(sizes))))
        for kind in (Kind.FEATURES, Kind.SWITCH):
            yield from self._classic(CLIENT, kind)

    def _classic(
        self, speaker: Speaker, kind: Kind, check: Callable[[bytes], object] = lambda _: None
    ) -> Parse:
        """One message, which is told before its content is checked."""
        data = yield classic.SIZE
        if int.from_bytes(data[:_U32], "little") != kind:
            raise UnexpectedAnswer(f"a message that is no {kind.name}")
        self._told(speaker, Message(Form.CLASSIC, data, kind))
        check(data)

    def _request(self, header: bytes) -> Parse:
        magic, kind, size, operation = aio.HEADER.unpack(header)
        if magic != aio.MAGIC:
            raise WrongMagic("a request begins with another magic")
        if size > aio.LONGEST_PAYLOAD:
            raise SizeOutOfBounds(f"a request has a payload of {size} bytes")
        payload = yield size
        extra = yield aio.question_extra(kind, payload)
        if self._again(kind, payload, extra) != header + payload + extra:
            raise UnexpectedAnswer("a request is not what our client would say")
        self._asked[operation] = payload
        self._told(CLIENT, Message(Form.FRAME, payload, kind, operation, extra))

    def _again(self, kind: int, payload: bytes, extra: bytes) -> bytes:
        """The same request, of our own conversation."""
        if self._conversation.waiting >= MOST_WAITING:
            raise SizeOutOfBounds(f"more than {MOST_WAITING} requests wait for an answer")
        if kind != aio.Kind.IO:
            return self._conversation.ask(-1, aio.parse_question(kind, payload, extra))
        read = aio.parse_read(payload)
        if read.length > LARGEST_READ:
            raise SizeOutOfBounds(f"a read of {read.length} bytes")
        memory = memoryview(bytearray(read.length))
        return self._conversation.read(1, read.handle, read.offset, memory, codec.announced(read.compression))
