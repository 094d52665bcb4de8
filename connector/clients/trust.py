"""A client decides in the handshake, before the first byte of a request, whether it trusts the server's certificate."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from connector import pasted, readable
from connector.errors import BadInput


class OtherCertificate(Exception):
    """The peer shows another certificate than the pinned one: `thumbprint` is that of its own, `pinned` the expected one."""

    def __init__(self, thumbprint: str, pinned: str) -> None:
        super().__init__(thumbprint)
        self.thumbprint, self.pinned = thumbprint, pinned


class Trust(Protocol):
    """What a handshake must have shown."""

    def context(self) -> ssl.SSLContext:
        """A fresh context for clients. Raises BadInput for what cannot be used."""

    def accept(self, sock: ssl.SSLSocket, on: str) -> None:
        """Raises OtherCertificate or TrustFailed for a peer that the context alone does not refuse."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """The one certificate with this SHA-256 thumbprint and no other, whoever signed it and however old it is."""

    thumbprint: str  # 64 hex digits in lower case

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False  # the thumbprint decides
        context.verify_mode = ssl.CERT_NONE
        return context

    def accept(self, sock: ssl.SSLSocket, on: str) -> None:  # noqa: ARG002 - one shape for all
        shown = hashlib.sha256(sock.getpeercert(binary_form=True) or b"")
        if shown.hexdigest() != self.thumbprint:
            raise OtherCertificate(
                shown.digest().hex(":").upper(), bytes.fromhex(self.thumbprint).hex(":").upper()
            )


@dataclass(frozen=True, slots=True)
class Authorities:
    """What one of the authorities in `file` signed for the host's name; without a file, one of the public authorities."""

    file: Path | None = None

    def context(self) -> ssl.SSLContext:
        try:
            if self.file is None:
                return _strict(ssl.create_default_context(cafile=_public()))
            readable.require(self.file)
            return _strict(ssl.create_default_context(cafile=str(self.file)))
        except (OSError, ssl.SSLError) as failed:
            known = isinstance(failed, FileNotFoundError | PermissionError)
            why = failed.strerror if known else "no certificate in it"
            raise BadInput(
                f"cannot use it as an authority: {why}",
                on=str(self.file or "the public authorities"),
                remedy="name a PEM file with certificates",
            ) from None

    def accept(self, sock: ssl.SSLSocket, on: str) -> None:
        """The context did all of it."""


def thumbprint_of(text: str) -> str:
    """64 hex digits of what people write as a SHA-256 thumbprint; empty when it is none."""
    bare = pasted.thumbprint(text)
    return bare if len(bare) == 64 else ""


def _strict(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _public() -> str:
    import certifi

    return certifi.where()
