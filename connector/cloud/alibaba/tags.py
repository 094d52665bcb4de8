"""Tags say whose a thing is: nothing is ever changed or removed in the account that does not carry our token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

OWNER: Final = "connector-token"  # the instance's token, to which everything belongs
JOB: Final = "connector-job"
DISK: Final = "connector-disk"  # the source disk's key
RUN: Final = "connector-run"
NET: Final = "connector-net"  # how the instance is reached: VPC or INTERNET
IMAGE: Final = "connector-image"  # the image's name, on its snapshots

VPC: Final = "vpc"
INTERNET: Final = "internet"


def written(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """As calls want them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def read(row: Mapping[str, Any]) -> dict[str, str]:
    """As ECS and VPC answer them."""
    rows = (row.get("Tags") or {}).get("Tag") or []
    return {
        str(tag.get("TagKey") or tag.get("Key") or ""): str(tag.get("TagValue") or tag.get("Value") or "")
        for tag in rows
    }
