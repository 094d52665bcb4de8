"""A simulated region and providers that see it, each as a process of its own would."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connector.clients.endpoint import InstanceEndpoint
from connector.cloud.alibaba.provider import AlibabaProvider
from connector.cloud.alibaba.settings import AlibabaSettings, parse
from connector.model import Credential, InstanceAddress
from simulator.cloud import AccessKey, Boot, Region, Server, Stock, Timing, serve
from simulator.faults import Faults, Rule
from tests.cloud.ledger import MemoryLedger

KEY = AccessKey("testak", "testsecret-that-nobody-may-print")
INSTANCE = (
    f"{sys.executable} -m connector.instance --directory {{directory}} --host {{address}}"
    " --user-data {user_data} --devices {devices} --exit-with-stdin"
)
CHANGE = {"path": "/etc/fstab", "why": "names its disk"}
CONVERTED: Mapping[str, Any] = {
    "state": "done",
    "progress": "",
    "error": None,
    "result": {
        "conversion": {"system": "debian 12", "changes": [CHANGE], "removed": [], "notes": []},
        "refusal": "",
    },
}
QUICK = Timing(pending=0.02, starting=0.02, disk=0.01, snapshot=0.05, image=0.05, network=0.01, lag=0.02)


class Imagined:
    """Stands for the program in an instance that runs none: knows what it was told, and has settled all of it.

    `conversions`: answers to orders of a conversion, the last one for ever. `orders`: what was ordered, by address.
    """

    def __init__(self) -> None:
        self.told: dict[str, dict[str, str]] = {}
        self.conversions: list[Mapping[str, Any]] = [CONVERTED]
        self.orders: list[tuple[str, str, Mapping[str, object]]] = []

    def __call__(self, address: InstanceAddress, control: Credential) -> Imagined:
        self.here = address.host
        return self

    def assign_devices(self, serials: Mapping[str, str]) -> None:
        self.told[self.here] = dict(serials)

    def settle(self, expect: Mapping[str, Mapping[str, object]] | None = None) -> list[str]:
        return sorted(self.told.get(self.here, {}))

    def order_conversion(self, conversion_id: str, order: Mapping[str, object]) -> dict[str, object]:
        self.orders.append((self.here, conversion_id, order))
        answer = self.conversions.pop(0) if len(self.conversions) > 1 else self.conversions[0]
        if error := answer.get("raise"):
            raise error
        return dict(answer)


class Calls(Faults):
    """Fault rules that also remember every call, in order."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        super().__init__()

    def consult(self, call: str, target: str = "") -> Rule | None:
        self.seen.append(call)
        return super().consult(call, target)

    def changes(self) -> list[str]:
        """The calls that were not only looking."""
        return [call for call in self.seen if not call.startswith(("Describe", "image."))]


@dataclass
class Cloud:
    """`files` holds what an operator would write: the access key and the settings that name it."""

    server: Server
    files: Path
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    inside: Imagined = field(default_factory=Imagined)

    @property
    def region(self) -> Region:
        return self.server.region

    @property
    def calls(self) -> Calls:
        assert isinstance(self.region.faults, Calls)
        return self.region.faults

    def settings(self, **more: Any) -> AlibabaSettings:
        return parse(self.section() | more, "alibaba")

    def section(self) -> dict[str, Any]:
        """As it stands in the control plane's file."""
        return {
            "region": self.region.name,
            "images": {"x86_64": "m-sim-x86", "arm64": "m-sim-arm"},
            "reachable_from": ["127.0.0.1/32"],
            "access_key_file": str(access_key_file(self.files)),
            "endpoint": self.server.endpoint,
            "vpc_endpoint": self.server.endpoint,
            "authority": str(self.server.certificate),
            "poll": 0.01,
            "consistency": 20.0,
            "boot_patience": 60.0,
            "patience": 30.0,
            "attempts": 1,
            "target_instances": True,
        }

    def provider(self, *, boots: bool = True, **more: Any) -> AlibabaProvider:
        return AlibabaProvider(
            self.settings(**more),
            self.ledger,
            self.files / "provider",
            reach=InstanceEndpoint if boots else self.inside,
        )

    def fill(self) -> dict[str, bytes]:
        """Something is written on every data disk; answers what, by the disk's id."""
        written = {}
        for disk in self.region.disks:
            if not disk.system:
                written[disk.id] = disk.id.encode()
                with disk.path.open("r+b") as file:
                    file.write(written[disk.id])
        return written

    def census(self) -> dict[str, int]:
        """How many things of each kind really exist, visible or not."""
        region = self.region
        shelves = {
            "instances": region.instances,
            "disks": region.disks,
            "snapshots": region.snapshots,
            "groups": region.groups,
            "vpcs": region.vpcs,
            "vswitches": region.vswitches,
        }
        found = {name: len(shelf) for name, shelf in shelves.items()}
        return found | {"images": sum(image.owner == "self" for image in region.images)}


def access_key_file(folder: Path, key: AccessKey = KEY) -> Path:
    path = folder / "access-key"
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(f"access_key_id: {key.id}\naccess_key_secret: {key.secret}\n")
    return path


@contextmanager
def cloud(home: Path, certificates: Path, boot: str = INSTANCE, **more: Any) -> Iterator[Cloud]:
    """A region under `home`; `certificates` are shared by all regions of a test run."""
    home.mkdir(exist_ok=True)
    keys = more.pop("keys", (KEY,))
    region = Region(
        home / "region",
        more.pop("stock", None) or Stock(),
        Boot(home / "region", boot, more.pop("guest", "")),
        **{"timing": QUICK, "faults": Calls()} | more,
    )
    region.add_public_image("m-sim-x86", "x86_64")
    region.add_public_image("m-sim-arm", "arm64")
    with serve(region, keys, certificates=certificates) as server:
        yield Cloud(server, home)
