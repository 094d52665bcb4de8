"""What finished passes have shown: how fast the line was, how much a source had to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import sqlalchemy as sa

from connector.control.store import tables
from connector.control.store.database import Database
from connector.control.store.rows import Json, Outcome

_PASSES: Final = tables.passes
_JOBS: Final = tables.jobs
_NEWEST: Final = 10


class Measured:
    """Figures that appliances reported at the end of their passes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rate(self, vcenters: Iterable[str]) -> float | None:
        """Bytes of plan a second that the newest passes of these vCenters have reached; None without any."""
        done = sa.and_(_PASSES.c.outcome == Outcome.DONE, _PASSES.c.vcenter.in_(list(vcenters)))
        query = sa.select(_PASSES.c.result).where(done).order_by(_PASSES.c.ended.desc()).limit(_NEWEST)
        with self._database.read() as connection:
            results = connection.execute(query).scalars().all()
        passes = [disks for result in results if (disks := _disks(result))]
        planned = sum(size for disks in passes for size, _ in disks)
        seconds = sum(max(took for _, took in disks) for disks in passes)
        return planned / seconds if planned and seconds else None

    def planned(self, source_ids: Sequence[str]) -> dict[str, int]:
        """Bytes that the first pass of the newest job of each of these sources had to read, where it is known."""
        query = (
            sa.select(_JOBS.c.source_id, _PASSES.c.result)
            .join(_JOBS, _JOBS.c.id == _PASSES.c.job_id)
            .where(_JOBS.c.source_id.in_(source_ids), _PASSES.c.outcome == Outcome.DONE)
            .order_by(_JOBS.c.created, _PASSES.c.offered.desc())
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        found = {row.source_id: sum(size for size, _ in _disks(row.result)) for row in rows}
        return {source_id: size for source_id, size in found.items() if size}


def _disks(result: Json | None) -> list[tuple[int, float]]:
    """Planned bytes and seconds of each disk, as far as the appliance reported them in their right types."""
    disks = (result or {}).get("disks")
    pairs = [(d.get("planned"), d.get("seconds")) for d in disks or [] if isinstance(d, dict)]
    return [(n, float(s)) for n, s in pairs if isinstance(n, int) and isinstance(s, int | float)]
