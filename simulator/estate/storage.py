"""The bytes of all disks by storage name; each disk has one object, which is opened on first use and stays open."""

import shutil
import threading
from pathlib import Path

from simulator.estate.chain import DiskChain
from simulator.estate.disk import Disk
from simulator.estate.errors import NotFound


class Storage:
    """Disks under one directory. Any thread."""

    def __init__(self, directory: Path, granularity: int, keep: int | None) -> None:
        """`granularity` and `keep` as in Tracking; the former only for disks that are new."""
        self.directory = directory
        self._granularity, self._keep = granularity, keep
        self._lock = threading.Lock()
        self._disks: dict[str, Disk] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def disk(self, name: str) -> Disk:
        """Raises NotFound."""
        with self._lock:
            if name not in self._disks:
                home = self.directory / name
                if not name or not (home / "chain.json").exists():
                    raise NotFound(f"no disk contents under the name {name!r}")
                self._disks[name] = Disk(home, self._granularity, self._keep)
            return self._disks[name]

    def create(self, name: str, stem: str, capacity: int, base: Path | None = None) -> None:
        """A new disk, blank or with the raw file `base`, which is moved in; `stem` begins its vmdk names."""
        shutil.rmtree(self.directory / name, ignore_errors=True)
        DiskChain.create(self.directory / name, stem, capacity, base).close()

    def delete(self, name: str) -> None:
        """Remove contents and history, if there are any."""
        with self._lock:
            disk = self._disks.pop(name, None)
        if disk is not None:
            disk.close()
        shutil.rmtree(self.directory / name, ignore_errors=True)

    def close(self) -> None:
        with self._lock:
            for disk in self._disks.values():
                disk.close()
            self._disks.clear()
