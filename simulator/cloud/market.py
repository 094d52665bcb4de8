"""Operations that describe the stock to the account."""

from __future__ import annotations

from typing import Any

from simulator.cloud.codes import Refused, missing
from simulator.cloud.parameters import Parameters
from simulator.cloud.region import Region
from simulator.cloud.stock import SIZES, Type

Answer = dict[str, Any]


def describe_regions(region: Region, parameters: Parameters) -> Answer:  # noqa: ARG001
    return {"Regions": {"Region": [{"RegionId": region.name, "LocalName": region.name}]}}


def describe_zones(region: Region, parameters: Parameters) -> Answer:  # noqa: ARG001
    rows = []
    for zone in region.stock.zones:
        kinds = [kind.name for kind in region.stock.types.values() if region.stock.has(kind.name, zone)]
        disks = [category for category in SIZES if region.stock.has(category, zone)]
        rows.append(
            {
                "ZoneId": zone,
                "LocalName": zone,
                "ZoneType": "AvailabilityZone",
                "AvailableInstanceTypes": {"InstanceTypes": kinds},
                "AvailableDiskCategories": {"DiskCategories": disks},
                "AvailableResourceCreation": {
                    "ResourceTypes": ["VSwitch", "IoOptimized", "Instance", "Disk"]
                },
            }
        )
    return {"Zones": {"Zone": rows}}


def describe_available_resource(region: Region, parameters: Parameters) -> Answer:
    wanted = parameters.need("DestinationResource")
    zones = [zone for zone in region.stock.zones if parameters.text("ZoneId") in ("", zone)]
    if not zones:
        raise Refused("InvalidZoneId.NotFound")
    rows = [_zone(region, parameters, wanted, zone) for zone in zones]
    return {"AvailableZones": {"AvailableZone": rows}}


def _zone(region: Region, parameters: Parameters, wanted: str, zone: str) -> Answer:
    if wanted == "InstanceType":
        resources = [
            _resource(kind.name, region.stock.has(kind.name, zone))
            for kind in _types(region, parameters, zone)
        ]
    elif wanted in ("SystemDisk", "DataDisk"):
        resources = _disks(region, parameters, wanted, zone)
    elif wanted == "Zone":
        resources = [_resource(zone, True)]
    elif wanted == "IoOptimized":
        resources = [_resource("optimized", True)]
    elif wanted == "Network":
        resources = [_resource("vpc", True)]
    else:
        raise Refused("InvalidParameter", "DestinationResource is not one of those that are known.")
    left = any(each["Status"] == "Available" for each in resources)
    return {
        "RegionId": region.name,
        "ZoneId": zone,
        "Status": "Available" if left else "SoldOut",
        "StatusCategory": "WithStock" if left else "WithoutStock",
        "AvailableResources": {
            "AvailableResource": [{"Type": wanted, "SupportedResources": {"SupportedResource": resources}}]
        },
    }


def _types(region: Region, parameters: Parameters, zone: str) -> list[Type]:
    cores, memory = parameters.whole("Cores", 0), parameters.number("Memory")
    return [
        kind
        for kind in region.stock.types.values()
        if region.stock.offered(kind.name, zone)
        and parameters.text("InstanceType") in ("", kind.name)
        and cores in (0, kind.cores)
        and memory in (None, kind.memory)
    ]


def _disks(region: Region, parameters: Parameters, wanted: str, zone: str) -> list[Answer]:
    name = parameters.text("InstanceType")
    if wanted == "SystemDisk" and not name:
        raise missing("InstanceType")
    categories = region.stock.type(name).disks if name else tuple(SIZES)
    resources = []
    for category in categories:
        least, most = SIZES[category]
        sizes = (
            {"Min": max(20, least), "Max": 2048} if wanted == "SystemDisk" else {"Min": least, "Max": most}
        )
        resources.append(_resource(category, region.stock.has(category, zone)) | sizes | {"Unit": "GiB"})
    return resources


def _resource(value: str, left: bool) -> Answer:
    return {
        "Value": value,
        "Status": "Available" if left else "SoldOut",
        "StatusCategory": "WithStock" if left else "WithoutStock",
    }
