"""The provider of one region of Alibaba Cloud. The cloud, the ledger and tags together show what exists.

Only one process at a time acts for a token: the active runner.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from connector.clients.endpoint import InstanceEndpoint
from connector.cloud import conversion_child
from connector.cloud.alibaba import tags
from connector.cloud.alibaba.api import Api, Json
from connector.cloud.alibaba.codes import Refusal
from connector.cloud.alibaba.conversion import CloudConversions
from connector.cloud.alibaba.credentials import Credentials
from connector.cloud.alibaba.disks import CloudDisks
from connector.cloud.alibaba.drills import CloudDrills
from connector.cloud.alibaba.images import CloudImages
from connector.cloud.alibaba.instance_types import Wanted
from connector.cloud.alibaba.instances import CloudInstances, Reach, instance_of, own
from connector.cloud.alibaba.isolated_start import IsolatedStarts, StartOrder
from connector.cloud.alibaba.limits import LIMITS
from connector.cloud.alibaba.market import Market
from connector.cloud.alibaba.network import Networks
from connector.cloud.alibaba.owner_ledger import OwnerLedger
from connector.cloud.alibaba.settings import AlibabaSettings
from connector.cloud.alibaba.targets import CloudTargets
from connector.cloud.provider import (
    ImageRequest,
    Instance,
    InstanceRequest,
    Placement,
    ProviderLedger,
    StoredImage,
)
from connector.errors import BadInput, ConnectorError, TargetFailed
from connector.model import TargetLimits


class AlibabaProvider:
    """The provider `alibaba`. Thread-safe. `directory`: where it keeps what drills showed."""

    def __init__(
        self,
        settings: AlibabaSettings,
        ledger: ProviderLedger,
        directory: Path,
        *,
        reach: Reach = InstanceEndpoint,
    ) -> None:
        self._settings = settings
        self._api = Api(settings, Credentials(settings.access_key_file))
        self._ledger = ledger
        self._networks = Networks(self._api)
        self._instances = CloudInstances(self._api, ledger, self._networks, reach)
        self._conversions = CloudConversions(self._api, ledger, self._instances)
        self._directory = directory
        self._starts = IsolatedStarts(self._api, self._instances)
        self._drills = CloudDrills(self._api, self._starts, self._conversions, directory / "drills")
        self._disks = CloudDisks(self._api)
        self._images = CloudImages(self._api)
        self._targets = CloudTargets(self._api, ledger)
        self._boot_checks: dict[
            str, Mapping[str, Any]
        ] = {}  # by run; written by the thread that has the owner's lock
        self._locks: dict[str, threading.RLock] = {}
        self._guard = threading.Lock()  # guards the dictionary of locks

    def offers(self, ability: str) -> bool:
        return ability == "conversion" and self._settings.conversion

    @property
    def billed(self) -> bool:
        return True

    @property
    def limits(self) -> TargetLimits:
        return LIMITS

    @property
    def target_instances(self) -> CloudTargets | None:
        return self._targets if self._settings.target_instances else None

    @property
    def drills(self) -> CloudDrills | None:
        return self._drills if self._settings.conversion else None

    def check(self, placement: Placement) -> None:
        """Refuse types that this region does not offer now (X4), and networks that do not fit together."""
        if placement.region not in ("", self._settings.region):
            raise BadInput(f"this control plane serves {self._settings.region} only", on="region")
        try:
            zones = [switch.zone for switch in self._networks.switches(placement)]
        except Refusal as refused:
            if not placement.vswitch or not refused.gone:  # it is not about what the job names
                raise
            raise BadInput(refused.what, on="vswitch") from refused
        if placement.instance_type:
            offers = Market(self._api).offers(Wanted(type=placement.instance_type), zones)
            if not offers:
                raise BadInput(
                    f"{placement.instance_type} cannot be had in {', '.join(zones)}", on="instance_type"
                )

    def create_instance(self, request: InstanceRequest) -> Instance:
        with self._exclusively(request.token):
            return self._instances.shown(self._instances.create(request, own(request.token, request.job_id)))

    def find(self, token: str) -> Instance | None:
        row = self._instances.row(token)
        return None if row is None else self._instances.shown(row)

    def describe(self) -> Sequence[Instance]:
        disks: dict[str, list[Json]] = {}
        for disk in self._disks.of_owner({tags.OWNER: ""}):
            disks.setdefault(str(disk.get("InstanceId")), []).append(disk)
        rows = [
            row
            for row in self._instances.rows(Tag=tags.written({tags.OWNER: ""}))
            if tags.OWNER in tags.read(row)
        ]
        return [instance_of(row, disks.get(str(row["InstanceId"]), [])) for row in rows]

    def release(self, token: str, *, keep_disks: bool) -> None:
        with self._exclusively(token):
            end = self._instances.stop if keep_disks else self._instances.remove
            _all_of(
                lambda: self._conversions.remove(token),  # first: it uses the network of the job's instance
                lambda: self._remove_boot_check(token),
                lambda: end(token),
            )

    def _remove_boot_check(self, token: str) -> None:
        owner = _boot_check_token(token)
        if self._settings.conversion or any(not entry.gone for entry in self._ledger.entries(owner)):
            self._starts.remove(owner)

    def remove_drill(self, token: str) -> None:
        self._drills.remove(token)

    def make_image(self, request: ImageRequest) -> StoredImage:
        with self._exclusively(request.token):
            row = self._instances.row(request.token)
            if row is None:
                raise TargetFailed(
                    "there is no such instance", on=request.token, remedy="start the job again"
                )
            self._settle(request, row)
            ledger, owner_tags = OwnerLedger(self._ledger, request.token), own(request.token, request.job_id)
            disks = self._disks.complete(row, request.disks, ledger, owner_tags)
            image = self._images.make(request, disks, ledger, owner_tags)
            return self._prepared(request, image, row)

    def _prepared(self, request: ImageRequest, image: StoredImage, row: Json) -> StoredImage:
        """The image, with its converted copy and how a start of it ended, if the job wants that. Its id is that of the copy."""
        if request.conversion == "none" and not request.boot_check:
            return image
        converted, report = None, dict[str, Any]()
        if request.conversion != "none":
            converted, answer = self._conversions.convert(request, image, row)
            report |= answer
        location = converted.location if converted else ""
        if request.boot_check:
            report |= self._boot_check(request, location or image.location, image.location)
        notes = (str(image.details.get("note") or ""), *conversion_child.notes(report, location))
        more = {
            "note": "; ".join(filter(None, notes)),
            "converted": location,
            "conversion": {"refusal": "", "boot_refusal": "", **report},
        }
        return replace(image, id=location or image.id, details={**image.details, **more})

    def _boot_check(self, request: ImageRequest, image: str, location: str) -> Mapping[str, Any]:
        """How a start of the image ended. A failure is no error: the image is whole."""
        if (known := self._boot_checks.get(request.run)) is not None:
            return known  # the step is done again, and each start takes minutes
        token, timeout = _boot_check_token(request.token), self._starts.timeout
        order = StartOrder(token, request.job_id, image, request.architecture, timeout)
        try:
            self._starts.remove(order.owner)
            started = self._starts.run(order, threading.Event(), lambda _line: None)
            self._drills.keep(location, started)
            self._boot_checks[request.run] = {"boot": started.boot}
            self._starts.remove(order.owner)
        except ConnectorError as failed:  # what it made goes with the release of the instance
            return self._boot_checks.setdefault(request.run, {"boot_refusal": str(failed)})
        return self._boot_checks[request.run]

    def _settle(self, request: ImageRequest, row: Json) -> None:
        """Make sure that every disk shows the end of one pass, and that nothing waits to be written (invariant 10)."""
        settled = self._instances.talk(row, request.control).settle(request.expect or None)
        if missing := {str(disk.key) for disk in request.disks} - set(settled):
            raise TargetFailed(
                f"the instance has no disk {sorted(missing)[0]}",
                on=request.job_id,
                remedy="start the job again",
            )

    def list_images(self) -> Sequence[StoredImage]:
        return self._images.all()

    def delete_image(self, name: str) -> None:
        ids = self._images.ids(name)
        for snapshot in self._images.delete(name):
            ledger = OwnerLedger(self._ledger, tags.read(snapshot).get(tags.OWNER, ""))
            for attempt in ledger.remaining("snapshot"):
                if attempt.reference == snapshot["SnapshotId"]:
                    ledger.gone(attempt)
        for image in ids:
            self._drills.forget(image)

    def close(self) -> None:
        """Close the provider. Instances go on: they belong to the account, not to this process."""

    @contextmanager
    def _exclusively(self, token: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(token, threading.RLock())
        with lock:
            yield


def _boot_check_token(owner: str) -> str:
    """The owner of what a boot check of this owner's image makes."""
    return f"boot-check-{owner}"


def _all_of(*works: Callable[[], None]) -> None:
    """Do all of it, and raise the first failure afterwards."""
    failures = []
    for work in works:
        try:
            work()
        except ConnectorError as failed:
            failures.append(failed)
    if failures:
        raise failures[0]
