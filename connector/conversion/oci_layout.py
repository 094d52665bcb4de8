"""Writes a container image as a directory (OCI image layout 1.0) with one layer: the tar archive of a file system.

The same archive and configuration give the same digests.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from connector import files

_PIECE: Final = 1 << 20
_LEVEL: Final = 6  # of gzip
_TYPE: Final = "application/vnd.oci.image"
_EPOCH: Final = "1970-01-01T00:00:00Z"  # no time of making: the same guest gives the same image


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """What a container of the image runs. `architecture`: OCI's word, such as amd64. `ports`: such as "80/tcp"."""

    architecture: str = "amd64"
    command: Sequence[str] = ("/bin/sh",)
    environment: Sequence[str] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    ports: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Blob:
    digest: str
    size: int

    def descriptor(self, kind: str, **more: object) -> dict[str, object]:
        return {"mediaType": f"{_TYPE}.{kind}", "digest": self.digest, "size": self.size, **more}


def write(directory: Path, archive: Path, config: ContainerConfig, reference: str) -> str:
    """Write the layout into a new directory; answers the digest of the manifest. `reference`: the image's tag there."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layer, uncompressed = _layer(blobs, archive)
    document = _configuration(config, uncompressed)
    settings = _put(blobs, document)
    manifest = _put(
        blobs,
        {
            "schemaVersion": 2,
            "mediaType": f"{_TYPE}.manifest.v1+json",
            "config": settings.descriptor("config.v1+json"),
            "layers": [layer.descriptor("layer.v1.tar+gzip")],
        },
    )
    tag = {"org.opencontainers.image.ref.name": reference}
    index = {"schemaVersion": 2, "manifests": [manifest.descriptor("manifest.v1+json", annotations=tag)]}
    files.replace(directory / "index.json", _json(index))
    files.replace(directory / "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
    return manifest.digest


def _configuration(config: ContainerConfig, layer: str) -> dict[str, object]:
    return {
        "architecture": config.architecture,
        "os": "linux",
        "created": _EPOCH,
        "config": {
            "Cmd": list(config.command),
            "Env": list(config.environment),
            "ExposedPorts": {port: {} for port in config.ports},
            "Labels": dict(config.labels),
        },
        "rootfs": {"type": "layers", "diff_ids": [layer]},
        "history": [{"created": _EPOCH, "created_by": "connector"}],
    }


def _layer(blobs: Path, archive: Path) -> tuple[_Blob, str]:
    """The compressed layer, and the digest of the archive itself."""
    draft, plain = blobs / ".layer", hashlib.sha256()
    with open(archive, "rb") as source, open(draft, "wb") as file:
        counted = _Hashed(file)
        with gzip.GzipFile("", "wb", _LEVEL, counted, mtime=0) as packed:
            while data := source.read(_PIECE):
                plain.update(data)
                packed.write(data)
    files.sync(draft)
    files.move(draft, blobs / counted.digest.removeprefix("sha256:"))
    return _Blob(counted.digest, counted.size), f"sha256:{plain.hexdigest()}"


class _Hashed:
    """A file that knows the digest and size of what was written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash, self.size = file, hashlib.sha256(), 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _put(blobs: Path, document: object) -> _Blob:
    content = _json(document)
    digest = hashlib.sha256(content).hexdigest()
    files.replace(blobs / digest, content)
    return _Blob(f"sha256:{digest}", len(content))


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
