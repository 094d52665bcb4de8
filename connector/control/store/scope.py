"""What belongs to some workgroups: their sources, the jobs of these, appliances, activation codes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import sqlalchemy as sa

from connector.control.store import tables
from connector.control.store.database import Database

SOURCE: Final = "source"
JOB: Final = "job"
GROUP: Final = "group"
APPLIANCE: Final = "appliance"
TOKEN: Final = "token"  # noqa: S105 - a kind of thing

_OWNED: Final = {SOURCE: tables.sources, APPLIANCE: tables.appliances, TOKEN: tables.access_tokens}


class Scope:
    """Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ids(self, kind: str, workgroups: Collection[str]) -> set[str]:
        """Everything of this kind that belongs to these workgroups."""
        if kind == GROUP:
            return set(workgroups)
        with self._database.read() as connection:
            return {str(found) for found in connection.execute(_query(kind, workgroups)).scalars()}


def _query(kind: str, workgroups: Collection[str]) -> sa.Select[tuple[str]]:
    if kind == JOB:
        sources = _query(SOURCE, workgroups)
        return sa.select(tables.jobs.c.id).where(tables.jobs.c.source_id.in_(sources))
    table = _OWNED[kind]
    return sa.select(table.c.id).where(table.c.workgroup_id.in_(list(workgroups)))
