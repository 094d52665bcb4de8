"""The heartbeat has one interval and one answer: which passes shall stop, and how the others shall use the link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from connector.errors import ControlFailed
from connector.model import COMPRESS_LEVELS, Replication, TargetLimits

#: Seconds between two heartbeats of an appliance; a stop reaches it within this time.
HEARTBEAT: Final = 2
#: Seconds without a heartbeat after which an appliance counts as silent, by default.
SILENCE: Final = 30.0 * HEARTBEAT


@dataclass(frozen=True, slots=True)
class HeartbeatAnswer:
    """The answer to a heartbeat: the passes to stop, and how each of the others shall use the link."""

    stop: tuple[str, ...] = ()
    replication: Mapping[str, Replication] = field(default_factory=dict)
    waiting: bool = False  # it waits for approval and gets no orders until then
    rotate: bool = False  # it shall ask for a new secret and key
    limits: TargetLimits | None = None  # of the target; None: a control plane before they were told


def heard_from_json(body: dict[str, Any]) -> HeartbeatAnswer:
    """Parse the answer to a heartbeat. Raises ControlFailed."""
    try:
        requested = body.get("replication", {})
        return HeartbeatAnswer(
            tuple(str(pass_id) for pass_id in body["stop"]),
            {str(pass_id): replication_from_json(replication) for pass_id, replication in requested.items()},
            waiting=body.get("state", "approved") != "approved",
            rotate=bool(body.get("rotate", False)),
            limits=_limits_from_json(body["target"]) if "target" in body else None,
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as broken:
        raise ControlFailed(
            f"the heartbeat's answer cannot be read: {broken!r}",
            on="control plane",
            remedy="run the same release on appliance and control plane",
        ) from None


def _limits_from_json(body: Mapping[str, Any]) -> TargetLimits:
    """What a newer control plane says besides is not known here. Raises as the reader of the answer expects."""
    unlimited = TargetLimits()
    return TargetLimits(
        int(body.get("largest_disk", unlimited.largest_disk)),
        int(body.get("most_disks", unlimited.most_disks)),
        bool(body.get("secure_boot", unlimited.secure_boot)),
        bool(body.get("sector_4k", unlimited.sector_4k)),
    )


def replication_from_json(body: Any) -> Replication:
    """Parse replication parameters. Raises KeyError, TypeError, ValueError or AttributeError for a malformed body."""
    limit, level = int(body.get("bandwidth_limit", 0)), body.get("compress_level")
    if limit < 0 or (level is not None and int(level) not in range(len(COMPRESS_LEVELS))):
        raise ValueError("replication is out of its range")
    return Replication(limit, None if level is None else int(level), bool(body.get("checksum", False)))
