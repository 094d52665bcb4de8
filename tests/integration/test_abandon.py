"""An unfinished migration is given up: its copied disks go, its images stay, and nothing of ours is left in vCenter."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.conftest import Run
from tests.integration.house import MIB, House, Shape, equal

DISKS = ((2 * MIB, MIB),)


def test_an_incremental_migration_is_given_up_and_can_begin_anew(
    make_house: Callable[..., House], run: Run
) -> None:
    house = make_house(Shape("web-01", DISKS))
    give_up = house.migration("web-01", "--abandon")
    nothing = run([*give_up, "--yes"])
    assert nothing.code == 11 and "no unfinished migration" in nothing.complaint
    before = house.digests()
    assert run(house.migration("web-01", "--incremental")).code == 0
    asked = run(give_up)
    assert asked.code == 2 and "give --yes" in asked.complaint
    both = run([*give_up, "--yes", "--cutover"])
    assert both.code == 2
    done = run([*give_up, "--yes"])
    assert done.code == 0, done.stderr
    equal(house, "web-01", "web-01_CYCLE_1", before)
    assert not list((house.out / "instances").glob("*")) and not house.snapshots()
    assert house.machine().change_tracking
    doctor = ["doctor", "--only", "left", "--to", str(house.out), *house.access(), "--json"]
    assert run([*doctor, "--repair", "--restore-cbt"]).code == 0
    assert not house.machine().change_tracking
    again = run(house.migration("web-01"))
    assert again.code == 0, again.stderr
    equal(house, "web-01", next(iter(house.images() - {"web-01_CYCLE_1"})))
