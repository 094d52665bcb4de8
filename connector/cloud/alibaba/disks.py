"""Each data disk of an instance is tagged with its source disk's key. Missing disks are made, small ones enlarged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from connector.cloud.alibaba import tags
from connector.cloud.alibaba.api import Api, Json, client_token
from connector.cloud.alibaba.codes import NoStock, Refusal, RefusalEffect
from connector.cloud.alibaba.instance_types import Offer
from connector.cloud.alibaba.launch import disk_key, disk_name, wanted
from connector.cloud.alibaba.limits import DISK_LIMIT
from connector.cloud.alibaba.market import GIB, Market
from connector.cloud.alibaba.owner_ledger import OwnerLedger
from connector.cloud.provider import TargetDisk
from connector.errors import TargetFailed

_DISKS: Final = ("Disks", "Disk")
_EMPTY: Final[Mapping[str, str]] = MappingProxyType({})


class CloudDisks:
    """Finds, makes and removes data disks. Thread-safe; only one thread at a time acts for one owner."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._settings = api.settings
        self._market = Market(api)

    def of_instance(self, instance: str) -> list[Json]:
        """All disks of an instance, with the system disk."""
        return list(self._rows({"InstanceId": instance}))

    def of_owner(self, owner_tags: dict[str, str]) -> list[Json]:
        """All disks with these tags."""
        return list(self._rows({"Tag": tags.written(owner_tags)}))

    def complete(
        self,
        instance: Json,
        disks: Sequence[TargetDisk],
        ledger: OwnerLedger,
        owner_tags: dict[str, str],
        snapshots: Mapping[str, str] = _EMPTY,
    ) -> dict[str, Json]:
        """The disk for each source disk, by key. A missing disk is made and attached; a small disk is enlarged.

        `snapshots`: by key, the snapshot that a disk is made of; other disks are empty.
        """
        instance_id = str(instance["InstanceId"])
        rows = self._api.until(
            lambda: self._launched(instance_id, ledger), "visible with its disks", on=instance_id
        )
        if len(rows.keys() | {str(disk.key) for disk in disks}) > DISK_LIMIT:
            raise TargetFailed(
                f"an instance has {DISK_LIMIT} data disks at most",
                on=instance_id,
                remedy="migrate fewer disks at once",
            )
        for disk in disks:
            if str(disk.key) not in rows:
                snapshot = snapshots.get(str(disk.key))
                self._attach(self._create(instance, disk, ledger, owner_tags, snapshot), instance_id)
        rows = self.by_key(instance_id)
        for disk in disks:
            self._enlarge(rows[str(disk.key)], disk)
        return {str(disk.key): rows[str(disk.key)] for disk in disks}

    def _launched(self, instance: str, ledger: OwnerLedger) -> dict[str, Json] | None:
        """All its data disks by key; None while a disk of the launch is not visible."""
        by_key = self.by_key(instance)
        names = (attempt.name.removeprefix("launch-disk/") for attempt in ledger.remaining("launch-disk"))
        return by_key if all(key in by_key for key in names) else None

    def by_key(self, instance: str) -> dict[str, Json]:
        """The data disks of an instance that have a source disk, by its key."""
        rows = ((disk_key(str(row.get("DiskName") or "")), row) for row in self.of_instance(instance))
        return {key: row for key, row in rows if key is not None}

    def _create(
        self,
        instance: Json,
        disk: TargetDisk,
        ledger: OwnerLedger,
        owner_tags: dict[str, str],
        snapshot: str | None,
    ) -> str:
        """The id of the disk, which may not be attached yet. A repetition answers the same disk."""
        disk_tags = owner_tags | {tags.DISK: str(disk.key)}

        def look() -> Json | None:
            return next(self._rows({"Tag": tags.written(disk_tags)}), None)

        attempt = ledger.open("disk", f"disk/{disk.key}")
        row = look()
        if row is None:
            parameters = self._order(instance, disk) | {
                "SnapshotId": snapshot,
                "Tag": tags.written(disk_tags | self._settings.tags),
                "ClientToken": client_token(attempt.token),
            }
            try:
                disk_id = str(self._api.ecs("CreateDisk", parameters, on=ledger.owner)["DiskId"])
            except Refusal as refused:
                if refused.effect is not RefusalEffect.EXISTS:
                    raise
                disk_id = str(self._api.until(look, "visible", on=attempt.token)["DiskId"])
        else:
            disk_id = str(row["DiskId"])
        return disk_id

    def _order(self, instance: Json, disk: TargetDisk) -> dict[str, Any]:
        offer = Offer(str(instance["ZoneId"]), str(instance["InstanceType"]))
        for category in self._market.categories(offer, "DataDisk"):
            if (size := category.size(wanted(disk))) is not None:
                level = self._settings.performance_level if category.name == "cloud_essd" else None
                return {
                    "RegionId": self._settings.region,
                    "ZoneId": offer.zone,
                    "DiskName": disk_name(disk.key),
                    "DiskCategory": category.name,
                    "Size": size,
                    "PerformanceLevel": level,
                    "ResourceGroupId": self._settings.resource_group,
                }
        raise NoStock(
            f"no disk of {-(-wanted(disk) // GIB)} GiB can be had for {offer.type} in {offer.zone}",
            on=disk.label,
            remedy="try again later, or delete this job and create a new one",
        )

    def _attach(self, disk: str, instance: str) -> None:
        ids = f'["{disk}"]'

        def usable() -> Json | None:
            row = next(self._rows({"DiskIds": ids}), None)
            return row if row is not None and row.get("Status") in ("Available", "In_use") else None

        if self._api.until(usable, "usable", on=disk).get("Status") == "Available":
            parameters = {"InstanceId": instance, "DiskId": disk, "DeleteWithInstance": True}
            self._api.ecs("AttachDisk", parameters, patience=self._settings.patience, on=disk)

        def attached() -> Json | None:
            row = next(self._rows({"DiskIds": ids}), None)
            return row if row is not None and row.get("Status") == "In_use" else None

        self._api.until(attached, "attached", on=disk)

    def _enlarge(self, row: Json, disk: TargetDisk) -> None:
        size = -(-wanted(disk) // GIB)
        if int(row["Size"]) < size:
            parameters = {"DiskId": row["DiskId"], "NewSize": size, "Type": "online"}
            self._api.ecs("ResizeDisk", parameters, patience=self._settings.patience, on=str(row["DiskId"]))

    def remove(self, owner_tags: dict[str, str]) -> None:
        """Remove the disks that are left when the instance is gone."""
        for row in self.of_owner(owner_tags):
            try:
                self._api.ecs("DeleteDisk", {"DiskId": row["DiskId"]}, patience=self._settings.patience)
            except Refusal as refused:
                if not refused.gone:
                    raise

    def _rows(self, parameters: dict[str, Any]) -> Any:
        return self._api.rows(
            "ecs", "DescribeDisks", _DISKS, {"RegionId": self._settings.region, **parameters}
        )
