"""Security groups: a connection needs a rule that allows it."""

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


def create_security_group(region: Region, parameters: Parameters) -> Answer:
    vpc = region.vpcs.get(parameters.need("VpcId"))
    group = Group(
        id=region.groups.new_id(),
        created=region.clock(),
        name=parameters.text("SecurityGroupName"),
        description=parameters.text("Description"),
        tags=parameters.tags(),
        vpc=vpc.id,
    )
    region.groups.add(group)
    return {"SecurityGroupId": group.id}


def authorize_security_group(region: Region, parameters: Parameters) -> Answer:
    """A rule that is there already is no error, and is not there twice."""
    group = region.groups.get(parameters.need("SecurityGroupId"))
    for rule in _rules(parameters):
        if not any(_same(rule, other) for other in group.rules):
            group.rules.append(rule)
    return {}


def authorize_security_group_egress(region: Region, parameters: Parameters) -> Answer:
    """A rule for what goes out; it names where to."""
    group = region.groups.get(parameters.need("SecurityGroupId"))
    for rule in _rules(parameters, "DestCidrIp"):
        if not any(_same(rule, other) for other in group.outgoing):
            group.outgoing.append(rule)
    return {}


def modify_security_group_policy(region: Region, parameters: Parameters) -> Answer:
    """Whether members of a group reach each other."""
    policy = parameters.need("InnerAccessPolicy").capitalize()
    if policy not in ("Accept", "Drop"):
        raise invalid("InnerAccessPolicy", "Accept or Drop")
    region.groups.get(parameters.need("SecurityGroupId")).inner = policy
    return {}


def revoke_security_group(region: Region, parameters: Parameters) -> Answer:
    group = region.groups.get(parameters.need("SecurityGroupId"))
    for rule in _rules(parameters):
        group.rules = [other for other in group.rules if not _same(rule, other)]
    return {}


def describe_security_groups(region: Region, parameters: Parameters) -> Answer:
    wanted = parameters.listed("SecurityGroupIds")
    groups = [
        group
        for group in tagged(region.groups.seen(), parameters.tags())
        if (wanted is None or group.id in wanted)
        and parameters.text("SecurityGroupId") in ("", group.id)
        and parameters.text("VpcId") in ("", group.vpc)
        and parameters.text("SecurityGroupName") in ("", group.name)
    ]
    page = parameters.page()
    on_page, token = page.of(groups)
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
        for group in on_page
    ]
    return page.heading(len(groups), token) | {
        "RegionId": region.name,
        "SecurityGroups": {"SecurityGroup": rows},
    }


def describe_security_group_attribute(region: Region, parameters: Parameters) -> Answer:
    group = region.groups.get(parameters.need("SecurityGroupId"))
    direction = parameters.text("Direction", "ingress")
    rules, end = (group.outgoing, "Dest") if direction == "egress" else (group.rules, "Source")
    return {
        "RegionId": region.name,
        "SecurityGroupId": group.id,
        "SecurityGroupName": group.name,
        "Description": group.description,
        "VpcId": group.vpc,
        "InnerAccessPolicy": group.inner,
        "Permissions": {
            "Permission": [
                {
                    "Direction": direction,
                    "IpProtocol": rule.protocol.upper(),
                    "PortRange": f"{rule.first}/{rule.last}",
                    f"{end}CidrIp": rule.source,
                    "Policy": rule.policy,
                    "Priority": str(rule.priority),
                    "NicType": "intranet",
                    "Description": rule.description,
                }
                for rule in rules
            ]
        },
    }


def delete_security_group(region: Region, parameters: Parameters) -> Answer:
    group = region.groups.get(parameters.need("SecurityGroupId"))
    if any(group.id in instance.groups for instance in region.instances):
        raise Refused("DependencyViolation")
    region.groups.drop(group.id)
    return {}


def lets_in(region: Region, instance: Instance, source: str, port: int) -> bool:
    """Whether the instance's groups allow a connection from `source`."""
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


def _rules(parameters: Parameters, end: str = "SourceCidrIp") -> list[Rule]:
    return [_rule(each, end) for each in parameters.items("Permissions") or [parameters]]


def _rule(parameters: Parameters, end: str) -> Rule:
    protocol = parameters.need("IpProtocol").lower()
    ports = _PORTS.fullmatch(parameters.need("PortRange"))
    if protocol not in ("tcp", "udp", "icmp", "gre", "all"):
        raise invalid("IpProtocol", "tcp, udp, icmp, gre or all")
    if ports is None:
        raise invalid("PortRange", "FIRST/LAST")
    try:
        source = str(ipaddress.ip_network(parameters.need(end)))
    except ValueError:
        raise invalid(end, "a CIDR block") from None
    policy = parameters.text("Policy", "accept").capitalize()
    return Rule(
        protocol,
        int(ports[1]),
        int(ports[2]),
        source,
        policy,
        parameters.whole("Priority", 1, 1, 100),
        parameters.text("Description"),
    )


def _same(first: Rule, second: Rule) -> bool:
    def of(rule: Rule) -> tuple[object, ...]:
        return rule.protocol, rule.first, rule.last, rule.source, rule.policy

    return of(first) == of(second)
