"""An incremental job whose images are converted and started: each boots, and no run copies more because of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.boot import guests
from tests.boot.guests import Guest
from tests.boot.test_boot import PATIENCE, VMWARE, root
from tests.boot.test_migration import install
from tests.conversion.conftest import qemu
from tests.conversion.test_conversion import tools
from tests.integration.conftest import make_house
from tests.integration.house import MIB, House, Shape
from tests.integration.test_rollback import reach, stack
from tests.integration.witness import digest
from tests.people import People

__all__ = ["make_house", "qemu", "root", "tools"]
pytestmark = [pytest.mark.boot, pytest.mark.usefixtures("qemu"), pytest.mark.xdist_group("boot")]
CELL = 1 << 16
#: In the partition of a firmware that this guest does not use, and the first super block of its root.
UNUSED, SUPER_BLOCK = 20 * MIB, 69632 * 512 + 1024


def write(house: House, at: int, data: bytes) -> None:
    vm = house.machine()
    house.estate.power.write(vm.moref, vm.disks[0].key, at, data)


def run(running: Any, jobs: People) -> tuple[dict[str, Any], dict[str, Any]]:
    """One run of the job: the details of its image, and the figures of its disk."""
    jobs.start("web")
    job = reach(running, "web", "Waiting", PATIENCE)
    (disk,) = job["passes"][-1]["disks"]
    return job["images"][-1]["details"], disk


def test_each_image_of_an_incremental_job_boots_and_a_conversion_that_fails_costs_no_copy(
    root: Path, make_house: Callable[..., House], tmp_path: Path
) -> None:
    built = guests.build(root, Guest(modules=VMWARE), tmp_path / "disk.raw")
    house = make_house(Shape("web-01", disks=((built.stat().st_size, 0),)))
    install(house, built)
    before = house.content()[house.machine().disks[0].key][SUPER_BLOCK : SUPER_BLOCK + 1024]
    with stack(house) as running:
        jobs = People(client=running.client)
        jobs.create("web-01", "web", run_once=False, image_format="raw", Conversion="dhcp", BootCheck=True)
        first, copied = run(running, jobs)
        assert first["conversion"]["boot"]["outcome"] == "login prompt", first
        assert copied["kind"] == "full"

        write(house, UNUSED, b"second".ljust(3 * CELL, b"2"))
        write(house, SUPER_BLOCK, bytes(1024))
        broken, copied = run(running, jobs)
        assert "not converted" in broken["note"], broken
        assert (copied["kind"], copied["read"]) == ("delta", 4 * CELL)
        (file,) = Path(broken["location"]).glob("*.raw")
        assert digest(file.read_bytes()) == house.digests()[house.machine().disks[0].key]

        write(house, SUPER_BLOCK, before)
        for content in (b"third", b"fourth"):
            write(house, UNUSED, content.ljust(2 * CELL, content[-1:]))
            details, copied = run(running, jobs)
            assert details["conversion"]["boot"]["outcome"] == "login prompt", details
            assert (copied["kind"], copied["read"]) == ("delta", (3 if content == b"third" else 2) * CELL)
