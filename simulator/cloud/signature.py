"""Signatures of the API gateway, both kinds: ACS3-HMAC-SHA256 in a header and HMAC-SHA1 among the parameters.

Clients differ in their encoding and not in their signatures. So everything is decoded, and encoded again strictly, before
it is compared.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from simulator.cloud.codes import Refused

_HEADER: Final = re.compile(
    r"ACS3-HMAC-SHA256 +Credential=([^,\s]+), *SignedHeaders=([^,\s]+), *Signature=([0-9a-fA-F]{64})"
)

#: Parameters of the older dialect itself; they belong to no operation.
AROUND: Final = frozenset(
    {
        *("AccessKeyId", "Action", "Format", "SecurityToken", "Signature", "SignatureMethod"),
        *("SignatureNonce", "SignatureType", "SignatureVersion", "Timestamp", "Version"),
    }
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request: decoded parameters of query and form, header names in lower case."""

    method: str
    parameters: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed signature: the key, the signed text and the time."""

    key: str
    token: str
    action: str
    version: str
    date: str
    nonce: str
    to_sign: str
    signature: str
    newer: bool

    def check(self, secret: str) -> None:
        """Raises Refused unless `secret` made the signature."""
        if self.newer:
            mine = hmac.new(secret.encode(), self.to_sign.encode(), hashlib.sha256).hexdigest()
        else:
            digest = hmac.new(f"{secret}&".encode(), self.to_sign.encode(), hashlib.sha1).digest()
            mine = base64.b64encode(digest).decode()
        if not hmac.compare_digest(mine.encode(), self.signature.encode()):
            text = "Specified signature is not matched with our calculation. server string to sign is:"
            raise Refused("SignatureDoesNotMatch", text + self.to_sign)


def decode(encoded: str | bytes) -> dict[str, str]:
    """A query or a form."""
    raw = encoded.encode() if isinstance(encoded, str) else encoded
    decoded: dict[str, str] = {}
    for piece in filter(None, raw.split(b"&")):
        name, _, value = piece.partition(b"=")
        try:
            decoded[_plain(name)] = _plain(value)
        except UnicodeDecodeError:
            raise Refused("InvalidParameter", "A parameter is not UTF-8.") from None
    return decoded


def claim(request: Request) -> Claim:
    """The claim of a request. Raises Refused when it is not signed."""
    if header := request.headers.get("authorization", ""):
        return _newer(request, header)
    if "Signature" in request.parameters:
        return _older(request)
    raise Refused("IncompleteSignature", "The request is not signed.")


def _newer(request: Request, header: str) -> Claim:
    match = _HEADER.fullmatch(header.strip())
    if match is None:
        raise Refused("IncompleteSignature", "The Authorization header has another form.")
    key, names, signature = match.groups()
    signed = sorted(set(names.lower().split(";")))
    headers = request.headers
    needed = {
        "host",
        "x-acs-action",
        "x-acs-version",
        "x-acs-date",
        "x-acs-signature-nonce",
        "x-acs-content-sha256",
    }
    if not needed <= set(signed) or not set(signed) <= set(headers):
        raise Refused("IncompleteSignature", f"These headers must be there and signed: {sorted(needed)}")
    if headers["x-acs-content-sha256"].lower() != hashlib.sha256(request.body).hexdigest():
        raise Refused("SignatureDoesNotMatch", "The body has another digest than x-acs-content-sha256.")
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in signed)
    parts = [
        request.method,
        "/",
        _joined(request.query),
        lines,
        ";".join(signed),
        headers["x-acs-content-sha256"],
    ]
    digest = hashlib.sha256("\n".join(parts).encode("latin-1", "replace")).hexdigest()
    return Claim(
        key=key,
        token=headers.get("x-acs-security-token", ""),
        action=headers["x-acs-action"],
        version=headers["x-acs-version"],
        date=headers["x-acs-date"],
        nonce=headers["x-acs-signature-nonce"],
        to_sign=f"ACS3-HMAC-SHA256\n{digest}",
        signature=signature.lower(),
        newer=True,
    )


def _older(request: Request) -> Claim:
    parameters = request.parameters
    for name in ("AccessKeyId", "Timestamp", "SignatureNonce", "Action", "Version"):
        if not parameters.get(name):
            raise Refused("IncompleteSignature", f"{name} is missing.")
    signed = {name: value for name, value in parameters.items() if name != "Signature"}
    return Claim(
        key=parameters["AccessKeyId"],
        token=parameters.get("SecurityToken", ""),
        action=parameters["Action"],
        version=parameters["Version"],
        date=parameters["Timestamp"],
        nonce=parameters["SignatureNonce"],
        to_sign=f"{request.method}&%2F&{_strict(_joined(signed))}",
        signature=parameters["Signature"],
        newer=False,
    )


def _joined(parameters: Mapping[str, str]) -> str:
    return "&".join(f"{_strict(name)}={_strict(parameters[name])}" for name in sorted(parameters))


def _strict(text: str) -> str:
    return quote(text, safe="-_.~")


def _plain(piece: bytes) -> str:
    return unquote_to_bytes(piece.replace(b"+", b" ")).decode()
