"""A TLS server that answers bytes, as a test wants them: whole, half, without end, or not at all."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.waiting import PATIENCE

Say = Callable[[socket.socket, threading.Event], bool]
"""Writes an answer; whether the connection goes on. The event is set when the test is over."""

DAY = datetime.timedelta(days=1)


@dataclass
class Server:
    """Answers each request with the next of `answers`, the last one for ever. `asked` are the requests."""

    port: int
    answers: list[Say] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


class Listening:
    """A `Server` while it is entered. Without `context` it speaks no TLS, and greets whoever comes."""

    def __init__(self, context: ssl.SSLContext | None, greeting: bytes = b"") -> None:
        self._context, self._greeting, self._over = context, greeting, threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.server = Server(self._listener.getsockname()[1])

    def __enter__(self) -> Server:
        threading.Thread(target=self._accept, daemon=True).start()
        return self.server

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                self.server.connections += 1
                threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain:
            if self._context is None:
                plain.sendall(self._greeting)
                plain.recv(65536)
                return
            with self._context.wrap_socket(plain, server_side=True) as sock:
                while (asked := _request(sock)) and not self._over.is_set():
                    self.server.asked.append(asked)
                    answers = self.server.answers
                    if not (answers.pop(0) if len(answers) > 1 else answers[0])(sock, self._over):
                        return


def _request(sock: socket.socket) -> bytes:
    """Head and body of the next request; empty at the end."""
    found = b""
    while b"\r\n\r\n" not in found:
        piece = sock.recv(65536)
        if not piece:
            return b""
        found += piece
    head, _, body = found.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(status: int, content: bytes | str, kind: str = "application/json", *headers: str) -> Say:
    body = content.encode() if isinstance(content, str) else content
    head = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers]

    def say(sock: socket.socket, _: threading.Event) -> bool:
        sock.sendall("\r\n".join([*head, "", ""]).encode() + body)
        return True

    return say


def raw(content: bytes) -> Say:
    """These bytes, and the end."""

    def say(sock: socket.socket, _: threading.Event) -> bool:
        sock.sendall(content)
        return False

    return say


def silent(sock: socket.socket, over: threading.Event) -> bool:
    over.wait(PATIENCE)
    return False


def without_end(piece: bytes, pause: float) -> Say:
    """A head that promises much, then `piece` again and again."""

    def say(sock: socket.socket, over: threading.Event) -> bool:
        sock.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"
        )
        while not over.wait(pause):
            sock.sendall(piece)
        return False

    return say


def certificate(home: Path, name: str = "127.0.0.1", until: datetime.timedelta = DAY) -> Path:
    """A file with a key and the certificate that it signed for itself, valid for so long from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 9 * DAY)
        .not_valid_after(now + until)
        .add_extension(x509.SubjectAlternativeName([_general(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = home / f"{made.serial_number}.pem"
    file.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return file


def serving(file: Path, authority: str = "") -> ssl.SSLContext:
    """A server's context; with `authority` (PEM) clients must show a certificate of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    if authority:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=authority)
    return context


def thumbprint(file: Path) -> str:
    public = file.read_text()[file.read_text().index("-----BEGIN CERTIFICATE") :]
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(public.strip())).digest().hex(":").upper()


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
