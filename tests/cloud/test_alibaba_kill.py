"""The process dies between any two calls: whatever had its effect is found, and there is exactly one of everything.

Every call that changes something has its answer cut once, after its effect. What was made cannot be seen for a while.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from connector.cloud.provider import TargetDisk
from connector.errors import TargetFailed
from simulator.cloud import Stock
from simulator.cloud.dispatch import OPERATIONS
from simulator.faults import Rule
from tests.cloud.alibaba import KEY, QUICK, Calls, Cloud
from tests.cloud.conftest import image_for, request_for
from tests.cloud.test_alibaba_conversion import convert
from tests.cloud.test_alibaba_drills import BOOTS, drill

TOKEN = "instance-j-1"
DISKS = (TargetDisk(2000, "Hard disk 1", 1 << 20), TargetDisk(2001, "Hard disk 2", 1 << 20))
SLOW_TO_SHOW = replace(QUICK, lag=0.0, lag_lists=2, snapshot=0.0, image=0.0)
ONE = {"instances": 1, "disks": 3, "groups": 1, "vpcs": 1, "vswitches": 1, "snapshots": 0, "images": 0}
IMAGED = ONE | {"snapshots": 2, "images": 1}
RELEASED = dict.fromkeys(ONE, 0) | {"snapshots": 2, "images": 1}
Make = Callable[..., Cloud]


class CutOnce(Calls):
    """Cuts the answer of the `at`-th call that changes something; `at` counts from `arm` on."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None
        self.armed_calls = 0

    def arm(self, at: int) -> None:
        self.left, self.armed_calls = at, 0

    def consult(self, call: str, target: str = "") -> Rule | None:
        found = super().consult(call, target)
        if self.left is None or call.startswith(("Describe", "image.")):
            return found
        self.left -= 1
        self.armed_calls += 1
        return Rule(call, "cut") if self.left == -1 else found


def create(cloud: Cloud) -> None:
    cloud.provider(boots=False).create_instance(request_for(TOKEN, DISKS))


def image(cloud: Cloud) -> None:
    cloud.fill()
    cloud.provider(boots=False).make_image(image_for(TOKEN, "web", disks=DISKS))


def stop(cloud: Cloud) -> None:
    cloud.provider(boots=False).release(TOKEN, keep_disks=True)


def release(cloud: Cloud) -> None:
    cloud.provider(boots=False).release(TOKEN, keep_disks=False)


def forget(cloud: Cloud) -> None:
    cloud.provider(boots=False).delete_image("web")


LIFE = (
    (create, ONE),
    (image, IMAGED),
    (stop, IMAGED),
    (create, IMAGED),
    (release, RELEASED),
    (forget, dict.fromkeys(ONE, 0)),
)


def region(make_cloud: Make, **more: object) -> tuple[Cloud, CutOnce]:
    faults = CutOnce()
    return make_cloud(boot="", faults=faults, timing=SLOW_TO_SHOW, **more), faults


def test_a_whole_life_without_a_crash(make_cloud: Make) -> None:
    cloud, _ = region(make_cloud)
    for phase, truth in LIFE:
        phase(cloud)
        assert cloud.census() == truth, phase
    assert [call for call in cloud.calls.changes() if call.startswith(("Run", "Create"))] == [
        *("CreateVpc", "CreateVSwitch", "CreateSecurityGroup", "RunInstances"),
        *("CreateSnapshot", "CreateSnapshot", "CreateImage"),
    ]


@pytest.mark.parametrize(
    "number", range(len(LIFE)), ids=[f"{n}-{phase.__name__}" for n, (phase, _) in enumerate(LIFE)]
)
def test_every_lost_answer_is_made_good_by_the_next_process(make_cloud: Make, number: int) -> None:
    """One region for each call of the phase; the phases before it go well."""
    phase, truth = LIFE[number]
    cut = 0
    while True:
        cloud, faults = region(make_cloud)
        for before, _ in LIFE[:number]:
            before(cloud)
        faults.arm(cut)
        try:
            phase(cloud)
        except TargetFailed as lost:
            assert lost.retryable, lost
        else:
            assert faults.left is not None and faults.left >= 0
            break
        phase(cloud)
        assert cloud.census() == truth, (phase, faults.changes()[-6:])
        cut += 1
    assert cut == faults.armed_calls > 0


def test_a_job_that_is_deleted_after_such_a_crash_leaves_nothing_behind(make_cloud: Make) -> None:
    for cut in range(5):
        cloud, faults = region(make_cloud)
        faults.arm(cut)
        with pytest.raises(TargetFailed):
            create(cloud)
        release(cloud)
        assert set(cloud.census().values()) == {0}, faults.changes()


def test_a_lost_launch_is_found_although_the_stock_has_changed_since(make_cloud: Make) -> None:
    """The type that was bought is sold out now: another one would be a second instance."""
    cloud, faults = region(make_cloud, stock=Stock(sold_out=["ecs.n4.small@cn-hangzhou-i"]))
    faults.arm(4)
    with pytest.raises(TargetFailed):
        create(cloud)
    cloud.region.stock.sell_out("ecs.n4.small")
    create(cloud)
    assert cloud.census() == ONE
    (made,) = cloud.region.instances
    assert made.type == "ecs.n4.small"
    assert "IdempotenceParamNotMatch" not in str(cloud.ledger.lines)


def test_a_refused_launch_after_a_crash_is_followed_by_the_next_type(make_cloud: Make) -> None:
    cloud, faults = region(make_cloud)
    faults.add(Rule("RunInstances", "fault", times=2, fault="InternalError"))
    with pytest.raises(TargetFailed):
        create(cloud)
    cloud.region.stock.sell_out("ecs.n4.small")
    with pytest.raises(TargetFailed):
        create(cloud)
    create(cloud)
    assert cloud.census()["instances"] == 1
    assert next(iter(cloud.region.instances)).type == "ecs.t5-lc1m2.small"


def test_a_disk_that_is_added_later_is_made_once(make_cloud: Make) -> None:
    def grow(cloud: Cloud) -> None:
        more = (*DISKS, TargetDisk(2002, "Hard disk 3", 1 << 20))
        cloud.provider(boots=False).create_instance(request_for(TOKEN, more))

    for cut in range(2):
        cloud, faults = region(make_cloud)
        create(cloud)
        faults.arm(cut)
        with pytest.raises(TargetFailed):
            grow(cloud)
        grow(cloud)
        assert cloud.census() == ONE | {"disks": 4}
        assert {disk.instance for disk in cloud.region.disks} == {next(iter(cloud.region.instances)).id}


#: Only for jobs that put an image onto an instance of the user: tests/cloud/test_alibaba_targets.py makes them.
FOR_TARGETS = {"DetachDisk", "ReplaceSystemDisk", "UntagResources"}


def test_the_documented_permissions_are_enough_and_none_is_too_much(make_cloud: Make) -> None:
    page = (Path(__file__).parents[2] / "docs" / "alibaba.md").read_text()
    granted = {action for _, action in re.findall(r'"(ecs|vpc):([A-Za-z]+)"', page)}
    known = {name for operations in OPERATIONS.values() for name in operations}
    limited = replace(KEY, denied=tuple(sorted(known - granted)))
    faults = CutOnce()
    cloud = make_cloud(boot="", guest=BOOTS, faults=faults, timing=SLOW_TO_SHOW, keys=(limited,))
    for phase, _ in LIFE[:-2]:
        phase(cloud)
    image = convert(cloud, "r2")
    assert image.details["converted"], image.details["note"]
    assert drill(cloud, image).report["boot"]["boots"]
    more = (replace(DISKS[0], capacity=30 << 30), DISKS[1], TargetDisk(2002, "Hard disk 3", 1 << 20))
    cloud.provider(boots=False).create_instance(request_for(TOKEN, more))
    for shelf in (cloud.region.disks, cloud.region.instances):
        assert len(shelf)
    next(disk for disk in cloud.region.disks if disk.name == "connector-2002").delete_with_instance = False
    release(cloud)
    forget(cloud)
    cloud.provider(boots=False).delete_image(image.name)
    assert set(cloud.census().values()) == {0}
    asked = set(faults.seen) - {"image.make"}
    assert asked | FOR_TARGETS == granted
