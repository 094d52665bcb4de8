"""A cutover records since when the source is down and which pass shut it down, before it shuts it down."""

from __future__ import annotations

from typing import Final

from connector.control.store import tables
from connector.control.store.database import Database
from connector.control.store.job_rows import locked

_JOBS: Final = tables.jobs


class Cutovers:
    """When jobs shut sources down and powered them on."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def going_down(self, job_id: str, pass_id: str) -> float:
        """Record that the source will be asked to shut down; answer since when it counts as down.

        It is called before the shutdown, and durable when it answers. The first time stays through crashes and new
        attempts. A machine that runs long after its shutdown was powered on again: then its downtime begins again.
        """
        with self._database.write() as connection:
            job, now = locked(connection, job_id), self._database.now()
            down_since = job.down_since
            if down_since is not None and now <= job.settles:
                return down_since
            connection.execute(_JOBS.update().where(_JOBS.c.id == job_id).values(down_since=now))
            self._database.log(connection, job_id, "shutdown", f"pass {pass_id} shuts the source down")
            return now

    def came_up(self, job_id: str, event: str, *, again: bool) -> None:
        """Record that the source has its state back. If it was powered on `again`, the log says how long it was down."""
        with self._database.write() as connection:
            job = locked(connection, job_id)
            was_down = again and job.down_since is not None
            down = (
                f"; it was down for {self._database.now() - (job.down_since or 0.0):.0f} s"
                if was_down
                else ""
            )
            self._database.log(connection, job_id, "rollback", event + down)
