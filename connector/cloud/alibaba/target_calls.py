"""The calls about one target instance: each is named after what it does, and may be repeated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from connector.cloud.alibaba import tags
from connector.cloud.alibaba.api import Api, Json, client_token
from connector.cloud.alibaba.codes import Refusal, RefusalEffect
from connector.cloud.alibaba.owner_ledger import OwnerLedger
from connector.cloud.provider import ProviderLedger
from connector.errors import BadInput, TargetFailed


class TargetLists:
    """What the account has. Thread-safe."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def instance(self, instance: str) -> Json | None:
        """The instance; None if there is none, or if it is one of our intermediate instances."""
        if not instance.isascii() or not instance.replace("-", "").isalnum():
            return None
        where = ("Instances", "Instance")
        row = next(self._rows("DescribeInstances", where, InstanceIds=f'["{instance}"]'), None)
        return None if row is None or tags.OWNER in tags.read(row) else row

    def attached(self, instance: str) -> list[Json]:
        """The disks of a machine, the system disk first."""
        rows = self.disks(InstanceId=instance)
        return sorted(rows, key=lambda row: (row.get("Type") != "system", str(row.get("Device"))))

    def disk(self, disk: str) -> Json | None:
        return next(self.disks(DiskIds=f'["{disk}"]'), None)

    def disks(self, **parameters: Any) -> Iterator[Json]:
        return self._rows("DescribeDisks", ("Disks", "Disk"), **parameters)

    def snapshots(self, **parameters: Any) -> Iterator[Json]:
        return self._rows("DescribeSnapshots", ("Snapshots", "Snapshot"), **parameters)

    def images(self, **parameters: Any) -> Iterator[Json]:
        return self._rows("DescribeImages", ("Images", "Image"), **parameters)

    def _rows(self, operation: str, where: tuple[str, str], **parameters: Any) -> Iterator[Json]:
        return self._api.rows("ecs", operation, where, {"RegionId": self._api.settings.region, **parameters})


class TargetCalls:
    """What a job asks of the cloud about its machine `instance`. `token`: the job's, in the tags of what it makes."""

    def __init__(
        self, api: Api, lists: TargetLists, ledger: ProviderLedger, token: str, instance: str
    ) -> None:
        self.api = api
        self.settings = api.settings
        self.lists = lists
        self.ledger = OwnerLedger(ledger, token)
        self.token = token
        self.instance = instance

    def given(self, **more: Any) -> dict[str, Any]:
        return {"RegionId": self.settings.region, **more}

    def system_disk(self) -> Json | None:
        """The machine's system disk; None while a new one is not visible yet."""
        return next(
            (disk for disk in self.lists.attached(self.instance) if disk.get("Type") == "system"), None
        )

    def require(self) -> Json:
        row = self.lists.instance(self.instance)
        if row is None:
            raise BadInput(
                "does not exist in this account and region",
                on=f"target instance {self.instance}",
                remedy="look for it in the console",
            )
        return row

    def stop(self, row: Json, *, allowed: bool) -> None:
        """The machine is stopped and stays reserved: in economical mode it might not start again."""
        if row["Status"] == "Stopped":
            return
        if not allowed:
            raise TargetFailed(
                "is running",
                on=f"target instance {self.instance}",
                remedy="stop it, then try again",
                retryable=True,
            )

        def stopped() -> bool | None:
            status = self.require()["Status"]
            if status == "Running":
                parameters = {"InstanceId": self.instance, "StoppedMode": "KeepCharging"}
                self.api.ecs("StopInstance", parameters, patience=self.settings.patience, on=self.instance)
            return True if status == "Stopped" else None

        self.api.until(stopped, "stopped", on=self.instance)

    def created(self, operation: str, parameters: Mapping[str, Any], token: str, look: Any) -> Json:
        """The answer of a call that creates; if an earlier attempt had its effect, what it made."""
        order = {
            **parameters,
            "ClientToken": client_token(token),
            "ResourceGroupId": self.settings.resource_group,
        }
        try:
            return self.api.ecs(operation, order, patience=self.settings.patience, on=self.instance)
        except Refusal as refused:
            if refused.effect not in (RefusalEffect.EXISTS, RefusalEffect.RENAME):
                raise
            row: Json = self.api.until(look, "visible", on=token)
            return row

    def delete(self, operation: str, parameters: Mapping[str, Any]) -> None:
        try:
            self.api.ecs(operation, parameters, patience=self.settings.patience, on=self.instance)
        except Refusal as refused:
            if not refused.gone:
                raise

    def tag(self, resource: str, kind: str, words: Mapping[str, str]) -> None:
        parameters = self.given(ResourceType=kind, ResourceId=[resource], Tag=tags.written(words))
        self.api.ecs("TagResources", parameters, on=resource)

    def untag(self, disk: str) -> None:
        parameters = self.given(
            ResourceType="disk", ResourceId=[disk], TagKey=[tags.TARGET, tags.DISK, tags.REPLACED]
        )
        self.api.ecs("UntagResources", parameters, on=disk)

    def mine(self, part: str) -> dict[str, str]:
        return {tags.TARGET: self.token, tags.DISK: part}
