"""A request is signed by ACS3-HMAC-SHA256 or RPC V1 (HMAC-SHA1). Client and control plane build the same text to sign. Pure.

Values are encoded again strictly (RFC 3986): clients encode requests differently but sign the same text. Empty values
are part of it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

V3: Final = "ACS3-HMAC-SHA256"
V1: Final = "HMAC-SHA1"


@dataclass(frozen=True, slots=True)
class Request:
    """The signed parts of a request: decoded `query` and `form`, header names in lower case, the raw body."""

    method: str
    path: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


def encode(text: str) -> str:
    """The text, percent-encoded except `A-Z a-z 0-9 - _ . ~`."""
    return quote(text, safe="-_.~")


def sign(dialect: str, secret: str, string_to_sign: str) -> str:
    """The signature as it is sent."""
    if dialect == V3:
        return hmac.new(secret.encode(), string_to_sign.encode(), hashlib.sha256).hexdigest()
    digest = hmac.new(f"{secret}&".encode(), string_to_sign.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def authorization(request: Request, key_id: str, secret: str) -> str:
    """The header with which a client signs all of `request` in the V3 dialect."""
    signed = sorted(request.headers)
    signature = sign(V3, secret, string_to_sign_v3(request, signed))
    return f"{V3} Credential={key_id},SignedHeaders={';'.join(signed)},Signature={signature}"


def canonical_request(request: Request, signed: list[str]) -> str:
    """The text whose digest a V3 signature covers."""
    lines = [f"{name}:{request.headers[name].strip()}\n" for name in signed]
    return "\n".join(
        [
            request.method,
            request.path,
            _canonical(request.query),
            "".join(lines),
            ";".join(signed),
            hashlib.sha256(request.body).hexdigest(),
        ]
    )


def string_to_sign_v3(request: Request, signed: list[str]) -> str:
    """The text that a V3 signature covers. `signed`: the sorted names of the signed headers."""
    canonical = canonical_request(request, signed).encode("latin-1", "replace")
    return f"{V3}\n{hashlib.sha256(canonical).hexdigest()}"


def string_to_sign_v1(method: str, parameters: Mapping[str, str]) -> str:
    """The text that a V1 signature covers."""
    signed = {name: value for name, value in parameters.items() if name != "Signature"}
    return f"{method}&%2F&{encode(_canonical(signed))}"


def _canonical(parameters: Mapping[str, str]) -> str:
    # Sorted by name alone: as whole pairs, Id.10= would come before Id.1=
    return "&".join(f"{encode(name)}={encode(parameters[name])}" for name in sorted(parameters))
