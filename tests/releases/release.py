"""The state that a release has left, unpacked."""

from __future__ import annotations

import json
import lzma
import sqlite3
import tarfile
import time
from pathlib import Path
from typing import Any, Final

from connector.control.state.vault import Vault

FOLDER: Final = Path(__file__).parents[2] / "fixtures" / "releases"
RELEASES: Final = sorted(folder.name for folder in FOLDER.iterdir() if folder.is_dir())
VALID: Final = 30 * 86400.0


class Release:
    """One release's state below `root`."""

    def __init__(self, version: str, root: Path) -> None:
        self.version, self.root, self.documents = version, root, FOLDER / version
        with (
            lzma.open(self.documents / "state.tar.xz") as packed,
            tarfile.open(fileobj=packed, mode="r") as archive,
        ):
            archive.extractall(root, filter="data")
        self.truth: dict[str, Any] = json.loads((self.documents / "truth.json").read_text())
        self.control = root / "out" / ".connector" / "control"
        self.images = root / "out" / "images"

    @property
    def database(self) -> str:
        return f"sqlite:///{self.control / 'control.sqlite'}"

    def disks(self) -> list[Path]:
        """Directories of target disks."""
        return sorted(self.root.glob("out/instances/*/data/disks/*"))

    def refresh(self) -> None:
        """As if it had been left just now: jobs expire and certificates end by the clock."""
        vault = Vault(self.control / "vault-key")
        with sqlite3.connect(self.control / "control.sqlite") as connection:
            for (job,) in connection.execute("SELECT id FROM jobs").fetchall():
                fresh = (time.time() + VALID, vault.new_authority(job), job)
                connection.execute("UPDATE jobs SET valid_until = ?, authority = ? WHERE id = ?", fresh)
        connection.close()
