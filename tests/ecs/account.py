"""An account in a simulated region, spoken to by the official SDKs only; every name is the API's own."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alibabacloud_ecs20140526 import models as ecs_models
from alibabacloud_ecs20140526.client import Client as EcsClient
from alibabacloud_tea_openapi.models import Config
from alibabacloud_vpc20160428 import models as vpc_models
from alibabacloud_vpc20160428.client import Client as VpcClient
from darabonba.runtime import RuntimeOptions
from Tea.exceptions import TeaException

from simulator.cloud import AccessKey, Server

KEY = AccessKey("testak", "testsecret")
Json = dict[str, Any]


class Account:
    """`ecs` and `vpc` call an operation with its parameters as the API names them, and answer its body."""

    def __init__(self, server: Server, key: AccessKey = KEY, **more: Any) -> None:
        self.server = server
        self.region = server.region
        config: dict[str, Any] = {
            "access_key_id": key.id,
            "access_key_secret": key.secret,
            "endpoint": server.endpoint,
            "region_id": server.region.name,
            "ca": str(server.certificate),
        }
        if key.token:
            config |= {"security_token": key.token, "type": "sts"}
        self._ecs, self._vpc = EcsClient(Config(**config | more)), VpcClient(Config(**config | more))

    def ecs(self, operation: str, **given: Any) -> Json:
        return _call(self._ecs, ecs_models, operation, {"RegionId": self.region.name} | given)

    def vpc(self, operation: str, **given: Any) -> Json:
        return _call(self._vpc, vpc_models, operation, {"RegionId": self.region.name} | given)

    @functools.cached_property
    def vswitch(self) -> str:
        """In a VPC of its own, in the first zone."""
        vpc = self.vpc("CreateVpc", CidrBlock="172.16.0.0/12")["VpcId"]
        settled(lambda: self.vpc("DescribeVpcs", VpcId=vpc)["Vpcs"]["Vpc"], "Available")
        zone = self.region.stock.zones[0]
        made = self.vpc("CreateVSwitch", VpcId=vpc, ZoneId=zone, CidrBlock="172.16.1.0/24")["VSwitchId"]
        settled(lambda: self.vpc("DescribeVSwitches", VSwitchId=made)["VSwitches"]["VSwitch"], "Available")
        self.vpc_id = vpc
        return str(made)

    @functools.cached_property
    def group(self) -> str:
        return self.new_group()

    def new_group(self, **more: Any) -> str:
        """A security group that can be seen."""
        assert self.vswitch
        made = self.ecs("CreateSecurityGroup", VpcId=self.vpc_id, **more)["SecurityGroupId"]
        while not self.ecs("DescribeSecurityGroups", SecurityGroupId=made)["TotalCount"]:
            pass
        return str(made)

    def order(self, **more: Any) -> Json:
        """What RunInstances needs at least."""
        return {
            "ImageId": "m-sim-x86",
            "InstanceType": "ecs.t6-c1m1.large",
            "VSwitchId": self.vswitch,
            "SecurityGroupId": self.group,
            "SystemDisk": {"Category": "cloud_essd", "Size": "20"},
        } | more

    def run(self, **more: Any) -> str:
        """A running instance."""
        made = self.ecs("RunInstances", **self.order(**more))["InstanceIdSets"]["InstanceIdSet"]
        self.until(made[0], "Running")
        return str(made[0])

    def instance(self, instance_id: str) -> Json | None:
        rows = self.ecs("DescribeInstances", InstanceIds=f'["{instance_id}"]')["Instances"]["Instance"]
        return rows[0] if rows else None

    def until(self, instance_id: str, status: str) -> Json:
        return settled(lambda: [self.instance(instance_id)], status)

    def disks(self, instance_id: str) -> list[Json]:
        rows: list[Json] = self.ecs("DescribeDisks", InstanceId=instance_id)["Disks"]["Disk"]
        return sorted(rows, key=lambda row: str(row["Device"]))

    def snapshot(self, disk: str) -> str:
        made = self.ecs("CreateSnapshot", DiskId=disk)["SnapshotId"]
        look = functools.partial(self.ecs, "DescribeSnapshots", SnapshotIds=f'["{made}"]')
        settled(lambda: look()["Snapshots"]["Snapshot"], "accomplished")
        return str(made)

    def image(self, image_id: str, **more: Any) -> list[Json]:
        rows: list[Json] = self.ecs("DescribeImages", ImageId=image_id, **more)["Images"]["Image"]
        return rows


def settled(look: Callable[[], list[Any]], status: str, tries: int = 2000) -> Json:
    """Asks until the first row has this status. Each look is a call, so this waits for the cloud, not for a time."""
    for _ in range(tries):
        rows = look()
        if rows and rows[0] and rows[0].get("Status") == status:
            return dict(rows[0])
    raise AssertionError(f"never {status}: {rows}")


def write(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def read(path: Path, at: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(at)
        return file.read(length)


def code_of(refused: TeaException) -> tuple[str, int]:
    return str(refused.code), int(refused.status_code)  # type: ignore[attr-defined]


def _call(client: Any, models: Any, operation: str, given: Json) -> Json:
    request = getattr(models, f"{operation}Request")()
    known = request.from_map({}).__dict__
    if "region_id" not in known:
        given = {name: value for name, value in given.items() if name != "RegionId"}
    request = getattr(models, f"{operation}Request")().from_map(given)
    method = (
        re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", operation)
        .lower()
        .replace("v_switch", "vswitch")
    )
    answer = getattr(client, f"{method}_with_options")(request, RuntimeOptions())
    assert answer.body is not None, answer
    body: Json = answer.body.to_map()
    return body
