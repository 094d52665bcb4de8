"""What a job says about trust, by the command that an operator types."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulator.faults import Rule
from tests.integration.conftest import Run
from tests.integration.house import MIB, House, Shape, equal

DISKS = ((4 * MIB, 2 * MIB), (MIB, MIB // 2))


@pytest.mark.slow
def test_a_lost_write_and_a_removed_disk_each_stop_the_job_and_have_a_way_on(
    make_house: Callable[..., House], run: Run
) -> None:
    house = make_house(Shape("web-01", DISKS))
    assert run(house.migration("web-01", "--incremental")).code == 0
    vm = house.machine()
    house.witness.add(Rule("estate.track", "answer", answer={"lose": True}))
    house.estate.power.write(vm.moref, vm.disks[0].key, 3 * MIB, b"lost" * 128)
    caught = run(house.migration("web-01", "--incremental", "--audit", "100%"))
    assert caught.code == 10, caught.stderr
    assert "web-01 Hard disk 1: CBT missed a write" in caught.complaint
    assert f"[{3 * MIB}, {3 * MIB + 65536})" in caught.complaint
    assert house.images() == {"web-01_CYCLE_1"}
    house.estate.hardware.remove_disk(vm.moref, vm.disks[1].key)
    stopped = run(house.migration("web-01", "--cutover"))
    assert stopped.code == 11, stopped.stderr
    assert "web-01: Hard disk 2 (2001) was migrated before" in stopped.complaint
    assert "--accept-removed-disks" in stopped.complaint
    done = run(house.migration("web-01", "--cutover", "--accept-removed-disks"))
    assert done.code == 0, done.stderr
    rows = [row for row in done.result()["disks"] if row["key"] == vm.disks[0].key]
    assert [row["kind"] for row in rows] == ["full", "compare", "final"]
    assert rows[1]["note"].startswith("compared: CBT missed a write")
    equal(house, "web-01", "web-01")
    assert not house.snapshots()
