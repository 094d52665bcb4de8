"""What the account is told of the stock."""

from __future__ import annotations

from typing import Any

from simulator.cloud.codes import Refused, missing
from simulator.cloud.parameters import Parameters
from simulator.cloud.region import Region
from simulator.cloud.stock import SIZES, Type

Answer = dict[str, Any]


def describe_regions(region: Region, given: Parameters) -> Answer:  # noqa: ARG001
    return {"Regions": {"Region": [{"RegionId": region.name, "LocalName": region.name}]}}


def describe_zones(region: Region, given: Parameters) -> Answer:  # noqa: ARG001
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


def describe_available_resource(region: Region, given: Parameters) -> Answer:
    wanted = given.need("DestinationResource")
    zones = [zone for zone in region.stock.zones if given.text("ZoneId") in ("", zone)]
    if not zones:
        raise Refused("InvalidZoneId.NotFound")
    rows = [_zone(region, given, wanted, zone) for zone in zones]
    return {"AvailableZones": {"AvailableZone": rows}}


def _zone(region: Region, given: Parameters, wanted: str, zone: str) -> Answer:
    if wanted == "InstanceType":
        found = [
            _resource(kind.name, region.stock.has(kind.name, zone)) for kind in _types(region, given, zone)
        ]
    elif wanted in ("SystemDisk", "DataDisk"):
        found = _disks(region, given, wanted, zone)
    elif wanted == "Zone":
        found = [_resource(zone, True)]
    elif wanted == "IoOptimized":
        found = [_resource("optimized", True)]
    elif wanted == "Network":
        found = [_resource("vpc", True)]
    else:
        raise Refused("InvalidParameter", "DestinationResource is not one of those that are known.")
    left = any(each["Status"] == "Available" for each in found)
    return {
        "RegionId": region.name,
        "ZoneId": zone,
        "Status": "Available" if left else "SoldOut",
        "StatusCategory": "WithStock" if left else "WithoutStock",
        "AvailableResources": {
            "AvailableResource": [{"Type": wanted, "SupportedResources": {"SupportedResource": found}}]
        },
    }


def _types(region: Region, given: Parameters, zone: str) -> list[Type]:
    cores, memory = given.whole("Cores", 0), given.number("Memory")
    return [
        kind
        for kind in region.stock.types.values()
        if region.stock.offered(kind.name, zone)
        and given.text("InstanceType") in ("", kind.name)
        and cores in (0, kind.cores)
        and memory in (None, kind.memory)
    ]


def _disks(region: Region, given: Parameters, wanted: str, zone: str) -> list[Answer]:
    name = given.text("InstanceType")
    if wanted == "SystemDisk" and not name:
        raise missing("InstanceType")
    categories = region.stock.type(name).disks if name else tuple(SIZES)
    found = []
    for category in categories:
        least, most = SIZES[category]
        sizes = (
            {"Min": max(20, least), "Max": 2048} if wanted == "SystemDisk" else {"Min": least, "Max": most}
        )
        found.append(_resource(category, region.stock.has(category, zone)) | sizes | {"Unit": "GiB"})
    return found


def _resource(value: str, left: bool) -> Answer:
    return {
        "Value": value,
        "Status": "Available" if left else "SoldOut",
        "StatusCategory": "WithStock" if left else "WithoutStock",
    }
