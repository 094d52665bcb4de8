"""What an image of this cloud, and the instance that makes it, can take."""

from __future__ import annotations

from typing import Final

from connector.model import TargetLimits

DISK_LIMIT: Final = 16  # data disks of one instance
LIMITS: Final = TargetLimits(largest_disk=32 << 40, most_disks=DISK_LIMIT, secure_boot=False, sector_4k=False)
