"""A drill on ECS: an instance of the image that nothing reaches and that reaches nothing, and that is always released."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from connector.cloud.alibaba.drills import CloudDrills
from connector.cloud.provider import DrillOutcome, DrillRequest, StoredImage, TargetDisk
from connector.errors import BadInput, ConnectorError, Interrupted, NotFound, TargetFailed
from simulator.cloud.resources import Instance
from simulator.faults import Rule
from tests.cloud.alibaba import CONVERTED, Cloud
from tests.cloud.conftest import image_for, request_for
from tests.cloud.ledger import MemoryLedger
from tests.cloud.test_alibaba_conversion import SHORT, TOKEN, FragileLedger, Killed, request
from tests.waiting import eventually

Make = Callable[..., Cloud]
DISKS = (TargetDisk(2000, "Hard disk 1", 1 << 20), TargetDisk(2001, "Hard disk 2", 1 << 20))
HOST = "web-01"
PROMPT = f"Linux version 6.1.0-30-amd64 (x)\\n{HOST} login: "
BOOTS = f"sh -c 'printf \"{PROMPT}\"; exec sleep 1000'"
PANIC = "error: no module\\nKernel panic - not syncing: Attempted to kill init!\\n"
PANICS = f"sh -c 'printf \"{PANIC}\"; exec sleep 1000'"
SILENT = "sleep 1000"


@pytest.fixture
def region(make_cloud: Make) -> Callable[[str], Cloud]:
    """A region with a job's instance. `guest`: what an instance of the job's image runs."""

    def make(guest: str = BOOTS) -> Cloud:
        cloud = make_cloud(boot="", guest=guest)
        cloud.provider(boots=False).create_instance(request_for(TOKEN, DISKS))
        cloud.fill()
        return cloud

    return make


def image_of(cloud: Cloud, *, converted: bool = False) -> StoredImage:
    provider = cloud.provider(boots=False, conversion=True)
    if converted:
        return provider.make_image(request())
    return provider.make_image(image_for(TOKEN, "web-r1", "r1", DISKS))


def drills(cloud: Cloud, **more: Any) -> CloudDrills:
    offered = cloud.provider(boots=False, **{"conversion": True, "consistency": 0.2} | more).drills
    assert offered is not None
    return offered


def drill(cloud: Cloud, image: StoredImage, halt: threading.Event | None = None, **more: Any) -> DrillOutcome:
    wanted = DrillRequest("d-1", image.location, "dhcp", token=TOKEN, job_id="j-1", **more)
    return drills(cloud).run(wanted, halt or threading.Event(), lambda _line: None)


@contextmanager
def nothing_stays(cloud: Cloud) -> Iterator[None]:
    before = cloud.census()
    yield
    assert cloud.census() == before
    assert all(entry.gone for entry in cloud.ledger.entries(f"drill-{TOKEN}"))


def test_a_machine_that_boots_says_so(region: Callable[..., Cloud]) -> None:
    cloud = region()
    image = image_of(cloud)
    with nothing_stays(cloud):
        outcome = drill(cloud, image)
    boot = outcome.report["boot"]
    assert (boot["boots"], boot["outcome"], boot["host"]) == (True, "login prompt", HOST)
    assert boot["kernel"] == "6.1.0-30-amd64"
    assert outcome.report["refusal"] == "it is started as it is, because no converted image of it exists"
    assert set(outcome.kept) == {"console.log", "screen.jpg"}
    assert b"login:" in (drills(cloud).file(image.location, "console.log") or b"")
    assert (drills(cloud).file(image.location, "screen.jpg") or b"").startswith(b"\xff\xd8\xff")


def test_one_that_panics_says_why(region: Callable[..., Cloud]) -> None:
    cloud = region(PANICS)
    boot = drill(cloud, image_of(cloud)).report["boot"]
    assert (boot["boots"], boot["outcome"]) == (False, "kernel panic")
    assert "Kernel panic" in boot["reason"]


def test_one_without_a_serial_console_is_silent_and_has_its_picture(region: Callable[..., Cloud]) -> None:
    cloud = region(SILENT)
    outcome = drill(cloud, image_of(cloud), timeout=0.3)
    assert outcome.report["boot"]["outcome"] == "no sign of life"
    assert "picture of its screen" in outcome.report["boot"]["reason"]
    assert set(outcome.kept) == {"screen.jpg"}


def test_one_that_switches_itself_off_is_noticed(region: Callable[..., Cloud]) -> None:
    cloud = region(SILENT)
    image, halted = image_of(cloud), threading.Event()
    outcome: list[DrillOutcome] = []
    worker = threading.Thread(target=lambda: outcome.append(drill(cloud, image, halted, timeout=60.0)))
    worker.start()
    instance = started(cloud)
    cloud.region.boot.kill(instance)
    instance.goal = "Stopped"
    worker.join(60)
    assert outcome[0].report["boot"]["outcome"] == "switched itself off"


def started(cloud: Cloud) -> Instance:
    """The instance of a drill, as soon as it is watched."""
    eventually(lambda: "GetInstanceConsoleOutput" in cloud.calls.seen, "the console is read")
    return next(row for row in cloud.region.instances if row.name == "connector-drill")


def test_a_marker_is_waited_for_instead_of_a_prompt(region: Callable[..., Cloud]) -> None:
    cloud = region()
    boot = drill(cloud, image_of(cloud), marker="^Linux version 6", timeout=60.0).report["boot"]
    assert boot["outcome"] == "marker"


def test_the_converted_image_is_started_when_there_is_one(region: Callable[..., Cloud]) -> None:
    cloud = region()
    image = image_of(cloud, converted=True)
    outcome = drill(cloud, image, converted=image.id)
    assert outcome.report["refusal"] == ""
    (launched,) = [row for row in cloud.calls.seen if row == "GetInstanceScreenshot"]
    assert launched


def test_nothing_reaches_it_and_it_reaches_nothing(region: Callable[..., Cloud]) -> None:
    cloud = region(SILENT)
    image, halt = image_of(cloud), threading.Event()
    worker = threading.Thread(target=lambda: swallow(lambda: drill(cloud, image, halt)))
    worker.start()
    instance = started(cloud)
    (group,) = (cloud.region.groups.get(name) for name in instance.groups)
    assert group.rules == []
    assert [(rule.policy, rule.source, rule.protocol) for rule in group.outgoing] == [
        ("Drop", "0.0.0.0/0", "all")
    ]
    assert group.inner == "Drop"
    assert (instance.public, instance.role, instance.user_data) == ("", "", b"")
    halt.set()
    worker.join(60)


def swallow(work: Callable[[], object]) -> None:
    with pytest.raises(Interrupted):
        work()


def test_a_drill_that_is_stopped_leaves_nothing(region: Callable[..., Cloud]) -> None:
    cloud = region(SILENT)
    image, halt = image_of(cloud), threading.Event()
    with nothing_stays(cloud):
        worker = threading.Thread(target=lambda: swallow(lambda: drill(cloud, image, halt)))
        worker.start()
        started(cloud)
        halt.set()
        worker.join(60)


def test_a_job_is_not_held_up_by_the_drill_of_another(region: Callable[..., Cloud]) -> None:
    """Its deletion removes what its own drills have left, and waits for no other drill."""
    cloud = region(SILENT)
    image, halt, provider = image_of(cloud), threading.Event(), cloud.provider(boots=False, **SHORT)
    offered = provider.drills
    assert offered is not None
    wanted = DrillRequest("d-1", image.location, "dhcp", token=TOKEN, job_id="j-1")
    worker = threading.Thread(
        target=lambda: swallow(lambda: offered.run(wanted, halt, lambda _line: None)), daemon=True
    )
    worker.start()
    started(cloud)
    provider.remove_drill("instance-j-2")
    assert worker.is_alive()
    halt.set()
    worker.join(60)


def test_one_that_fails_leaves_nothing(region: Callable[..., Cloud]) -> None:
    cloud = region()
    image = image_of(cloud)
    cloud.calls.add(Rule("GetInstanceConsoleOutput", "fault", times=1, fault="Forbidden.RAM"))
    with nothing_stays(cloud), pytest.raises(TargetFailed):
        drill(cloud, image)


def test_what_cannot_be_removed_at_once_is_removed_later(region: Callable[..., Cloud]) -> None:
    cloud = region()
    image = image_of(cloud)
    before = cloud.census()
    cloud.calls.add(Rule("DeleteInstance", "fault", times=1, fault="Forbidden.RAM"))
    assert drill(cloud, image).report["boot"]["boots"]
    assert cloud.census() != before
    cloud.provider(boots=False, **SHORT).remove_drill(TOKEN)
    assert cloud.census() == before


def test_a_process_that_is_killed_anywhere_leaves_what_a_removal_finds(make_cloud: Make) -> None:
    moments = 0
    cloud = make_cloud(boot="", guest=BOOTS)
    cloud.ledger = ledger = FragileLedger()
    cloud.provider(boots=False).create_instance(request_for(TOKEN, DISKS))
    cloud.fill()
    image = image_of(cloud)
    while True:
        ledger.arm(moments, bool(moments % 2))
        try:
            drill(cloud, image)
        except Killed:
            with nothing_stays_but(cloud, {"images": 1, "snapshots": 2, "instances": 1, "disks": 3}):
                cloud.provider(boots=False, **SHORT).remove_drill(TOKEN)
        else:
            break
        moments += 1
    assert moments >= 5


@contextmanager
def nothing_stays_but(cloud: Cloud, counts: dict[str, int]) -> Iterator[None]:
    yield
    census = cloud.census()
    assert {kind: census[kind] for kind in counts} == counts
    assert census["groups"] == 1


def test_pictures_go_with_their_image(region: Callable[..., Cloud]) -> None:
    cloud = region()
    image = image_of(cloud)
    drill(cloud, image)
    cloud.provider(boots=False, conversion=True).delete_image("web-r1")
    assert drills(cloud).file(image.location, "console.log") is None


def test_an_image_that_is_gone_and_names_that_are_none(region: Callable[..., Cloud]) -> None:
    cloud = region()
    image = image_of(cloud)
    for location in ("m-sim00000000000000000", "../etc", ""):
        with pytest.raises(NotFound):
            drill(cloud, replace(image, location=location))
    with pytest.raises(NotFound):
        drills(cloud).file("../../etc", "console.log")


def planned(cloud: Cloud, image: StoredImage, halt: threading.Event | None = None) -> DrillOutcome:
    wanted = DrillRequest("d-1", image.location, "dhcp", token=TOKEN, job_id="j-1", plan_only=True)
    wanted = replace(wanted, image=request())
    return drills(cloud).run(wanted, halt or threading.Event(), lambda _line: None)


def test_a_conversion_is_planned_on_an_instance_with_copies(region: Callable[..., Cloud]) -> None:
    cloud = region()
    image = image_of(cloud)
    cloud.inside.orders.clear()
    with nothing_stays(cloud):
        outcome = planned(cloud, image)
    assert outcome.report["conversion"]["changes"]
    assert (outcome.report["boot"], outcome.kept) == (None, {})
    (order,) = [order for _, _, order in cloud.inside.orders]
    assert (order["plan_only"], order["network"]) == (True, "dhcp")
    assert all(entry.gone for entry in cloud.ledger.entries(f"drill-conversion-{TOKEN}"))


def test_a_plan_that_is_stopped_or_fails_leaves_nothing(region: Callable[..., Cloud]) -> None:
    cloud = region()
    image, halt = image_of(cloud), threading.Event()
    halt.set()
    with nothing_stays(cloud), pytest.raises(Interrupted):
        planned(cloud, image, halt)
    failed = {"error": "TargetFailed", "what": "no space is left", "on": "x", "remedy": "y"}
    cloud.inside.conversions = [{**CONVERTED, "state": "failed", "error": failed}]
    with nothing_stays(cloud), pytest.raises(TargetFailed, match="no space is left"):
        planned(cloud, image)


def test_a_plan_that_was_killed_is_removed_as_a_drill_is(region: Callable[..., Cloud]) -> None:
    cloud = region()
    image = image_of(cloud)
    before = cloud.census()
    cloud.calls.add(Rule("DeleteInstance", "fault", times=1, fault="Forbidden.RAM"))
    planned(cloud, image)
    assert cloud.census() != before
    cloud.provider(boots=False, **SHORT).remove_drill(TOKEN)
    assert cloud.census() == before


def test_a_boot_check_says_how_the_image_starts_before_it_is_handed_over(
    region: Callable[..., Cloud],
) -> None:
    cloud = region(PANICS)
    provider = cloud.provider(boots=False, conversion=True)
    image = provider.make_image(request(boot_check=True))
    assert "1 change" in str(image.details["note"])
    assert "DOES NOT BOOT: kernel panic" in str(image.details["note"])
    provider.release(TOKEN, keep_disks=False)
    assert cloud.census() == dict.fromkeys(cloud.census(), 0) | {"images": 2, "snapshots": 4}


def test_a_boot_check_that_fails_is_a_note(region: Callable[..., Cloud]) -> None:
    cloud = region()
    cloud.calls.add(Rule("GetInstanceConsoleOutput", "fault", times=1, fault="Forbidden.RAM"))
    provider = cloud.provider(boots=False, conversion=True)
    image = provider.make_image(replace(image_for(TOKEN, "web-r1", "r1", DISKS), boot_check=True))
    assert "no copy was started" in str(image.details["note"])
    provider.release(TOKEN, keep_disks=False)
    assert cloud.census()["instances"] == 0


def test_a_boot_check_is_done_once_for_a_run(region: Callable[..., Cloud]) -> None:
    """The step that makes the image is done again after a failure that may pass."""
    cloud = region()
    provider = cloud.provider(boots=False, conversion=True)
    for _ in range(2):
        image = provider.make_image(replace(image_for(TOKEN, "web-r1", "r1", DISKS), boot_check=True))
        assert "a copy boots" in str(image.details["note"])
    assert cloud.calls.seen.count("RunInstances") == 2
    assert (drills(cloud).file(image.location, "screen.jpg") or b"").startswith(b"\xff\xd8\xff")


def test_a_windows_that_says_nothing_is_not_one_that_does_not_boot(region: Callable[..., Cloud]) -> None:
    cloud = region(SILENT)
    provider = cloud.provider(boots=False, conversion=True)
    provider._starts.timeout = 0.3
    image = provider.make_image(replace(image_for(TOKEN, "web-r1", "r1", DISKS), boot_check=True))
    assert "a copy does not say whether it boots" in str(image.details["note"])


def test_what_was_seen_counts_although_the_console_is_lost_later(region: Callable[..., Cloud]) -> None:
    cloud = region(PANICS)
    image = image_of(cloud)
    cloud.calls.add(Rule("GetInstanceConsoleOutput", "answer", times=None, skip=1, answer={}))
    assert drill(cloud, image).report["boot"]["outcome"] == "kernel panic"


def test_leftovers_are_found_by_their_tags_when_the_database_was_put_back(
    region: Callable[..., Cloud],
) -> None:
    cloud = region()
    image = image_of(cloud)
    before = cloud.census()
    cloud.calls.add(Rule("DeleteInstance", "fault", times=1, fault="Forbidden.RAM"))
    drill(cloud, image)
    cloud.ledger = MemoryLedger()
    cloud.provider(boots=False, conversion=False, consistency=0.2).remove_drill(TOKEN)
    assert cloud.census() == before


def test_without_the_setting_there_are_no_drills(region: Callable[..., Cloud]) -> None:
    assert region().provider().drills is None
    assert issubclass(BadInput, ConnectorError)
    assert CONVERTED["state"] == "done"
