"""A token has at most one instance. Types, zones and disk categories are tried in order, and each attempt is recorded first.

If a crash loses the answer to an attempt, the same attempt is made again with the same client token. Either it had its
effect, or it is refused again, and only then the next attempt is made.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from connector.cloud.alibaba import tags
from connector.cloud.alibaba.api import Api, Json, client_token
from connector.cloud.alibaba.codes import NoStock, Refusal, RefusalEffect
from connector.cloud.alibaba.instance_types import Offer, candidates
from connector.cloud.alibaba.limits import DISK_LIMIT
from connector.cloud.alibaba.market import GIB, Category, Market
from connector.cloud.alibaba.network import Networks, Switch
from connector.cloud.alibaba.owner_ledger import ObjectAttempt, OwnerLedger
from connector.cloud.provider import INSTANCE_NAME, Placement, TargetDisk
from connector.errors import TargetFailed
from connector.model import Credential

USER_DATA_LIMIT: Final = 16 << 10  # bytes before base64
_ANYWHERE: Final = Placement()
_DIGESTS: Final = 2048  # bytes of a disk for each byte of its digest table, which lies on the system disk


@dataclass(frozen=True, slots=True)
class LaunchOrder:
    """The instance to launch from the image with the id `image`. `disks`: its data disks besides those of the image.

    `user_data`: in base64. `isolated`: nothing reaches it, it reaches nothing, and it has no role.
    """

    token: str
    job_id: str
    image: str
    disks: tuple[TargetDisk, ...] = ()
    placement: Placement = _ANYWHERE
    user_data: str = ""
    name: str = INSTANCE_NAME
    description: str = ""
    isolated: bool = False


@dataclass(frozen=True, slots=True)
class LaunchAttempt:
    """One attempt to launch: a type in a zone, and a disk category."""

    offer: Offer
    category: str

    @property
    def name(self) -> str:
        return f"launch/{self.offer.zone}/{self.offer.type}/{self.category}"

    @classmethod
    def of(cls, recorded: ObjectAttempt) -> LaunchAttempt:
        _, zone, kind, category = recorded.name.split("/")
        return cls(Offer(zone, kind), category)


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What all attempts of one launch share. `look` finds the instance by its tags.

    `snapshots`: by the key of a disk, what it is made of; other disks are empty.
    """

    request: LaunchOrder
    ledger: OwnerLedger
    own: dict[str, str]
    look: Callable[[], Json | None]
    image: Json
    switches: dict[str, Switch]
    snapshots: Mapping[str, str]
    sold: dict[Offer, list[Category]] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


class Launcher:
    """Launches instances. Thread-safe; only one thread at a time acts for one token."""

    def __init__(self, api: Api, networks: Networks) -> None:
        self._api = api
        self._settings = api.settings
        self._networks = networks
        self._market = Market(api)

    def launch(
        self,
        request: LaunchOrder,
        ledger: OwnerLedger,
        owner_tags: dict[str, str],
        look: Callable[[], Json | None],
        snapshots: Mapping[str, str],
    ) -> str:
        """The id of the instance. Raises NoStock, or the refusal that stops the job."""
        if len(request.disks) > DISK_LIMIT:
            raise TargetFailed(
                f"an instance has {DISK_LIMIT} data disks at most, the machine has {len(request.disks)}",
                on=request.job_id,
                remedy="migrate fewer disks at once",
            )
        switches = {switch.zone: switch for switch in self._networks.switches(request.placement)}
        launch = LaunchRequest(
            request,
            ledger,
            owner_tags,
            look,
            self._image(request.image),
            switches,
            snapshots,
        )
        return self._unsettled(launch) or self._in_order(launch)

    def _unsettled(self, launch: LaunchRequest) -> str | None:
        """Repeat the attempts with unknown outcome; the id of the instance if one had its effect."""
        for recorded in launch.ledger.remaining("launch"):
            instance = self._try(launch, LaunchAttempt.of(recorded))
            if isinstance(instance, str):
                return instance
        return None

    def _in_order(self, launch: LaunchRequest) -> str:
        placement, zones = launch.request.placement, list(launch.switches)
        for offer in candidates(
            placement.architecture, placement.instance_type, lambda wanted: self._market.offers(wanted, zones)
        ):
            for category in self._sold(launch, offer):
                instance = self._try(launch, LaunchAttempt(offer, category.name))
                if isinstance(instance, str):
                    return instance
                if instance.effect is RefusalEffect.NEXT_TYPE:
                    break
        raise _nothing(launch)

    def _sold(self, launch: LaunchRequest, offer: Offer) -> list[Category]:
        """The categories in which every disk of the machine is available for this type."""
        if offer not in launch.sold:
            launch.sold[offer] = [
                category
                for category in self._market.categories(offer, "DataDisk")
                if all(category.size(wanted(disk)) is not None for disk in launch.request.disks)
            ]
        return launch.sold[offer]

    def _try(self, launch: LaunchRequest, attempt: LaunchAttempt) -> str | Refusal:
        """The id of the instance, or the refusal that leads to the next attempt. Raises a refusal that stops the job."""
        try:
            return self._run(launch, attempt)
        except Refusal as refused:
            if refused.effect not in (RefusalEffect.NEXT_TYPE, RefusalEffect.NEXT_DISK):
                raise
            launch.ledger.gone(launch.ledger.open("launch", attempt.name))
            launch.reasons.append(f"{attempt.offer.type} in {attempt.offer.zone}: {refused.code}")
            return refused

    def _run(self, launch: LaunchRequest, attempt: LaunchAttempt) -> str:
        zone = attempt.offer.zone
        switch = self._networks.connected(
            launch.ledger, launch.switches.get(zone) or Switch(zone), launch.own
        )
        group_for = self._networks.closed_group if launch.request.isolated else self._networks.group
        group = group_for(launch.ledger, switch, launch.own)
        parameters = self._order(launch, attempt, switch, group)
        recorded = launch.ledger.open("launch", attempt.name)
        note_disks(launch.ledger, [disk.key for disk in launch.request.disks])
        reached = tags.VPC if launch.request.placement.net_mode == 2 else tags.INTERNET
        owner_tags = launch.own | {tags.NET: reached} | self._settings.tags
        parameters |= {"Tag": tags.written(owner_tags), "ClientToken": client_token(recorded.token)}
        try:
            answer = self._api.ecs("RunInstances", parameters, on=launch.request.job_id)
        except Refusal as refused:
            if refused.effect is not RefusalEffect.EXISTS:
                raise
            return str(self._api.until(launch.look, "visible", on=launch.request.token)["InstanceId"])
        return str(answer["InstanceIdSets"]["InstanceIdSet"][0])

    def _order(
        self, launch: LaunchRequest, attempt: LaunchAttempt, switch: Switch, group: str
    ) -> dict[str, Any]:
        request, placement, settings = launch.request, launch.request.placement, self._settings
        internet = 0 if request.isolated or placement.net_mode == 2 else settings.bandwidth
        return {
            "RegionId": settings.region,
            "ZoneId": attempt.offer.zone,
            "InstanceType": attempt.offer.type,
            "ImageId": launch.image["ImageId"],
            "VSwitchId": switch.id,
            "SecurityGroupId": group,
            "InstanceName": request.name,
            "Description": request.description,
            "InstanceChargeType": "PostPaid",
            "InternetChargeType": "PayByTraffic" if internet else None,
            "InternetMaxBandwidthOut": internet,
            "Amount": 1,
            "SystemDisk": self._system_disk(launch, attempt),
            "DataDisk": self._data_disks(launch, attempt) or None,
            "UserData": request.user_data or None,
            "HttpEndpoint": "enabled",
            "HttpTokens": "optional"
            if request.isolated
            else "required",  # guests may know the older form only
            "RamRoleName": placement.ram_role or None,
            "LaunchTemplateId": placement.launch_template or None,
            "LaunchTemplateVersion": placement.launch_template_version or None,
            "ResourceGroupId": settings.resource_group,
        }

    def _system_disk(self, launch: LaunchRequest, attempt: LaunchAttempt) -> dict[str, Any]:
        """The system disk, with room for the image and for the journals and digests of all disks."""
        digests = -(-sum(disk.capacity for disk in launch.request.disks) // _DIGESTS // GIB)
        size = max(int(launch.image.get("Size") or 0), 20) + digests + 1
        names = [category.name for category in self._market.categories(attempt.offer, "SystemDisk")]
        name = attempt.category if attempt.category in names or not names else names[0]
        return {"Category": name, "Size": str(size), **self._level(name)}

    def _data_disks(self, launch: LaunchRequest, attempt: LaunchAttempt) -> list[dict[str, Any]]:
        by_category = {category.name: category for category in self._sold(launch, attempt.offer)}
        category = by_category.get(attempt.category, Category(attempt.category, 0, 0))
        return [
            {
                "DiskName": disk_name(disk.key),
                "Category": attempt.category,
                "Size": category.size(wanted(disk)),
                "DeleteWithInstance": True,
                **_content(launch.snapshots.get(str(disk.key))),
                **self._level(attempt.category),
            }
            for disk in launch.request.disks
        ]

    def _level(self, category: str) -> dict[str, str]:
        level = self._settings.performance_level
        return {"PerformanceLevel": level} if category == "cloud_essd" and level else {}

    def _image(self, image: str) -> Json:
        """The image that an instance boots."""
        rows = self._api.rows(
            "ecs",
            "DescribeImages",
            ("Images", "Image"),
            {"RegionId": self._settings.region, "ImageId": image},
        )
        row = next(rows, None)
        if row is None:
            raise Refusal(
                "DescribeImages", "InvalidImageId.NotFound", 404, "it is not available", "-", on=image
            )
        return dict(row)


def _content(snapshot: str | None) -> dict[str, str]:
    """What a new disk holds: a snapshot, or nothing."""
    return {} if snapshot is None else {"SnapshotId": snapshot}


def note_disks(ledger: OwnerLedger, keys: Sequence[int]) -> None:
    """Record which disks come with the instance: they may become visible later and must not be made twice."""
    names = {f"launch-disk/{key}" for key in keys}
    for recorded in ledger.remaining("launch-disk"):
        if recorded.name not in names:
            ledger.gone(recorded)
    for name in sorted(names):
        ledger.open("launch-disk", name)


def disk_name(key: int) -> str:
    """The name of a data disk, which contains the key of its source disk."""
    return f"connector-{key}"


def disk_key(name: str) -> str | None:
    """The key in `disk_name`; None for somebody else's disk."""
    key = name.removeprefix("connector-")
    return key if key != name and key.removeprefix("-").isdecimal() else None


def user_data(credential: Credential) -> str:
    """The instance's user data: only its certificate and key for this job, which expire by themselves."""
    content = json.dumps({"version": 1, "credential": asdict(credential)}, separators=(",", ":")).encode()
    if len(content) > USER_DATA_LIMIT:
        raise TargetFailed(
            f"the user data has {len(content)} bytes, more than {USER_DATA_LIMIT}",
            on="credential",
            remedy="report it: a credential should be smaller",
        )
    return base64.b64encode(content).decode()


def wanted(disk: TargetDisk) -> int:
    """Bytes that the target of this disk must have."""
    return max(disk.capacity, disk.size)


def _nothing(launch: LaunchRequest) -> TargetFailed:
    type_name, reasons = launch.request.placement.instance_type, launch.reasons
    refusal = f"instance type {type_name} cannot be had" if type_name else "no instance type can be had"
    tried = f" (tried {'; '.join(reasons[:6])}{' and more' if len(reasons) > 6 else ''})" if reasons else ""
    remedy = "name another InstanceType, or none" if type_name else "try another region or zone, or later"
    return NoStock(refusal + tried, on=launch.request.job_id, remedy=f"{remedy}; then start the job again")
