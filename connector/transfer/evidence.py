"""Evidence: what one pass did to every byte, signed. Canonical JSON, so that one flipped bit anywhere is found and located.

A manifest has sections; each has a digest of its own, and the signature covers the digests. So a damaged section is named,
and the others can still be read. The format is documented in docs/evidence.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from connector.errors import BadInput, EvidenceDamaged

FORMAT: Final = "agentless-connector-evidence"
VERSION: Final = 1
LIMIT: Final = 48 << 20  # bytes of one manifest
_SECTIONS: Final = ("disks", "machine", "pass", "versions")


class Signer:
    """An appliance's key. The secret half stays in its file."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def load(cls, path: Path) -> Signer:
        """The key in a file that only its owner may read; made when missing. Raises BadInput."""
        try:
            if not path.exists():
                _create(path)
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise BadInput(f"the key of the evidence cannot be read: {error}", on=str(path)) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise BadInput("is no Ed25519 key", on=str(path), remedy="remove it: another one is made")
        return cls(key)

    @property
    def public(self) -> bytes:
        """32 bytes."""
        return self._key.public_key().public_bytes_raw()

    @property
    def public_pem(self) -> str:
        return pem(self.public)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


def pem(public: bytes) -> str:
    """A public key as others read it."""
    key = Ed25519PublicKey.from_public_bytes(public)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


def from_pem(text: bytes) -> bytes:
    """The reverse of `pem`. Raises ValueError."""
    key = serialization.load_pem_public_key(text)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("no Ed25519 key")
    return key.public_bytes_raw()


def fingerprint(public: bytes) -> str:
    """How people compare public keys."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One that is as it was signed, by whoever has `key`."""

    sections: Mapping[str, Any]
    key: bytes

    @property
    def disks(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.sections["disks"]
        return found


def canonical(value: object) -> bytes:
    """The one way to write a JSON value. Raises ValueError for what JSON cannot say."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def seal(sections: Mapping[str, Any], signer: Signer) -> bytes:
    """The manifest as a file. `sections`: pass, machine, versions, and disks by key."""
    body = {"format": FORMAT, "version": VERSION, "digests": _digests(sections)}
    signature = {
        "algorithm": "Ed25519",
        "key": base64.b64encode(signer.public).decode(),
        "value": base64.b64encode(signer.sign(_signed(body, signer.public))).decode(),
    }
    return canonical(body | {"sections": dict(sections), "signature": signature}) + b"\n"


def read(data: bytes) -> Manifest:
    """Check everything that can be checked without an image. Raises EvidenceDamaged, or BadInput for what is no manifest."""
    body = _parse(data)
    key, value = _signature(body["signature"])
    named, found = body["digests"], _digests(body["sections"])
    wrong = sorted(name for name in found.keys() | named.keys() if found.get(name) != named.get(name))
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(value, _signed(body, key))
    except InvalidSignature:
        places = [
            *(_place(data, body, name) for name in wrong),
            "the signature, or the digests that it covers",
        ]
        raise EvidenceDamaged(f"is not as it was signed: {'; '.join(places)}", remedy=_AGAIN) from None
    if wrong:
        places = [_place(data, body, name) for name in wrong]
        raise EvidenceDamaged(f"is not as it was signed: {'; '.join(places)}", remedy=_AGAIN)
    return Manifest(body["sections"], key)


_AGAIN: Final = "get it again from the control plane"


def _parse(data: bytes) -> dict[str, Any]:
    if len(data) > LIMIT:
        raise BadInput(f"a manifest has at most {LIMIT} bytes")
    try:
        body = json.loads(data)
        again = canonical(body) + b"\n"
    except (ValueError, RecursionError) as error:
        where = f" at byte {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise EvidenceDamaged(f"is not JSON{where}", remedy=_AGAIN) from None
    if again != data:
        at = next((n for n, (a, b) in enumerate(zip(again, data, strict=False)) if a != b), None)
        place = min(len(again), len(data)) if at is None else at
        raise EvidenceDamaged(f"is not in canonical form at byte {place}", remedy=_AGAIN)
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise EvidenceDamaged(f"does not say that it is {FORMAT}", remedy=_AGAIN)
    if type(body.get("version")) is int and body["version"] > VERSION:
        raise BadInput(
            f"manifest version {body['version']} is newer than {VERSION}", remedy="use a newer release"
        )
    _check_shape(body)
    return body


def _check_shape(body: dict[str, Any]) -> None:
    digests, sections = body.get("digests"), body.get("sections")
    right = (
        set(body) == {"format", "version", "digests", "sections", "signature"}
        and body["version"] == VERSION
        and isinstance(digests, dict)
        and all(isinstance(one, str) for one in digests.values())
        and isinstance(sections, dict)
        and set(sections) == set(_SECTIONS)
        and all(isinstance(section, dict) for section in sections.values())
        and all(isinstance(disk, dict) for disk in sections["disks"].values())
    )
    if not right:
        raise EvidenceDamaged("has not the shape of a manifest", remedy=_AGAIN)


def _signature(body: object) -> tuple[bytes, bytes]:
    """The key and the signature; text that is not written as we write it is none."""
    if isinstance(body, dict) and set(body) == {"algorithm", "key", "value"}:
        key, value = _decoded(body["key"]), _decoded(body["value"])
        if body["algorithm"] == "Ed25519" and len(key) == 32 and len(value) == 64:
            return key, value
    raise EvidenceDamaged("is not as it was signed: the signature", remedy=_AGAIN)


def _decoded(text: object) -> bytes:
    try:
        found = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        return b""
    return found if base64.b64encode(found).decode() == text else b""


def _signed(body: Mapping[str, Any], key: bytes) -> bytes:
    """What the signature covers."""
    return canonical([body["format"], body["version"], body["digests"], base64.b64encode(key).decode()])


def _digests(sections: Mapping[str, Any]) -> dict[str, str]:
    """The digest of each section; each disk is one of its own."""
    parts = {name: section for name, section in sections.items() if name != "disks"}
    parts |= {f"disks/{key}": disk for key, disk in sections["disks"].items()}
    return {name: str(blake3(canonical(part)).hexdigest()) for name, part in parts.items()}


def _place(data: bytes, body: Mapping[str, Any], name: str) -> str:
    """Where in the file a section lies."""
    kind, _, key = name.partition("/")
    part = body["sections"]["disks"].get(key) if key else body["sections"].get(kind)
    at = -1 if part is None else data.find(canonical(part))
    if at < 0:
        return f"section {name}"
    return f"section {name}, bytes [{at}, {at + len(canonical(part))})"


def _create(path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
