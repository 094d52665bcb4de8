"""A user's ECS instance gets an image's disks and its former disks back, whatever call is lost; nothing unlisted stays."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from connector.cloud.alibaba.former_system import FormerSystem
from connector.cloud.alibaba.target_calls import TargetCalls, TargetLists
from connector.cloud.alibaba.target_disks import TargetDisks
from connector.cloud.provider import TargetDisk
from connector.cloud.target_instance import DiskReplacement, target_token
from connector.errors import BadInput, TargetFailed
from simulator.cloud import disks as cloud_disks
from simulator.cloud import groups, instances, launch, networks
from simulator.cloud.codes import Refused
from simulator.cloud.dispatch import OPERATIONS
from simulator.cloud.parameters import Parameters
from simulator.cloud.region import Region
from simulator.cloud.replace import replace_system_disk
from simulator.cloud.resources import Disk, Instance
from simulator.cloud.snapshots import delete_snapshot
from simulator.faults import Rule
from tests.cloud.alibaba import KEY, QUICK, Cloud
from tests.cloud.conftest import image_for, request_for
from tests.cloud.test_alibaba_kill import FOR_TARGETS, CutOnce
from tests.waiting import eventually

TOKEN: Final = "instance-j-1"
TARGET: Final = target_token("job-instance-j-1")
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


def copied(cloud: Cloud) -> None:
    """The disks of an intermediate instance hold the source."""
    for disk in cloud.region.disks:
        if disk.name.endswith(("2000", "2001")):
            write(disk, b"job " + disk.name[-4:].encode())


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
        copied(cloud)
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


def test_nothing_is_offered_unless_the_operator_allows_it(target: Target) -> None:
    assert target.cloud.provider(boots=False, target_instances=False).target_instances is None


def test_the_documented_permissions_are_enough(make_cloud: Make) -> None:
    page = (Path(__file__).parents[2] / "docs" / "alibaba.md").read_text()
    granted = {action for _, action in re.findall(r'"(ecs|vpc):([A-Za-z]+)"', page)}
    known = {name for operations in OPERATIONS.values() for name in operations}
    limited = replace(KEY, denied=tuple(sorted(known - granted)))
    target = Target(make_cloud(boot="", keys=(limited,)))
    target.replace()
    target.put_back()
    assert (target.contents(), target.more()) == (OWN, {})
    assert set(target.cloud.calls.seen) >= FOR_TARGETS


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
    assert system.id not in {disk.id for disk in target.cloud.region.disks}
    assert target.listed() == sorted(kept)
    assert target.more() == KEPT
    assert target.replace() == kept  # nothing is done again
    assert target.more() == KEPT


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
    with pytest.raises(TargetFailed, match="no snapshot says how to put it back"):
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
    with pytest.raises(TargetFailed, match=r"another job \(target-job-instance-j-1\) keeps its former disks"):
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
    assert target.listed() == []
    with pytest.raises(BadInput, match="does not exist in this account and region"):
        target.replace(instance="i-none")
    assert target.more() == {}


def breaks(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The next call of this step fails before it does anything."""
    owner = next(c for c in (FormerSystem, TargetCalls, TargetDisks) if hasattr(c, name))
    step, left = getattr(owner, name), [True]

    def broken(disks: Any, *words: Any, **more: Any) -> Any:
        if left.pop() if left else False:
            raise TargetFailed("broken", on=name, remedy="try again")
        return step(disks, *words, **more)

    monkeypatch.setattr(owner, name, broken)


def works_on(target: Target) -> None:
    """The user starts the machine, and it writes."""
    write(target.disks()[0], b"own, newer")


NEWER: Final = [b"own, newer", *OWN[1:]]


def test_the_end_of_the_intermediate_instance_leaves_the_former_disks_listed(target: Target) -> None:
    target.cloud.provider(boots=False).create_instance(request_for(TOKEN, DISKS))
    kept = target.replace()
    target.cloud.provider(boots=False).release(TOKEN, keep_disks=False)
    assert target.listed() == sorted(kept)
    target.put_back()
    assert (target.contents(), target.listed()) == (OWN, [])


def test_a_ledger_that_an_old_backup_has_lost_costs_nothing(target: Target) -> None:
    target.replace()
    target.cloud.ledger.lines.clear()
    target.put_back()
    assert (target.contents(), target.more()) == (OWN, {})


@pytest.mark.parametrize("step", ["_take", "replace"])
def test_a_machine_that_was_not_replaced_keeps_what_it_wrote_since(
    target: Target, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    breaks(monkeypatch, step)
    with pytest.raises(TargetFailed, match="broken"):
        target.replace()
    works_on(target)
    target.put_back()
    assert (target.contents(), target.more(), target.listed()) == (NEWER, {}, [])


@pytest.mark.parametrize("step", ["_take", "replace"])
def test_a_second_run_saves_what_the_machine_wrote_since(
    target: Target, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    breaks(monkeypatch, step)
    with pytest.raises(TargetFailed, match="broken"):
        target.replace()
    works_on(target)
    target.replace(run="r2")
    assert target.contents() == REPLACED
    target.put_back()
    assert (target.contents(), target.more(), target.listed()) == (NEWER, {}, [])


@pytest.mark.parametrize("step", ["replace", "_attach", "untag", "drop"])
def test_what_was_put_back_by_half_can_be_replaced_again_and_put_back(
    target: Target, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    target.replace()
    breaks(monkeypatch, step)
    with pytest.raises(TargetFailed, match="broken"):
        target.put_back()
    target.replace(run="r2")
    assert target.contents() == REPLACED
    target.put_back()
    assert (target.contents(), target.more(), target.listed()) == (OWN, {}, [])


@pytest.mark.parametrize("step", ["_take", "replace", "save"])
def test_a_release_of_what_was_not_replaced_removes_no_disk_that_is_in_use(
    target: Target, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    breaks(monkeypatch, step)
    with pytest.raises(TargetFailed, match="broken"):
        target.replace()
    target.release()
    assert (target.contents(), target.more(), target.listed()) == (OWN, {}, [])
    assert all("connector-target" not in disk.tags for disk in target.disks())


def test_a_release_after_half_of_a_put_back_is_refused_until_it_is_whole(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.replace()
    breaks(monkeypatch, "_attach")
    with pytest.raises(TargetFailed, match="broken"):
        target.put_back()
    with pytest.raises(TargetFailed, match="its own data disks are detached"):
        target.release()
    target.put_back()
    assert target.contents() == OWN


def test_a_list_by_tag_that_lags_mixes_no_disks_up(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(monkeypatch, "save")
    with pytest.raises(TargetFailed, match="broken"):
        target.replace()
    by_tag, left = TargetDisks._parts, [True, True]
    monkeypatch.setattr(
        TargetDisks, "_parts", lambda disks, word: [] if left and left.pop() else by_tag(disks, word)
    )
    target.replace()
    assert target.contents() == REPLACED


def test_a_former_disk_that_is_attached_elsewhere_is_said(target: Target) -> None:
    kept = target.replace()
    disk = next(disk for disk in target.cloud.region.disks if disk.id == kept[1])
    disk.instance, disk.device = "i-other", "/dev/xvdq"
    with pytest.raises(TargetFailed, match="the disk is attached to another instance, i-other"):
        target.put_back()
    assert "connector-target" in disk.tags
    disk.instance = disk.device = ""
    target.put_back()
    assert target.contents() == OWN


def test_a_machine_that_somebody_else_replaced_since_is_left_alone(target: Target) -> None:
    target.replace()
    target.instance.image = "m-sim-arm"
    with pytest.raises(TargetFailed, match="m-sim-arm, and no snapshot says how to put it back"):
        target.put_back()
    assert target.more() == KEPT
    target.release()
    assert target.more() == {}


def test_what_is_done_is_not_done_again_when_the_machine_runs_already(target: Target) -> None:
    kept = target.replace()
    call(target.cloud.region, instances.start_instance, InstanceId=target.id)
    assert target.replace() == kept
    assert instances.status(target.cloud.region, target.instance) != "Stopped"


def test_firmware_platform_and_architecture_are_those_of_each_system(target: Target) -> None:
    cloud = target.cloud
    own = next(image for image in cloud.region.images if image.id == "m-sim-x86")
    object.__setattr__(own, "boot_mode", "UEFI")
    object.__setattr__(own, "platform", "AlmaLinux")
    provider = cloud.provider(boots=False)
    provider.create_instance(request_for("instance-j-8", DISKS))
    copied(cloud)
    order = image_for(
        "instance-j-8", "windows", disks=DISKS, firmware="efi", guest_id="windows2019srv_64Guest"
    )
    target.replace(image=provider.make_image(order).location)
    now = next(image for image in cloud.region.images if image.id == target.instance.image)
    assert (now.boot_mode, now.platform) == ("UEFI", "Windows Server 2019")
    made: list[tuple[str, str, str]] = []
    add = cloud.region.images.add

    def watched(image: Any, **more: Any) -> Any:
        made.append((image.architecture, image.boot_mode, image.platform))
        return add(image, **more)

    cloud.region.images.add = watched  # type: ignore[method-assign]
    target.put_back()
    assert made == [("x86_64", "UEFI", "AlmaLinux")]
    found = cloud.provider(boots=False).target_instances.find(target.id)
    assert found is not None
    assert found.architecture == "x86_64"  # although the image is gone
    target.replace(token="target-j-9", run="r9")
    assert target.contents() == REPLACED


def test_without_the_former_disk_the_jobs_one_stays(target: Target) -> None:
    kept, region = target.replace(), target.cloud.region
    call(region, cloud_disks.delete_disk, DiskId=kept[1])
    target.put_back()
    assert sorted(target.contents()) == sorted([OWN[0], REPLACED[1], OWN[2]])
    assert target.listed() == []
    assert all("connector-target" not in disk.tags for disk in target.disks())


def test_a_disk_that_cannot_be_detached_is_said_before_anything_is_changed(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a disk of a subscription: the simulated cloud has none."""
    attached = TargetLists.attached

    def subscribed(lists: TargetLists, name: str) -> list[Any]:
        return [row | {"Portable": False} for row in attached(lists, name)]

    monkeypatch.setattr(TargetLists, "attached", subscribed)
    with pytest.raises(BadInput, match=r"its data disk d-\S+ cannot be detached"):
        target.replace()
    assert (target.contents(), target.more(), target.listed()) == (OWN, {}, [])
    assert all("connector-target" not in disk.tags for disk in target.disks())


def test_a_machine_whose_image_nobody_knows_is_refused(target: Target) -> None:
    target.instance.image = "m-gone"
    with pytest.raises(
        BadInput, match="its image m-gone is gone, so its former system disk could not be put back"
    ):
        target.replace()
    target.put_back()
    assert (target.contents(), target.more(), target.listed()) == (OWN, {}, [])


def test_a_run_that_ends_before_its_replacement_leaves_a_way_back(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine has the image of the run before, and the snapshot says already what comes next."""
    target.replace()
    provider = target.cloud.provider(boots=False)
    provider.create_instance(request_for(TOKEN, DISKS))
    copied(target.cloud)
    image = provider.make_image(image_for(TOKEN, "second", run="r2", disks=DISKS)).location
    provider.release(TOKEN, keep_disks=False)
    breaks(monkeypatch, "replace")
    with pytest.raises(TargetFailed, match="broken"):
        target.replace(run="r2", image=image)
    target.put_back()
    assert (target.contents(), target.listed()) == (OWN, [])


def test_a_snapshot_that_no_list_shows_is_not_taken_for_none(target: Target) -> None:
    """The machine has the job's disk: a new snapshot of it would be taken for the former one."""
    kept = target.replace()
    snapshot = next(row for row in target.cloud.region.snapshots if row.id == kept[0])
    tagged, snapshot.tags = snapshot.tags, {}
    target.cloud.ledger.lines.clear()
    with pytest.raises(TargetFailed, match="neither its own nor the job's"):
        target.replace(run="r2")
    snapshot.tags = tagged
    target.put_back()
    assert target.contents() == OWN


@pytest.mark.parametrize("again", [False, True])
def test_a_user_who_takes_his_own_image_again_loses_nothing(target: Target, again: bool) -> None:
    """The image id says its own, and the disk is another one."""
    kept, region = target.replace(), target.cloud.region
    own = {"InstanceId": target.id, "ImageId": "m-sim-x86", "SystemDisk__Size": 40}
    eventually(lambda: _tried(region, replace_system_disk, **own), "the user has replaced it")
    if again:
        with pytest.raises(TargetFailed, match="neither its own nor"):
            target.replace(run="r2")
    with pytest.raises(TargetFailed, match="no snapshot says"):
        target.put_back()
    assert {row.id for row in region.snapshots} >= {kept[0]}
    assert target.listed() == sorted(kept)


@pytest.mark.parametrize("then", ["replace", "put_back"])
def test_an_old_answer_about_the_image_loses_nothing(
    target: Target, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """The answer of ReplaceSystemDisk is lost, and the next list shows the image id from before."""
    kept = target.replace()
    instance, left = TargetLists.instance, [True] * 4

    def stale(lists: TargetLists, name: str) -> Any:
        row = instance(lists, name)
        return row | {"ImageId": "m-sim-x86"} if row is not None and left and left.pop() else row

    with monkeypatch.context() as patch:
        patch.setattr(TargetLists, "instance", stale)
        with suppress(TargetFailed):
            target.replace(run="r2") if then == "replace" else target.put_back()
    assert kept[0] in {row.id for row in target.cloud.region.snapshots}
    target.put_back()
    assert (target.contents(), target.more(), target.listed()) == (OWN, {}, [])


def test_without_the_snapshot_there_is_no_way_back_and_nothing_is_touched(target: Target) -> None:
    kept = target.replace()
    call(target.cloud.region, delete_snapshot, SnapshotId=kept[0])
    with pytest.raises(TargetFailed, match="no snapshot says how to put it back"):
        target.put_back()
    assert target.contents() == REPLACED


@pytest.mark.parametrize("step", ["untag", "drop"])
def test_a_release_that_stops_half_way_is_ended_before_anything_else(
    target: Target, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    target.replace()
    breaks(monkeypatch, step)
    with pytest.raises(TargetFailed, match="broken"):
        target.release()
    for work in (target.put_back, lambda: target.replace(run="r2")):
        with pytest.raises(TargetFailed, match="its former disks are being removed"):
            work()
    assert target.contents() == REPLACED
    target.release()
    assert (target.contents(), target.more(), target.listed()) == (REPLACED, {}, [])


def test_a_release_leaves_a_machine_with_all_of_its_disks(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, "_attach")
    with pytest.raises(TargetFailed, match="broken"):
        target.replace()
    target.release()
    assert sorted(target.contents()) == sorted(REPLACED)


def test_a_disk_of_its_own_that_the_user_detached_is_not_removed(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, "save")
    with pytest.raises(TargetFailed, match="broken"):
        target.replace()
    disk = target.disks()[1]
    disk.instance = disk.device = ""
    target.release()
    assert disk.id in {row.id for row in target.cloud.region.disks}
    assert read(disk) == OWN[1]
    assert target.listed() == []


def release_the_instance(target: Target) -> None:
    """Somebody removes the instance in the console; its data disks stay."""
    region = target.cloud.region
    for disk in target.disks():
        disk.instance = disk.device = ""
    with region.lock:
        region.instances.drop(target.id)


@pytest.mark.parametrize("step", ["save", "replace", "_detach"])
def test_disks_that_were_never_replaced_stay_when_their_instance_is_gone(
    target: Target, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    own = {disk.id for disk in target.disks()[1:]}
    breaks(monkeypatch, step)
    with pytest.raises(TargetFailed, match="broken"):
        target.replace()
    release_the_instance(target)
    target.release()
    assert own <= {row.id for row in target.cloud.region.disks}
    assert target.listed() == []


def test_disks_that_were_replaced_go_when_their_instance_is_gone(target: Target) -> None:
    target.replace()
    former = {disk.id for disk in target.cloud.region.disks if "connector-replaced" in disk.tags}
    assert former
    release_the_instance(target)
    target.release()
    assert not former & {row.id for row in target.cloud.region.disks}
    assert target.listed() == []


def test_an_image_that_fails_is_made_again(target: Target) -> None:
    target.replace()
    target.cloud.calls.add(Rule("image.make", "fault", times=1))
    with pytest.raises(
        TargetFailed, match="the image of the former system disk failed or was removed"
    ) as failed:
        target.put_back()
    assert failed.value.retryable
    target.put_back()
    assert (target.contents(), target.more(), target.listed()) == (OWN, {}, [])


def test_a_snapshot_that_the_user_removes_meanwhile_ends_the_wait(make_cloud: Make) -> None:
    target = Target(make_cloud(boot=""))
    region = target.cloud.region
    region.timing = replace(region.timing, snapshot=3600.0)
    outcome: list[BaseException] = []

    def work() -> None:
        try:
            target.cloud.provider(boots=False, patience=1.0).target_instances.replace_disks(target.order())
        except TargetFailed as failed:
            outcome.append(failed)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work)

        def former() -> list[str]:
            return [row.id for row in region.snapshots if row.tags.get("connector-disk") == "former-system"]

        snapshot = eventually(former, "the snapshot has begun")[0]
        with region.lock:
            region.snapshots.drop(snapshot)
    assert "failed or was removed" in str(outcome[0])
    assert target.contents() == OWN


def test_a_snapshot_that_is_not_visible_yet_is_not_forgotten(make_cloud: Make) -> None:
    """The answer of CreateSnapshot is lost, and lists do not show it for a while."""
    faults = CutOnce()
    target = Target(make_cloud(boot="", faults=faults, timing=SLOW_TO_SHOW))
    region = target.cloud.region
    faults.add(Rule("CreateSnapshot", "cut", times=1))
    for shelf in (region.instances, region.disks, region.images, region.snapshots):
        for row in shelf:
            shelf._lists[row.id] = 1 << 20  # everything that exists is visible
    region.timing = replace(region.timing, lag_lists=12)
    with pytest.raises(TargetFailed, match="did not answer CreateSnapshot"):
        target.replace()
    target.put_back()
    assert (target.contents(), target.more(), target.listed()) == (OWN, {}, [])


def test_how_a_machine_starts_is_not_taken_from_an_older_disk(target: Target) -> None:
    target.replace()
    target.put_back()
    target.instance.image = "m-another-that-is-gone"
    with pytest.raises(BadInput, match="its image m-another-that-is-gone is gone"):
        target.replace(run="r3")


class Phase:
    """A step of the life of a target, and what there is afterwards."""

    def __init__(
        self, name: str, work: Callable[[Target], object], contents: list[bytes], more: dict[str, int]
    ):
        self.name, self.work, self.contents, self.more = name, work, contents, more


KEPT: Final = {"disks": 1, "snapshots": 1}
LIVES: Final = {
    "replace": ([], Phase("replace", lambda t: t.replace(), REPLACED, KEPT)),
    "again": (["replace"], Phase("again", lambda t: t.replace(run="r2"), REPLACED, KEPT)),
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
