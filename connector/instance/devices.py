"""The control plane assigns a device to each disk; the assignment is recorded and never changes.

A device is known by the serial number of its cloud disk. Its letter is not reliable: letters follow the order of detection.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from connector.errors import BadInput, Conflict
from connector.files import replace

SERIAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{3,63}")
log = logging.getLogger(__name__)
_VIRTIO: Final = 20  # characters of a serial number that a virtio disk shows


class Devices:
    """The devices of all disks. Thread-safe. `root` is `/dev`, or a directory that replaces it."""

    def __init__(self, root: Path, record: Path) -> None:
        self._root, self._record = root, record
        self._lock = threading.Lock()
        self._serials = _recorded(record)

    def assign(self, serials: Mapping[str, str]) -> None:
        """Assign devices to disks. The same assignment may be repeated; another one raises Conflict."""
        for key, serial in serials.items():
            if not isinstance(serial, str) or not SERIAL.fullmatch(serial):
                raise BadInput(f"the device of disk {key[:80]} is no serial number")
        with self._lock:
            for key, serial in serials.items():
                if self._serials.get(key, serial) != serial:
                    raise Conflict(
                        f"is on device {self._serials[key]}, not on {serial}",
                        on=f"disk {key}",
                        remedy="delete this job and create a new one",
                    )
            merged = self._serials | dict(serials)
            if len(set(merged.values())) < len(merged):
                raise Conflict("two disks cannot be on one device", remedy="give each disk its own device")
            if merged != self._serials:
                replace(self._record, json.dumps(merged, sort_keys=True).encode())
                self._serials = merged

    def path(self, key: str) -> Path:
        """The path of this disk's device, attached or not. Raises Conflict when no device is assigned."""
        with self._lock:
            serial = self._serials.get(key)
        if serial is None:
            raise Conflict(
                "no device was assigned to it",
                on=f"disk {key}",
                remedy="start the job again: the instance gets a disk for it",
                retryable=True,
            )
        folder = self._root / "disk" / "by-id"
        virtio = folder / f"virtio-{serial[:_VIRTIO]}"
        nvme = sorted(folder.glob(f"nvme-*{serial}"))
        return nvme[0] if nvme else virtio


def _recorded(record: Path) -> dict[str, str]:
    """The recorded assignment. It is empty when the record is missing or damaged: the control plane assigns again."""
    try:
        serials = json.loads(record.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        serials = None
    if isinstance(serials, dict) and all(
        isinstance(serial, str) and SERIAL.fullmatch(serial) for serial in serials.values()
    ):
        return serials
    log.warning("%s is damaged: devices must be assigned again", record)
    return {}
