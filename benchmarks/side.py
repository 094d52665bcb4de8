"""One side of `benchmarks.against`: a full pass, a delta and the opening of its disk, by the code of the current directory.

Order as JSON on stdin, figures as JSON on stdout. Runs with releases that do not know this file.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

sys.path[0] = str(Path.cwd())

from benchmarks.pass_vs_nbdcopy import _instance, _peak  # noqa: E402

try:  # where an earlier release has it: first, because an installed package lends what a checkout lacks
    from connector.transfer.endpoint import InstanceEndpoint  # type: ignore[import-not-found,no-redef]
except ModuleNotFoundError:
    from connector.clients.endpoint import InstanceEndpoint
from connector.instance.store import DiskStore  # noqa: E402
from connector.model import Credential, Extent, InstanceAddress  # noqa: E402
from connector.settings import TransferSettings  # noqa: E402
from connector.transfer.disk_pass import DiskPass, copy_disk  # noqa: E402
from connector.transfer.source import FileSource  # noqa: E402

try:
    from connector.kinds import PassKind
except ImportError:  # a release that has them as plain words
    PassKind = str  # type: ignore[assignment,misc]


CHANGE = 64 << 10


def main() -> None:
    order = json.load(sys.stdin)
    disk, home = Path(order["disk"]), Path(order["home"])
    figures: dict[str, Any] = {}
    with _instance(home, order["instance"]) as (process, ports):
        address = InstanceAddress("127.0.0.1", *ports)
        endpoint = InstanceEndpoint(address, Credential(**order["appliance"]))
        settings = TransferSettings(compression="none")
        source = FileSource(disk)
        passes = {
            "full": (DiskPass("2000", "pass-1", source.capacity, PassKind("full"), "s-1", "id/1"), None),
            "delta": (
                DiskPass("2000", "pass-2", source.capacity, PassKind("delta"), "s-2", "id/2", "id/1"),
                _changed(source.capacity, order["changes"]),
            ),
        }
        for name, (what, changed) in passes.items():
            before, began = _cpu(process), time.monotonic()
            wanted = None if changed is None else lambda: changed  # noqa: B023 - called before the next turn
            copy_disk(source, endpoint, what, wanted, settings=settings, prove=bool(order["prove"]))
            figures[name] = {"wall": time.monotonic() - began, "cpu": _cpu(process) - before}
        source.close()
        figures["memory"] = _peak(process.pid) + _peak(os.getpid())
        os.rename(home / "instance", home / "opened")  # noqa: PTH104 - the instance removes what it leaves
        figures["open"] = _opened(home / "opened")
        os.rename(home / "opened", home / "instance")  # noqa: PTH104
    print(json.dumps(figures))


def _opened(directory: Path) -> dict[str, float]:
    before, began = time.process_time(), time.monotonic()
    DiskStore(directory).close()
    return {"wall": time.monotonic() - began, "cpu": time.process_time() - before}


def _changed(capacity: int, count: int) -> list[Extent]:
    places = random.Random(7).sample(range(capacity // CHANGE), count)
    return [Extent(place * CHANGE, CHANGE) for place in sorted(places)]


def _cpu(process: Any) -> float:
    times, mine = process.cpu_times(), resource.getrusage(resource.RUSAGE_SELF)
    return float(times.user + times.system + mine.ru_utime + mine.ru_stime)


if __name__ == "__main__":
    main()
