"""The simulator in this process: machines with small disks, CBT, tasks, faults on demand."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from connector.settings import VCenterSettings
from simulator.estate.build import Layout, build_estate
from simulator.estate.estate import Estate, Policy, Timing
from simulator.vcenter.center import Options
from simulator.vcenter.server import Server, serve

USER, PASSWORD = "administrator@vsphere.local", "Sp am&<eggs>"
MIB = 1 << 20


@dataclass(frozen=True)
class World:
    """An estate and the vCenter in front of it."""

    estate: Estate
    server: Server

    def settings(self, **changes: object) -> VCenterSettings:
        values: dict[str, object] = {
            "url": self.server.url,
            "user": USER,
            "password": SecretStr(PASSWORD),
            "thumbprint": self.server.thumbprint,
        }
        return VCenterSettings(**(values | changes))  # type: ignore[arg-type]

    @property
    def vm(self) -> str:
        """The moref of the first machine: running, two disks of 4 and 8 MiB, blank."""
        return min(self.estate.inventory.vms)

    def other(self) -> str:
        return max(self.estate.inventory.vms)

    def snapshots(self, vm: str | None = None) -> list[str]:
        return [shot.name for shot in self.estate.inventory.vm(vm or self.vm).snapshots]


@contextmanager
def world(
    *,
    timing: Timing | None = None,
    policy: Policy | None = None,
    options: Options | None = None,
    machines: int = 2,
    prepare: Callable[[Estate], None] = lambda _: None,
) -> Iterator[World]:
    """A fresh datacenter with powered-on machines, served until the block ends."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=base, prefix="vcenter-") as directory:
        quick = timing or Timing(snapshot_stun=0, switch_stun=0, guest_shutdown=0.01)
        layout = Layout(vms=0, fillers=machines)
        estate = build_estate(Path(directory) / "estate", layout, timing=quick, policy=policy)
        try:
            for moref in sorted(estate.inventory.vms):
                for unit, capacity in enumerate((4 * MIB, 8 * MIB)):
                    estate.hardware.add_disk(moref, 1000, unit, capacity, scratch=(0, capacity))
                estate.power.on(moref)
            prepare(estate)
            with serve(estate, accounts={USER: PASSWORD}, options=options) as server:
                yield World(estate, server)
        finally:
            estate.close()


def change_vm(estate: Estate, moref: str, **values: Any) -> None:
    """Change what no vSphere call changes."""
    estate.change(lambda old: replace(old, vms=old.vms | {moref: replace(old.vms[moref], **values)}))
