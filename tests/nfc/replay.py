"""Kept conversations, and a host that replays them to our client; see fixtures/nfc and `connector record --nfc`."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from nfc import aio, classic
from nfc.codec import Compression
from nfc.connection import connect
from nfc.conversation import Answer, Conversation
from nfc.engine import Engine
from nfc.errors import NfcError
from nfc.recording import CONNECTION, LEFT, TLS
from nfc.spec import DiskSpec, Patience, Ticket
from tests.nfc.host import Cut, Host, Peer, certificate
from tests.nfc.host import Script as Behaviour
from tests.waiting import PATIENCE

FOLDER: Final = Path(__file__).parents[2] / "fixtures" / "nfc"
DIGEST: Final = "{SHA-256 of the second certificate}"
MAGIC: Final = aio.HEADER.pack(aio.MAGIC, 0, 0, 0)[:4]
MARKS: Final = (CONNECTION, TLS, LEFT)
_NAMED: Final = re.compile(rb"200 [0-9A-Fa-f:]{64,95}\r\n")


class Line(NamedTuple):
    """What C or S says, or a mark (the speaker) without data."""

    speaker: str
    data: bytes = b""


class Script:
    """One conversation, from its beginning: what one side says until the other one speaks."""

    def __init__(self, lines: list[Line]) -> None:
        self.all = tuple(lines)
        self._lines = [line for line in lines if line.speaker not in MARKS]

    def next(self, speaker: str) -> bytes:
        line = self._lines.pop(0)
        assert line.speaker == speaker, line
        return line.data

    def answers(self) -> list[bytes]:
        """All that the host says now."""
        said = []
        while self._lines and self._lines[0].speaker == "S":
            said.append(self.next("S"))
        return said

    @property
    def over(self) -> bool:
        return not self._lines

    @property
    def session(self) -> str:
        """The ticket that the client shows."""
        shown = (line.data for line in self.all if line.data.startswith(b"SESSION "))
        return next(shown, b"SESSION none").decode().split()[1]

    @property
    def service(self) -> str:
        """What the client asks the daemon for, as a ticket has it."""
        asked = (line.data for line in self.all if line.data.startswith(b"PROXY "))
        return next(asked, b"PROXY vpxa-nfcssl").decode().split()[1].removesuffix("ssl")

    @property
    def requests(self) -> list[tuple[aio.Frame, bytes]]:
        """The client's frames, with their extra bytes."""
        frames = [line.data for line in self.all if line.speaker == "C" and line.data[:4] == MAGIC]
        return [_request(frame) for frame in frames]

    @property
    def compression(self) -> Compression:
        """What the client asks for in its reads: a disk has one."""
        asked = (frame.payload for frame, _ in self.requests if frame.kind == aio.Kind.IO)
        return Compression(next((aio.parse_read(payload).compression for payload in asked), 0))

    @property
    def path(self) -> str:
        """The disk that is opened."""
        return next(
            (extra.decode() for frame, extra in self.requests if frame.kind == aio.Kind.OPEN_FILE),
            "[a] b.vmdk",
        )


def _request(raw: bytes) -> tuple[aio.Frame, bytes]:
    _, kind, size, operation = aio.HEADER.unpack_from(raw)
    body = raw[aio.HEADER.size :]
    return aio.Frame(kind, operation, body[:size]), body[size:]


def conversations(text: str) -> list[Script]:
    """Every conversation in a file. Raises for a line that is none of the format."""
    scripts: list[list[Line]] = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line == CONNECTION or not scripts:
            scripts.append([])
        scripts[-1].append(Line(line) if line in MARKS else _said(line))
    return [Script(lines) for lines in scripts]


def _said(line: str) -> Line:
    speaker, _, text = line.partition(" ")
    assert speaker in ("C", "S"), line
    if text.startswith('"'):
        return Line(speaker, text.strip('"').replace(DIGEST, "AB:" * 31 + "AB").encode() + b"\r\n")
    return Line(speaker, bytes.fromhex(text))


class ReplayHost(Host):
    """Plays one conversation for each connection. `wrong`: what the client said instead of what the file has."""

    def __init__(self, scripts: list[Script]) -> None:
        self.wrong: list[tuple[bytes, bytes]] = []
        self._left = list(scripts)
        super().__init__(Behaviour())

    def _serve(self, connection: socket.socket) -> None:
        peer: Peer | None = None
        contexts = [certificate(name).context for name in ("data", "host")]
        for line in self._left.pop(0).all:
            if line.speaker == TLS:
                peer = Peer(connection, contexts.pop())
            elif line.speaker == "S":
                (connection.sendall if peer is None else peer.send)(_with_digest(line.data))
            elif line.speaker == "C":
                assert peer is not None
                self._expect(peer, line.data)

    def _expect(self, peer: Peer, expected: bytes) -> None:
        said = peer.receive(len(expected))
        if said != expected:
            self.wrong.append((said, expected))
            raise Cut


def _with_digest(said: bytes) -> bytes:
    """The daemon names the certificate that this host really shows."""
    return f"200 {certificate('data').sha256}\r\n".encode() if _NAMED.fullmatch(said) else said


@contextmanager
def replaying(scripts: list[Script]) -> Iterator[ReplayHost]:
    host = ReplayHost(scripts)
    try:
        yield host
    finally:
        host.stop()
    assert not host.wrong


def spec(host: Host, script: Script, **changes: object) -> DiskSpec:
    """The disk of a conversation, at the host that replays it."""
    ticket = Ticket("127.0.0.1", certificate("host").sha1, script.session, host.port, script.service)
    values: dict[str, object] = {"patience": Patience(60, 240, 240, 240, 240), **changes}
    return DiskSpec(ticket, script.path, **values)  # type: ignore[arg-type]


Outcome = Answer | bytes | NfcError
"""What came for a request: the bytes of a read, an answer, an error."""


def ask_again(host: ReplayHost, script: Script) -> list[Outcome]:
    """Our client says all of a conversation, one request after the other; what the host's answers are to it."""
    disk = spec(host, script)
    try:
        connection = connect(disk.ticket, None, disk.patience)
    except NfcError as error:
        return [error]
    engine = Engine(connection, Conversation(script.path, script.compression), disk.patience.silence)
    politely = any(line.data == classic.end() for line in script.all)
    try:
        return [_outcome(engine, frame, extra) for frame, extra in script.requests]
    finally:
        engine.stop(politely=politely)


def _outcome(engine: Engine, frame: aio.Frame, extra: bytes) -> Outcome:
    try:
        if frame.kind != aio.Kind.IO:
            return engine.ask(aio.parse_question(frame.kind, frame.payload, extra))
        asked = aio.parse_read(frame.payload)
        memory = bytearray(asked.length)
        engine.start(1, asked.handle, asked.offset, memoryview(memory))
        (ended,) = engine.ended(PATIENCE)
        return ended.error or bytes(memory)
    except NfcError as error:
        return error
