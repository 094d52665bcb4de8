"""`ReplicationParameters` of the public API: kept as text in a job's definition, carried out by appliances. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from connector.model import Replication

PARAMETER = "ReplicationParameters"


def wished(definition: Mapping[str, Any]) -> Replication:
    """How a job's passes shall use the line; what was not asked for is as the appliance is configured."""
    found = json.loads(definition.get(PARAMETER) or "{}")
    return Replication(
        bandwidth_limit=int(found.get("bandwidth_limit", 0)),
        compress_level=found.get("compress_level"),
        checksum=bool(found.get("checksum", 0)),
    )


def shown(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The same as appliances read it."""
    return asdict(wished(definition))
