"""A request claims a key and a signature. The claim is right if the key's secret gives the same signature. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from connector.clients.signature import V1, V3, Request, sign, string_to_sign_v1, string_to_sign_v3
from connector.control.smc.catalogue import Denied

#: Headers that decide what a V3 request means. Those that are present must be signed.
_BINDING: Final = ("host", "x-acs-action", "x-acs-version", "x-acs-security-token")
#: These must be present and signed, or the request could be replayed for ever or with another body.
_NEEDED: Final = ("host", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce")
_AUTHORIZATION: Final = re.compile(
    r"ACS3-HMAC-SHA256 +Credential=([^,\s]+), *SignedHeaders=([^,\s]+), *Signature=([0-9a-fA-F]{64})\Z"
)

#: Parameters of the V1 dialect itself; they belong to no operation.
COMMON: Final = frozenset(
    {
        "AccessKeyId",
        "Action",
        "Format",
        "SecurityToken",
        "Signature",
        "SignatureMethod",
        "SignatureNonce",
        "SignatureType",
        "SignatureVersion",
        "Timestamp",
        "Version",
    }
)


@dataclass(frozen=True, slots=True)
class SignatureClaim:
    """The key that claims to have signed, when, and the string that it must have signed."""

    dialect: str
    key_id: str
    action: str
    version: str
    date: str
    nonce: str
    string_to_sign: str
    signature: str

    def verify(self, secret: str) -> None:
        """Raises `Denied` unless `secret` signed this."""
        expected = sign(self.dialect, secret, self.string_to_sign)
        if not hmac.compare_digest(expected.encode(), self.signature.encode()):
            raise Denied(
                "SignatureDoesNotMatch",
                "Specified signature is not matched with our calculation."
                f" server string to sign is:{self.string_to_sign}",
            )


def pairs(encoded: bytes) -> dict[str, str]:
    """The pairs of a query or form. Raises `Denied` if they are not UTF-8 or if a name comes twice."""
    values: dict[str, str] = {}
    for piece in encoded.split(b"&"):
        if not piece:
            continue
        name, _, value = piece.partition(b"=")
        key = _decoded(name)
        if key in values:
            raise Denied("MalformedRequest", "A parameter is given twice.")
        values[key] = _decoded(value)
    return values


def claim(request: Request) -> SignatureClaim:
    """The claim of a request. Raises `Denied` if the request is not completely signed."""
    if request.headers.get("authorization", "").startswith(V3):
        return _claim_v3(request)
    if "Signature" in request.query or "Signature" in request.form:
        return _claim_v1(request)
    raise Denied("IncompleteSignature", "The request is not signed: Authorization or Signature is missing.")


def _claim_v3(request: Request) -> SignatureClaim:
    match = _AUTHORIZATION.fullmatch(request.headers["authorization"].strip())
    if match is None:
        raise Denied("IncompleteSignature", "The Authorization header has another form.")
    key_id, names, signature = match.groups()
    signed = sorted(set(names.lower().split(";")))
    needed = set(_NEEDED) | {name for name in _BINDING if name in request.headers}
    if absent := sorted(needed - set(signed)):
        raise Denied("IncompleteSignature", f"The header {absent[0]} must be signed.")
    if absent := [name for name in signed if name not in request.headers]:
        raise Denied("IncompleteSignature", "A header that is said to be signed is not there.")
    if request.headers["x-acs-content-sha256"].strip().lower() != hashlib.sha256(request.body).hexdigest():
        raise Denied("SignatureDoesNotMatch", "The body has another digest than x-acs-content-sha256.")
    return SignatureClaim(
        dialect=V3,
        key_id=key_id,
        action=_of(request, "x-acs-action", "Action"),
        version=_of(request, "x-acs-version", "Version"),
        date=request.headers["x-acs-date"].strip(),
        nonce=request.headers["x-acs-signature-nonce"].strip(),
        string_to_sign=string_to_sign_v3(request, signed),
        signature=signature.lower(),
    )


def _claim_v1(request: Request) -> SignatureClaim:
    parameters = {**request.query, **request.form}
    for name in ("AccessKeyId", "Timestamp", "SignatureNonce"):
        if not parameters.get(name):
            raise Denied("IncompleteSignature", f"{name} is missing.")
    if parameters.get("SignatureMethod", V1) != V1 or parameters.get("SignatureVersion", "1.0") != "1.0":
        raise Denied("IncompleteSignature", "SignatureMethod must be HMAC-SHA1 and SignatureVersion 1.0.")
    return SignatureClaim(
        dialect=V1,
        key_id=parameters["AccessKeyId"],
        action=parameters.get("Action", ""),
        version=parameters.get("Version", ""),
        date=parameters["Timestamp"],
        nonce=parameters["SignatureNonce"],
        string_to_sign=string_to_sign_v1(request.method, parameters),
        signature=parameters["Signature"],
    )


def _of(request: Request, header: str, parameter: str) -> str:
    if header in request.headers:
        return request.headers[header].strip()
    return request.query.get(parameter, "")


def _decoded(piece: bytes) -> str:
    try:
        return unquote_to_bytes(piece.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise Denied("MalformedRequest", "A parameter is not UTF-8.") from None
