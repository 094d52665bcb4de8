"""The instances that we make: launched once for a token, completed with disks, and removed with everything of that token."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from connector.cloud.alibaba import tags
from connector.cloud.alibaba.api import Api, Json
from connector.cloud.alibaba.codes import Refusal
from connector.cloud.alibaba.disks import CloudDisks
from connector.cloud.alibaba.images import CloudImages
from connector.cloud.alibaba.launch import Launcher, LaunchOrder, user_data
from connector.cloud.alibaba.network import PORTS, Networks
from connector.cloud.alibaba.owner_ledger import OwnerLedger
from connector.cloud.provider import CloudResource, Health, Instance, InstanceRequest, ProviderLedger
from connector.errors import TargetFailed, TransferFailed, TrustFailed
from connector.model import Credential, InstanceAddress

_INSTANCES: Final = ("Instances", "Instance")


class Talk(Protocol):
    """The calls to a running instance. They raise TransferFailed while it does not answer."""

    def assign_devices(self, serials: Mapping[str, str]) -> None:
        """Say which device carries which disk, by serial number."""
        ...

    def order_conversion(self, conversion_id: str, order: Mapping[str, object]) -> dict[str, object]:
        """Order a conversion of copies that the instance has, or answer what became of it."""
        ...

    def settle(self, expect: Mapping[str, Mapping[str, object]] | None = None) -> list[str]:
        """The keys of the disks that show the end of one pass on stable storage. `expect`: what each must show."""
        ...


#: Makes the calls over the control port, which also proves that the instance is ours.
Reach = Callable[[InstanceAddress, Credential], Talk]


class CloudInstances:
    """Thread-safe; only one thread at a time acts for one token."""

    def __init__(self, api: Api, ledger: ProviderLedger, networks: Networks, reach: Reach) -> None:
        self._api = api
        self._settings = api.settings
        self._ledger = ledger
        self._networks = networks
        self._launcher = Launcher(api, networks)
        self._disks = CloudDisks(api)
        self._images = CloudImages(api)
        self._reach = reach

    def create(
        self, request: InstanceRequest, owner_tags: dict[str, str], snapshots: Mapping[str, str] | None = None
    ) -> Json:
        """The running instance, which knows its devices. `snapshots`: by the key of a disk, what it is made of."""
        ledger, snapshots = OwnerLedger(self._ledger, request.token), snapshots or {}
        row = self.row(request.token)
        if row is None:
            self.launch(self._order(request), owner_tags, snapshots)
        else:
            self._networks.keep_open(owner_tags)
        row = self._running(request)
        ledger.own(str(row["InstanceId"]))  # not before it can be seen: else it would count as released
        visible = self._disks.complete(row, request.disks, ledger, owner_tags, snapshots)
        serials = {key: str(disk["SerialNumber"]) for key, disk in visible.items()}
        self._introduce(request, serials)
        return self.row(request.token) or row

    def launch(
        self, order: LaunchOrder, owner_tags: dict[str, str], snapshots: Mapping[str, str] | None = None
    ) -> None:
        """Launch an instance. A launch that is repeated is the same one."""
        ledger = OwnerLedger(self._ledger, order.token)
        self._launcher.launch(order, ledger, owner_tags, lambda: self.row(order.token), snapshots or {})

    def _order(self, request: InstanceRequest) -> LaunchOrder:
        architecture = request.placement.architecture
        image = self._settings.images.of(architecture)
        if image is None:
            raise TargetFailed(
                f"no instance image for {architecture} is configured",
                on="alibaba.images",
                remedy="prepare one, see docs/alibaba.md",
            )
        return LaunchOrder(
            request.token,
            request.job_id,
            image,
            request.disks,
            request.placement,
            user_data(request.credential),
            description=f"writes the disks of job {request.job_id}; released by itself",
        )

    def talk(self, row: Json, control: Credential) -> Talk:
        """The calls to a running instance, at its address of now."""
        return self._reach(InstanceAddress(address_of(row), *PORTS), control)

    def _running(self, request: InstanceRequest) -> Json:
        """The instance, running and with an address. A stopped instance gets a valid credential before its start."""

        def settled() -> Json | None:
            row = self.row(request.token)
            return row if row is not None and row["Status"] in ("Running", "Stopped") else None

        row = self._api.until(settled, "visible", on=request.token)
        if row["Status"] == "Stopped":
            parameters = {"InstanceId": row["InstanceId"], "UserData": user_data(request.credential)}
            self._api.ecs("ModifyInstanceAttribute", parameters, on=request.job_id)
            self._api.ecs("StartInstance", {"InstanceId": row["InstanceId"]}, on=request.job_id)

        def addressed() -> Json | None:
            row = self.row(request.token)
            return row if row is not None and row["Status"] == "Running" and address_of(row) else None

        return self._api.until(addressed, "running, with an address", on=str(row["InstanceId"]))

    def _introduce(self, request: InstanceRequest, serials: dict[str, str]) -> None:
        """Tell the instance its devices. The address is read each time, because it may change while the instance boots."""
        deadline = time.monotonic() + self._settings.boot_patience
        while True:
            row = self.row(request.token)
            host = address_of(row) if row is not None else ""
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

    def stop(self, token: str) -> None:
        """Stop the instance; its disks stay. Harmless if there is none."""

        def stopped() -> Json | None:
            row = self.row(token)
            if row is None or row["Status"] == "Stopped":
                return row or {}
            if row["Status"] == "Running":
                parameters = {"InstanceId": row["InstanceId"], "StoppedMode": self._settings.stopped_mode}
                self._api.ecs("StopInstance", parameters, patience=self._settings.patience, on=token)
            return None

        self._api.until(stopped, "stopped", on=token)

    def remove(self, token: str) -> None:
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

    def disks(self, row: Json) -> dict[str, Json]:
        """The data disks of an instance, by the key of their source disk."""
        return self._disks.by_key(str(row["InstanceId"]))

    def shown(self, row: Json) -> Instance:
        return instance_of(row, self._disks.of_instance(str(row["InstanceId"])))

    def row(self, token: str) -> Json | None:
        """The instance of this token, by its id if it is known, else by its tag; the oldest if there are two."""
        instance_id = OwnerLedger(self._ledger, token).instance()
        rows = self._all(token) if instance_id is None else list(self.rows(InstanceIds=f'["{instance_id}"]'))
        return min(rows, key=lambda row: str(row.get("CreationTime")), default=None)

    def _all(self, token: str) -> list[Json]:
        """The instances of this token, by tag and by the id in the ledger."""
        rows = list(self.rows(Tag=tags.written({tags.OWNER: token})))
        instance_id = OwnerLedger(self._ledger, token).instance()
        if instance_id is not None and all(row["InstanceId"] != instance_id for row in rows):
            rows += list(self.rows(InstanceIds=f'["{instance_id}"]'))
        return rows

    def rows(self, **parameters: Any) -> Iterator[Json]:
        region = {"RegionId": self._settings.region}
        return self._api.rows("ecs", "DescribeInstances", _INSTANCES, region | parameters)


def own(token: str, job_id: str) -> dict[str, str]:
    return {tags.OWNER: token, tags.JOB: job_id}


def instance_of(row: Json, disks: Sequence[Json]) -> Instance:
    resources = [CloudResource("disk", str(disk["DiskId"])) for disk in disks]
    return Instance(
        handle=str(row["InstanceId"]),
        name=str(row.get("InstanceName") or ""),
        address=InstanceAddress(address_of(row), *PORTS),
        health=Health.RUNNING if row.get("Status") == "Running" else Health.STOPPED,
        resources=tuple(sorted(resources, key=lambda visible: visible.reference)),
        token=tags.read(row).get(tags.OWNER, ""),
    )


def address_of(row: Json) -> str:
    """The address, "" while there is none: in a VPC the private address (R53), else a bound EIP or a public address (R55)."""
    private = ((row.get("VpcAttributes") or {}).get("PrivateIpAddress") or {}).get("IpAddress") or []
    if tags.read(row).get(tags.NET) == tags.VPC:
        return str(next(iter(private), ""))
    eip = str((row.get("EipAddress") or {}).get("IpAddress") or "")
    public = (row.get("PublicIpAddress") or {}).get("IpAddress") or []
    return eip or str(next(iter(public), ""))
