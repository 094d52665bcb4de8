"""A user's ECS instance gets an image's disks and its former disks back, whatever call is lost; nothing unlisted stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from connector.cloud.provider import TargetDisk
from connector.cloud.target_instance import DiskReplacement
from connector.errors import BadInput, TargetFailed
from simulator.cloud import disks as cloud_disks
from simulator.cloud import groups, instances, launch, networks
from simulator.cloud.codes import Refused
from simulator.cloud.parameters import Parameters
from simulator.cloud.region import Region
from simulator.cloud.resources import Disk, Instance
from tests.cloud.alibaba import QUICK, Cloud
from tests.cloud.conftest import image_for, request_for
from tests.cloud.test_alibaba_kill import CutOnce
from tests.waiting import eventually

TOKEN: Final = "instance-j-1"
TARGET: Final = "target-j-1"
DISKS: Final = (TargetDisk(2000, "Hard disk 1", 1 << 20), TargetDisk(2001, "Hard disk 2", 1 << 20))
SLOW_TO_SHOW: Final = replace(QUICK, lag=0.0, lag_lists=2, snapshot=0.0, image=0.0)
Make = Callable[..., Cloud]


def call(region: Region, work: Any, **parameters: Any) -> Any:
    words = {name.replace("__", "."): str(value) for name, value in parameters.items()}
    with region.lock:
        return work(region, Parameters({"RegionId": region.name} | words))


def write(disk: Disk, text: bytes) -> None:
    with disk.path.open("r+b") as file:
        file.write(text.ljust(32, b"."))


def read(disk: Disk) -> bytes:
    with disk.path.open("rb") as file:
        return file.read(32).rstrip(b".\0")


class Target:
    """A region with an instance of the user, and the image of a job with two disks."""

    def __init__(self, cloud: Cloud, data: int = 2) -> None:
        self.cloud, region = cloud, cloud.region
        vpc = call(region, networks.create_vpc, CidrBlock="10.0.0.0/8")["VpcId"]
        eventually(lambda: vpc in {v.id for v in region.vpcs.seen()}, "the VPC is visible")
        zone = region.stock.zones[0]
        where = {"VpcId": vpc, "ZoneId": zone, "CidrBlock": "10.0.0.0/24"}
        vswitch = eventually(lambda: _tried(region, networks.create_vswitch, **where), "a vSwitch")
        group = call(region, groups.create_security_group, VpcId=vpc)["SecurityGroupId"]
        words: dict[str, Any] = {
            "ImageId": "m-sim-x86",
            "InstanceType": "ecs.n4.small",
            "InstanceName": "app",
            "SecurityGroupId": group,
            "VSwitchId": vswitch["VSwitchId"],
            "SystemDisk__Size": 40,
        }
        for place in range(1, data + 1):
            words |= {f"DataDisk__{place}__Size": 30, f"DataDisk__{place}__DeleteWithInstance": place == 1}
        started = eventually(lambda: _tried(region, launch.run_instances, **words), "the instance")
        self.id = str(started["InstanceIdSets"]["InstanceIdSet"][0])
        self.stop()
        for disk in self.disks():
            write(disk, b"own " + disk.device.encode())
        self.before = cloud.census()
        cloud.provider(boots=False).create_instance(request_for(TOKEN, DISKS))
        for disk in cloud.region.disks:
            if disk.name.endswith(("2000", "2001")):
                write(disk, b"job " + disk.name[-4:].encode())
        self.image = cloud.provider(boots=False).make_image(image_for(TOKEN, "web", disks=DISKS)).location
        cloud.provider(boots=False).release(TOKEN, keep_disks=False)

    @property
    def instance(self) -> Instance:
        """It exists, whether or not lists show it yet."""
        return next(instance for instance in self.cloud.region.instances if instance.id == self.id)

    def stop(self) -> None:
        region = self.cloud.region
        eventually(lambda: instances.status(region, self.instance) == "Running", "it runs")
        eventually(lambda: _tried(region, instances.stop_instance, InstanceId=self.id), "it is stopping")
        eventually(lambda: instances.status(region, self.instance) == "Stopped", "it is stopped")

    def disks(self) -> list[Disk]:
        return cloud_disks.of_instance(self.cloud.region, self.instance)

    def contents(self) -> list[bytes]:
        return [read(disk) for disk in self.disks()]

    def order(self, **changes: Any) -> DiskReplacement:
        order = DiskReplacement(TARGET, "j-1", "r1", self.id, self.image, (1 << 20, 1 << 20))
        return replace(order, **changes)

    def replace(self, **changes: Any) -> list[str]:
        targets = self.cloud.provider(boots=False).target_instances
        return list(targets.replace_disks(self.order(**changes)))

    def put_back(self) -> None:
        self.cloud.provider(boots=False).target_instances.put_back(TARGET, self.id)

    def release(self) -> None:
        self.cloud.provider(boots=False).target_instances.release_former(TARGET, self.id)

    def more(self) -> dict[str, int]:
        """What there is more than before the job, apart from its image and its snapshots."""
        now = self.cloud.census()
        image = {"images": 1, "snapshots": 2}
        return {k: n for k, v in now.items() if (n := v - self.before[k] - image.get(k, 0))}

    def listed(self) -> list[str]:
        """References that the ledger thinks exist for the target."""
        return sorted(
            str(row.reference) for row in self.cloud.ledger.standing() if row.token.startswith(TARGET)
        )


def _tried(region: Region, work: Any, **parameters: Any) -> Any:
    """The answer; None while the region refuses because something is not visible yet: a look at everything brings that nearer."""
    for shelf in (region.vpcs, region.vswitches, region.groups, region.instances):
        shelf.seen()
    try:
        return {"done": True} | call(region, work, **parameters)
    except Refused:
        return None


OWN: Final = [b"own /dev/xvda", b"own /dev/xvdb", b"own /dev/xvdc"]
REPLACED: Final = [b"job 2000", b"job 2001", b"own /dev/xvdc"]


@pytest.fixture
def target(quiet: Cloud) -> Target:
    return Target(quiet)


def test_what_a_job_has_to_know_of_an_instance(target: Target) -> None:
    targets = target.cloud.provider(boots=False).target_instances
    found = targets.find(target.id)
    assert found is not None
    assert (found.name, found.running, found.family, found.architecture) == ("app", False, "linux", "x86_64")
    assert found.disks == tuple(size << 30 for size in (40, 30, 30))
    for other in ("i-none", "", '"]', "i-1\n", "ï-1"):
        assert targets.find(other) is None, other


def test_an_intermediate_instance_is_no_target(target: Target) -> None:
    provider = target.cloud.provider(boots=False)
    ours = provider.create_instance(request_for("instance-j-2", DISKS))
    assert provider.target_instances.find(ours.handle) is None


def test_its_disks_are_replaced_and_the_former_ones_kept_and_listed(target: Target) -> None:
    system, first, second = target.disks()
    kept = target.replace()
    assert target.contents() == REPLACED
    assert [disk.size for disk in target.disks()] == [40, 30, 30]
    assert [disk.delete_with_instance for disk in target.disks()[1:]] == [True, False]
    assert second.id in {disk.id for disk in target.disks()}  # it was not in the way
    assert kept[1:] == [first.id]
    assert system.id not in target.cloud.region.disks
    assert target.listed() == sorted([*kept, target.instance.image])
    assert target.more() == {"disks": 1, "snapshots": 1, "images": 1}
    assert target.replace() == kept  # nothing is done again
    assert target.more() == {"disks": 1, "snapshots": 1, "images": 1}


def test_the_former_disks_come_back_and_nothing_stays(target: Target) -> None:
    target.replace()
    for _ in range(2):
        target.put_back()
        assert (target.contents(), target.more(), target.listed()) == (OWN, {}, [])
    assert [disk.delete_with_instance for disk in target.disks()[1:]] == [True, False]
    assert all("connector-target" not in disk.tags for disk in target.disks())


def test_the_former_disks_are_let_go(target: Target) -> None:
    target.replace()
    for _ in range(2):
        target.release()
        assert (target.contents(), target.more(), target.listed()) == (REPLACED, {}, [])
    target.put_back()
    assert target.contents() == REPLACED
    assert all("connector-target" not in disk.tags for disk in target.disks())
    assert len(target.replace(token="target-j-2", run="r9")) == 2  # the next job finds a machine of the user


def test_a_later_run_keeps_the_disks_from_before_the_job(target: Target) -> None:
    kept = target.replace()
    assert target.replace(run="r2") == kept
    assert target.contents() == REPLACED
    target.put_back()
    assert (target.contents(), target.more(), target.listed()) == (OWN, {}, [])


def test_another_job_has_to_wait_until_the_former_disks_are_gone(target: Target) -> None:
    target.replace()
    with pytest.raises(TargetFailed, match=r"another job \(target-j-1\) keeps its former disks"):
        target.replace(token="target-j-2")
    assert target.contents() == REPLACED


def test_an_instance_that_runs_is_stopped_when_that_is_allowed(target: Target) -> None:
    call(target.cloud.region, instances.start_instance, InstanceId=target.id)
    with pytest.raises(TargetFailed, match="is running") as refused:
        target.replace()
    assert refused.value.retryable
    assert target.contents() == OWN
    target.replace(stop=True)
    assert target.contents() == REPLACED
    assert target.instance.stopped_mode == "KeepCharging"
    call(target.cloud.region, instances.start_instance, InstanceId=target.id)
    with pytest.raises(TargetFailed, match="is running"):
        target.put_back()


def test_an_instance_with_too_few_disks_or_none_is_refused(make_cloud: Make) -> None:
    target = Target(make_cloud(boot=""), data=0)
    with pytest.raises(BadInput, match="has no data disk 1"):
        target.replace()
    with pytest.raises(BadInput, match="does not exist in this account and region"):
        target.replace(instance="i-none")
    assert target.more() == {}


class Phase:
    """A step of the life of a target, and what there is afterwards."""

    def __init__(
        self, name: str, work: Callable[[Target], object], contents: list[bytes], more: dict[str, int]
    ):
        self.name, self.work, self.contents, self.more = name, work, contents, more


KEPT: Final = {"disks": 1, "snapshots": 1, "images": 1}
LIVES: Final = {
    "replace": ([], Phase("replace", lambda t: t.replace(), REPLACED, KEPT)),
    "again": (["replace"], Phase("again", lambda t: t.replace(run="r2"), REPLACED, KEPT | {"images": 2})),
    "put back": (["replace"], Phase("put back", lambda t: t.put_back(), OWN, {})),
    "release": (["replace"], Phase("release", lambda t: t.release(), REPLACED, {})),
}


@pytest.mark.parametrize("name", LIVES)
def test_every_lost_answer_is_made_good_by_the_next_process(make_cloud: Make, name: str) -> None:
    """One region for each call that changes something: its answer is cut after its effect, and the process is gone."""
    before, phase = LIVES[name]
    cut = 0
    while True:
        faults = CutOnce()
        target = Target(make_cloud(boot="", faults=faults, timing=SLOW_TO_SHOW))
        for earlier in before:
            LIVES[earlier][1].work(target)
        faults.arm(cut)
        try:
            phase.work(target)
        except TargetFailed as lost:
            assert lost.retryable, lost
            assert target.listed() or name != "replace"  # what it may have made is on record
        else:
            assert faults.left is not None and faults.left >= 0
            break
        phase.work(target)
        assert (target.contents(), target.more()) == (phase.contents, phase.more), (
            cut,
            faults.changes()[-6:],
        )
        assert bool(target.listed()) is bool(phase.more)
        cut += 1
    assert cut == faults.armed_calls > 0


@pytest.mark.parametrize("cut", range(0, 12, 3))
def test_what_was_begun_can_be_put_back(make_cloud: Make, cut: int) -> None:
    faults = CutOnce()
    target = Target(make_cloud(boot="", faults=faults, timing=SLOW_TO_SHOW))
    faults.arm(cut)
    try:
        target.replace()
    except TargetFailed:
        target.put_back()
        assert (target.contents(), target.more(), target.listed()) == (OWN, {}, [])
