"""The cloud says which instance types and disk categories are in stock in which zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from connector.cloud.alibaba.api import Api
from connector.cloud.alibaba.instance_types import Offer, Wanted

GIB: Final = 1 << 30
_HAS_STOCK: Final = ("WithStock", "ClosedWithStock")


@dataclass(frozen=True, slots=True)
class Category:
    """A category of disks. Sizes are in GiB; 0: not known."""

    name: str
    least: int
    most: int

    def size(self, capacity: int) -> int | None:
        """Whole GiB of a disk for so many bytes, rounded up (R50). None if the category has no disk so large."""
        gib = max(-(-capacity // GIB), self.least)
        return None if self.most and gib > self.most else gib


class Market:
    """Asks for stock, each time anew, because stock changes."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def offers(self, wanted: Wanted, zones: Sequence[str]) -> list[Offer]:
        """The types in stock, in the order of `zones`."""
        parameters: dict[str, Any] = {"DestinationResource": "InstanceType", **self._common()}
        if wanted.cores is not None:
            parameters |= {"Cores": wanted.cores, "Memory": wanted.memory}
        if wanted.type:
            parameters["InstanceType"] = wanted.type
        by_zone = self._values(parameters)
        return [Offer(zone, row["Value"]) for zone in zones for row in by_zone.get(zone, [])]

    def categories(self, offer: Offer, resource: str) -> list[Category]:
        """The categories of `resource` ("SystemDisk" or "DataDisk") for this offer, in the order of the settings."""
        query = {
            "DestinationResource": resource,
            "InstanceType": offer.type,
            "ZoneId": offer.zone,
            **self._common(),
        }
        rows = {row["Value"]: row for row in self._values(query).get(offer.zone, [])}
        return [
            Category(name, int(rows[name].get("Min") or 0), int(rows[name].get("Max") or 0))
            for name in self._api.settings.disk_categories
            if name in rows
        ]

    def _common(self) -> dict[str, Any]:
        return {
            "RegionId": self._api.settings.region,
            "InstanceChargeType": "PostPaid",
            "IoOptimized": "optimized",
            "NetworkCategory": "vpc",
            "ResourceType": "instance",
        }

    def _values(self, query: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """Rows with stock, by zone."""
        answer = self._api.ecs("DescribeAvailableResource", query)
        values: dict[str, list[dict[str, Any]]] = {}
        for zone in (answer.get("AvailableZones") or {}).get("AvailableZone") or []:
            for kind in (zone.get("AvailableResources") or {}).get("AvailableResource") or []:
                rows = (kind.get("SupportedResources") or {}).get("SupportedResource") or []
                in_stock = [row for row in rows if _in_stock(row)]
                values.setdefault(str(zone["ZoneId"]), []).extend(in_stock)
        return values


def _in_stock(row: dict[str, Any]) -> bool:
    return row.get("Status") == "Available" and row.get("StatusCategory", "WithStock") in _HAS_STOCK
