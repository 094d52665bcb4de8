"""The appliance's share of one measured pass, as a process: order as JSON on stdin, figures as JSON on
stdout.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from connector.clients.endpoint import InstanceEndpoint
from connector.kinds import PassKind
from connector.model import Credential, DiskAccess, InstanceAddress
from connector.settings import TransferSettings
from connector.sources.vddk import VddkReader
from connector.transfer.disk_pass import DiskPass, copy_disk
from connector.transfer.source import BlockSource, FileSource

THUMBPRINT = ":".join(["AA"] * 20)
PATH = "[datastore1] bench/bench.vmdk"


def export(disk: Path, home: Path) -> Path:
    """A VDDK installation whose stand-in library serves `disk` as the only disk of vm-1."""
    from simulator.vixdisklib.installation import install

    root, view = home / "estate", home / "estate" / "vm-1" / "snapshot-1"
    view.mkdir(parents=True, exist_ok=True)
    (root / "sessions").mkdir(exist_ok=True)
    (root / "access").write_text(f"thumbprint={THUMBPRINT}\nuser=bench\npassword=bench\n")
    (root / "access").chmod(0o600)
    line = [PATH, str(disk.stat().st_size), "lsilogic", "uuid", "persistent", str(disk)]
    (view / "disks").write_text("\t".join(line) + "\n")
    return install(home / "vddk", root)


def open_source(order: dict[str, Any]) -> BlockSource:
    disk, home = Path(order["disk"]), Path(order["home"])
    if order["reader"] == "file":
        return FileSource(disk)
    access = DiskAccess("vcenter", 443, THUMBPRINT, "bench", "bench", False, "vm-1", "snapshot-1", PATH)
    return VddkReader(home / "vddk").open(access)


def _cpu() -> float:
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


def _memory() -> int:
    return 1024 * sum(
        resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


def main() -> None:
    order = json.load(sys.stdin)
    if order["reader"] == "vddk":
        export(Path(order["disk"]), Path(order["home"]))
    endpoint = InstanceEndpoint(
        InstanceAddress("127.0.0.1", *order["ports"]), Credential(**order["credential"])
    )
    settings = TransferSettings(compression=order["compression"], connections=order["connections"])
    before, began = _cpu(), time.monotonic()
    source = open_source(order)
    job = DiskPass("2000", "pass-1", source.capacity, PassKind.FULL, "snapshot-1", "id/1")
    result = copy_disk(source, endpoint, job, settings=settings)
    wall = time.monotonic() - began
    source.close()
    print(json.dumps({"wall": wall, "cpu": _cpu() - before, "memory": _memory(), "wire": result.wire}))


if __name__ == "__main__":
    main()
