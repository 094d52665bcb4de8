"""Security groups: nothing comes in that no rule lets in."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

from simulator.cloud.codes import Refused, invalid
from simulator.cloud.networks import tagged, utc
from simulator.cloud.parameters import Parameters
from simulator.cloud.region import Region
from simulator.cloud.resources import Group, Instance, Rule

Answer = dict[str, Any]
_PORTS: Final = re.compile(r"(-?[0-9]{1,5})/(-?[0-9]{1,5})")


def create_security_group(region: Region, given: Parameters) -> Answer:
    vpc = region.vpcs.get(given.need("VpcId"))
    group = Group(
        id=region.groups.new_id(),
        created=region.clock(),
        name=given.text("SecurityGroupName"),
        description=given.text("Description"),
        tags=given.tags(),
        vpc=vpc.id,
    )
    region.groups.add(group)
    return {"SecurityGroupId": group.id}


def authorize_security_group(region: Region, given: Parameters) -> Answer:
    """A rule that is there already is no error, and is not there twice."""
    group = region.groups.get(given.need("SecurityGroupId"))
    for rule in _rules(given):
        if not any(_same(rule, other) for other in group.rules):
            group.rules.append(rule)
    return {}


def revoke_security_group(region: Region, given: Parameters) -> Answer:
    group = region.groups.get(given.need("SecurityGroupId"))
    for rule in _rules(given):
        group.rules = [other for other in group.rules if not _same(rule, other)]
    return {}


def describe_security_groups(region: Region, given: Parameters) -> Answer:
    wanted = given.listed("SecurityGroupIds")
    found = [
        group
        for group in tagged(region.groups.seen(), given.tags())
        if (wanted is None or group.id in wanted)
        and given.text("SecurityGroupId") in ("", group.id)
        and given.text("VpcId") in ("", group.vpc)
        and given.text("SecurityGroupName") in ("", group.name)
    ]
    page = given.page()
    shown, token = page.of(found)
    rows = [
        {
            "SecurityGroupId": group.id,
            "SecurityGroupName": group.name,
            "Description": group.description,
            "VpcId": group.vpc,
            "SecurityGroupType": "normal",
            "CreationTime": utc(group.created),
            "EcsCount": sum(group.id in instance.groups for instance in region.instances),
            "Tags": {"Tag": [{"TagKey": key, "TagValue": value} for key, value in group.tags.items()]},
        }
        for group in shown
    ]
    return page.heading(len(found), token) | {
        "RegionId": region.name,
        "SecurityGroups": {"SecurityGroup": rows},
    }


def describe_security_group_attribute(region: Region, given: Parameters) -> Answer:
    group = region.groups.get(given.need("SecurityGroupId"))
    rules = [] if given.text("Direction") == "egress" else group.rules
    return {
        "RegionId": region.name,
        "SecurityGroupId": group.id,
        "SecurityGroupName": group.name,
        "Description": group.description,
        "VpcId": group.vpc,
        "InnerAccessPolicy": "Accept",
        "Permissions": {
            "Permission": [
                {
                    "Direction": "ingress",
                    "IpProtocol": rule.protocol.upper(),
                    "PortRange": f"{rule.first}/{rule.last}",
                    "SourceCidrIp": rule.source,
                    "Policy": rule.policy,
                    "Priority": str(rule.priority),
                    "NicType": "intranet",
                    "Description": rule.description,
                }
                for rule in rules
            ]
        },
    }


def delete_security_group(region: Region, given: Parameters) -> Answer:
    group = region.groups.get(given.need("SecurityGroupId"))
    if any(group.id in instance.groups for instance in region.instances):
        raise Refused("DependencyViolation")
    region.groups.drop(group.id)
    return {}


def lets_in(region: Region, instance: Instance, source: str, port: int) -> bool:
    """What the instance's groups say about a connection from `source`."""
    address = ipaddress.ip_address(source)
    rules = [
        rule
        for group in map(region.groups.peek, instance.groups)
        if group is not None
        for rule in group.rules
        if rule.protocol in ("tcp", "all")
        and (rule.first <= port <= rule.last or rule.first == -1)
        and address in ipaddress.ip_network(rule.source)
    ]
    first = min(rules, key=lambda rule: (rule.priority, rule.policy == "Accept"), default=None)
    return first is not None and first.policy == "Accept"


def _rules(given: Parameters) -> list[Rule]:
    return [_rule(each) for each in given.items("Permissions") or [given]]


def _rule(given: Parameters) -> Rule:
    protocol = given.need("IpProtocol").lower()
    ports = _PORTS.fullmatch(given.need("PortRange"))
    if protocol not in ("tcp", "udp", "icmp", "gre", "all"):
        raise invalid("IpProtocol", "tcp, udp, icmp, gre or all")
    if ports is None:
        raise invalid("PortRange", "FIRST/LAST")
    try:
        source = str(ipaddress.ip_network(given.need("SourceCidrIp")))
    except ValueError:
        raise invalid("SourceCidrIp", "a CIDR block") from None
    policy = given.text("Policy", "accept").capitalize()
    return Rule(
        protocol,
        int(ports[1]),
        int(ports[2]),
        source,
        policy,
        given.whole("Priority", 1, 1, 100),
        given.text("Description"),
    )


def _same(one: Rule, other: Rule) -> bool:
    def of(rule: Rule) -> tuple[object, ...]:
        return rule.protocol, rule.first, rule.last, rule.source, rule.policy

    return of(one) == of(other)
