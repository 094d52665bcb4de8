"""Answers one signed call: it admits it, finds the operation, applies the fault rules and carries the call out."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from simulator.cloud import (
    disks,
    groups,
    images,
    instances,
    labels,
    launch,
    market,
    networks,
    replace,
    snapshots,
)
from simulator.cloud.authenticator import Authenticator
from simulator.cloud.codes import Refused, missing
from simulator.cloud.parameters import Parameters
from simulator.cloud.region import Region
from simulator.cloud.signature import AROUND, Request, claim
from simulator.faults import Rule
from simulator.https import Answer

_log = logging.getLogger("simulator.cloud")
ECS: Final = "2014-05-26"
VPC: Final = "2016-04-28"
_MISMATCH: Final = {ECS: "IdempotenceParamNotMatch", VPC: "IdempotentParameterMismatch"}

Work = Callable[[Region, Parameters], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """`regional`: it needs RegionId. `once`: with a ClientToken it may be repeated."""

    work: Work
    regional: bool = False
    once: bool = False


_ECS: Final[dict[str, Operation]] = {
    "DescribeRegions": Operation(market.describe_regions),
    "DescribeZones": Operation(market.describe_zones, regional=True),
    "DescribeAvailableResource": Operation(market.describe_available_resource, regional=True),
    "RunInstances": Operation(launch.run_instances, regional=True, once=True),
    "DescribeInstances": Operation(instances.describe_instances, regional=True),
    "StartInstance": Operation(instances.start_instance),
    "StopInstance": Operation(instances.stop_instance),
    "DeleteInstance": Operation(instances.delete_instance),
    "ModifyInstanceAttribute": Operation(instances.modify_instance_attribute),
    "GetInstanceConsoleOutput": Operation(instances.get_console_output, regional=True),
    "GetInstanceScreenshot": Operation(instances.get_screenshot, regional=True),
    "ConvertNatPublicIpToEip": Operation(instances.convert_public_ip, regional=True),
    "ReplaceSystemDisk": Operation(replace.replace_system_disk, once=True),
    "CreateDisk": Operation(disks.create_disk, regional=True, once=True),
    "AttachDisk": Operation(disks.attach_disk),
    "DetachDisk": Operation(disks.detach_disk),
    "ResizeDisk": Operation(disks.resize_disk, once=True),
    "DeleteDisk": Operation(disks.delete_disk),
    "DescribeDisks": Operation(disks.describe_disks, regional=True),
    "CreateSnapshot": Operation(snapshots.create_snapshot, once=True),
    "DescribeSnapshots": Operation(snapshots.describe_snapshots, regional=True),
    "DeleteSnapshot": Operation(snapshots.delete_snapshot),
    "CreateImage": Operation(images.create_image, regional=True, once=True),
    "DescribeImages": Operation(images.describe_images, regional=True),
    "DeleteImage": Operation(images.delete_image, regional=True),
    "CreateSecurityGroup": Operation(groups.create_security_group, regional=True, once=True),
    "AuthorizeSecurityGroup": Operation(groups.authorize_security_group, regional=True),
    "AuthorizeSecurityGroupEgress": Operation(groups.authorize_security_group_egress, regional=True),
    "ModifySecurityGroupPolicy": Operation(groups.modify_security_group_policy, regional=True),
    "RevokeSecurityGroup": Operation(groups.revoke_security_group, regional=True),
    "DescribeSecurityGroups": Operation(groups.describe_security_groups, regional=True),
    "DescribeSecurityGroupAttribute": Operation(groups.describe_security_group_attribute, regional=True),
    "DeleteSecurityGroup": Operation(groups.delete_security_group, regional=True),
    "TagResources": Operation(labels.tag_resources, regional=True),
    "UntagResources": Operation(labels.untag_resources, regional=True),
    "ListTagResources": Operation(labels.list_tag_resources, regional=True),
}
_VPC: Final[dict[str, Operation]] = {
    "CreateVpc": Operation(networks.create_vpc, regional=True, once=True),
    "DescribeVpcs": Operation(networks.describe_vpcs, regional=True),
    "DeleteVpc": Operation(networks.delete_vpc),
    "CreateVSwitch": Operation(networks.create_vswitch, once=True),
    "DescribeVSwitches": Operation(networks.describe_vswitches),
    "DeleteVSwitch": Operation(networks.delete_vswitch),
    "AllocateEipAddress": Operation(networks.allocate_eip, regional=True, once=True),
    "DescribeEipAddresses": Operation(networks.describe_eips, regional=True),
    "ReleaseEipAddress": Operation(networks.release_eip),
    "AssociateEipAddress": Operation(instances.associate_eip),
    "UnassociateEipAddress": Operation(instances.unassociate_eip),
}
OPERATIONS: Final = {ECS: _ECS, VPC: _VPC}


class Dispatcher:
    """Answers calls for one region. Thread-safe; calls are carried out one after another."""

    def __init__(self, region: Region, authenticator: Authenticator) -> None:
        self._region = region
        self._authenticator = authenticator

    def answer(self, request: Request) -> Answer:
        request_id = str(uuid.uuid4()).upper()
        rule: Rule | None = None
        try:
            claimed = claim(request)
            self._authenticator.admit(claimed)
            own = {name: value for name, value in request.parameters.items() if name not in AROUND}
            parameters = Parameters(own)
            rule = self._region.faults.consult(claimed.action, parameters.target())
            done = self._carry(claimed.action, claimed.version, parameters, rule)
            status, body = 200, {"RequestId": request_id} | done
        except Refused as refused:
            host = request.headers.get("host", "")
            status, body = refused.status, _error(refused, request_id, host)
        except Exception:  # noqa: BLE001 - outermost handler: a defect is an answer, and in the log
            _log.exception("call failed")
            status, body = 500, _error(Refused("InternalError"), request_id, "")
        cut = rule.bytes if rule is not None and rule.action == "cut" else None
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        return Answer(status, content, "application/json;charset=utf-8", cut_after=cut)

    def _carry(self, action: str, version: str, parameters: Parameters, rule: Rule | None) -> dict[str, Any]:
        if version not in OPERATIONS:
            raise Refused("InvalidVersion")
        operation = OPERATIONS[version].get(action)
        if operation is None:
            raise Refused("InvalidAction.NotFound")
        if rule is not None:
            if rule.seconds:
                time.sleep(rule.seconds)
            if rule.action == "fault":
                raise _fault_of(rule)
            if rule.action == "answer":
                return dict(rule.answer)
        region = self._region
        if parameters.text("RegionId", "" if operation.regional else region.name) != region.name:
            raise Refused("InvalidRegionId.NotFound") if parameters.text("RegionId") else missing("RegionId")
        with region.lock:
            if not operation.once:
                return operation.work(region, parameters)
            return region.once(
                action,
                parameters.text("ClientToken"),
                parameters.fingerprint(),
                _MISMATCH[version],
                lambda: operation.work(region, parameters),
            )


def _fault_of(rule: Rule) -> Refused:
    """The answer of a fault rule: its `fault` is the code."""
    status = rule.details.get("status")
    message = "" if rule.message == "injected" else rule.message
    return Refused(rule.fault, message, None if status is None else int(status))


def _error(refused: Refused, request_id: str, host: str) -> dict[str, Any]:
    body = {"RequestId": request_id, "HostId": host, "Code": refused.code, "Message": refused.message}
    return body | {"Recommend": f"https://api.aliyun.com/troubleshoot?q={refused.code}"}
