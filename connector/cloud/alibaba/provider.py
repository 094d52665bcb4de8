"""The provider of one region of Alibaba Cloud. The cloud, the ledger and tags together show what exists.

Only one process at a time acts for a token: the active runner.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from connector.clients.endpoint import InstanceEndpoint
from connector.cloud.alibaba import tags
from connector.cloud.alibaba.api import Api, Json
from connector.cloud.alibaba.codes import Refusal
from connector.cloud.alibaba.credentials import Credentials
from connector.cloud.alibaba.disks import CloudDisks
from connector.cloud.alibaba.images import CloudImages
from connector.cloud.alibaba.instance_types import Wanted
from connector.cloud.alibaba.launch import Launcher, user_data
from connector.cloud.alibaba.limits import LIMITS
from connector.cloud.alibaba.market import Market
from connector.cloud.alibaba.network import PORTS, Networks
from connector.cloud.alibaba.owner_ledger import OwnerLedger
from connector.cloud.alibaba.settings import AlibabaSettings
from connector.cloud.alibaba.targets import CloudTargets
from connector.cloud.provider import (
    CloudResource,
    Health,
    ImageRequest,
    Instance,
    InstanceRequest,
    Placement,
    ProviderLedger,
    StoredImage,
)
from connector.errors import BadInput, TargetFailed, TransferFailed, TrustFailed
from connector.model import Credential, InstanceAddress, TargetLimits

_OFFERED: Final[frozenset[str]] = frozenset()  # none of those that `JobField.needs` knows
_INSTANCES: Final = ("Instances", "Instance")


class Talk(Protocol):
    """The calls to a running instance. They raise TransferFailed while it does not answer."""

    def assign_devices(self, serials: Mapping[str, str]) -> None:
        """Say which device carries which disk, by serial number."""
        ...

    def settle(self, expect: Mapping[str, Mapping[str, object]] | None = None) -> list[str]:
        """The keys of the disks that show the end of one pass on stable storage. `expect`: what each must show."""
        ...


#: Makes the calls over the control port, which also proves that the instance is ours.
Reach = Callable[[InstanceAddress, Credential], Talk]


class AlibabaProvider:
    """The provider `alibaba`. Thread-safe."""

    def __init__(
        self, settings: AlibabaSettings, ledger: ProviderLedger, *, reach: Reach = InstanceEndpoint
    ) -> None:
        self._settings = settings
        self._api = Api(settings, Credentials(settings.access_key_file))
        self._ledger = ledger
        self._reach = reach
        self._networks = Networks(self._api)
        self._launcher = Launcher(self._api, self._networks)
        self._disks = CloudDisks(self._api)
        self._images = CloudImages(self._api)
        self._targets = CloudTargets(self._api, ledger)
        self._locks: dict[str, threading.RLock] = {}
        self._guard = threading.Lock()  # guards the dictionary of locks

    def offers(self, ability: str) -> bool:
        return ability in _OFFERED

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
    def drills(self) -> None:
        return None

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
            ledger, owner_tags = OwnerLedger(self._ledger, request.token), _own(request.token, request.job_id)
            row = self._row(request.token)
            if row is None:
                self._launcher.launch(request, ledger, owner_tags, lambda: self._row(request.token))
            else:
                self._networks.keep_open(owner_tags)
            row = self._running(request)
            ledger.own(str(row["InstanceId"]))  # not before it can be seen: else it would count as released
            visible = self._disks.complete(row, request.disks, ledger, owner_tags)
            serials = {key: str(disk["SerialNumber"]) for key, disk in visible.items()}
            self._introduce(request, serials)
            return self._instance(self._row(request.token) or row)

    def _running(self, request: InstanceRequest) -> Json:
        """The instance, running and with an address. A stopped instance gets a valid credential before its start."""

        def settled() -> Json | None:
            row = self._row(request.token)
            return row if row is not None and row["Status"] in ("Running", "Stopped") else None

        row = self._api.until(settled, "visible", on=request.token)
        if row["Status"] == "Stopped":
            parameters = {"InstanceId": row["InstanceId"], "UserData": user_data(request.credential)}
            self._api.ecs("ModifyInstanceAttribute", parameters, on=request.job_id)
            self._api.ecs("StartInstance", {"InstanceId": row["InstanceId"]}, on=request.job_id)

        def addressed() -> Json | None:
            row = self._row(request.token)
            return row if row is not None and row["Status"] == "Running" and _address(row) else None

        return self._api.until(addressed, "running, with an address", on=str(row["InstanceId"]))

    def _introduce(self, request: InstanceRequest, serials: dict[str, str]) -> None:
        """Tell the instance its devices. The address is read each time, because it may change while the instance boots."""
        deadline = time.monotonic() + self._settings.boot_patience
        while True:
            row = self._row(request.token)
            host = _address(row) if row is not None else ""
            try:
                return self._reach(InstanceAddress(host, *PORTS), request.control).assign_devices(serials)
            except TransferFailed as silent:
                if time.monotonic() > deadline:
                    raise TargetFailed(
                        f"the instance does not answer on port {PORTS[0]}: {silent.what}",
                        on=host or request.token,
                        remedy="check the instance image, the routes, and the addresses in reachable_from",
                    ) from silent
            except TrustFailed as stranger:
                raise TargetFailed(
                    f"something else than our instance answers: {stranger.what}",
                    on=host,
                    remedy="look for address conflicts in the VPC, then start the job again",
                ) from stranger
            self._api.pause()

    def find(self, token: str) -> Instance | None:
        row = self._row(token)
        return None if row is None else self._instance(row)

    def describe(self) -> Sequence[Instance]:
        disks: dict[str, list[Json]] = {}
        for disk in self._disks.of_owner({tags.OWNER: ""}):
            disks.setdefault(str(disk.get("InstanceId")), []).append(disk)
        rows = [row for row in self._rows(Tag=tags.written({tags.OWNER: ""})) if tags.OWNER in tags.read(row)]
        return [_shown(row, disks.get(str(row["InstanceId"]), [])) for row in rows]

    def release(self, token: str, *, keep_disks: bool) -> None:
        with self._exclusively(token):
            if keep_disks:
                self._stop(token)
            else:
                self._remove(token)

    def _stop(self, token: str) -> None:
        def stopped() -> Json | None:
            row = self._row(token)
            if row is None or row["Status"] == "Stopped":
                return row or {}
            if row["Status"] == "Running":
                parameters = {"InstanceId": row["InstanceId"], "StoppedMode": self._settings.stopped_mode}
                self._api.ecs("StopInstance", parameters, patience=self._settings.patience, on=token)
            return None

        self._api.until(stopped, "stopped", on=token)

    def _remove(self, token: str) -> None:
        """Remove everything with the token: instances, then disks, then unused snapshots, then networks."""
        ledger, owner_tags = OwnerLedger(self._ledger, token), {tags.OWNER: token}
        self._let_appear(ledger, owner_tags)
        patience = self._settings.patience
        for row in self._all(token):
            parameters = {"InstanceId": row["InstanceId"], "Force": True}
            try:
                self._api.ecs("DeleteInstance", parameters, patience=patience, on=token)
            except Refusal as refused:
                if not refused.gone:
                    raise
        self._api.until(lambda: True if not self._all(token) else None, "released", on=token)
        ledger.released()  # at once: what follows may be refused, and the next start must not miss an instance
        self._disks.remove(owner_tags)
        self._images.remove_unused(owner_tags)
        self._networks.remove(owner_tags)
        remaining = set(self._images.snapshots(owner_tags))
        for attempt in ledger.remaining():
            if attempt.reference not in remaining:
                ledger.gone(attempt)

    def _let_appear(self, ledger: OwnerLedger, owner_tags: dict[str, str]) -> None:
        """Wait until recent attempts are visible, because an invisible object would be left behind."""
        young = self._settings.consistency - max(0.0, time.time() - ledger.youngest())
        deadline = (
            time.monotonic() + young
        )  # the ledger's clock may be another one: no wait is longer than this
        while time.monotonic() < deadline:
            missing = {
                attempt.kind for attempt in ledger.remaining() if attempt.reference is None
            } - self._kinds(owner_tags)
            if not missing:
                return
            self._api.pause()

    def _kinds(self, owner_tags: dict[str, str]) -> set[str]:
        """Kinds of attempts whose objects are visible, or that need no visible object."""
        visible = self._networks.kinds(owner_tags) | {"image", "launch-disk"}
        if self._all(owner_tags[tags.OWNER]):
            visible |= {"launch"}
        if any(tags.DISK in tags.read(disk) for disk in self._disks.of_owner(owner_tags)):
            visible |= {"disk"}
        return visible | ({"snapshot"} if self._images.snapshots(owner_tags) else set())

    def make_image(self, request: ImageRequest) -> StoredImage:
        with self._exclusively(request.token):
            row = self._row(request.token)
            if row is None:
                raise TargetFailed(
                    "there is no such instance", on=request.token, remedy="start the job again"
                )
            self._settle(request, row)
            ledger, owner_tags = OwnerLedger(self._ledger, request.token), _own(request.token, request.job_id)
            disks = self._disks.complete(row, request.disks, ledger, owner_tags)
            return self._images.make(request, disks, ledger, owner_tags)

    def _settle(self, request: ImageRequest, row: Json) -> None:
        """Make sure that every disk shows the end of one pass, and that nothing waits to be written (invariant 10)."""
        address = InstanceAddress(_address(row), *PORTS)
        settled = self._reach(address, request.control).settle(request.expect or None)
        if missing := {str(disk.key) for disk in request.disks} - set(settled):
            raise TargetFailed(
                f"the instance has no disk {sorted(missing)[0]}",
                on=request.job_id,
                remedy="start the job again",
            )

    def list_images(self) -> Sequence[StoredImage]:
        return self._images.all()

    def delete_image(self, name: str) -> None:
        for snapshot in self._images.delete(name):
            ledger = OwnerLedger(self._ledger, tags.read(snapshot).get(tags.OWNER, ""))
            for attempt in ledger.remaining("snapshot"):
                if attempt.reference == snapshot["SnapshotId"]:
                    ledger.gone(attempt)

    def close(self) -> None:
        """Close the provider. Instances go on: they belong to the account, not to this process."""

    def _instance(self, row: Json) -> Instance:
        return _shown(row, self._disks.of_instance(str(row["InstanceId"])))

    def _row(self, token: str) -> Json | None:
        """The instance of this token, by its id if it is known, else by its tag; the oldest if there are two."""
        instance_id = OwnerLedger(self._ledger, token).instance()
        rows = self._all(token) if instance_id is None else list(self._rows(InstanceIds=f'["{instance_id}"]'))
        return min(rows, key=lambda row: str(row.get("CreationTime")), default=None)

    def _all(self, token: str) -> list[Json]:
        """The instances of this token, by tag and by the id in the ledger."""
        rows = list(self._rows(Tag=tags.written({tags.OWNER: token})))
        instance_id = OwnerLedger(self._ledger, token).instance()
        if instance_id is not None and all(row["InstanceId"] != instance_id for row in rows):
            rows += list(self._rows(InstanceIds=f'["{instance_id}"]'))
        return rows

    def _rows(self, **parameters: Any) -> Iterator[Json]:
        region = {"RegionId": self._settings.region}
        return self._api.rows("ecs", "DescribeInstances", _INSTANCES, region | parameters)

    @contextmanager
    def _exclusively(self, token: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(token, threading.RLock())
        with lock:
            yield


def _own(token: str, job_id: str) -> dict[str, str]:
    return {tags.OWNER: token, tags.JOB: job_id}


def _shown(row: Json, disks: Sequence[Json]) -> Instance:
    resources = [CloudResource("disk", str(disk["DiskId"])) for disk in disks]
    return Instance(
        handle=str(row["InstanceId"]),
        name=str(row.get("InstanceName") or ""),
        address=InstanceAddress(_address(row), *PORTS),
        health=Health.RUNNING if row.get("Status") == "Running" else Health.STOPPED,
        resources=tuple(sorted(resources, key=lambda visible: visible.reference)),
        token=tags.read(row).get(tags.OWNER, ""),
    )


def _address(row: Json) -> str:
    """The address, "" while there is none: in a VPC the private address (R53), else a bound EIP or a public address (R55)."""
    private = ((row.get("VpcAttributes") or {}).get("PrivateIpAddress") or {}).get("IpAddress") or []
    if tags.read(row).get(tags.NET) == tags.VPC:
        return str(next(iter(private), ""))
    eip = str((row.get("EipAddress") or {}).get("IpAddress") or "")
    public = (row.get("PublicIpAddress") or {}).get("IpAddress") or []
    return eip or str(next(iter(public), ""))
