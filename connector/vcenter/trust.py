"""The server is trusted or refused on the connection that carries the login, before a byte of ours is sent."""

from __future__ import annotations

import hashlib
import io
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any

from cryptography import x509

from connector import pasted, readable
from connector.errors import BadInput, TrustFailed, Unreachable
from connector.vcenter.endpoint import VCenterAddress

_LENGTHS = {40: "sha1", 64: "sha256"}  # hex digits -> digest
WHOLE = 900.0  # seconds within which a whole answer must arrive
#: Where people write vCenter's thumbprint.
SETTING = "--thumbprint, or `thumbprint` in the section `vcenter` of the appliance's configuration"


def thumbprint(certificate: bytes, digest: str = "sha1") -> str:
    """Digest of a DER certificate as VMware writes it: upper-case pairs with colons."""
    return hashlib.new(digest, certificate, usedforsecurity=False).digest().hex(":").upper()


def ends(certificate: bytes) -> float | None:
    """When this certificate (DER) ends, in seconds since the epoch; None for what is no certificate."""
    try:
        return x509.load_der_x509_certificate(certificate).not_valid_after_utc.timestamp()
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class VCenterTrust:
    """Exactly one of a pinned thumbprint (SHA-1 or SHA-256) and a file of authorities.

    `setting` says what to change if another certificate is the right one.
    """

    pin: str = ""
    authority: Path | None = None
    setting: str = f"change {SETTING}"

    @classmethod
    def of(cls, pin: str, authority: Path | None) -> VCenterTrust:
        """The trust from a user's settings. The thumbprint may be written in any way: see `pasted.thumbprint`."""
        bare = pasted.thumbprint(pin)
        if bool(pin.strip()) == bool(authority):
            raise BadInput(
                "thumbprint and authority are both set, or both missing",
                on="vCenter settings",
                remedy="set one of them: the SHA-256 thumbprint of vCenter's certificate, or a file with its authority",
            )
        if pin.strip() and not bare:
            raise BadInput(
                "the thumbprint is neither SHA-1 (40 hex digits) nor SHA-256 (64)", on="vCenter settings"
            )
        return cls(bare, authority)

    def context(self) -> ssl.SSLContext:
        """A fresh TLS client context. With a pin the chain is not checked, because `accept` checks the pin."""
        if self.authority is not None:
            try:
                readable.require(self.authority)
                return ssl.create_default_context(cafile=str(self.authority))
            except (OSError, ssl.SSLError) as problem:
                raise BadInput(
                    f"no certificate authority can be read from the file ({problem})", on=str(self.authority)
                ) from problem
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def accept(self, certificate: bytes | None, on: str) -> None:
        """Raise `TrustFailed` unless the peer's DER certificate is the pinned one."""
        if not certificate:
            raise TrustFailed("the server showed no certificate", on=on, remedy="check host and port")
        if not self.pin:
            return
        digest = _LENGTHS[len(self.pin)]
        actual = thumbprint(certificate, digest)
        if actual.replace(":", "").lower() != self.pin:
            pinned = bytes.fromhex(self.pin).hex(":").upper()
            raise TrustFailed(
                f"the certificate's {digest.upper()} thumbprint is {actual}, and {pinned} is pinned",
                on=on,
                remedy=f"compare it with the certificate that the server itself shows; if it is right, {self.setting}",
            )


class _Timed(io.RawIOBase):
    """The bytes of one answer, up to a deadline: an answer that arrives too slowly ends too."""

    def __init__(self, raw: Any, sock: socket.socket, until: float) -> None:
        self._raw, self._sock, self._until = raw, sock, until
        self._each = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        remaining = self._until - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the answer did not end in time")
        hurried = self._each is None or remaining < self._each
        if hurried:
            self._sock.settimeout(remaining)
        try:
            count: int | None = self._raw.readinto(buffer)
            return count
        finally:
            if hurried:
                with suppress(OSError):  # closed by the other side
                    self._sock.settimeout(self._each)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class PinnedConnection(HTTPSConnection):
    """HTTPS whose `connect` ends with a trusted peer or raises `TrustFailed`.

    `seen` gets the peer's DER certificate once it is trusted.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        trust: VCenterTrust,
        seen: Callable[[bytes], None] = lambda _: None,
        patience: float = 300.0,
        reach: float = 15.0,
        whole: float = WHOLE,
    ) -> None:
        """`patience` bounds the wait for each piece of an answer, `whole` the time for all of it."""
        super().__init__(host, port, timeout=reach, context=trust.context())
        self._whole = whole
        self.response_class = self._response  # type: ignore[assignment]
        self._trust = trust
        self._seen = seen
        self._patience = patience

    def _response(self, sock: socket.socket, *words: Any, **named: Any) -> HTTPResponse:
        answer = HTTPResponse(sock, *words, **named)
        raw = sock.makefile("rb", buffering=0)
        answer.fp.close()
        answer.fp = io.BufferedReader(_Timed(raw, sock, time.monotonic() + self._whole))
        return answer

    def connect(self) -> None:
        on = str(VCenterAddress(self.host, self.port))
        try:
            super().connect()
            certificate = self.sock.getpeercert(binary_form=True)
            self._trust.accept(certificate, on)
        except ssl.SSLCertVerificationError as problem:
            self.close()
            raise TrustFailed(
                f"its certificate is not trusted ({problem.verify_message})",
                on=on,
                remedy="give the authority that signed it, or pin its thumbprint",
            ) from problem
        except (OSError, TrustFailed):
            self.close()
            raise
        self.sock.settimeout(self._patience)
        self._seen(certificate or b"")


def presented(endpoint: VCenterAddress, *, reach: float = 15.0) -> bytes:
    """The DER certificate that the server shows now, for a person to compare.

    Nothing is sent over the connection, and nobody is trusted because of it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((endpoint.host, endpoint.port), timeout=reach) as plain,
            context.wrap_socket(plain, server_hostname=endpoint.host) as secured,
        ):
            return secured.getpeercert(binary_form=True) or b""
    except OSError as problem:
        raise Unreachable(
            f"no TLS answer ({problem})",
            on=str(endpoint),
            remedy="check the address, the port and the network in between",
        ) from problem
