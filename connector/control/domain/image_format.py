"""A job is refused before its copying begins when one of its disks does not fit into the format of its image's files. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from connector.control.domain.entities import Source
from connector.control.domain.refusals import OutOfRange
from connector.specification.image_formats import alternatives, named

FIELD: Final = "ImageFormat"


def require_fitting(name: str, source: Source, left_out: Collection[int]) -> None:
    """Raise OutOfRange for the first disk that the job migrates and the format of that name cannot hold."""
    disks = [disk for disk in source.disks if disk.key not in left_out]
    for disk in disks:
        if trouble := named(name).trouble(disk.capacity):
            others = ", ".join(alternatives(disk.capacity for disk in disks))
            raise OutOfRange(
                FIELD, f"{source.machine} {disk.label}: {trouble}; these formats hold it: {others}"
            )
