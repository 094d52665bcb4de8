"""VPCs, vSwitches and elastic addresses (VPC 2016-04-28)."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable
from typing import Any, TypeVar

from simulator.cloud.codes import Refused, invalid
from simulator.cloud.parameters import Parameters
from simulator.cloud.region import Region
from simulator.cloud.resources import CloudObject, Eip, Vpc, VSwitch

Answer = dict[str, Any]
T = TypeVar("T", bound=CloudObject)


def utc(moment: float) -> str:
    """As the APIs write times."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def tagged(resources: Iterable[T], wanted: dict[str, str]) -> list[T]:
    """Those that have all of these tags; an empty value means any."""
    return [
        resource
        for resource in resources
        if all(key in resource.tags and value in ("", resource.tags[key]) for key, value in wanted.items())
    ]


def create_vpc(region: Region, parameters: Parameters) -> Answer:
    if len(region.vpcs) >= region.quotas.vpcs:
        raise Refused("QuotaExceeded.Vpc")
    vpc = Vpc(
        id=region.vpcs.new_id(),
        created=region.clock(),
        name=parameters.text("VpcName"),
        tags=parameters.tags(),
        cidr=_cidr(parameters.text("CidrBlock", "172.16.0.0/12")),
    )
    region.vpcs.add(vpc)
    return {"VpcId": vpc.id, "VRouterId": f"vrt-{vpc.id[4:]}", "RouteTableId": f"vtb-{vpc.id[4:]}"}


def describe_vpcs(region: Region, parameters: Parameters) -> Answer:
    wanted = set(filter(None, parameters.text("VpcId").split(",")))
    vpcs = [vpc for vpc in tagged(region.vpcs.seen(), parameters.tags()) if not wanted or vpc.id in wanted]
    page = parameters.page(50)
    on_page, token = page.of(vpcs)
    return page.heading(len(vpcs), token) | {"Vpcs": {"Vpc": [_vpc(region, vpc) for vpc in on_page]}}


def delete_vpc(region: Region, parameters: Parameters) -> Answer:
    vpc = region.vpcs.get(parameters.need("VpcId"))
    if any(group.vpc == vpc.id for group in region.groups):
        raise Refused("DependencyViolation.SecurityGroup")
    if any(vswitch.vpc == vpc.id for vswitch in region.vswitches):
        raise Refused("DependencyViolation.VSwitch")
    region.vpcs.drop(vpc.id)
    return {}


def create_vswitch(region: Region, parameters: Parameters) -> Answer:
    vpc = region.vpcs.get(parameters.need("VpcId"))
    zone = parameters.need("ZoneId")
    if zone not in region.stock.zones:
        raise Refused("InvalidZoneId.NotFound")
    if _pending(region, vpc):
        raise Refused("IncorrectVpcStatus")
    cidr = _cidr(parameters.need("CidrBlock"))
    block = ipaddress.ip_network(cidr)
    if not _within(block, vpc.cidr):
        raise Refused("InvalidCidrBlock.Malformed", "The block is not a part of the VPC's.")
    for other in region.vswitches:
        if other.vpc == vpc.id and block.overlaps(ipaddress.ip_network(other.cidr)):
            raise Refused("InvalidCidrBlock.Overlapped")
    vswitch = VSwitch(
        id=region.vswitches.new_id(),
        created=region.clock(),
        name=parameters.text("VSwitchName"),
        tags=parameters.tags(),
        vpc=vpc.id,
        zone=zone,
        cidr=cidr,
    )
    region.vswitches.add(vswitch)
    return {"VSwitchId": vswitch.id}


def describe_vswitches(region: Region, parameters: Parameters) -> Answer:
    vswitches = [
        vswitch
        for vswitch in tagged(region.vswitches.seen(), parameters.tags())
        if parameters.text("VSwitchId") in ("", vswitch.id)
        and parameters.text("VpcId") in ("", vswitch.vpc)
        and parameters.text("ZoneId") in ("", vswitch.zone)
    ]
    page = parameters.page(50)
    on_page, token = page.of(vswitches)
    rows = [_vswitch(region, vswitch) for vswitch in on_page]
    return page.heading(len(vswitches), token) | {"VSwitches": {"VSwitch": rows}}


def delete_vswitch(region: Region, parameters: Parameters) -> Answer:
    vswitch = region.vswitches.get(parameters.need("VSwitchId"))
    if any(instance.vswitch == vswitch.id for instance in region.instances):
        raise Refused("DependencyViolation")
    region.vswitches.drop(vswitch.id)
    return {}


def allocate_eip(region: Region, parameters: Parameters) -> Answer:
    eip = Eip(
        id=region.eips.new_id(),
        created=region.clock(),
        name=parameters.text("Name"),
        tags=parameters.tags(),
        address=region.network.new_address(),
    )
    region.eips.add(eip)
    return {"AllocationId": eip.id, "EipAddress": eip.address}


def describe_eips(region: Region, parameters: Parameters) -> Answer:
    eips = [
        eip
        for eip in tagged(region.eips.seen(), parameters.tags())
        if parameters.text("AllocationId") in ("", eip.id)
        and parameters.text("EipAddress") in ("", eip.address)
    ]
    page = parameters.page()
    on_page, token = page.of(eips)
    rows = [
        {
            "AllocationId": eip.id,
            "IpAddress": eip.address,
            "InstanceId": eip.instance,
            "InstanceType": "EcsInstance" if eip.instance else "",
            "Status": "InUse" if eip.instance else "Available",
            "RegionId": region.name,
            "Name": eip.name,
        }
        for eip in on_page
    ]
    return page.heading(len(eips), token) | {"EipAddresses": {"EipAddress": rows}}


def release_eip(region: Region, parameters: Parameters) -> Answer:
    eip = region.eips.get(parameters.need("AllocationId"))
    if eip.instance:
        raise Refused("IncorrectEipStatus")
    region.eips.drop(eip.id)
    return {}


def _pending(region: Region, resource: CloudObject) -> bool:
    return region.age(resource.created) < region.timing.network


def _cidr(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise Refused("InvalidCidrBlock.Malformed") from None
    if network.version != 4:
        raise invalid("CidrBlock", "an IPv4 block")
    return str(network)


def _within(block: ipaddress.IPv4Network | ipaddress.IPv6Network, outer: str) -> bool:
    whole = ipaddress.ip_network(outer)
    return (
        isinstance(block, ipaddress.IPv4Network)
        and isinstance(whole, ipaddress.IPv4Network)
        and block.subnet_of(whole)
    )


def _tags(resource: CloudObject) -> Answer:
    return {"Tags": {"Tag": [{"Key": key, "Value": value} for key, value in resource.tags.items()]}}


def _vpc(region: Region, vpc: Vpc) -> Answer:
    return {
        "VpcId": vpc.id,
        "VpcName": vpc.name,
        "CidrBlock": vpc.cidr,
        "RegionId": region.name,
        "Status": "Pending" if _pending(region, vpc) else "Available",
        "CreationTime": utc(vpc.created),
        "IsDefault": False,
        "VSwitchIds": {"VSwitchId": [vswitch.id for vswitch in region.vswitches if vswitch.vpc == vpc.id]},
    } | _tags(vpc)


def _vswitch(region: Region, vswitch: VSwitch) -> Answer:
    return {
        "VSwitchId": vswitch.id,
        "VSwitchName": vswitch.name,
        "VpcId": vswitch.vpc,
        "ZoneId": vswitch.zone,
        "CidrBlock": vswitch.cidr,
        "Status": "Pending" if _pending(region, vswitch) else "Available",
        "CreationTime": utc(vswitch.created),
        "AvailableIpAddressCount": ipaddress.ip_network(vswitch.cidr).num_addresses - 4,
    } | _tags(vswitch)
