"""An instance is on a vSwitch of the operator, or on one that we make. Its security group admits only configured addresses.

They reach its two ports and nothing else (R58).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from connector.cloud.alibaba import tags
from connector.cloud.alibaba.api import Api, Json, client_token
from connector.cloud.alibaba.codes import Refusal, RefusalEffect
from connector.cloud.alibaba.owner_ledger import ObjectAttempt, OwnerLedger
from connector.cloud.provider import Placement
from connector.errors import BadInput

PORTS: Final = (8080, 8703)
_BITS: Final = 24  # of a vSwitch that we make
_VPCS: Final = ("Vpcs", "Vpc")
_VSWITCHES: Final = ("VSwitches", "VSwitch")
_GROUPS: Final = ("SecurityGroups", "SecurityGroup")


@dataclass(frozen=True, slots=True)
class Switch:
    """A vSwitch. Without an id it is made when its zone is chosen."""

    zone: str
    id: str = ""
    vpc: str = ""


class Networks:
    """Finds networks by tag, or makes them with a recorded token."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._settings = api.settings

    def switches(self, placement: Placement) -> list[Switch]:
        """The possible vSwitches of an instance, best first. Raises BadInput if the job's parameters contradict each other."""
        wanted = [placement.vswitch] if placement.vswitch else list(self._settings.vswitches)
        if wanted:
            vswitches = [self._switch(vswitch) for vswitch in wanted]
            if placement.vpc and any(switch.vpc != placement.vpc for switch in vswitches):
                raise BadInput(f"the vSwitch is not in VPC {placement.vpc}", on="vpc")
            return vswitches
        if placement.vpc:
            raise BadInput("a VPC is only used with one of its vSwitches", on="vpc")
        return [Switch(zone) for zone in self._settings.zones or self._zones()]

    def _switch(self, vswitch: str) -> Switch:
        row = next(self._vswitches({"VSwitchId": vswitch}), None)
        if row is None:
            raise Refusal(
                "DescribeVSwitches", "InvalidVSwitchId.NotFound", 404, "there is none", "-", on=vswitch
            )
        return Switch(str(row["ZoneId"]), vswitch, str(row["VpcId"]))

    def _zones(self) -> list[str]:
        answer = self._api.ecs("DescribeZones", {"RegionId": self._settings.region})
        return [str(row["ZoneId"]) for row in (answer.get("Zones") or {}).get("Zone") or []]

    def connected(self, ledger: OwnerLedger, switch: Switch, owner_tags: dict[str, str]) -> Switch:
        """The same place, with a vSwitch that exists. `own`: the tags of what is made."""
        if switch.id:
            return switch
        vpc = self._made(
            ledger.open("vpc", "vpc"),
            ledger,
            lambda: next(self._rows("DescribeVpcs", _VPCS, owner_tags), None),
            lambda token: self._create_vpc(token, owner_tags),
            "VpcId",
            lambda vswitches: self._available(self._rows("DescribeVpcs", _VPCS, owner_tags, VpcId=vswitches)),
        )
        object_id = self._made(
            ledger.open("vswitch", f"vswitch/{switch.zone}"),
            ledger,
            lambda: next(self._vswitches({"VpcId": vpc, "ZoneId": switch.zone}), None),
            lambda token: self._create_vswitch(token, owner_tags, vpc, switch.zone),
            "VSwitchId",
            lambda vswitches: self._available(self._vswitches({"VSwitchId": vswitches})),
        )
        return Switch(switch.zone, object_id, vpc)

    def group(self, ledger: OwnerLedger, switch: Switch, owner_tags: dict[str, str]) -> str:
        """The security group for an instance on this vSwitch, with its rules."""
        if self._settings.security_group is not None:
            return self._settings.security_group
        group = self._made(
            ledger.open("security-group", f"security-group/{switch.vpc}"),
            ledger,
            lambda: next(self._groups(owner_tags, VpcId=switch.vpc), None),
            lambda token: self._create_group(token, owner_tags, switch.vpc),
            "SecurityGroupId",
            lambda vswitches: next(self._groups(owner_tags, SecurityGroupId=vswitches), None),
        )
        self._let_in(group)
        return group

    def closed_group(self, ledger: OwnerLedger, switch: Switch, owner_tags: dict[str, str]) -> str:
        """A security group that lets nothing in and nothing out, not even between its members."""
        group = self._made(
            ledger.open("security-group", f"closed-group/{switch.vpc}"),
            ledger,
            lambda: next(self._groups(owner_tags, VpcId=switch.vpc), None),
            lambda token: self._create_group(token, owner_tags, switch.vpc),
            "SecurityGroupId",
            lambda groups: next(self._groups(owner_tags, SecurityGroupId=groups), None),
        )
        parameters = {"RegionId": self._settings.region, "SecurityGroupId": group}
        self._api.ecs("ModifySecurityGroupPolicy", {**parameters, "InnerAccessPolicy": "Drop"}, on=group)
        rule = {
            "IpProtocol": "ALL",
            "PortRange": "-1/-1",
            "DestCidrIp": "0.0.0.0/0",
            "Policy": "drop",
            "Priority": "1",
            "Description": "nothing goes out",
        }
        self._api.ecs("AuthorizeSecurityGroupEgress", {**parameters, "Permissions": [rule]}, on=group)
        return group

    def keep_open(self, owner_tags: dict[str, str]) -> None:
        """Add rules that somebody removed from our security group again."""
        for row in list(self._groups(owner_tags)):
            self._let_in(str(row["SecurityGroupId"]))

    def _let_in(self, group: str) -> None:
        """Add the missing rules to a group."""
        parameters = {"RegionId": self._settings.region, "SecurityGroupId": group}
        answer = self._api.ecs(
            "DescribeSecurityGroupAttribute", {**parameters, "Direction": "ingress"}, on=group
        )
        present = {
            (str(row.get("PortRange")), str(row.get("SourceCidrIp")))
            for row in (answer.get("Permissions") or {}).get("Permission") or []
            if str(row.get("IpProtocol")).lower() == "tcp" and str(row.get("Policy", "Accept")) == "Accept"
        }
        missing = [
            {
                "IpProtocol": "tcp",
                "PortRange": f"{port}/{port}",
                "SourceCidrIp": source,
                "Policy": "accept",
                "Priority": "1",
                "Description": "control" if port == PORTS[0] else "blocks",
            }
            for source in self._settings.reachable_from
            for port in PORTS
            if (f"{port}/{port}", source) not in present
        ]
        if missing:
            self._api.ecs("AuthorizeSecurityGroup", {**parameters, "Permissions": missing}, on=group)

    def remove(self, owner_tags: dict[str, str]) -> None:
        """Remove the networks of one owner, from the inside out, after the objects that depend on them are gone."""
        for row in list(self._groups(owner_tags)):
            self._removed(self._api.ecs, "DeleteSecurityGroup", "SecurityGroupId", row)
        for row in list(self._rows("DescribeVSwitches", _VSWITCHES, owner_tags)):
            self._removed(self._api.vpc, "DeleteVSwitch", "VSwitchId", row)
        for row in list(self._rows("DescribeVpcs", _VPCS, owner_tags)):
            self._removed(self._api.vpc, "DeleteVpc", "VpcId", row)

    def _removed(self, call: Callable[..., Json], operation: str, key: str, row: Json) -> None:
        """Remove one object. Harmless if it is gone."""
        parameters = {"RegionId": self._settings.region, key: row[key]}
        try:
            call(operation, parameters, patience=self._settings.patience, on=str(row[key]))
        except Refusal as refused:
            if not refused.gone:
                raise

    def kinds(self, owner_tags: dict[str, str]) -> set[str]:
        """The kinds of an owner's networks that are visible now."""
        vswitches = {
            "security-group": self._groups(owner_tags),
            "vswitch": self._rows("DescribeVSwitches", _VSWITCHES, owner_tags),
            "vpc": self._rows("DescribeVpcs", _VPCS, owner_tags),
        }
        return {kind for kind, rows in vswitches.items() if next(rows, None) is not None}

    def _made(
        self,
        attempt: ObjectAttempt,
        ledger: OwnerLedger,
        look: Callable[[], Json | None],
        create: Callable[[str], Json],
        key: str,
        ready: Callable[[str], Json | None],
    ) -> str:
        """The id of the object that `look` finds or `create` makes, after it is ready."""
        row = look()
        if row is None:
            try:
                row = create(client_token(attempt.token))
            except Refusal as refused:
                if refused.effect is not RefusalEffect.EXISTS:
                    raise
                row = self._api.until(look, "visible", on=attempt.token)
        object_id = str(row[key])
        self._api.until(lambda: ready(object_id), "usable", on=object_id)
        ledger.made(attempt, object_id)
        return object_id

    def _create_vpc(self, token: str, owner_tags: dict[str, str]) -> Json:
        parameters: dict[str, Any] = {
            "RegionId": self._settings.region,
            "CidrBlock": self._settings.network,
            "VpcName": "connector-transition",
            "Tag": tags.written(owner_tags),
            "ClientToken": token,
            "ResourceGroupId": self._settings.resource_group,
        }
        return self._api.vpc("CreateVpc", parameters)

    def _create_vswitch(self, token: str, owner_tags: dict[str, str], vpc: str, zone: str) -> Json:
        parameters: dict[str, Any] = {
            "RegionId": self._settings.region,
            "VpcId": vpc,
            "ZoneId": zone,
            "CidrBlock": self._block(zone),
            "VSwitchName": "connector-transition",
            "Tag": tags.written(owner_tags),
            "ClientToken": token,
        }
        return self._api.vpc("CreateVSwitch", parameters, patience=self._settings.patience, on=vpc)

    def _block(self, zone: str) -> str:
        """The zone's part of the network; it is always the same."""
        zones = sorted(self._settings.zones or self._zones())
        parts = ipaddress.IPv4Network(self._settings.network).subnets(new_prefix=_BITS)
        return str(next(part for n, part in enumerate(parts) if n == zones.index(zone)))

    def _create_group(self, token: str, owner_tags: dict[str, str], vpc: str) -> Json:
        parameters: dict[str, Any] = {
            "RegionId": self._settings.region,
            "VpcId": vpc,
            "SecurityGroupName": "connector-transition",
            "Description": "ports of an intermediate instance",
            "Tag": tags.written(owner_tags),
            "ClientToken": token,
            "ResourceGroupId": self._settings.resource_group,
        }
        return self._api.ecs("CreateSecurityGroup", parameters, on=vpc)

    def _rows(self, operation: str, where: tuple[str, str], owner_tags: dict[str, str], **more: Any) -> Any:
        parameters = {"RegionId": self._settings.region, "Tag": tags.written(owner_tags), **more}
        return self._api.rows("vpc", operation, where, parameters)

    def _vswitches(self, parameters: dict[str, Any]) -> Any:
        return self._api.rows(
            "vpc", "DescribeVSwitches", _VSWITCHES, {"RegionId": self._settings.region, **parameters}
        )

    def _groups(self, owner_tags: dict[str, str], **more: Any) -> Any:
        parameters = {"RegionId": self._settings.region, "Tag": tags.written(owner_tags), **more}
        return self._api.rows("ecs", "DescribeSecurityGroups", _GROUPS, parameters)

    @staticmethod
    def _available(rows: Any) -> Json | None:
        row: Json | None = next(rows, None)
        return row if row is not None and row.get("Status") == "Available" else None
