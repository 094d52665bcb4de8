"""Which device carries which disk: told by the control plane, remembered, and never changed afterwards.

Devices are known by the serial number that the cloud gave their disk: letters follow the order in which they were found.
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
    """Thread-safe. `root` is `/dev`, or a directory that stands for it."""

    def __init__(self, root: Path, record: Path) -> None:
        self._root, self._record = root, record
        self._lock = threading.Lock()
        self._serials = _recorded(record)

    def assign(self, serials: Mapping[str, str]) -> None:
        """From now on these disks lie on these devices. Repeating it is harmless, changing one is a Conflict."""
        for key, serial in serials.items():
            if not isinstance(serial, str) or not SERIAL.fullmatch(serial):
                raise BadInput(f"the device of disk {key[:80]} is no serial number")
        with self._lock:
            for key, serial in serials.items():
                if self._serials.get(key, serial) != serial:
                    raise Conflict(
                        f"lies on device {self._serials[key]}, not on {serial}",
                        on=f"disk {key}",
                        remedy="delete this job and create a new one",
                    )
            merged = self._serials | dict(serials)
            if len(set(merged.values())) < len(merged):
                raise Conflict("two disks cannot lie on one device", remedy="give each disk its own")
            if merged != self._serials:
                replace(self._record, json.dumps(merged, sort_keys=True).encode())
                self._serials = merged

    def path(self, key: str) -> Path:
        """Where the device of this disk is, or would be. Raises Conflict when it has none."""
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
        named = sorted(folder.glob(f"nvme-*{serial}"))
        return named[0] if named else virtio


def _recorded(record: Path) -> dict[str, str]:
    """What was assigned before; nothing when the record is missing or damaged: the control plane says it again."""
    try:
        found = json.loads(record.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and all(
        isinstance(one, str) and SERIAL.fullmatch(one) for one in found.values()
    ):
        return found
    log.warning("%s is damaged: devices must be assigned again", record)
    return {}
