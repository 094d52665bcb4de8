"""Drills of jobs, as the public API and the console ask for them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from connector.cloud.provider import DRILL_FILES
from connector.control.domain.drills import Drill
from connector.control.domain.entities import Job, JobImage
from connector.control.domain.jobs import JobStatus
from connector.control.domain.refusals import RefusalCode, StateRefusal, UnknownObject
from connector.control.engine.drills import new_drill_id
from connector.control.service.jobs import JobService
from connector.errors import BadInput, NotFound
from connector.specification import images

NETWORKS: Final = ("none", "dhcp", "keep")


@dataclass(frozen=True, slots=True)
class DrillOptions:
    """How to do a drill. `network`: empty means as the job's field Conversion says. The rest is as in `DrillRequest`."""

    network: str = ""
    plan_only: bool = False
    new_macs: bool = False
    timeout: float = 600.0
    marker: str = ""


class DrillService:
    """Operations on drills. Each is durable when it returns. Thread-safe."""

    def __init__(self, service: JobService) -> None:
        self._service = service
        self._store = service.store

    def start(self, job_id: str, options: DrillOptions, asked_by: str) -> Drill:
        """Ask for a drill with the job's newest image that no rollback has made stale.

        Raises `UnknownObject` without such an image, `StateRefusal` while another drill of the job waits or runs.
        """
        job = self._store.jobs.get(job_id)
        if self._service.drills is None:
            raise BadInput(
                "the target of this control plane offers no drills",
                on=job.name,
                remedy="start an instance from the image in its cloud",
            )
        has_choice = options.network or options.new_macs
        if has_choice and not (options.plan_only or self._service.drills.converts):
            raise BadInput(
                "this target converts nothing for a drill, so Network and NewMacs have no effect",
                on=job.name,
                remedy="leave them out; the job's Conversion says what becomes of the network",
            )
        if job.status is JobStatus.DELETING:
            raise StateRefusal(RefusalCode.JOB_STATUS, "the job is being deleted", on=job.id)
        image, number = self._newest(job)
        drill = Drill(
            id=new_drill_id(),
            job_id=job.id,
            image_id=image.id,
            image_name=image.name,
            location=str(image.details.get("location", "")),
            run_number=number,
            plan_only=options.plan_only,
            network=options.network or str(job.definition.get("Conversion") or "none"),
            new_macs=options.new_macs,
            timeout=options.timeout,
            marker=options.marker,
            asked=self._store.now(),
            asked_by=asked_by,
        )
        self._store.drills.ask(drill)
        self._service.poke()
        return drill

    def stop(self, job_id: str) -> Drill:
        """Stop the job's drill that waits or runs."""
        drill = self._store.drills.stop(self._store.jobs.get(job_id).id)
        self._service.poke()
        return drill

    def file(self, job_id: str, drill_id: str, name: str) -> bytes:
        """A file that this drill has kept, exactly as it was. Raises `UnknownObject`."""
        drill = self._store.drills.get(job_id, drill_id)
        facts = drill.kept.get(name) if name in DRILL_FILES else None
        content = self._content(drill, name) if facts else None
        if facts is None or content is None or hashlib.sha256(content).hexdigest() != facts.get("sha256"):
            raise UnknownObject(
                RefusalCode.DRILL_UNKNOWN,
                f"{name} of this drill is not kept here",
                on=drill.id,
                remedy="only the last drill of an image has its files, beside the image",
            )
        return content

    def _content(self, drill: Drill, name: str) -> bytes | None:
        if self._service.drills is None:
            return None
        try:
            return self._service.drills.file(drill.location, name)
        except NotFound:
            return None

    def _newest(self, job: Job) -> tuple[JobImage, int]:
        """The newest image that exists and is of no cutover that was rolled back, and the number of its run."""
        runs = self._store.runs.of(job.id)
        of_run = {image.run_id: image for image in self._store.resources.images(job.id)}
        stale = images.rolled_back(
            [(run.kind, of_run[run.id].id if run.id in of_run else "") for run in runs],
            cut_over=job.cutover,
        )
        for run in reversed(runs):
            image = of_run.get(run.id)
            if image is not None and image.ready and not image.removed and image.id not in stale:
                return image, run.number
        raise UnknownObject(
            RefusalCode.IMAGE_UNKNOWN,
            "has no image yet",
            on=f"job {job.name}",
            remedy="let its first run finish",
        )
