"""A tag names the owner of an object. Only objects with our token are ever changed or removed in the account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

OWNER: Final = "connector-token"  # the instance's token, to which everything belongs
JOB: Final = "connector-job"
DISK: Final = "connector-disk"  # the source disk's key
RUN: Final = "connector-run"
NET: Final = "connector-net"  # how the instance is reached: VPC or INTERNET
TARGET: Final = "connector-target"  # the job's token, on what is made of and for a target instance
INSTANCE: Final = "connector-instance"  # the target instance, on the snapshot of its former system disk
OWN: Final = "connector-own-image"  # the image that the former system disk was made of, there too
PUT: Final = "connector-put-image"  # the image that replaces it
BACK: Final = "connector-back-image"  # the image by which the former system disk comes back
REPLACED: Final = (
    "connector-replaced"  # on a former data disk, once it was detached to make room for a new one
)
RELEASING: Final = "connector-releasing"  # its former disks are being removed: nothing else may follow
BOOT: Final = "connector-boot"  # architecture, boot mode and platform of the former system disk
ORIGINAL: Final = "connector-original-image"  # the image that was converted, on what was made of it
ORIGINAL_NAME: Final = "connector-original-name"  # its name, there too
IMAGE: Final = "connector-image"  # the image's name, on its snapshots

VPC: Final = "vpc"
INTERNET: Final = "internet"


def written(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags in the form of a request."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def read(row: Mapping[str, Any]) -> dict[str, str]:
    """Tags from an answer of ECS or VPC."""
    rows = (row.get("Tags") or {}).get("Tag") or []
    return {
        str(tag.get("TagKey") or tag.get("Key") or ""): str(tag.get("TagValue") or tag.get("Value") or "")
        for tag in rows
    }
