"""A small host that plays by a script: real sockets, both TLS layers, frames written with `struct` alone."""

from __future__ import annotations

import datetime
import hashlib
import random
import socket
import ssl
import struct
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nfc.spec import DiskSpec, Patience, Ticket

T = TypeVar("T")
PATH: Final = "[ds] vm/vm.vmdk"
SESSION: Final = "52aa-secret-ticket"
HANDLE: Final = 0x7766554433221100
SIZE: Final = (2 << 20) + 4096 + 512
GREETING: Final = (
    "220 VMware Authentication Daemon Version 1.10: SSL Required, ServerDaemonProtocol:SOAP, MKSDisplayProtocol:VNC , "
    "VMXARGS supported, NFCSSL supported/t, SHA256 supported"
)


@dataclass(frozen=True)
class Certificate:
    context: ssl.SSLContext
    sha1: str
    sha256: str
    pem: bytes


@cache
def certificate(name: str) -> Certificate:
    """A self-signed certificate of this name and what serves it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        Path(file.name).write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + signed.public_bytes(pem)
        )
        context.load_cert_chain(file.name)
    der = signed.public_bytes(serialization.Encoding.DER)
    return Certificate(
        context, hashlib.sha1(der).hexdigest(), hashlib.sha256(der).hexdigest(), signed.public_bytes(pem)
    )


@cache
def content() -> bytes:
    """A disk whose first MiB is random, with zeros in it and behind it."""
    dice = random.Random(4)
    return (dice.randbytes(1 << 19) + bytes(1 << 19) + bytes(1 << 20)).ljust(SIZE, b"\x5a")


class Cut(Exception):
    """The script ends here."""


Part = tuple[int, int]


def whole(length: int) -> list[Part]:
    return [(0, length)]


def shuffled(length: int) -> list[Part]:
    """Fragments of 64 KiB, in an order of their own."""
    parts = [(start, min(65536, length - start)) for start in range(0, length, 65536)]
    random.Random(length).shuffle(parts)
    return parts


@dataclass
class Script:
    """What the host does; the defaults are a host that behaves."""

    greeting: bytes = GREETING.encode() + b"\r\n"
    replies: dict[str, str] = field(default_factory=dict)
    first: str = "host"
    second: str = "data"
    named: str = "data"
    tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    version: int = 11
    switched: int = 52
    cut_at: int | None = None
    """Which message, counted from 0, is cut in its middle."""
    silent_at: int | None = None
    gather: int = 1
    """How many reads to wait for before their fragments are answered, all mixed."""
    parts: Callable[[int], list[Part]] = shuffled
    method: int = 0
    largest_buffer: int = 16 << 20
    errors: dict[int, bytes] = field(default_factory=dict)
    """Payload of the error that answers a type."""
    bad_offset: int | None = None
    """A read there is answered with an error."""
    mangle: Callable[[bytes], bytes] = bytes
    """What becomes of each frame of a read."""


class Peer:
    """TLS over a socket, left without a farewell."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        self._connection = connection
        self._received, self._sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._sent, server_side=True)
        self._pump(self._tls.do_handshake)

    def receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            left = count - len(data)
            data += self._pump(partial(self._tls.read, left))
        return data

    def send(self, data: bytes) -> None:
        self._pump(lambda: self._tls.write(data))

    def _pump(self, call: Callable[[], T]) -> T:
        while True:
            try:
                result = call()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._connection.recv(65536)
                if not data:
                    raise Cut from None
                self._received.write(data)
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if self._sent.pending:
            self._connection.sendall(self._sent.read())


class Host:
    """Serves one connection after another, each by the script, and notes what it was sent."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.lines: list[str] = []
        self.frames: list[int] = []
        self.classic: list[int] = []
        self.messages = 0
        self.quiet = threading.Event()
        self._done = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while not self._done.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(Cut, OSError, ssl.SSLError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        self._say(connection.sendall, self.script.greeting)
        self._log_in(self._layer(connection, self.script.first))
        second = self._layer(connection, self.script.second)
        self._classic(second)
        self._frames(second)

    def _layer(self, connection: socket.socket, name: str) -> Peer:
        context = certificate(name).context
        context.maximum_version = self.script.tls
        return Peer(connection, context)

    def _say(self, send: Callable[[bytes], None], data: bytes) -> None:
        number = self.messages
        self.messages += 1
        if number == self.script.silent_at:
            self.quiet.set()
            self._done.wait()
            raise Cut
        if number == self.script.cut_at:
            send(data[: len(data) // 2])
            raise Cut
        send(data)

    def _log_in(self, peer: Peer) -> None:
        replies = {
            "BANNER ": "220 VMware Authentication Daemon",
            "THUMBPRINT_SHA2 PlainText": f"200 {certificate(self.script.named).sha256.upper()}",
            "PROXY vpxa-nfcssl": "200 Connect ha-nfcssl",
            **self.script.replies,
        }
        while not self.lines or not self.lines[-1].startswith("PROXY"):
            line = b""
            while not line.endswith(b"\r\n"):
                line += peer.receive(1)
            self.lines.append(line[:-2].decode())
            if self.lines[-1] in replies:
                self._say(peer.send, replies[self.lines[-1]].encode() + b"\r\n")

    def _classic(self, peer: Peer) -> None:
        def answer(kind: int, at: int = 4, number: int = 0) -> None:
            raw = bytearray(264)
            struct.pack_into("<I", raw, 0, kind)
            struct.pack_into("<I", raw, at, number)
            self._say(peer.send, bytes(raw))

        while not self.classic or self.classic[-1] != 52:
            raw = peer.receive(264)
            self.classic.append(struct.unpack_from("<I", raw)[0])
            if self.classic[-1] == 33:
                answer(36, 16, 1)
            elif self.classic[-1] == 51:
                answer(51, 4, self.script.version)
            elif self.classic[-1] == 54:
                peer.receive(sum(struct.unpack_from("<II", raw, 4)))
            elif self.classic[-1] == 52:
                answer(self.script.switched)

    def _frames(self, peer: Peer) -> None:
        waiting: list[tuple[int, int, int]] = []
        while True:
            magic = peer.receive(4)
            if magic == b"\4\0\0\0":
                peer.receive(260)
                self.classic.append(4)
                return
            assert magic == bytes.fromhex("7ada00a1")
            kind, size, operation = struct.unpack("<III", peer.receive(12))
            payload = peer.receive(size)
            self.frames.append(kind)
            if kind != 7:
                self._answer(peer, kind, operation, payload)
                continue
            handle, read, _, offset, length, low, high, zero = struct.unpack("<QIIQQIII", payload)
            assert (handle, read, low, high, zero) == (HANDLE, 1, length, length, 0)
            waiting.append((operation, offset, length))
            if len(waiting) >= self.script.gather:
                self._answer_reads(peer, waiting)
                waiting = []

    def _answer(self, peer: Peer, kind: int, operation: int, payload: bytes) -> None:
        body, extra, text = b"", b"", b""
        if kind in (4, 11):
            text = peer.receive(struct.unpack_from("<I", payload, 0 if kind == 4 else 8)[0])
        if kind in self.script.errors:
            kind, body = 1, self.script.errors[kind]
        elif kind == 2:
            _, buffer, buffers, _ = struct.unpack("<IIII", payload)
            if buffer * buffers > self.script.largest_buffer:
                kind, body = 1, struct.pack("<I", 0x1D)
        elif kind == 4:
            assert text.decode() == PATH
            body = bytes(8) + struct.pack("<QIIIQI", HANDLE, 2, 0x1E, 0, SIZE, 0) + bytes(20)
        elif kind == 11:
            extra = {b"uuid": b"60 00 C2 9a", b"adapterType": b"lsilogic"}.get(text, b"")
            body = struct.pack("<QII", 0, 0, len(extra))
        elif kind == 13:
            _, _, chunk, start, count, _ = struct.unpack("<QQQQQQ", payload)
            bits = sum(
                1 << i for i in range(count) if any(content()[start + i * chunk : start + (i + 1) * chunk])
            )
            body = struct.pack("<QQQQQQ", 0, 0, chunk, start, count, 0)
            size = -(-count // 32) * 4
            padding = (1 << size * 8) - (1 << count)
            extra = (bits | padding).to_bytes(size, "little")
        self._say(peer.send, struct.pack("<IIII", 0xA100DA7A, kind, len(body), operation) + body + extra)

    def _answer_reads(self, peer: Peer, reads: list[tuple[int, int, int]]) -> None:
        frames = []
        for operation, offset, length in reads:
            if offset == self.script.bad_offset:
                frames.append(struct.pack("<IIIII", 0xA100DA7A, 1, 4, operation, 0x22))
                continue
            frames += [self._fragment(operation, offset, length, part) for part in self.script.parts(length)]
        random.Random(len(frames)).shuffle(frames)
        for raw in frames:
            self._say(peer.send, self.script.mangle(raw))

    def _fragment(self, operation: int, offset: int, length: int, part: Part) -> bytes:
        place, plain = part
        data = content()[offset + place : offset + place + plain]
        method, packed = packing(self.script.method, data)
        head = struct.pack("<QQQIIIII", 0, method << 32, offset, length, place, plain, len(packed), 0)
        return struct.pack("<IIII", 0xA100DA7A, 7, len(head), operation) + head + packed


def packing(method: int, data: bytes) -> tuple[int, bytes]:
    """What a host sends for data: as it is where that is not longer."""
    packed = data
    if method == 1:
        packed = zlib.compress(data, 1)
    elif method == 3:
        runs = [(place, data[place : place + 512]) for place in range(0, len(data), 512)]
        packed = struct.pack("<II", len(data), 0) + b"".join(
            struct.pack("<II", place, len(run)) + run for place, run in runs if any(run)
        )
    return (method, packed) if len(packed) < len(data) else (0, data)


@contextmanager
def serving(script: Script | None = None) -> Iterator[Host]:
    host = Host(script or Script())
    try:
        yield host
    finally:
        host.stop()


def spec(host: Host, **changes: object) -> DiskSpec:
    """A disk of this host, with the ticket that fits."""
    thumbprint = str(changes.pop("thumbprint", certificate("host").sha1))
    ticket = Ticket("127.0.0.1", thumbprint, SESSION, host.port)
    values: dict[str, object] = {"patience": Patience(60, 240, 240, 240, 240), **changes}
    return DiskSpec(ticket, PATH, **values)  # type: ignore[arg-type]
