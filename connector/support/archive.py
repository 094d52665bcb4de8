"""Writes the bundle: a .tar.gz that only its owner can read, with a MANIFEST.json that names every part and its SHA-256."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

import connector
from connector import files
from connector.errors import BadInput, TargetFailed
from connector.support.parts import BundlePart

MANIFEST: Final = "MANIFEST.json"


def write(file: Path, parts: Sequence[BundlePart], *, anonymous: bool, sources: Sequence[str]) -> None:
    """Write it; it is durable when this returns. Raises BadInput if there is such a file, TargetFailed if there is no room."""
    made = False
    try:
        with files.new(file) as out:
            made = True
            stream(out, parts, anonymous=anonymous, sources=sources)
        files.sync(file.parent)
    except FileExistsError:
        raise BadInput("there is such a file already", on=str(file), remedy="name another one") from None
    except BaseException as failed:
        if made:
            file.unlink(missing_ok=True)
        if not isinstance(failed, OSError):
            raise
        raise TargetFailed(
            f"the bundle cannot be written ({failed.strerror or failed})",
            on=str(file),
            remedy="give --output a place with room, or --output - and a pipe to another computer",
        ) from None


def stream(out: IO[bytes], parts: Sequence[BundlePart], *, anonymous: bool, sources: Sequence[str]) -> None:
    """Write it to a stream. `sources`: where each part is from, as it may be told."""
    folder, now = "connector-support", int(time.time())
    with (
        gzip.GzipFile(fileobj=out, mode="wb", mtime=now) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        for name, content in (
            (MANIFEST, manifest(parts, anonymous=anonymous, sources=sources)),
            *((part.path, part.content) for part in parts),
        ):
            if content is None:
                continue
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size, member.mtime, member.mode = len(content), now, 0o600
            archive.addfile(member, io.BytesIO(content))


def manifest(parts: Sequence[BundlePart], *, anonymous: bool, sources: Sequence[str]) -> bytes:
    """What is in the bundle, what was replaced, and what could not be read."""
    document = {
        "bundle": 1,
        "connector": connector.__version__,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "names": "replaced" if anonymous else "kept",
        "files": [
            {
                "path": part.path,
                "source": source,
                "size": part.size,
                "sha256": hashlib.sha256(part.content).hexdigest(),
                "replaced": part.replaced,
            }
            for part, source in zip(parts, sources, strict=True)
            if part.content is not None
        ],
        "missing": [
            {"path": part.path, "source": source, "why": part.trouble}
            for part, source in zip(parts, sources, strict=True)
            if part.content is None
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"
