"""Operations on tags of existing resources."""

from __future__ import annotations

from typing import Any

from simulator.cloud.codes import Refused, missing
from simulator.cloud.networks import tagged
from simulator.cloud.parameters import Parameters
from simulator.cloud.region import Region, Shelf
from simulator.cloud.resources import CloudObject

Answer = dict[str, Any]


def tag_resources(region: Region, parameters: Parameters) -> Answer:
    tags = parameters.tags()
    if not tags:
        raise missing("Tag")
    for resource in _resources(region, parameters):
        if len(resource.tags | tags) > 20:
            raise Refused("TagLimitExceeded")
        resource.tags |= tags
    return {}


def untag_resources(region: Region, parameters: Parameters) -> Answer:
    keys = set(parameters.texts("TagKey"))
    for resource in _resources(region, parameters):
        gone = set(resource.tags) if parameters.flag("All") and not keys else keys
        resource.tags = {key: value for key, value in resource.tags.items() if key not in gone}
    return {}


def list_tag_resources(region: Region, parameters: Parameters) -> Answer:
    kind = parameters.need("ResourceType")
    ids, wanted = set(parameters.texts("ResourceId")), parameters.tags()
    rows = [
        {"ResourceType": kind, "ResourceId": resource.id, "TagKey": key, "TagValue": value}
        for resource in tagged(_shelf(region, kind).seen(), wanted)
        if not ids or resource.id in ids
        for key, value in resource.tags.items()
        if not wanted or key in wanted
    ]
    return {"NextToken": "", "TagResources": {"TagResource": rows}}


def _resources(region: Region, parameters: Parameters) -> list[CloudObject]:
    shelf = _shelf(region, parameters.need("ResourceType"))
    ids = parameters.texts("ResourceId")
    if not ids:
        raise missing("ResourceId")
    by_id = {resource.id: resource for resource in shelf.seen()}
    if not set(ids) <= set(by_id):
        raise Refused("InvalidResourceId.NotFound")
    return [by_id[resource_id] for resource_id in ids]


def _shelf(region: Region, kind: str) -> Shelf[Any]:
    shelves: dict[str, Shelf[Any]] = {
        "instance": region.instances,
        "disk": region.disks,
        "snapshot": region.snapshots,
        "image": region.images,
        "securitygroup": region.groups,
    }
    if kind.lower() not in shelves:
        raise Refused("InvalidParameter", "ResourceType is not one of those that are known.")
    return shelves[kind.lower()]
