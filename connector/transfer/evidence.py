"""Evidence says what one pass did to every byte, and is signed; one flipped bit anywhere is found and located.

A manifest is canonical JSON with a list of stages. The maker of a stage signs it: the appliance signs the copy, later stages
convert or deliver. A stage has sections with a digest each, and its signature covers the digests and the stage before. So a
damaged section is named, and the others can still be read. Version 1 had the first stage only. The format is documented in
docs/evidence.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from connector.errors import BadInput, EvidenceDamaged
from connector.files import replace

FORMAT: Final = "agentless-connector-evidence"
VERSION: Final = 2
LIMIT: Final = 48 << 20  # bytes of one manifest
STAGES: Final = 16  # of one manifest, at most
COPIED: Final = "copied"  # the first stage of every manifest
_SECTIONS: Final = ("disks", "machine", "pass", "versions")  # of the first stage
_STAGE: Final = {"stage", "previous", "digests", "sections", "signature"}


class Signer:
    """An appliance's key. The secret half stays in its file."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def load(cls, path: Path) -> Signer:
        """The key from a file that only its owner may read; a missing key is made. Raises BadInput."""
        try:
            if not path.exists():
                _create(path)
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise BadInput(
                f"the key of the evidence cannot be read ({error.strerror})", on=str(path)
            ) from None
        except ValueError:  # the library's message has several lines
            key = None
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
    """A public key in PEM."""
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
    """The text by which people compare public keys."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing that was done to the disks, signed with `key`. `previous` is the digest of the stage before, or empty."""

    name: str
    sections: Mapping[str, Any]
    key: bytes
    previous: str = ""


@dataclass(frozen=True, slots=True)
class LineageHead:
    """The end of a disk's lineage: what its target held when the evidence was signed.

    `generation` counts the readings that ended on the target; `root` is that of its digest table. Evidence of version 1
    names neither of them nor the target: they are empty.
    """

    reading: str
    change_id: str
    target: str = ""
    generation: int = 0
    root: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "reading": self.reading,
            "change_id": self.change_id,
            "target": self.target,
            "generation": self.generation,
            "root": self.root,
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest with valid signatures. The first stage says what was copied; stages of unknown names are kept."""

    stages: tuple[Stage, ...]
    version: int

    @property
    def sections(self) -> Mapping[str, Any]:
        return self.stages[0].sections

    @property
    def key(self) -> bytes:
        """The public key that signed the first stage."""
        return self.stages[0].key

    @property
    def disks(self) -> Mapping[str, Any]:
        disks: Mapping[str, Any] = self.sections["disks"]
        return disks


def canonical(value: object) -> bytes:
    """The canonical bytes of a JSON value. Raises ValueError for a value that JSON cannot express."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def seal(sections: Mapping[str, Any], signer: Signer) -> bytes:
    """A new manifest as a file, with its first stage. `sections`: pass, machine, versions, and disks by key."""
    return _file([_stage(COPIED, sections, signer, "")])


def extend(manifest: bytes, name: str, sections: Mapping[str, Any], signer: Signer) -> bytes:
    """The manifest with one stage more, signed by `signer`. Raises what `read` raises, and BadInput for version 1."""
    if read(manifest).version < VERSION:
        raise BadInput(
            "evidence of version 1 takes no further stages", remedy="run a pass: it makes new evidence"
        )
    stages = list(json.loads(manifest)["stages"])
    if len(stages) >= STAGES:
        raise BadInput(f"a manifest has at most {STAGES} stages")
    return _file([*stages, _stage(name, sections, signer, digest(canonical(stages[-1])))])


def digest(data: bytes) -> str:
    """The digest by which evidence names other evidence: BLAKE3, in hex."""
    return str(blake3(data).hexdigest())


def heads(manifest: Manifest) -> dict[str, LineageHead]:
    """The end of each disk's lineage, by the disk's key. Raises EvidenceDamaged for a disk without one."""
    reading = str(manifest.sections["pass"].get("reading", ""))
    return {key: _head(key, disk, reading) for key, disk in manifest.disks.items()}


def _head(key: str, disk: Mapping[str, Any], reading: str) -> LineageHead:
    try:
        lineage = disk.get("lineage") or {}
        return LineageHead(
            reading=str(lineage.get("reading", reading)),
            change_id=str(disk.get("change_id", "")),
            target=str(lineage.get("target", "")),
            generation=int(lineage.get("generation", 0)),
            root=str(lineage.get("root", "")),
        )
    except (AttributeError, TypeError, ValueError):
        raise EvidenceDamaged(f"disk {key} has no readable lineage", remedy=_AGAIN) from None


def read(data: bytes) -> Manifest:
    """Check everything that can be checked without an image. Raises EvidenceDamaged, or BadInput when it is no manifest."""
    body = _parse(data)
    if body["version"] == 1:
        stage = {name: body[name] for name in ("digests", "sections", "signature")}
        return Manifest((_read_stage(data, stage, [FORMAT, 1]),), 1)
    stages, previous = [], ""
    for number, stage in enumerate(body["stages"]):
        if stage["previous"] != previous:
            raise EvidenceDamaged(f"stage {number} does not follow the stage before it", remedy=_AGAIN)
        stages.append(_read_stage(data, stage, [FORMAT, body["version"], stage["stage"], previous]))
        previous = digest(canonical(stage))
    return Manifest(tuple(stages), body["version"])


_AGAIN: Final = "get it again from the control plane"


def _file(stages: list[dict[str, Any]]) -> bytes:
    return canonical({"format": FORMAT, "version": VERSION, "stages": stages}) + b"\n"


def _stage(name: str, sections: Mapping[str, Any], signer: Signer, previous: str) -> dict[str, Any]:
    digests = _digests(sections)
    covered = _covered([FORMAT, VERSION, name, previous], digests, signer.public)
    signature = {
        "algorithm": "Ed25519",
        "key": base64.b64encode(signer.public).decode(),
        "value": base64.b64encode(signer.sign(covered)).decode(),
    }
    return {
        "stage": name,
        "previous": previous,
        "digests": digests,
        "sections": dict(sections),
        "signature": signature,
    }


def _read_stage(data: bytes, stage: Mapping[str, Any], prefix: list[Any]) -> Stage:
    key, value = _signature(stage["signature"])
    signed, computed = stage["digests"], _digests(stage["sections"])
    names = sorted(computed.keys() | signed.keys())
    damaged = [_place(data, stage, name) for name in names if computed.get(name) != signed.get(name)]
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(value, _covered(prefix, signed, key))
    except InvalidSignature:
        damaged.append("the signature, or the digests that it covers")
    if damaged:
        raise EvidenceDamaged(f"is not as it was signed: {'; '.join(damaged)}", remedy=_AGAIN)
    return Stage(str(stage.get("stage", COPIED)), stage["sections"], key, str(stage.get("previous", "")))


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
    if not _has_shape(body):
        raise EvidenceDamaged("does not have the fields of a manifest", remedy=_AGAIN)
    return body


def _has_shape(body: dict[str, Any]) -> bool:
    if type(body.get("version")) is not int or body["version"] < 1:
        return False
    if body["version"] == 1:
        fields = {"format", "version", "digests", "sections", "signature"}
        return set(body) == fields and _is_stage(body) and _is_copied(body["sections"])
    stages = body.get("stages")
    return (
        set(body) == {"format", "version", "stages"}
        and isinstance(stages, list)
        and 1 <= len(stages) <= STAGES
        and all(isinstance(stage, dict) and set(stage) == _STAGE and _is_stage(stage) for stage in stages)
        and all(isinstance(stage["stage"], str) and isinstance(stage["previous"], str) for stage in stages)
        and stages[0]["stage"] == COPIED
        and _is_copied(stages[0]["sections"])
    )


def _is_stage(stage: Mapping[str, Any]) -> bool:
    digests, sections = stage["digests"], stage["sections"]
    return (
        isinstance(digests, dict)
        and all(isinstance(text, str) for text in digests.values())
        and isinstance(sections, dict)
        and isinstance(sections.get("disks", {}), dict)
    )


def _is_copied(sections: Mapping[str, Any]) -> bool:
    return (
        set(sections) == set(_SECTIONS)
        and all(isinstance(section, dict) for section in sections.values())
        and all(isinstance(disk, dict) for disk in sections["disks"].values())
    )


def _signature(body: object) -> tuple[bytes, bytes]:
    """The key and the signature. Text in another spelling than ours is refused."""
    if isinstance(body, dict) and set(body) == {"algorithm", "key", "value"}:
        key, value = _decoded(body["key"]), _decoded(body["value"])
        if body["algorithm"] == "Ed25519" and len(key) == 32 and len(value) == 64:
            return key, value
    raise EvidenceDamaged("is not as it was signed: the signature", remedy=_AGAIN)


def _decoded(text: object) -> bytes:
    try:
        decoded = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        return b""
    return decoded if base64.b64encode(decoded).decode() == text else b""


def _covered(prefix: list[Any], digests: Mapping[str, str], key: bytes) -> bytes:
    """The bytes that a signature covers."""
    return canonical([*prefix, digests, base64.b64encode(key).decode()])


def _digests(sections: Mapping[str, Any]) -> dict[str, str]:
    """The digest of each section; each disk is a section of its own."""
    parts = {name: section for name, section in sections.items() if name != "disks"}
    parts |= {f"disks/{key}": disk for key, disk in sections.get("disks", {}).items()}
    return {name: digest(canonical(part)) for name, part in parts.items()}


def _place(data: bytes, stage: Mapping[str, Any], name: str) -> str:
    """The place of a section in the file."""
    kind, _, key = name.partition("/")
    sections = stage["sections"]
    part = sections.get("disks", {}).get(key) if key else sections.get(kind)
    at = -1 if part is None else data.find(canonical(part))
    if at < 0:
        return f"section {name}"
    return f"section {name}, bytes [{at}, {at + len(canonical(part))})"


def _create(path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    replace(path, secret)
