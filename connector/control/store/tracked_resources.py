"""A tracked resource is recorded with a token before the call that creates it in vCenter or in the cloud."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from connector.cloud.provider import DRILL_PREFIX
from connector.control.domain.entities import OUTLIVING, JobImage, Json, Source, TrackedResource
from connector.control.domain.jobs import UNFINISHED, JobStatus
from connector.control.store import sources, tables
from connector.control.store.database import Database, new_id
from connector.errors import Conflict

_OBJECTS: Final = tables.objects
_IMAGES: Final = tables.images
# Drills have an owner of their own, so that the release of a job's instance does not count for them.
_OF_DRILLS: Final = _OBJECTS.c.token.startswith(DRILL_PREFIX)
# By run and not by clock: the newest image stays the newest after the clock was set back.
_OLDEST_IMAGE_FIRST: Final = (
    sa.select(_IMAGES).join(tables.runs, tables.runs.c.id == _IMAGES.c.run_id).order_by(tables.runs.c.number)
)


class TrackedResources:
    """What jobs created and must remove one day: tracked resources and images."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self,
        job_id: str,
        token: str,
        *,
        place: str,
        kind: str,
        reference: str | None = None,
        removed: bool = False,
        pass_id: str | None = None,
        trouble: str = "",
        made_again: bool = False,
    ) -> TrackedResource:
        """Record or complete one resource. A late report neither removes facts nor undoes a removal.

        `made_again`: its creator creates it again under the token of a removed one; the removed one's id no longer counts.

        `trouble`: why it could not be removed. The job's log says when the trouble begins and ends.
        """
        with self._database.write() as connection:
            row = connection.execute(
                sa.select(_OBJECTS).where(_OBJECTS.c.token == token).with_for_update(key_share=True)
            ).one_or_none()
            if row is None:
                values: Json = {"place": place, "kind": kind, "reference": reference, "removed": removed}
                connection.execute(
                    _OBJECTS.insert().values(
                        token=token, job_id=job_id, pass_id=pass_id, created=self._database.now(), **values
                    )
                )
            elif (row.job_id, row.place, row.kind) != (job_id, place, kind):
                raise Conflict("this token names another object", on=token, remedy="use a new token")
            else:
                known = None if row.removed and made_again else row.reference
                values = {
                    "reference": reference or known,
                    "removed": removed or (row.removed and not made_again),
                }
                values["trouble"] = "" if values["removed"] else trouble or row.trouble
                self._tell(connection, _resource(row), values["trouble"])
                connection.execute(_OBJECTS.update().where(_OBJECTS.c.token == token).values(**values))
            return _resource(connection.execute(sa.select(_OBJECTS).where(_OBJECTS.c.token == token)).one())

    def _tell(self, connection: sa.Connection, before: TrackedResource, trouble: str) -> None:
        if trouble and trouble != before.trouble:
            here = before.place == "cloud"
            text = trouble if here else f"{before.kind} {before.token} is still in vCenter: {trouble}"
            self._database.log(connection, before.job_id, "left", text)
        elif before.trouble and not trouble:
            self._database.log(connection, before.job_id, "mended", f"{before.kind} {before.token} is gone")

    def leave(self, token: str, trouble: str) -> None:
        """Record what could not be done with a resource in the cloud. The job's log says it once."""
        with self._database.write() as connection:
            query = sa.select(_OBJECTS).where(_OBJECTS.c.token == token, _OBJECTS.c.removed.is_(False))
            if (row := connection.execute(query.with_for_update(key_share=True)).one_or_none()) is not None:
                self._tell(connection, _resource(row), trouble)
                connection.execute(_OBJECTS.update().where(_OBJECTS.c.token == token).values(trouble=trouble))

    def mend(self, job_id: str, *, kinds: Sequence[str] = (), but: Sequence[str] = ()) -> None:
        """Record that everything was done with these resources of a job in the cloud: of `kinds`, or of all kinds `but` some."""
        wanted = _OBJECTS.c.kind.in_(kinds) if kinds else _OBJECTS.c.kind.not_in(but)
        left = sa.and_(
            _OBJECTS.c.job_id == job_id, _OBJECTS.c.place == "cloud", _OBJECTS.c.trouble != "", wanted
        )
        with self._database.write(counted=False) as connection:
            for row in connection.execute(sa.select(_OBJECTS).where(left)).all():
                text = f"{row.kind} {row.reference or row.token} is as it should be now"
                self._database.log(connection, job_id, "mended", text)
            connection.execute(_OBJECTS.update().where(left).values(trouble=""))

    def of(self, job_id: str, place: str | None = None) -> list[TrackedResource]:
        """A job's resources, oldest first."""
        query = sa.select(_OBJECTS).where(_OBJECTS.c.job_id == job_id)
        if place is not None:
            query = query.where(_OBJECTS.c.place == place)
        with self._database.read() as connection:
            return [_resource(row) for row in connection.execute(query.order_by(_OBJECTS.c.created))]

    def leftovers(self, vcenter: str) -> list[tuple[Source, TrackedResource]]:
        """Resources that may still exist in this vCenter although no job reads their machine, each with its machine.

        While a job reads a machine, its passes remove what earlier passes left there.
        """
        over = tables.jobs.c.status != JobStatus.RUNNING
        busy = sa.select(tables.jobs.c.source_id).where(tables.jobs.c.status == JobStatus.RUNNING)
        query = (
            sa.select(_OBJECTS, tables.jobs.c.source_id)
            .join(tables.jobs, tables.jobs.c.id == _OBJECTS.c.job_id)
            .join(tables.sources, tables.sources.c.id == tables.jobs.c.source_id)
            .where(_OBJECTS.c.place == "vcenter", _OBJECTS.c.kind == "snapshot")
            .where(_OBJECTS.c.removed.is_(False), over)
            .where(tables.sources.c.vcenter == vcenter, tables.jobs.c.source_id.not_in(busy))
            .order_by(_OBJECTS.c.created)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            sources_by_id = {s.id: s for s in sources.some(connection, {row.source_id for row in rows})}
        return [
            (
                sources_by_id[row.source_id],
                TrackedResource(**{k: v for k, v in row._mapping.items() if k != "source_id"}),
            )
            for row in rows
        ]

    def remembered(self, vcenter: str) -> list[tuple[Source, TrackedResource, JobStatus, bool]]:
        """All resources in this vCenter whose removal is not recorded, with their machines and the status of their jobs.

        The last value: whether the machine has an unfinished job, of which the resource need not be.
        """
        query = (
            sa.select(_OBJECTS, tables.jobs.c.source_id, tables.jobs.c.status)
            .join(tables.jobs, tables.jobs.c.id == _OBJECTS.c.job_id)
            .join(tables.sources, tables.sources.c.id == tables.jobs.c.source_id)
            .where(_OBJECTS.c.place == "vcenter", _OBJECTS.c.removed.is_(False))
            .where(tables.sources.c.vcenter == vcenter)
            .order_by(_OBJECTS.c.created)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            sources_by_id = {s.id: s for s in sources.some(connection, {row.source_id for row in rows})}
            statuses = [status for status in UNFINISHED if status is not JobStatus.EXPIRED]
            unfinished = sa.select(tables.jobs.c.source_id).where(tables.jobs.c.status.in_(statuses))
            in_use = set(connection.execute(unfinished).scalars())
        beside = ("source_id", "status")
        return [
            (
                sources_by_id[row.source_id],
                TrackedResource(**{k: v for k, v in row._mapping.items() if k not in beside}),
                JobStatus(row.status),
                row.source_id in in_use,
            )
            for row in rows
        ]

    def running_machines(self, vcenter: str) -> set[str]:
        """Morefs of this vCenter's machines that have a running job: it reads or will read them."""
        query = (
            sa.select(tables.sources.c.moref)
            .join(tables.jobs, tables.jobs.c.source_id == tables.sources.c.id)
            .where(tables.sources.c.vcenter == vcenter, tables.jobs.c.status == JobStatus.RUNNING)
        )
        with self._database.read() as connection:
            return set(connection.execute(query).scalars())

    def cleaned(self, token: str, vcenter: str, trouble: str = "") -> None:
        """Record that an appliance removed this resource, or why it could not. Repeating it is harmless."""
        for _, resource, _status, _in_use in self.remembered(vcenter):
            if resource.token == token:
                place, kind = resource.place, resource.kind
                self.record(
                    resource.job_id, token, place=place, kind=kind, removed=not trouble, trouble=trouble
                )

    def left_by_drills(self) -> list[str]:
        """Ids of jobs of which a drill has something in the cloud that is not removed."""
        query = (
            sa.select(_OBJECTS.c.job_id)
            .distinct()
            .where(_OBJECTS.c.place == "cloud", _OBJECTS.c.removed.is_(False), _OF_DRILLS)
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def left_in_cloud(self) -> list[str]:
        """Ids of jobs that rest and still have something in the cloud that was to be stopped or removed."""
        resting = (JobStatus.STOPPED, JobStatus.IN_ERROR, JobStatus.WAITING)
        over = (JobStatus.FINISHED, JobStatus.EXPIRED)
        status, failed = tables.jobs.c.status, _OBJECTS.c.trouble != ""
        query = (
            sa.select(_OBJECTS.c.job_id)
            .distinct()
            .join(tables.jobs, tables.jobs.c.id == _OBJECTS.c.job_id)
            .where(_OBJECTS.c.place == "cloud", _OBJECTS.c.removed.is_(False), sa.not_(_OF_DRILLS))
            .where(
                sa.or_(
                    sa.and_(status.in_(over), sa.or_(_OBJECTS.c.kind.not_in(OUTLIVING), failed)),
                    sa.and_(status.in_(resting), failed),
                )
            )
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def reserve_image(self, job_id: str, run_id: str, names: Sequence[str], form: str) -> JobImage:
        """Reserve the image of this run under the first free name of `names`; it is not ready yet. Idempotent."""
        query = sa.select(_IMAGES).where(_IMAGES.c.run_id == run_id)
        given_up = sa.and_(_IMAGES.c.job_id == job_id, _IMAGES.c.run_id != run_id, sa.not_(_IMAGES.c.ready))
        with self._database.write() as connection:  # an earlier run failed before its image: the name is free
            connection.execute(_IMAGES.delete().where(given_up))
        for name in names:
            try:
                with self._database.write() as connection:
                    if (row := connection.execute(query).one_or_none()) is None:
                        values: Json = {"id": new_id("m"), "job_id": job_id, "run_id": run_id, "ready": False}
                        values |= {
                            "name": name,
                            "format": form,
                            "details": {},
                            "created": self._database.now(),
                        }
                        connection.execute(_IMAGES.insert().values(**values))
                        row = connection.execute(query).one()
                    return JobImage(**row._mapping)
            except sa.exc.IntegrityError:
                continue
        raise Conflict("images with this name exist", on=names[0], remedy="choose another image name")

    def complete_image(self, run_id: str, details: Json, *, name: str = "", image_id: str = "") -> None:
        """Record that the image of this run exists. The cloud may have given it another `name` and its own id."""
        with self._database.write() as connection:
            row = connection.execute(sa.select(_IMAGES).where(_IMAGES.c.run_id == run_id)).one()
            values: Json = {
                "ready": True,
                "details": details,
                "name": name or row.name,
                "id": image_id or row.id,
                "completed": row.completed or self._database.now(),
            }
            connection.execute(_IMAGES.update().where(_IMAGES.c.run_id == run_id).values(**values))
            connection.execute(
                tables.jobs.update().where(tables.jobs.c.id == row.job_id).values(image_id=values["id"])
            )
            if not row.ready:
                self._database.log(connection, row.job_id, "image", f"image {values['name']} exists")

    def images_of(self, job_ids: Sequence[str]) -> dict[str, list[JobImage]]:
        """The images of each of these jobs, oldest first."""
        images_by_job: dict[str, list[JobImage]] = {job_id: [] for job_id in job_ids}
        query = _OLDEST_IMAGE_FIRST.where(_IMAGES.c.job_id.in_(job_ids))
        with self._database.read() as connection:
            for row in connection.execute(query):
                images_by_job[row.job_id].append(JobImage(**row._mapping))
        return images_by_job

    def images(self, job_id: str) -> list[JobImage]:
        """A job's images, oldest first."""
        query = _OLDEST_IMAGE_FIRST.where(_IMAGES.c.job_id == job_id)
        with self._database.read() as connection:
            return [JobImage(**row._mapping) for row in connection.execute(query)]

    def remove_image(self, image_id: str, why: str) -> None:
        """Record that the image was removed, and why. Repeating it is harmless."""
        with self._database.write() as connection:
            row = connection.execute(sa.select(_IMAGES).where(_IMAGES.c.id == image_id)).one()
            connection.execute(_IMAGES.update().where(_IMAGES.c.id == image_id).values(removed=True))
            token = f"image-{row.run_id}"
            connection.execute(_OBJECTS.update().where(_OBJECTS.c.token == token).values(removed=True))
            if not row.removed:
                self._database.log(connection, row.job_id, "image", f"image {row.name} removed: {why}")


def _resource(row: Any) -> TrackedResource:
    return TrackedResource(**row._mapping)
