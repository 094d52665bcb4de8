"""The disks of one instance: each has a directory, is opened once, and is found by its key."""

from __future__ import annotations

import json
import logging
import re
import shutil
import threading
from pathlib import Path

from connector.errors import BadInput, Conflict, ConnectorError, NotFound
from connector.files import replace
from connector.instance.contents import DATA, TABLE
from connector.instance.devices import Devices
from connector.instance.disk import ABOUT, JOURNAL, Disk
from connector.instance.tally import InstanceTally
from connector.transfer import digest
from connector.transfer.extents import CELL
from connector.transfer.target import explained

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
FILES = (JOURNAL, ABOUT, DATA, TABLE)  # of a disk
log = logging.getLogger(__name__)
LARGEST = 1 << 50  # bytes; beyond what any disk of vSphere can have


class DiskStore:
    """Thread-safe. Opening the directory reads every journal; the caller makes sure that no other process serves it.

    With `devices` each disk is on a device; otherwise it is a file. A disk that cannot be opened does not stop the others:
    it is tried again whenever it is asked for.
    """

    def __init__(
        self, directory: Path, devices: Path | None = None, tally: InstanceTally | None = None
    ) -> None:
        self.tally = tally or InstanceTally()
        self.directory = directory
        self._devices = None if devices is None else Devices(devices, directory / "devices.json")
        self._lock = threading.Lock()
        self._disks: dict[str, Disk] = {}
        self._closed: set[str] = set()  # disks that exist and could not be opened
        root = directory / "disks"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / "images").mkdir(mode=0o700, exist_ok=True)
        for gone in root.glob(".*.gone"):
            shutil.rmtree(gone)
        for home in sorted(root.iterdir()):
            if KEY.fullmatch(home.name) and any((home / name).exists() for name in FILES):
                self._closed.add(home.name)
                try:
                    self._open(home.name)
                except (ConnectorError, OSError) as error:
                    log.warning("disk %s cannot be opened for now: %s", home.name, error)

    def get(self, key: str) -> Disk:
        with self._lock:
            disk = self._reopened(key)
        if disk is None:
            raise NotFound(f"no disk {key!r} on this instance", remedy="create it first")
        return disk

    def all(self) -> list[Disk]:
        """All disks. Raises the error of a disk that cannot be opened."""
        with self._lock:
            for key in sorted(self._closed):
                self._open(key)
            return [self._disks[key] for key in sorted(self._disks)]

    def count(self) -> int:
        with self._lock:
            return len(self._disks) + len(self._closed)

    def figures(self) -> tuple[int, int, int]:
        """Disks, those of them that cannot be opened for now, and the capacity of the others. It opens nothing."""
        with self._lock:
            disks, unusable = list(self._disks.values()), len(self._closed)
        return len(disks) + unusable, unusable, sum(disk.capacity for disk in disks)

    def _reopened(self, key: str) -> Disk | None:
        """The disk; opens it if that failed before. The caller has the lock."""
        if key in self._closed:
            self._open(key)
        return self._disks.get(key)

    def _open(self, key: str) -> None:
        home = self.directory / "disks" / key
        capacity, label = _about(home)
        with explained(home):
            self._disks[key] = Disk(home, key, capacity, label, self._device(key), self.tally)
        self._closed.discard(key)

    def assign(self, serials: dict[str, str]) -> None:
        """Assign devices to disks. Raises Conflict on an instance whose disks are files."""
        if self._devices is None:
            raise Conflict("the disks of this instance are files", remedy="do not assign devices to them")
        self._devices.assign(serials)

    def copy(self, key: str) -> Path:
        """The device of a copy: of a disk that no pass has written here. Raises Conflict, retryable until it is attached."""
        subject = f"disk {key}"
        with self._lock:
            if key in self._disks or key in self._closed:
                raise Conflict("passes write to it here", on=subject, remedy="convert a copy of it")
        device = self._device(key)
        if device is None:
            raise Conflict(
                "the disks of this instance are files", on=subject, remedy="convert on an instance of its own"
            )
        if not device.exists():
            raise Conflict("is not attached yet", on=subject, remedy="try again later", retryable=True)
        return device

    def _device(self, key: str) -> Path | None:
        return None if self._devices is None else self._devices.path(key)

    def put(self, key: str, capacity: int, label: str) -> Disk:
        """Create, find or enlarge a disk (invariant 8)."""
        if not KEY.fullmatch(key):
            raise BadInput(
                f"disk key {key[:140]!r} is not allowed", remedy="use letters, digits, dot, dash, underscore"
            )
        if not 0 < capacity <= LARGEST:
            raise BadInput(f"a capacity of {capacity} bytes is not possible", on=f"disk {key}")
        with self._lock:
            disk = self._reopened(key)
            if disk is None:
                disk = self._create(key, capacity, label)
                self._disks[key] = disk
        was = (disk.capacity, disk.label)
        disk.grow(capacity)
        disk.label = label or disk.label
        if (disk.capacity, disk.label) != was:
            _write_about(disk)
        return disk

    def remove(self, key: str) -> None:
        """Forget a disk and its bytes; images keep theirs. May be repeated. Raises Conflict."""
        with self._lock:
            disk, home = self._disks.get(key), self.directory / "disks" / key
            if disk is None and key not in self._closed:
                return
            if disk is not None:
                disk.retire()
            gone = home.with_name(f".{key}.gone")
            shutil.rmtree(gone, ignore_errors=True)
            home.rename(gone)
            self._disks.pop(key, None)
            self._closed.discard(key)
        shutil.rmtree(gone, ignore_errors=True)

    def close(self) -> None:
        with self._lock:
            disks = list(self._disks.values())
        for disk in disks:
            disk.close()

    def _create(self, key: str, capacity: int, label: str) -> Disk:
        home = self.directory / "disks" / key
        disk = Disk(home, key, capacity, label, self._device(key), self.tally)
        _write_about(disk)
        return disk


def _write_about(disk: Disk) -> None:
    """Write the disk's capacity and label, for people and for the case that the journal is lost."""
    about = {"capacity": disk.capacity, "label": disk.label}
    replace(disk.directory / ABOUT, json.dumps(about).encode())


def _about(home: Path) -> tuple[int, str]:
    """Capacity and label from the file; a journal's own capacity counts more.

    Without the file the capacity follows from the sizes of the other files.
    """
    try:
        about = json.loads((home / ABOUT).read_bytes())
        capacity, label = about["capacity"], about["label"]
        if type(capacity) is int and 0 < capacity <= LARGEST and isinstance(label, str):
            return capacity, label
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    sizes = [_size(home / DATA), _size(home / TABLE) // digest.SIZE * CELL]
    return min(LARGEST, next((size for size in sizes if size), CELL)), ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
