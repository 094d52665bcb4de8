"""The kept conversation: our client says every byte that the file has for a client, and understands all that the host says.

The file was written with the simulated hosts, from the description of the protocol; nobody wrote it for this client.
"""

from __future__ import annotations

from nfc import aio, allocation, authd, classic
from nfc.aio import Question
from nfc.authd import LineDecoder
from nfc.codec import Compression
from nfc.conversation import Conversation, Ended
from nfc.errors import HostError
from nfc.spec import Extent
from tests.nfc.replay import FOLDER, Script, conversations

FILE = FOLDER / "read-a-disk.txt"
SESSION = "52c0ffee-00000000-00000000-00000014"
PATH = "[datastore-1] idle-00003/idle-00003_1.vmdk"
HOST = "esx-1:902"
CONTENT = b"".join(bytes([number]) * 512 for number in range(128)).ljust(1 << 20, b"\0")
READS = (
    (512, 1536, Compression.NONE),
    (0x80000, 1024, Compression.SKIPZ),
    (0xFE00, 1024, Compression.SKIPZ),
    (512, 512, Compression.SKIPZ),
)


def _line(data: bytes) -> str:
    line = LineDecoder().feed(data)
    assert line is not None
    return line


def _authd(script: Script) -> None:
    authd.check_greeting(_line(script.next("S")), HOST)
    assert script.next("C") == authd.session(SESSION)
    assert script.next("C") == authd.BANNER
    authd.check(authd.reply(_line(script.next("S"))), 220, "BANNER", HOST)
    assert script.next("C") == authd.THUMBPRINT
    assert authd.digest(authd.reply(_line(script.next("S")))) == "ab" * 32
    assert script.next("C") == authd.proxy("vpxa-nfc")
    authd.check_connected(authd.reply(_line(script.next("S"))), HOST)


def _classic(script: Script) -> None:
    assert script.next("C") + script.next("C") == classic.hello()
    classic.check_accepted(script.next("S"))
    assert script.next("C") == classic.version()
    assert classic.check_version(script.next("S"), HOST) == 11
    assert b"".join(script.next("C") for _ in range(4)) == classic.switch()
    classic.check_switched(script.next("S"), HOST)


class Session:
    """The frames."""

    def __init__(self, script: Script) -> None:
        self._script, self._conversation = script, Conversation(PATH)

    def ask(self, question: Question) -> Ended:
        assert self._script.next("C") == self._conversation.ask(-1, question)
        return self._answered()

    def read(self, offset: int, length: int, compression: Compression) -> tuple[Ended, bytes]:
        """A disk has one compression; the file shows several."""
        memory = bytearray(length)
        asked = self._conversation.read(1, 1, offset, memoryview(memory), compression)
        assert self._script.next("C") == asked
        return self._answered(), bytes(memory)

    def _answered(self) -> Ended:
        decoder = self._conversation.decoder
        for data in self._script.answers():
            while data:
                count = min(len(decoder.target), len(data))
                decoder.target[:count] = data[:count]
                decoder.advance(count)
                data = data[count:]
        (ended,) = self._conversation.take()
        return ended


def test_the_client_says_and_understands_the_kept_conversation() -> None:
    (script,) = conversations(FILE.read_text())
    _authd(script)
    _classic(script)
    session = Session(script)
    for question in (aio.open_session(1024, 4), aio.set_socket_options(), aio.set_resource_pool()):
        assert session.ask(question).error is None
    opened = session.ask(aio.open_file(PATH)).answer
    assert opened is not None
    file = aio.parse_file(opened.payload)
    assert (file.handle, file.capacity, file.sector) == (1, 1 << 20, 512)
    _metadata(session)
    _allocated(session)
    for offset, length, compression in READS:
        ended, data = session.read(offset, length, compression)
        assert ended.error is None
        assert data == CONTENT[offset : offset + length]
    outside, _ = session.read(1 << 20, 512, Compression.NONE)
    assert isinstance(outside.error, HostError)
    assert "512 bytes at 1048576 of 1048576" in str(outside.error)
    assert session.ask(aio.close_file(1)).error is None
    assert session.ask(aio.close_session()).error is None
    assert script.next("C") == classic.end()
    assert script.over


def _metadata(session: Session) -> None:
    for key, value in (("geometry.heads", b"255"), ("nothing", b"")):
        answer = session.ask(aio.get_metadata(1, key)).answer
        assert answer is not None and answer.extra == value


def _allocated(session: Session) -> None:
    for start, count in ((0, 33), (8192, 17)):
        answer = session.ask(aio.query_allocated(1, start, count, 4096)).answer
        assert answer is not None
        areas = allocation.bitmap_extents(answer.extra, count, start, 4096)
        assert areas == [Extent(start, 65536 - start)]
