"""How long the migration of known sources may take: what is measured where something was, else what can be at most."""

from __future__ import annotations

from collections.abc import Sequence

from connector.control import estimate
from connector.control.store import Store
from connector.control.store.rows import Json
from connector.errors import BadInput


def forecast(store: Store, wanted: Sequence[str], rate: float | None, at_once: int) -> Json:
    """For these sources, by id or name, `at_once` at a time, at `rate` bytes a second.

    Without a rate it is what the newest passes of the same vCenters have reached; `BadInput` when there was none. The
    data of a source is what its newest first pass had to read, else the capacity of its disks.
    """
    named = [store.sources.get(name) for name in dict.fromkeys(wanted)]
    sources = list({source.id: source for source in named}.values())
    reached = rate or store.measured.rate({source.vcenter for source in sources})
    if reached is None:
        raise BadInput(
            "no pass of this vCenter has shown yet how fast the line is",
            on="estimate",
            remedy="give bandwidth_limit in Mbit/s, or migrate a small machine first",
        )
    known = store.measured.planned([source.id for source in sources])
    data = {s.id: known.get(s.id, sum(disk.capacity for disk in s.disks)) for s in sources}
    return estimate.many(list(data.values()), reached, at_once).to_json() | {
        "rate": reached,
        "rate_is": "given" if rate else "measured",
        "sources": [
            {
                "id": source.id,
                "name": source.name,
                "bytes": data[source.id],
                "bytes_are": "measured" if source.id in known else "capacity",
            }
            | estimate.one(data[source.id], reached).to_json()
            for source in sources
        ],
    }
