"""The removal of a source is asked for in one transaction, and done when the last of its jobs is released."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from connector.control.domain.entities import TagKind
from connector.control.domain.jobs import JobStatus
from connector.control.domain.refusals import RefusalCode, StateRefusal
from connector.control.domain.sources import SourceEvent, SourceState
from connector.control.store import job_rows, sources, tables, tags
from connector.control.store.database import REGISTERING, Database
from connector.specification.source_down import TITLE

_SOURCES: Final = tables.sources
_JOBS: Final = tables.jobs


class Removal:
    """Removes sources, and their jobs if that is asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def source(self, source_id: str, *, force: bool) -> None:
        """Set the source to Deleting; with `force` its jobs too.

        Raises `StateRefusal` if the source has a running job, a job whose cutover keeps it down, or any job without `force`.
        """
        with self._database.write() as connection:
            self._database.exclusive(connection, REGISTERING)
            related = job_rows.jobs_of(connection, source_id)
            if running := [job for job in related if job.status is JobStatus.RUNNING]:
                raise StateRefusal(
                    RefusalCode.SOURCE_RUNNING,
                    "the source has a running job",
                    on=running[0].id,
                    remedy="stop and delete the job first",
                )
            alive = [job for job in related if job.status is not JobStatus.DELETING]
            if alive and not force:
                raise StateRefusal(
                    RefusalCode.SOURCE_RELATED,
                    "the source has a job",
                    on=alive[0].id,
                    remedy="delete the job first, or delete the source with force",
                )
            if down := [job for job in alive if job.down_since and job.status is not JobStatus.FINISHED]:
                raise StateRefusal(
                    RefusalCode.SOURCE_RELATED,
                    f"{TITLE}: a cutover of its job {down[0].name} shut the machine down",
                    on=down[0].id,
                    remedy="resume the cutover or roll it back; to give it up, delete the job itself",
                )
            for job in alive:
                job_rows.delete(self._database, connection, job)
            sources.move(connection, source_id, SourceEvent.DELETE, workgroup_id=None)

    def finish(self) -> list[str]:
        """Remove the sources that are Deleting and have no job left; answer their ids."""
        remaining_jobs = sa.exists().where(
            _JOBS.c.source_id == _SOURCES.c.id, _JOBS.c.status != JobStatus.DELETED
        )
        query = sa.select(_SOURCES.c.id).where(_SOURCES.c.state == SourceState.DELETING, ~remaining_jobs)
        with self._database.read() as connection:
            ready = list(connection.execute(query).scalars())
        return [source_id for source_id in ready if self._finish(source_id)]

    def _finish(self, source_id: str) -> bool:
        """Whether this call removed it. A request, the monitor and other replicas may all try."""
        state = sa.select(_SOURCES.c.state).where(_SOURCES.c.id == source_id).with_for_update(key_share=True)
        with self._database.write() as connection:
            if connection.execute(state).scalar_one() != SourceState.DELETING:
                return False
            sources.move(connection, source_id, SourceEvent.DELETED)
            tags.forget(connection, TagKind.SOURCE, source_id)
        return True
