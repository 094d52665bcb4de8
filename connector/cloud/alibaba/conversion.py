"""Converts an image on an instance of its own, whose disks are made of the image's snapshots. The image itself is not changed.

The converted image is made of snapshots of these disks. Everything else of a conversion goes with the next `remove`, and so does
what a conversion left that was killed. A copy and its base are never attached to one instance.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any, Final

from connector.backoff import STEP, retrying
from connector.cloud import conversion_lines, machine_files
from connector.cloud.alibaba import tags
from connector.cloud.alibaba.api import Api, Json
from connector.cloud.alibaba.images import CloudImages
from connector.cloud.alibaba.instances import CloudInstances, own
from connector.cloud.alibaba.owner_ledger import OwnerLedger
from connector.cloud.machine_files import ImageDisk, MachineDescription
from connector.cloud.provider import (
    DRILL_PREFIX,
    ImageRequest,
    InstanceRequest,
    Placement,
    ProviderLedger,
    StoredImage,
    TargetDisk,
)
from connector.errors import (
    Conflict,
    ConnectorError,
    ControlFailed,
    Interrupted,
    TargetFailed,
    TransferFailed,
    from_json,
)

_ENDING: Final = "_converted"  # of the converted image's name
_ATTEMPTS: Final = 4  # before a failure that may pass is taken for final
_GONE: Final = 3  # looks in which an instance is not there
LONGEST: Final = 5 * 3600.0  # seconds for a whole conversion, with a second try
_TRIES: Final = 2  # instances, each with new copies, for one conversion


def conversion_token(owner: str) -> str:
    """The owner of what the conversion of this owner's image needs. Of a drill, it is a drill's too."""
    if owner.startswith(DRILL_PREFIX):
        return f"{DRILL_PREFIX}conversion-{owner.removeprefix(DRILL_PREFIX)}"
    return f"conversion-{owner}"


@dataclass(frozen=True, slots=True)
class _Work:
    """One conversion. `placement`: of its instance; `end`: by the clock of `time.monotonic`, when all of it must have ended."""

    request: ImageRequest
    image: StoredImage
    placement: Placement
    end: float
    halt: Event = field(default_factory=Event)
    plan_only: bool = False

    @property
    def token(self) -> str:
        return conversion_token(self.request.token)


class CloudConversions:
    """Thread-safe; only one thread at a time acts for one owner."""

    def __init__(self, api: Api, ledger: ProviderLedger, instances: CloudInstances) -> None:
        self._api = api
        self._settings = api.settings
        self._ledger = ledger
        self._instances = instances
        self._images = CloudImages(api)
        self._longest = LONGEST

    def convert(
        self, request: ImageRequest, image: StoredImage, beside: Json
    ) -> tuple[StoredImage | None, Mapping[str, Any]]:
        """The converted image, if one was needed, and the report. `beside`: the instance in whose network the conversion runs.

        What fails here is no error but a refusal in the report: the image is whole, and at a cutover its source is down.
        """
        work = _Work(request, image, _placement(request.architecture, beside), self._end())
        try:
            for attempt in retrying(STEP, _passing, attempts=_ATTEMPTS):
                with attempt:  # what was done before is found again
                    return self._converted(work)
        except ConnectorError as failed:
            return None, {"refusal": str(failed)}
        raise AssertionError("unreachable: the last attempt raises")

    def plan(
        self, request: ImageRequest, image: StoredImage, placement: Placement, halt: Event
    ) -> Mapping[str, Any]:
        """What a conversion of the image would change, or why it cannot be converted. What it needs goes with `remove`.

        Raises TargetFailed, and Interrupted after `halt`.
        """
        work = _Work(request, image, placement, self._end(), halt, plan_only=True)
        return _report(self._answer(work)[0], image)

    def _end(self) -> float:
        return time.monotonic() + self._longest

    def remove(self, owner: str) -> None:
        """Remove what a conversion of this owner needed. Converted images stay."""
        token = conversion_token(owner)
        if self._settings.conversion or any(not entry.gone for entry in self._ledger.entries(token)):
            self._instances.remove(token)

    def _converted(self, work: _Work) -> tuple[StoredImage | None, Mapping[str, Any]]:
        """The converted image, if the disks were changed, and the report."""
        request, image = work.request, work.image
        answer, instance = self._answer(work)
        report = _report(answer, image)
        conversion = report.get("conversion") or {}
        if not (conversion.get("changes") or conversion.get("removed")):
            return None, report
        token = work.token
        wanted = replace(
            request, token=token, name=f"{image.name}{_ENDING}", disks=_copies(request, image)[0]
        )
        owner_tags = own(token, request.job_id)
        owner_tags |= {tags.ORIGINAL: image.location, tags.ORIGINAL_NAME: image.name}
        rows = self._instances.disks(instance)
        return self._images.make(wanted, rows, OwnerLedger(self._ledger, token), owner_tags), report

    def _answer(self, work: _Work) -> tuple[Mapping[str, Any], Json]:
        """What the instance has done, on new copies if it loses them once, and the instance. Raises TargetFailed."""
        for tries_left in reversed(range(_TRIES)):
            instance = self._instance(work)
            answer = self._ended(work, instance)
            if answer["state"] == "done":
                return answer, instance
            is_failed = answer["state"] == "failed"
            failed = from_json(answer.get("error"), TargetFailed) if is_failed else _lost(work.image)
            if not (failed.retryable and tries_left):
                break
            self._instances.remove(work.token)  # nobody knows what is on its disks
        raise TargetFailed(failed.what, on=failed.on, remedy=failed.remedy)

    def _instance(self, work: _Work) -> Json:
        """The running instance of this run's conversion, with its copies. What an earlier run left is removed first."""
        request, token = work.request, work.token
        disks, snapshots = _copies(request, work.image)
        if request.converter is None:
            raise ControlFailed(
                "a conversion needs a certificate of its own", on=request.job_id, remedy="report it"
            )
        known = self._instances.row(token)
        if known is None:
            is_left = any(
                attempt.reference for attempt in OwnerLedger(self._ledger, token).remaining("launch")
            )
        else:
            is_left = tags.read(known).get(tags.RUN) != request.run
        if is_left:  # of another run, or what a removal that was interrupted has left
            self._instances.remove(token)
        order = InstanceRequest(
            token=token,
            job_id=request.job_id,
            disks=disks,
            credential=request.converter,
            control=request.control,
            placement=work.placement,
        )
        owner_tags = own(token, request.job_id) | {tags.RUN: request.run}
        return self._instances.create(order, owner_tags, snapshots)

    def _ended(self, work: _Work, instance: Json) -> Mapping[str, Any]:
        """What became of the conversion, after it has ended. An instance that starts again gets the time to do so.

        An instance that is gone, or that has another order, has lost it.
        """
        request, image = work.request, work.image
        order = {
            "machine": _machine(request, image).to_json(),
            "disks": [str(disk.key) for disk in request.disks],
            "network": request.conversion,
            "plan_only": work.plan_only,
        }
        deadline, looks_without = time.monotonic() + self._settings.boot_patience, 0
        while True:
            if work.halt.is_set():
                raise Interrupted("it was stopped", on=image.name, remedy="repeat it")
            try:
                row = self._instances.row(work.token)
                looks_without = 0 if row else looks_without + 1
                if looks_without >= _GONE:
                    return {"state": "interrupted"}
                answer = self._instances.talk(row or instance, request.control).order_conversion(
                    request.run, order
                )
                if answer.get("state") != "running":
                    return {"state": "interrupted", **answer}
                deadline = time.monotonic() + self._settings.boot_patience
            except (TransferFailed, Conflict) as failed:
                if isinstance(failed, Conflict) and not failed.retryable:
                    return {"state": "interrupted"}
                if not failed.retryable:
                    raise
                if time.monotonic() > deadline:
                    raise _silent(image, failed) from failed
            if time.monotonic() > work.end:
                raise _too_long(image)
            self._api.pause()


def _report(answer: Mapping[str, Any], image: StoredImage) -> dict[str, Any]:
    """The report in the instance's answer, if it has the form of one. Raises TargetFailed."""
    result = answer.get("result")
    if not isinstance(result, dict) or not conversion_lines.is_conversion(result.get("conversion")):
        raise TargetFailed(
            "the instance that converts it answered what is no report",
            on=image.name,
            remedy="use an instance image with this release",
        )
    report = conversion_lines.shortened({"conversion": result.get("conversion")})
    return report | {"refusal": str(result.get("refusal") or "")}


def _too_long(image: StoredImage) -> TargetFailed:
    return TargetFailed(
        f"its conversion did not end within {LONGEST:.0f} s",
        on=image.name,
        remedy="convert its image by hand",
    )


def _lost(image: StoredImage) -> TargetFailed:
    return TargetFailed(
        "its instance was started again in the middle of it, twice",
        on=image.name,
        remedy="look at the events of the account's instances, then run the job again",
        retryable=True,
    )


def _silent(image: StoredImage, failed: ConnectorError) -> TargetFailed:
    return TargetFailed(
        f"the instance that converts it does not answer: {failed.what}",
        on=image.name,
        remedy="check the instance image, the routes, and the addresses in reachable_from",
    )


def _passing(error: BaseException) -> bool:
    return isinstance(error, ConnectorError) and error.retryable


def _copies(request: ImageRequest, image: StoredImage) -> tuple[tuple[TargetDisk, ...], dict[str, str]]:
    """The disks of the copies, and the snapshot of each by its key. Raises TargetFailed if the image lacks one."""
    rows: Any = image.details["disks"]
    by_key = {str(row.get("disk")): row for row in rows}
    if missing := [disk.label for disk in request.disks if not by_key.get(str(disk.key), {}).get("snapshot")]:
        raise TargetFailed(
            f"the image has no snapshot of {', '.join(missing)}", on=image.name, remedy="run the job again"
        )
    disks = tuple(replace(disk, size=int(by_key[str(disk.key)]["size"])) for disk in request.disks)
    return disks, {str(disk.key): str(by_key[str(disk.key)]["snapshot"]) for disk in request.disks}


def _placement(architecture: str, beside: Json) -> Placement:
    """The network of a running instance: what reaches it also reaches this one."""
    network = beside.get("VpcAttributes") or {}
    return Placement(
        architecture=architecture,
        net_mode=2 if tags.read(beside).get(tags.NET) == tags.VPC else 0,
        vpc=str(network.get("VpcId") or ""),
        vswitch=str(network.get("VSwitchId") or ""),
    )


def _machine(request: ImageRequest, image: StoredImage) -> MachineDescription:
    disks = tuple(ImageDisk(str(disk.key), "raw", disk.capacity) for disk in request.disks)
    return machine_files.described(request, image.name, disks)
