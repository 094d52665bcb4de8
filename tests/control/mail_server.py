"""A mail server of a few lines, over real sockets: EHLO, STARTTLS, AUTH PLAIN and LOGIN, and what it is told to answer."""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import socket
import ssl
import threading
from email.message import EmailMessage
from types import TracebackType


class MailServer:
    """`taken` are the messages with their envelopes. `answers`: what it says instead, by the command's first word."""

    def __init__(
        self, context: ssl.SSLContext | None = None, *, tls_first: bool = False, password: str = ""
    ) -> None:
        self._context, self._tls_first, self._password = context, tls_first, password
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.taken: list[tuple[str, list[str], EmailMessage]] = []
        self.answers: dict[str, str] = {}
        self.heard: list[str] = []  # all lines, and whether they came over TLS
        self.logins = 0

    def __enter__(self) -> MailServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._guarded, args=(sock,), daemon=True).start()

    def _guarded(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._tls_first and self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            with sock:
                self._serve(sock)

    def _serve(self, sock: socket.socket) -> None:
        lines, secure, sender, to = sock.makefile("rb"), self._tls_first, "", list[str]()
        sock.sendall((self.answers.get("GREETING") or "220 mail.example ESMTP").encode() + b"\r\n")
        while line := lines.readline(4096).decode().strip():
            word = line.split()[0].upper()
            self.heard.append(f"{'tls' if secure else 'plain'} {line}")
            if word in self.answers:
                sock.sendall(f"{self.answers[word]}\r\n".encode())
                continue
            if word == "EHLO":
                more = b"250-STARTTLS\r\n" if self._context and not secure else b""
                login = b"250-AUTH PLAIN LOGIN\r\n" if self._password else b""
                sock.sendall(b"250-mail.example\r\n" + more + login + b"250 SIZE 1000000\r\n")
            elif word == "STARTTLS" and self._context is not None:
                sock.sendall(b"220 go\r\n")
                sock = self._context.wrap_socket(sock, server_side=True)
                lines, secure = sock.makefile("rb"), True
            elif word == "AUTH":
                self.logins += 1
                told = base64.b64decode(line.split()[2]).split(b"\0")[2].decode()
                sock.sendall(b"235 welcome\r\n" if told == self._password else b"535 no\r\n")
            elif word == "MAIL":
                sender, to = line.partition(":")[2].split()[0].strip("<>"), []
                sock.sendall(b"250 ok\r\n")
            elif word == "RCPT":
                to.append(line.partition(":")[2].split()[0].strip("<>"))
                sock.sendall(b"250 ok\r\n")
            elif word == "DATA":
                sock.sendall(b"354 go\r\n")
                content = b""
                while (piece := lines.readline()) not in (b".\r\n", b""):
                    content += piece.removeprefix(b".") if piece.startswith(b"..") else piece
                message = email.message_from_bytes(content, policy=email.policy.default)
                self.taken.append((sender, to, message))
                sock.sendall(b"250 taken\r\n")
            elif word == "QUIT":
                sock.sendall(b"221 bye\r\n")
                return
            else:
                sock.sendall(b"250 ok\r\n")
