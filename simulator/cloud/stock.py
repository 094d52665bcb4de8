"""The stock: zones, instance types, disk categories, and what is sold out in which zone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from simulator.cloud.codes import Refused


@dataclass(frozen=True, slots=True)
class Type:
    """One instance type; `memory` in GiB, `disks` the categories that it can have."""

    name: str
    cores: int
    memory: float
    architecture: str = "x86_64"
    disks: tuple[str, ...] = ("cloud_efficiency", "cloud_ssd", "cloud_essd", "cloud_auto")

    @property
    def family(self) -> str:
        return ".".join(self.name.split(".")[:2]).partition("-")[0]


_OLD: Final = ("cloud_efficiency", "cloud_ssd")
_NEW: Final = ("cloud_essd", "cloud_auto")

TYPES: Final = (
    Type("ecs.n4.small", 1, 2, disks=_OLD),
    Type("ecs.t5-lc1m2.small", 1, 2, disks=_OLD),
    Type("ecs.mn4.small", 1, 4, disks=_OLD),
    Type("ecs.t6-c1m1.large", 2, 2),
    Type("ecs.t5-c1m1.large", 2, 2, disks=_OLD),
    Type("ecs.n4.large", 2, 4, disks=_OLD),
    Type("ecs.c6.large", 2, 4),
    Type("ecs.c7.large", 2, 4, disks=_NEW),
    Type("ecs.t6-c1m2.large", 2, 4),
    Type("ecs.t5-lc1m2.large", 2, 4, disks=_OLD),
    Type("ecs.t6-c1m4.large", 2, 8),
    Type("ecs.t5-lc1m4.large", 2, 8, disks=_OLD),
    Type("ecs.g6.large", 2, 8),
    Type("ecs.g7.large", 2, 8, disks=_NEW),
    Type("ecs.r6.large", 2, 16),
    Type("ecs.t6-c1m1.xlarge", 4, 4),
    Type("ecs.t5-c1m1.xlarge", 4, 4, disks=_OLD),
    Type("ecs.c6.xlarge", 4, 8),
    Type("ecs.g6.xlarge", 4, 16),
    Type("ecs.c6.2xlarge", 8, 16),
    Type("ecs.g6.2xlarge", 8, 32),
    Type("ecs.gn6i-c4g1.xlarge", 4, 15),
    Type("ecs.ebmg6.26xlarge", 104, 384),
    Type("ecs.c6r.large", 2, 4, "arm64"),
    Type("ecs.g6r.large", 2, 8, "arm64"),
    Type("ecs.c6r.xlarge", 4, 8, "arm64"),
    Type("ecs.g6r.xlarge", 4, 16, "arm64"),
    Type("ecs.c6r.2xlarge", 8, 16, "arm64"),
    Type("ecs.g6r.2xlarge", 8, 32, "arm64"),
    Type("ecs.c6r.4xlarge", 16, 32, "arm64"),
)

#: Least and largest size in GiB.
SIZES: Final = {
    "cloud_efficiency": (20, 32768),
    "cloud_ssd": (20, 32768),
    "cloud_essd": (20, 65536),
    "cloud_auto": (1, 65536),
}


class Stock:
    """Changed and asked under the region's lock. A pattern may end in `@ZONE`."""

    def __init__(
        self,
        zones: Sequence[str] = ("cn-hangzhou-h", "cn-hangzhou-i"),
        types: Iterable[Type] = TYPES,
        sold_out: Iterable[str] = (),
        not_offered: Iterable[str] = (),
    ) -> None:
        self.zones = tuple(zones)
        self.types = {kind.name: kind for kind in types}
        self._sold_out, self._not_offered = list(sold_out), list(not_offered)

    def sell_out(self, *patterns: str) -> None:
        """Types or disk categories that cannot be had from now on."""
        self._sold_out += patterns

    def refill(self) -> None:
        self._sold_out.clear()

    def offered(self, name: str, zone: str) -> bool:
        return not _listed(name, zone, self._not_offered)

    def has(self, name: str, zone: str) -> bool:
        return self.offered(name, zone) and not _listed(name, zone, self._sold_out)

    def type(self, name: str) -> Type:
        if name not in self.types:
            raise Refused("InvalidInstanceType.ValueNotSupported")
        return self.types[name]

    def check_type(self, kind: Type, zone: str) -> None:
        """Raises Refused unless one more instance of this type can be had there."""
        if zone not in self.zones:
            raise Refused("InvalidZoneId.NotFound")
        if not self.offered(kind.name, zone):
            raise Refused("InvalidInstanceType.ZoneNotSupported")
        if not self.has(kind.name, zone):
            raise Refused("OperationDenied.NoStock")

    def check_disk(self, category: str, zone: str, size: int, code: str, kind: Type | None = None) -> None:
        """Raises Refused unless such a disk can be had; `code` is for a wrong size."""
        if category not in SIZES:
            raise Refused("InvalidDiskCategory.ValueNotSupported")
        if (kind is not None and category not in kind.disks) or not self.has(category, zone):
            raise Refused("InvalidDiskCategory.NotSupported")
        least, most = SIZES[category]
        if not least <= size <= most:
            raise Refused(code, f"A disk of the category {category} has {least} to {most} GiB, not {size}.")


def _listed(name: str, zone: str, patterns: Iterable[str]) -> bool:
    for pattern in patterns:
        wanted, _, where = pattern.partition("@")
        if fnmatchcase(name, wanted) and fnmatchcase(zone, where or "*"):
            return True
    return False
