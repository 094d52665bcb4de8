"""What must be known of a cutover whatever dies in it: since when the source is down, and by whom."""

from __future__ import annotations

from typing import Final

from connector.control.store import tables
from connector.control.store.database import Database
from connector.control.store.jobs import locked

_JOBS: Final = tables.jobs


class Cutovers:
    """Power of sources, as far as jobs decide it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def going_down(self, job_id: str, pass_id: str) -> float:
        """The source is about to be asked to shut down; answers since when it counts as down.

        Said before the shutdown, and durable when answered. The first moment stays, through crashes and new attempts; but
        a machine that runs long after it should have been off was powered on again, and its downtime begins anew.
        """
        with self._database.write() as connection:
            job, now = locked(connection, job_id), self._database.now()
            known = job.down_since
            if known is not None and now <= job.settles:
                return known
            connection.execute(_JOBS.update().where(_JOBS.c.id == job_id).values(down_since=now))
            self._database.log(connection, job_id, "shutdown", f"pass {pass_id} shuts the source down")
            return now

    def came_up(self, job_id: str, what: str, *, again: bool) -> None:
        """The source was given back; how long it was down goes to the log, if it was powered on `again`."""
        with self._database.write() as connection:
            job = locked(connection, job_id)
            known = again and job.down_since is not None
            down = (
                f"; it was down for {self._database.now() - (job.down_since or 0.0):.0f} s" if known else ""
            )
            self._database.log(connection, job_id, "rollback", what + down)
