"""A raw NFC client of the tests: sockets, TLS and struct, from the protocol's description, without any bound or mercy."""

from __future__ import annotations

import socket
import ssl
import struct
from dataclasses import dataclass
from typing import Any

from simulator.nfc import Ticket
from tests.waiting import PATIENCE

MAGIC = 0xA100DA7A
HEADER = struct.Struct("<IIII")
FRAGMENT = struct.Struct("<QQQIIIII")


def unverified() -> ssl.SSLContext:
    """TLS without any check: certificates are compared by the tests themselves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Plain:
    """A TCP connection whose TLS layers come and go."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=PATIENCE)
        self.layer: ssl.SSLObject | None = None
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.buffer = b""
        self.received = b""

    def secure(self) -> bytes:
        """A TLS handshake; the certificate of the other side."""
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        layer = unverified().wrap_bio(self.incoming, self.outgoing)
        while True:
            try:
                layer.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.socket.sendall(self.outgoing.read())
                self.incoming.write(self.more())
        self.socket.sendall(self.outgoing.read())
        self.layer = layer
        return layer.getpeercert(binary_form=True) or b""

    def abandon(self) -> None:
        """Leave the layer without close_notify."""
        assert not self.buffer
        self.layer = None

    def more(self) -> bytes:
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the host hung up")
        return data

    def send(self, data: bytes) -> None:
        if self.layer is None:
            self.socket.sendall(data)
            return
        self.layer.write(data)
        self.socket.sendall(self.outgoing.read())

    def receive(self, length: int) -> bytes:
        while len(self.buffer) < length:
            self.buffer += self._piece()
        data, self.buffer = self.buffer[:length], self.buffer[length:]
        self.received += data
        return data

    def _piece(self) -> bytes:
        if self.layer is None:
            return self.more()
        while True:
            try:
                data = self.layer.read(1 << 16)
            except ssl.SSLWantReadError:
                self.incoming.write(self.more())
                continue
            if not data:
                raise ConnectionError("the host closed its TLS layer")
            return data

    def line(self) -> str:
        text = b""
        while not text.endswith(b"\r\n"):
            text += self.receive(1)
        return text.decode().removesuffix("\r\n")

    def close(self) -> None:
        self.socket.close()


@dataclass
class Piece:
    """One fragment of an answer to a read."""

    operation: int
    compression: int
    offset: int
    total: int
    place: int
    plain: int
    data: bytes


class Client:
    """One connection, step by step."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.wire = Plain((ticket.address, ticket.port))
        self.operation = 0
        self.certificates: list[bytes] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_error: object) -> None:
        self.wire.close()

    def enter(self) -> str:
        """The banner and the first TLS layer."""
        banner = self.wire.line()
        self.certificates.append(self.wire.secure())
        return banner

    def command(self, text: str) -> str:
        self.wire.send(text.encode() + b"\r\n")
        return self.wire.line()

    def session(self) -> None:
        self.wire.send(f"SESSION {self.ticket.session_id}\r\n".encode())

    def proxy(self, service: str = "vpxa-nfcssl") -> None:
        answer = self.command(f"PROXY {service}")
        assert answer == f"200 Connect {service.replace('vpxa', 'ha')}", answer
        self.wire.abandon()
        if service.endswith("ssl"):
            self.certificates.append(self.wire.secure())

    def classic(self, kind: int, fields: bytes = b"") -> None:
        self.wire.send(struct.pack("<I", kind) + fields + bytes(260 - len(fields)))

    def introduce(self) -> int:
        """The classic messages up to AIO; the host's version."""
        self.classic(43, b"PlainText")
        self.classic(33)
        assert struct.unpack_from("<I", self.wire.receive(264))[0] == 36
        self.classic(51, struct.pack("<I", 11))
        kind, version = struct.unpack_from("<II", self.wire.receive(264))
        assert kind == 51
        self.classic(54, struct.pack("<II", 4, 7))
        self.wire.send(b"vddknbdmode")
        self.classic(55, struct.pack("<I", 3))
        self.classic(52)
        assert struct.unpack_from("<I", self.wire.receive(264))[0] == 52
        return int(version)

    def begin(self, size: int = 0, count: int = 0) -> Client:
        """Everything up to an open session."""
        self.enter()
        self.session()
        self.proxy()
        self.introduce()
        kind, payload = self.ask(2, struct.pack("<4I", 0, size, count, 0))
        assert kind == 2, payload
        return self

    def tell(self, kind: int, payload: bytes, beyond: bytes = b"") -> int:
        operation, self.operation = self.operation, self.operation + 1
        self.wire.send(HEADER.pack(MAGIC, kind, len(payload), operation) + payload + beyond)
        return operation

    def heard(self) -> tuple[int, int, bytes]:
        """Type, operation id and payload of the next frame."""
        magic, kind, size, operation = HEADER.unpack(self.wire.receive(16))
        assert magic == MAGIC
        return kind, operation, self.wire.receive(size)

    def ask(self, kind: int, payload: bytes, beyond: bytes = b"") -> tuple[int, bytes]:
        asked = self.tell(kind, payload, beyond)
        answered, operation, answer = self.heard()
        assert operation == asked
        return answered, answer

    def open_file(self, path: str, flags: int = 0x1E) -> tuple[int, bytes]:
        name = path.encode()
        return self.ask(4, struct.pack("<6I", len(name), 0, 0, 0, 2, flags) + bytes(36), name)

    def opened(self, path: str) -> int:
        """The handle of a file."""
        kind, answer = self.open_file(path)
        assert kind == 4, answer
        return int(struct.unpack_from("<Q", answer, 8)[0])

    def want(self, handle: int, offset: int, length: int, compression: int = 0) -> int:
        payload = struct.pack("<QQQQIII", handle, 1 | compression << 32, offset, length, length, length, 0)
        return self.tell(7, payload)

    def piece(self) -> Piece:
        kind, operation, payload = self.heard()
        assert kind == 7, (kind, payload)
        _, word, offset, total, place, plain, wire, _ = FRAGMENT.unpack(payload)
        return Piece(operation, word >> 32, offset, total, place, plain, self.wire.receive(wire))

    def pieces(self, length: int) -> list[Piece]:
        """Fragments until the plain lengths add up."""
        found: list[Piece] = []
        while sum(piece.plain for piece in found) < length:
            found.append(self.piece())
        return found

    def error(self, kind: int, payload: bytes, beyond: bytes = b"") -> int:
        """The number of the error frame that answers a request."""
        answered, answer = self.ask(kind, payload, beyond)
        assert answered == 1
        return int(struct.unpack_from("<I", answer)[0])

    def end(self) -> None:
        """CLOSE_SESSION, classic 4, and the host hangs up."""
        assert self.ask(3, bytes(4)) == (3, bytes(4))
        self.classic(4)
        while self.wire.socket.recv(1 << 16):
            pass


def joined(pieces: list[Piece], length: int, unpack: Any = None) -> bytes:
    """The plain bytes of an answer; `unpack` undoes the compression of one fragment."""
    whole = bytearray(length)
    for piece in pieces:
        data = unpack(piece) if unpack is not None else piece.data
        assert len(data) == piece.plain
        whole[piece.place : piece.place + piece.plain] = data
    return bytes(whole)
