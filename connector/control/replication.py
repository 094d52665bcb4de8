"""`ReplicationParameters` of the public API: kept as text in a job's definition, carried out by appliances. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from connector.model import Replication

PARAMETER = "ReplicationParameters"
CUTOVER = "CutoverBandwidthLimit"


def wished(definition: Mapping[str, Any], *, final: bool) -> Replication:
    """How a pass of the job shall use the line; what was not asked for is as the appliance is configured.

    `final`: the source is shut down, and every second counts: then the limit is one of its own.
    """
    found = json.loads(definition.get(PARAMETER) or "{}")
    limit = definition.get(CUTOVER, 0) if final else found.get("bandwidth_limit", 0)
    return Replication(
        bandwidth_limit=int(limit),
        compress_level=found.get("compress_level"),
        checksum=bool(found.get("checksum", 0)),
    )


def shown(definition: Mapping[str, Any], *, final: bool) -> dict[str, Any]:
    """The same as appliances read it."""
    return asdict(wished(definition, final=final))
