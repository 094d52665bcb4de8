"""All disks of one instance: a directory each, opened once, found by key."""

from __future__ import annotations

import json
import re
import shutil
import threading
from pathlib import Path

from connector.errors import BadInput, Conflict, NotFound, TargetFull
from connector.instance.devices import Devices
from connector.instance.disk import Disk
from connector.instance.files import replace
from connector.transfer.target import free_space

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
LARGEST = 1 << 50  # bytes; beyond what any disk of vSphere can have


class Store:
    """Thread-safe. Opening the directory reads every journal; two processes on one directory are refused by
    the caller's port. With `devices` a disk is the device that they assign to it; else a file.
    """

    def __init__(self, directory: Path, devices: Path | None = None) -> None:
        self.directory = directory
        self._devices = None if devices is None else Devices(devices, directory / "devices.json")
        self._lock = threading.Lock()
        self._disks: dict[str, Disk] = {}
        root = directory / "disks"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / "images").mkdir(mode=0o700, exist_ok=True)
        for gone in root.glob(".*.gone"):
            shutil.rmtree(gone)
        for found in sorted(root.iterdir()):
            if (found / "disk.json").exists():
                about = json.loads((found / "disk.json").read_text())
                device = self._device(found.name)
                self._disks[found.name] = Disk(found, found.name, about["capacity"], about["label"], device)

    def get(self, key: str) -> Disk:
        with self._lock:
            disk = self._disks.get(key)
        if disk is None:
            raise NotFound(f"no disk {key!r} on this instance", remedy="create it first")
        return disk

    def all(self) -> list[Disk]:
        with self._lock:
            return [self._disks[key] for key in sorted(self._disks)]

    def assign(self, serials: dict[str, str]) -> None:
        """Say on which devices disks lie. Raises Conflict on an instance whose disks are files."""
        if self._devices is None:
            raise Conflict("the disks of this instance are files", remedy="do not assign devices to them")
        self._devices.assign(serials)

    def _device(self, key: str) -> Path | None:
        return None if self._devices is None else self._devices.path(key)

    def put(self, key: str, capacity: int, label: str, estimate: int = 0) -> Disk:
        """Create, find or enlarge a disk (invariant 8). `estimate` bytes must be free for a new one:
        TargetFull.
        """
        if not KEY.fullmatch(key):
            raise BadInput(
                f"disk key {key[:140]!r} is not allowed", remedy="use letters, digits, dot, dash, underscore"
            )
        if not 0 < capacity <= LARGEST:
            raise BadInput(f"a capacity of {capacity} bytes is not possible", on=f"disk {key}")
        with self._lock:
            disk = self._disks.get(key)
            if disk is None:
                self._require_space(key, estimate)
                disk = self._create(key, capacity, label)
                self._disks[key] = disk
        disk.grow(capacity)
        return disk

    def remove(self, key: str) -> None:
        """Forget a disk and its bytes; images keep theirs. Repeating it is harmless. Raises Conflict."""
        with self._lock:
            disk = self._disks.get(key)
            if disk is None:
                return
            disk.retire()
            gone = disk.directory.with_name(f".{key}.gone")
            shutil.rmtree(gone, ignore_errors=True)
            disk.directory.rename(gone)
            del self._disks[key]
        shutil.rmtree(gone, ignore_errors=True)

    def close(self) -> None:
        for disk in self.all():
            disk.close()

    def _require_space(self, key: str, estimate: int) -> None:
        if self._devices is not None:  # a device has its space already
            return
        free = free_space(self.directory)
        if estimate > free:
            raise TargetFull(
                f"needs about {estimate} bytes, {free} are free",
                on=f"disk {key}",
                remedy="enlarge the instance's storage",
            )

    def _create(self, key: str, capacity: int, label: str) -> Disk:
        home = self.directory / "disks" / key
        disk = Disk(home, key, capacity, label, self._device(key))
        replace(home / "disk.json", json.dumps({"capacity": capacity, "label": label}).encode())
        return disk
