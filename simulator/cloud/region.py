"""One region of one account: everything that exists there, its clock, and its lock.

Nothing waits: work that takes time has the time of its start, and every query compares it with the clock.
"""

from __future__ import annotations

import secrets
import string
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from simulator.cloud.codes import Refused
from simulator.cloud.machines import Boot
from simulator.cloud.network import Network
from simulator.cloud.resources import (
    CloudObject,
    Disk,
    Eip,
    Group,
    Image,
    Instance,
    Mapping,
    Snapshot,
    Vpc,
    VSwitch,
)
from simulator.cloud.stock import Stock
from simulator.faults import Faults

_LETTERS: Final = string.ascii_lowercase + string.digits
T = TypeVar("T", bound=CloudObject)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that operations take. `lag`: until a new resource can be seen and addressed.

    `lag_lists`: the number of lists that do not show it yet.
    """

    pending: float = 0.3
    starting: float = 0.3
    stop_limit: float = 20.0  # then a guest that does not end is switched off
    disk: float = 0.1
    snapshot: float = 0.5
    image: float = 0.5
    network: float = 0.2
    lag: float = 0.1
    lag_lists: int = 0


@dataclass(frozen=True, slots=True)
class Quotas:
    """How much one account may have."""

    vpcs: int = 10
    images: int = 100
    data_disks: int = 16  # of one instance


class Shelf(Generic[T]):
    """Things of one kind. `unknown` is the code for an id that is not there."""

    def __init__(self, prefix: str, unknown: str, region: Region) -> None:
        self.unknown = unknown
        self._prefix = prefix
        self._region = region
        self._resources: dict[str, T] = {}
        self._lists: Counter[str] = Counter()

    def new_id(self) -> str:
        return f"{self._prefix}-sim" + "".join(secrets.choice(_LETTERS) for _ in range(17))

    def add(self, resource: T, *, known: bool = False) -> T:
        """Add a resource. `known`: it is visible at once."""
        self._resources[resource.id] = resource
        self._lists[resource.id] = self._region.timing.lag_lists if known else 0
        return resource

    def get(self, resource_id: str) -> T:
        """The resource. Raises Refused when it does not exist or is not visible yet."""
        resource = self._resources.get(resource_id)
        if resource is None or not self._visible(resource):
            raise Refused(self.unknown)
        return resource

    def peek(self, resource_id: str) -> T | None:
        """The resource, visible or not; None when it does not exist."""
        return self._resources.get(resource_id)

    def seen(self) -> list[T]:
        """The visible resources, newest first."""
        visible = [resource for resource in reversed(self._resources.values()) if self._visible(resource)]
        self._lists.update(self._resources.keys())
        return visible

    def drop(self, resource_id: str) -> None:
        self._resources.pop(resource_id, None)

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._resources.values()))

    def __len__(self) -> int:
        return len(self._resources)

    def _visible(self, resource: CloudObject) -> bool:
        timing = self._region.timing
        return (
            self._region.age(resource.created) >= timing.lag and self._lists[resource.id] >= timing.lag_lists
        )


@dataclass(slots=True)
class _Answered:
    """The answer that belongs to a client token."""

    fingerprint: str
    answer: dict[str, Any]


class Region:
    """Operations hold `lock` while they look or change."""

    def __init__(
        self,
        directory: Path,
        stock: Stock,
        boot: Boot,
        *,
        name: str = "cn-hangzhou",
        timing: Timing | None = None,
        quotas: Quotas | None = None,
        faults: Faults | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = directory.absolute()
        (self.directory / "files").mkdir(parents=True, exist_ok=True)
        self.name, self.stock, self.boot, self.clock = name, stock, boot, clock
        self.timing, self.quotas = timing or Timing(), quotas or Quotas()
        self.faults = faults or Faults()
        self.network = Network()
        self.lock = threading.RLock()
        self.vpcs: Shelf[Vpc] = Shelf("vpc", "InvalidVpcId.NotFound", self)
        self.vswitches: Shelf[VSwitch] = Shelf("vsw", "InvalidVSwitchId.NotFound", self)
        self.eips: Shelf[Eip] = Shelf("eip", "InvalidAllocationId.NotFound", self)
        self.groups: Shelf[Group] = Shelf("sg", "InvalidSecurityGroupId.NotFound", self)
        self.disks: Shelf[Disk] = Shelf("d", "InvalidDiskId.NotFound", self)
        self.snapshots: Shelf[Snapshot] = Shelf("s", "InvalidSnapshotId.NotFound", self)
        self.images: Shelf[Image] = Shelf("m", "InvalidImageId.NotFound", self)
        self.instances: Shelf[Instance] = Shelf("i", "InvalidInstanceId.NotFound", self)
        self._tokens: dict[tuple[str, str], _Answered] = {}

    def age(self, moment: float) -> float:
        """Seconds since then."""
        return self.clock() - moment

    def new_path(self, resource_id: str) -> Path:
        """A path for the content of a new disk or snapshot."""
        return self.directory / "files" / f"{resource_id}.raw"

    def once(
        self, action: str, token: str, fingerprint: str, mismatch: str, work: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """The stored answer of this token; without one, the answer of `work` is stored. A refusal is not stored."""
        if not token:
            return work()
        if len(token) > 64 or not token.isascii():
            raise Refused("InvalidParameter", "ClientToken has at most 64 ASCII characters.")
        known = self._tokens.get((action, token))
        if known is None:
            known = self._tokens[action, token] = _Answered(fingerprint, work())
        elif known.fingerprint != fingerprint:
            raise Refused(mismatch)
        return known.answer

    def add_public_image(self, image_id: str, architecture: str, size: int = 20) -> None:
        """An image of the cloud's own, with an empty system disk."""
        self.images.add(
            Image(
                id=image_id,
                created=self.clock() - 3600.0,
                name=image_id,
                owner="system",
                architecture=architecture,
                platform="Aliyun",
                boot_mode="BIOS",
                disks=(Mapping("/dev/xvda", True, size, ""),),
            ),
            known=True,
        )

    def close(self) -> None:
        """Every instance is switched off."""
        with self.lock:
            for instance in self.instances:
                self.boot.kill(instance)
        self.network.close()
