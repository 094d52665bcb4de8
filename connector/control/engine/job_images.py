"""An image is made of the disks that the evidence of the run's last reading names, and of nothing else.

Each call may be repeated after a kill: the image's record is reserved before it is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from connector.cloud.provider import ImageRequest, Placement, Provider, TargetDisk
from connector.control.domain import definition, evidence_check
from connector.control.domain.drills import Drill
from connector.control.domain.entities import OUTLIVING, Job, JobImage, Run
from connector.control.domain.hardware import hardware
from connector.control.engine.job_instances import AGAIN, JobInstances, costs, migrated_disks
from connector.control.engine.target_instances import TARGET, TargetInstanceSteps
from connector.control.store import Store
from connector.control.store.provider_ledger import instance_token
from connector.errors import ControlFailed, TargetFailed
from connector.transfer import evidence
from connector.transfer.certificates import CertificateRole
from connector.transfer.evidence import Manifest

_LONGEST_NAME: Final = 100


class JobImages:
    """Makes the images of jobs, describes them for drills, and removes old ones. Thread-safe."""

    def __init__(
        self,
        store: Store,
        provider: Provider,
        job_instances: JobInstances,
        target_instances: TargetInstanceSteps,
    ) -> None:
        self._store = store
        self._provider = provider
        self._job_instances = job_instances
        self._target_instances = target_instances

    def make(self, run: Run, job: Job) -> None:
        """Make the image of this run, and hand it over to the job's target instance if it has one."""
        proved = self._proved(run, job)
        self._job_instances.meet(job.id, self._job_instances.needed(job.id))
        names = self._free_names(_image_names(job, run))
        image = self._store.resources.reserve_image(job.id, run.id, names, job.image_format)
        token = _image_token(run.id)
        self._store.resources.record(job.id, token, place="cloud", kind="image")
        request = self._image_request(job, run.id, image, proved)
        stored = self._provider.make_image(request)
        details = dict(stored.details) | {
            "files": list(stored.files),
            "location": stored.location,
            "size": stored.size,
        }
        self._store.resources.record(job.id, token, place="cloud", kind="image", reference=stored.location)
        self._store.resources.complete_image(run.id, details, name=stored.name, image_id=stored.id)
        capacities = [disk.capacity for disk in request.disks]
        self._target_instances.hand_over(job, run.id, self._store.sources.of(job), stored, capacities)

    def drill_order(self, drill: Drill) -> tuple[ImageRequest, Placement]:
        """How the image of a drill was made, with a certificate for an instance, and where the job's instance may run."""
        images = self._store.resources.images(drill.job_id)
        image = next((image for image in images if image.id == drill.image_id), None)
        if image is None:
            raise TargetFailed("its image was removed", on=drill.image_name, remedy="run the job again")
        run, job = self._store.runs.get(image.run_id), self._store.jobs.get(drill.job_id)
        request = self._image_request(job, run.id, image, self._proved(run, job))
        converter = self._job_instances.credential(job.id, CertificateRole.INSTANCE)
        source = self._store.sources.of(job)
        return replace(request, converter=converter), definition.placement(job.definition, job.region, source)

    def prune(self, job: Job) -> None:
        """Remove the oldest images beyond the number to keep. An image that the provider says is in use stays."""
        images = [i for i in self._store.resources.images(job.id) if i.ready and not i.removed]
        most = None if job.on_demand else job.max_images
        if job.definition.get("TargetType") == TARGET:
            most = 1  # an earlier run could not put its image onto the target instance
        excess = len(images) - most if most is not None else 0
        for image in images[:-1]:
            if excess <= 0:
                break
            try:
                self._provider.delete_image(image.name)
            except TargetFailed as refused:
                if refused.retryable:  # it is not about this image: do not remove a newer one instead
                    what = f"the old image {image.name} could not be removed{costs(self._provider)}"
                    text = f"{what}: {refused}; {AGAIN}"
                    self._store.resources.leave(_image_token(image.run_id), text)
                    return
                self._note_once(job.id, f"image {image.name} stays: {refused.what}")
                continue
            self._store.resources.remove_image(image.id, f"the job keeps {most}, and there is a newer one")
            excess -= 1
        self._store.resources.mend(job.id, kinds=OUTLIVING)

    def _note_once(self, job_id: str, text: str) -> None:
        if all(entry.text != text for entry in self._store.jobs.history(job_id)):
            self._store.jobs.note(job_id, "image", text)

    def _proved(self, run: Run, job: Job) -> Manifest:
        """The evidence of the run's last reading. Without it there is no image."""
        slot = max(number for number, task in enumerate(run.plan) if task.reads)
        attempt = self._store.passes.verdict(run.id, slot)
        manifest = None if attempt is None else self._store.evidence.find(attempt.id)
        if manifest is None:
            raise ControlFailed(
                "there is no evidence of this run's pass, so no image is made of it",
                on=job.name,
                remedy="start the job again: its next pass leaves evidence",
                retryable=False,
            )
        return evidence.read(manifest)

    def _free_names(self, names: list[str]) -> list[str]:
        """The names that no image has in the cloud. A restored database may not know all images."""
        used_names = {image.name for image in self._provider.list_images()}
        return [name for name in names if name not in used_names] or names

    def _image_request(self, job: Job, run_id: str, image: JobImage, proved: Manifest) -> ImageRequest:
        source = self._store.sources.of(job)
        guest = str(source.facts.get("guest_id", ""))
        conversion = str(job.definition.get("Conversion", "none"))
        return ImageRequest(
            token=instance_token(job.id),
            job_id=job.id,
            run=run_id,
            name=image.name,
            format=image.format,
            control=self._job_instances.credential(job.id, CertificateRole.CONTROL),
            disks=_proved_disks(migrated_disks(job, source), proved),
            guest_id=guest,
            architecture=definition.architecture(guest),
            **hardware(source.facts)._asdict(),
            conversion=conversion,
            converter=self._job_instances.credential(job.id, CertificateRole.INSTANCE)
            if conversion != "none"
            else None,
            boot_check=bool(job.definition.get("BootCheck", False)),
            expect=evidence_check.expected(
                proved, {} if evidence_check.knows_targets(proved) else self._job_instances.shown(job.id)
            ),
        )


def is_last(job: Job) -> bool:
    """Whether the job ends with its present run."""
    return job.run_once or job.cutover


def _image_token(run_id: str) -> str:
    return f"image-{run_id}"


def _proved_disks(target_disks: Sequence[TargetDisk], proved: Manifest) -> tuple[TargetDisk, ...]:
    """The disks that the evidence names: those that the source had when it was read."""
    by_key = {str(disk.key): disk for disk in target_disks}
    return tuple(
        [disk for key, disk in by_key.items() if key in proved.disks]
        + [_read_disk(key, facts) for key, facts in sorted(proved.disks.items()) if key not in by_key]
    )


def _read_disk(key: str, facts: Mapping[str, Any]) -> TargetDisk:
    """A disk that the machine has lost since it was read, from its facts in the evidence."""
    return TargetDisk(int(key), str(facts.get("label", "")), int(facts.get("capacity", 0)))


def _image_names(job: Job, run: Run) -> list[str]:
    """Candidates for the image's name, best first. It is also a file's name: no colon, and room for an ending."""
    cycle = "" if is_last(job) else f"_CYCLE_{run.number}"
    endings = (cycle, f"{cycle}_{job.id}", f"{cycle}_{job.id}_{run.number}")
    plain = job.image_name.replace(":", "-")
    return [plain[: _LONGEST_NAME - len(ending)] + ending for ending in endings]
