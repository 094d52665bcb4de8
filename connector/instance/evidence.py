"""Keeps the manifests that appliances have signed, so that each image contains its own."""

from __future__ import annotations

import re
from pathlib import Path

from connector.errors import BadInput
from connector.files import replace
from connector.transfer import evidence

READING = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
KEPT = 4  # manifests, of the newest readings


class Evidence:
    """A directory with one file for each reading."""

    def __init__(self, directory: Path) -> None:
        self._home = directory / "evidence"
        self._home.mkdir(mode=0o700, exist_ok=True)

    def put(self, reading: str, manifest: bytes) -> None:
        """Keep a manifest, and drop old ones. May be repeated. Raises BadInput or EvidenceDamaged when it is no evidence."""
        if not READING.fullmatch(reading):
            raise BadInput(f"{reading[:140]!r} is no reading id")
        if evidence.read(manifest).sections["pass"].get("reading") != reading:
            raise BadInput("the manifest is of another reading", on=f"reading {reading}")
        replace(self._home / f"{reading}.json", manifest)
        manifests = sorted(self._home.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for old in manifests[:-KEPT]:
            old.unlink(missing_ok=True)

    def of(self, readings: set[str]) -> bytes | None:
        """The manifest of the reading that all disks show; None when they show several, or it is not here."""
        if len(readings) != 1:
            return None
        path = self._home / f"{readings.pop()}.json"
        return path.read_bytes() if path.exists() else None
