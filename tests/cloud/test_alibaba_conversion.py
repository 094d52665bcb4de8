"""An image is converted on an instance of its own: the image stays as it is, and of the conversion only its result stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from connector.cloud.provider import ImageRequest, StoredImage, TargetDisk
from connector.errors import Conflict, TargetFailed, TransferFailed
from connector.transfer.certificates import CertificateRole
from simulator.cloud.resources import Image
from simulator.faults import Rule
from tests.cloud.alibaba import CONVERTED, Cloud
from tests.cloud.conftest import AUTHORITY, image_for, request_for
from tests.cloud.ledger import MemoryLedger

TOKEN = "instance-j-1"
DISKS = (TargetDisk(2000, "Hard disk 1", 1 << 20), TargetDisk(2001, "Hard disk 2", 1 << 20))
SHORT: Mapping[str, Any] = {"conversion": True, "consistency": 0.2}  # what is not visible soon does not exist
RUNNING = {**CONVERTED, "state": "running", "result": None}
INTERRUPTED = {**CONVERTED, "state": "interrupted", "result": None}


@pytest.fixture
def begun(quiet: Cloud) -> Cloud:
    """A region with an instance whose disks have something on them."""
    quiet.provider(boots=False, conversion=True).create_instance(request_for(TOKEN, DISKS))
    quiet.fill()
    return quiet


def request(run: str = "r1", **more: Any) -> ImageRequest:
    inside = AUTHORITY.issue(CertificateRole.INSTANCE)
    ordered = image_for(TOKEN, f"web-{run}", run, DISKS, conversion="dhcp", **more)
    return replace(ordered, converter=inside)


def convert(cloud: Cloud, run: str = "r1", **more: Any) -> StoredImage:
    return cloud.provider(boots=False, **{"conversion": True} | more).make_image(request(run))


def answered(**conversion: Any) -> Mapping[str, Any]:
    """A conversion that ended with this report."""
    report = {"system": "debian 12", "changes": [], "removed": [], "notes": []} | conversion
    return {**CONVERTED, "result": {"conversion": report, "refusal": ""}}


def beginnings(cloud: Cloud, image: Image) -> list[bytes]:
    """The first bytes of each disk of an image."""
    paths = [cloud.region.snapshots.get(disk.snapshot).path for disk in image.disks]
    contents = []
    for path in paths:
        with path.open("rb") as file:
            contents.append(file.read(40))
    return contents


def test_the_converted_image_is_made_of_copies_and_named_in_the_details(begun: Cloud) -> None:
    image = convert(begun)
    assert image.name == "web-r1"
    assert image.details["converted"] == image.id != image.location, image.details
    assert "1 change" in str(image.details["note"])
    assert {row.name for row in begun.region.images if row.owner == "self"} == {"web-r1", "web-r1_converted"}
    base, converted = (begun.region.images.get(name) for name in (image.location, image.id))
    snapshots = {disk.snapshot for disk in base.disks}
    copies = [disk for disk in begun.region.disks if disk.snapshot in snapshots]
    assert len(copies) == len(DISKS)
    assert snapshots.isdisjoint(disk.snapshot for disk in converted.disks)
    assert beginnings(begun, base) == beginnings(
        begun, converted
    )  # nobody changed anything in the copies here


def test_a_copy_and_its_base_are_never_on_one_instance(begun: Cloud) -> None:
    convert(begun)
    by_instance: dict[str, set[bool]] = {}
    for disk in begun.region.disks:
        if not disk.system:
            by_instance.setdefault(disk.instance, set()).add(bool(disk.snapshot))
    assert sorted(map(len, by_instance.values())) == [1, 1]


def test_what_is_ordered_says_which_machine_it_is(begun: Cloud) -> None:
    machine = request(firmware="efi", guest_id="debian12_64Guest", cards=(("00:50:56:00:00:01", "vlan-9"),))
    begun.provider(boots=False, conversion=True).make_image(machine)
    _, run, order = begun.inside.orders[0]
    assert (run, order["disks"], order["network"]) == ("r1", ["2000", "2001"], "dhcp")
    described = order["machine"]
    assert isinstance(described, dict)
    assert (described["firmware"], described["guest_id"]) == ("efi", "debian12_64Guest")
    assert described["cards"] == [{"mac": "00:50:56:00:00:01", "network": "vlan-9"}]


def test_nothing_of_a_conversion_stays_but_its_image(begun: Cloud) -> None:
    convert(begun)
    begun.provider(boots=False, conversion=True).release(TOKEN, keep_disks=True)
    assert begun.census() == {
        "instances": 1,
        "disks": 3,
        "groups": 1,
        "vpcs": 1,
        "vswitches": 1,
        "snapshots": 4,
        "images": 2,
    }
    begun.provider(boots=False, conversion=True).release(TOKEN, keep_disks=False)
    assert begun.census() == dict.fromkeys(begun.census(), 0) | {"snapshots": 4, "images": 2}
    begun.provider(boots=False, conversion=True).delete_image("web-r1")
    assert begun.census() == dict.fromkeys(begun.census(), 0)
    assert all(entry.gone for entry in begun.ledger.entries(f"conversion-{TOKEN}"))


def test_it_goes_also_when_conversions_were_switched_off_meanwhile(begun: Cloud) -> None:
    convert(begun)
    begun.provider(boots=False).release(TOKEN, keep_disks=False)
    assert begun.census()["instances"] == 0


def test_a_guest_that_needs_nothing_has_no_second_image(begun: Cloud) -> None:
    begun.inside.conversions = [answered()]
    image = convert(begun)
    assert image.details["converted"] == ""
    assert "nothing had to be converted" in str(image.details["note"])
    assert image.id == image.location


def test_a_guest_that_cannot_be_converted_has_its_image_and_the_reason(begun: Cloud) -> None:
    begun.inside.conversions = [{**CONVERTED, "result": {"conversion": None, "refusal": "it is encrypted"}}]
    image = convert(begun)
    assert "not converted: it is encrypted" in str(image.details["note"])
    report = image.details["conversion"]
    assert isinstance(report, dict)
    assert report["refusal"] == "it is encrypted"


@pytest.mark.parametrize("run_again", [False, True], ids=["goes on", "forgets"])
def test_an_instance_that_is_started_again_gets_new_copies(begun: Cloud, run_again: bool) -> None:
    silence = {"raise": TransferFailed("no answer", on="x", remedy="y", retryable=True)}
    begun.inside.conversions = [RUNNING, silence, INTERRUPTED if run_again else RUNNING, CONVERTED]
    image = convert(begun)
    assert image.details["converted"]
    calls = begun.calls.seen
    assert calls.count("RunInstances") == (3 if run_again else 2)  # the first one is the job's


def test_one_that_is_started_again_and_again_leaves_the_image_as_it_is(begun: Cloud) -> None:
    begun.inside.conversions = [INTERRUPTED]
    image = convert(begun)
    assert "started again in the middle of it, twice" in str(image.details["note"])
    assert image.details["converted"] == ""


def test_a_disk_that_is_attached_late_is_waited_for(begun: Cloud) -> None:
    late = {"raise": Conflict("is not attached yet", on="disk 2000", remedy="x", retryable=True)}
    begun.inside.conversions = [late, late, CONVERTED]
    assert convert(begun).details["converted"]


def test_what_fails_is_a_note_and_the_image_is_whole(begun: Cloud) -> None:
    failed = {"error": "TargetFailed", "what": "no space is left", "on": "x", "remedy": "y"}
    begun.inside.conversions = [{**CONVERTED, "state": "failed", "result": None, "error": failed}]
    image = convert(begun)
    assert "no space is left" in str(image.details["note"])
    assert begun.region.images.get(image.location)


def test_a_failure_that_may_pass_is_tried_on_new_copies(begun: Cloud) -> None:
    failed = {"error": "TargetFailed", "what": "it ended", "on": "x", "remedy": "y", "retryable": True}
    begun.inside.conversions = [{**CONVERTED, "state": "failed", "error": failed}, CONVERTED]
    assert convert(begun).details["converted"]
    assert begun.calls.seen.count("RunInstances") == 3


def test_an_instance_that_never_answers_ends_in_a_note(begun: Cloud) -> None:
    silence = TransferFailed("no answer", on="x", remedy="y", retryable=True)
    begun.inside.conversions = [{"raise": silence}]
    assert "no answer" in str(convert(begun, boot_patience=0.2).details["note"])


def test_what_an_earlier_run_left_is_removed_first(begun: Cloud) -> None:
    convert(begun, "r1")
    convert(begun, "r2")
    assert begun.census()["instances"] == 2  # of the job, and of the second run's conversion
    assert begun.census()["images"] == 4


def test_an_instance_that_somebody_released_is_made_again(begun: Cloud) -> None:
    begun.inside.conversions = [RUNNING, CONVERTED]
    convert(begun)
    provider = begun.provider(boots=False, conversion=True)
    ours = begun.ledger.entries(f"conversion-{TOKEN}")
    instance = next(entry.reference for entry in ours if entry.kind == "instance")
    provider._api.ecs("DeleteInstance", {"InstanceId": instance, "Force": True}, patience=5.0)
    image = convert(begun)
    assert image.details["converted"] == image.id


def test_an_image_whose_copy_is_in_use_stays(begun: Cloud) -> None:
    image = convert(begun)
    in_use = begun.region.instances.get(next(row.id for row in begun.region.instances))
    in_use.image = image.id
    with pytest.raises(TargetFailed, match="instances were made from the image"):
        begun.provider(boots=False).delete_image("web-r1")
    assert begun.census()["images"] == 2


def test_a_copy_stays_as_long_as_its_image_cannot_be_deleted(begun: Cloud) -> None:
    image = convert(begun)
    begun.calls.add(Rule("DeleteImage", "fault", times=1, fault="Forbidden.RAM"))
    with pytest.raises(TargetFailed):
        begun.provider(boots=False).delete_image("web-r1")
    assert begun.region.images.get(image.id)
    begun.provider(boots=False).delete_image("web-r1")
    assert begun.census()["images"] == begun.census()["snapshots"] == 0


def test_a_deletion_that_ended_half_way_is_ended_by_the_next(begun: Cloud) -> None:
    convert(begun)
    begun.calls.add(Rule("DeleteImage", "fault", times=1, skip=1, fault="Forbidden.RAM"))
    with pytest.raises(TargetFailed):
        begun.provider(boots=False).delete_image("web-r1")
    begun.provider(boots=False).delete_image("web-r1")
    assert begun.census()["images"] == begun.census()["snapshots"] == 0


def test_only_the_image_of_that_name_is_deleted(begun: Cloud) -> None:
    """The cloud also answers images whose names contain the one that was asked for."""
    for run in ("r1", "r10"):
        convert(begun, run)
    begun.provider(boots=False).delete_image("web-r1")
    assert {row.name for row in begun.region.images if row.owner == "self"} == {
        "web-r10",
        "web-r10_converted",
    }


def test_a_conversion_that_never_ends_is_given_up(begun: Cloud) -> None:
    begun.inside.conversions = [RUNNING]
    provider = begun.provider(boots=False, conversion=True)
    provider._conversions._longest = 0.2
    assert "did not end within" in str(provider.make_image(request()).details["note"])


def test_an_order_that_the_instance_does_not_know_as_this_one_gets_new_copies(begun: Cloud) -> None:
    other = Conflict("was ordered with other words", on="conversion r1", remedy="use a new id")
    begun.inside.conversions = [{"raise": other}, CONVERTED]
    assert convert(begun).details["converted"]
    assert begun.calls.seen.count("RunInstances") == 3


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"state": "done"},
        {"state": "done", "result": {"conversion": "yes"}},
        {"state": "done", "result": {"conversion": {"changes": [1], "removed": [], "notes": []}}},
        {"state": "failed", "error": "no object"},
        {"state": 7},
    ],
)
def test_an_answer_without_sense_is_a_note(begun: Cloud, answer: Mapping[str, Any]) -> None:
    begun.inside.conversions = [answer]
    image = convert(begun, boot_patience=0.2)
    assert "not converted" in str(image.details["note"])
    assert image.details["converted"] == ""


def test_what_cannot_be_removed_of_a_conversion_does_not_keep_the_instance_running(begun: Cloud) -> None:
    convert(begun)
    begun.calls.add(Rule("DeleteInstance", "fault", times=1, fault="Forbidden.RAM"))
    with pytest.raises(TargetFailed):
        begun.provider(boots=False, conversion=True).release(TOKEN, keep_disks=True)
    instance = next(row for row in begun.region.instances if row.tags["connector-token"] == TOKEN)
    assert instance.goal == "Stopped"
    begun.provider(boots=False, conversion=True).release(TOKEN, keep_disks=True)
    assert begun.census()["instances"] == 1


def test_an_answer_that_is_lost_on_the_way_is_made_good(make_cloud: Callable[..., Cloud]) -> None:
    """Each call that changes something has its answer cut once: the conversion goes on, and there is one of everything."""
    calls = ("RunInstances", "CreateSecurityGroup", "AuthorizeSecurityGroup", "CreateSnapshot", "CreateImage")
    for call in calls:
        cloud = make_cloud(boot="")
        cloud.provider(boots=False).create_instance(request_for(TOKEN, DISKS))
        cloud.fill()
        cloud.provider(boots=False).make_image(image_for(TOKEN, "web-r1", "r1", DISKS))
        cloud.calls.add(Rule(call, "cut", times=1))
        assert convert(cloud).details["converted"], call
        assert cloud.census()["instances"] == 2, call
        assert cloud.census()["images"] == 2, call


class Killed(BaseException):
    """The process ends here: nothing of ours catches it."""


class FragileLedger(MemoryLedger):
    """Ends the process at the `at`-th call from `arm` on; the call has its effect when `late`."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.late = -1, False

    def arm(self, at: int, late: bool) -> None:
        self.left, self.late = at, late

    def _count(self, late: bool) -> None:
        if late is self.late:
            self.left -= 1
            if self.left == -1:
                raise Killed

    def intend(self, owner: str, kind: str, token: str) -> None:
        self._count(False)
        super().intend(owner, kind, token)
        self._count(True)

    def made(self, owner: str, kind: str, token: str, reference: str) -> None:
        self._count(False)
        super().made(owner, kind, token, reference)
        self._count(True)

    def gone(self, owner: str, kind: str, token: str) -> None:
        self._count(False)
        super().gone(owner, kind, token)
        self._count(True)


@pytest.mark.parametrize(
    ("late", "step"),
    [
        (True, 4),
        pytest.param(False, 1, marks=pytest.mark.slow),
        pytest.param(True, 1, marks=pytest.mark.slow),
    ],
    ids=["some moments", "before each", "after each"],
)
def test_a_process_that_is_killed_anywhere_leaves_what_the_next_one_ends(
    make_cloud: Callable[..., Cloud], late: bool, step: int
) -> None:
    """Killed at each entry of the ledger: the next process makes one converted image, and a release leaves nothing else."""
    moments = 0
    while True:
        cloud = make_cloud(boot="")
        cloud.ledger = ledger = FragileLedger()
        cloud.provider(boots=False).create_instance(request_for(TOKEN, DISKS))
        cloud.fill()
        cloud.provider(boots=False).make_image(image_for(TOKEN, "web-r1", "r1", DISKS))
        ledger.arm(moments, late)
        try:
            convert(cloud, **SHORT)
            cloud.provider(boots=False, **SHORT).release(TOKEN, keep_disks=False)
        except Killed:
            if moments // step % 3:  # the job is deleted instead
                cloud.provider(boots=False, **SHORT).release(TOKEN, keep_disks=False)
                counts = cloud.census()
                assert counts["instances"] == counts["disks"] == counts["groups"] == counts["vpcs"] == 0
                assert counts["snapshots"] == 2 * counts["images"]
            else:
                convert_or_release(cloud)
        else:
            break
        moments += step
    assert moments > 10


def convert_or_release(cloud: Cloud) -> None:
    """What the next process does: it converts if the job's instance is still there, and releases."""
    provider = cloud.provider(boots=False, **SHORT)
    if provider.find(TOKEN) is not None:
        details = convert(cloud, **SHORT).details
        assert details["converted"], details["note"]
        assert cloud.census()["images"] == 2
        assert cloud.census()["instances"] == 2
    provider.release(TOKEN, keep_disks=False)
    assert cloud.census() == dict.fromkeys(cloud.census(), 0) | {"snapshots": 4, "images": 2}


def test_without_the_setting_no_job_can_convert(quiet: Cloud) -> None:
    assert not quiet.provider().offers("conversion")
    assert quiet.provider(conversion=True).offers("conversion")
