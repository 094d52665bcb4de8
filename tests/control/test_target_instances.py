"""A job that puts its image onto a machine of the user: refused, done, repeated, put back and let go. R43, R45 to R47."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from connector.cloud.provider import StoredImage
from connector.cloud.target_instance import (
    DiskReplacement,
    TargetInstance,
    TargetInstances,
    require_fitting,
    target_token,
)
from connector.control.domain.entities import HandOverState
from connector.control.domain.jobs import JobStatus
from connector.control.domain.refusals import OutOfRange, StateRefusal
from connector.control.engine.target_instances import TargetInstanceMonitor
from connector.control.store.provider_ledger import StoreLedger, instance_token
from connector.errors import BadInput, TargetFailed
from tests.control.house import DAY, Crash, House
from tests.waiting import eventually

GIB = 1 << 30
APP = TargetInstance("app", "app", False, "linux", (10 * GIB, 10 * GIB))


class Machines:
    """Machines in memory. `fails`: what the next call raises. `disks`: the image on each machine, and what it had before."""

    def __init__(self) -> None:
        self.machines = {APP.id: APP}
        self.disks: dict[str, str] = {}
        self.former: dict[tuple[str, str], str] = {}
        self.fails: Exception | None = None
        self.dies = False  # the control plane, when the disks are replaced
        self.orders: list[DiskReplacement] = []
        self.stops = True

    def find(self, instance: str) -> TargetInstance | None:
        return self.machines.get(instance)

    def replace_disks(self, replacement: DiskReplacement) -> Sequence[str]:
        self._fail()
        self.orders.append(replacement)
        key = replacement.token, replacement.instance
        self.former.setdefault(key, self.disks.get(replacement.instance, "own"))
        self.disks[replacement.instance] = replacement.image
        if self.dies:
            raise Crash
        return [f"disk-{replacement.instance}-{n}" for n in range(2)]

    def put_back(self, token: str, instance: str) -> None:
        self._fail()
        if (token, instance) in self.former:
            self.disks[instance] = self.former.pop((token, instance))

    def release_former(self, token: str, instance: str) -> None:
        self._fail()
        self.former.pop((token, instance), None)

    def _fail(self) -> None:
        if self.fails is not None:
            raise self.fails


@pytest.fixture
def machines(house: House) -> Machines:
    made: Machines = Machines()
    targets: TargetInstances = made
    house.cloud.target_instances = targets
    house.crash()  # another process, which knows the machines
    return made


def job(house: House, name: str = "j", **more: Any) -> str:
    fields = {"TargetType": "TargetInstance", "InstanceId": "app"} | more
    return house.job(name, definition=fields)


def former(house: House, job_id: str) -> list[tuple[str | None, bool]]:
    rows = house.store.resources.of(job_id, "cloud")
    return [(row.reference, row.removed) for row in rows if row.kind == "former disk" and row.reference]


def do(house: House) -> None:
    """The active runner looks, until nothing is asked for."""
    monitor = TargetInstanceMonitor(house.store, house.steps.target_instances)

    def done() -> bool:
        monitor.look()
        return not house.store.hand_overs.asked()

    eventually(done, "what was asked for is done")


def state(house: House, job_id: str) -> HandOverState:
    return house.store.hand_overs.of([job_id])[job_id].state


def test_r43_the_image_goes_onto_the_machine_and_its_former_disks_are_listed(
    house: House, machines: Machines
) -> None:
    made = job(house)
    house.service.start(made)
    house.run(made)
    assert house.status(made) == "Finished"
    assert machines.disks == {"app": "cloud:job-j"}
    (order,) = machines.orders
    assert (order.job_id, order.capacities, order.stop) == (made, (10 * GIB, 10 * GIB), False)
    assert former(house, made) == [("disk-app-0", False), ("disk-app-1", False)]
    texts = [entry.text for entry in house.store.jobs.history(made)]
    assert "target instance app has the image on its disks; its former disks are kept" in texts


@pytest.mark.parametrize("steps", [*range(1, 8), None])
def test_a_control_plane_that_dies_at_any_step_does_it_once(
    house: House, machines: Machines, steps: int | None
) -> None:
    """None: it dies when the disks are replaced and nothing of it is recorded."""
    made = job(house)
    house.service.start(made)
    machines.dies = steps is None
    for _ in range(2):
        with suppress(Crash):
            house.turn(crash_after=steps)
        house.crash()
        house.carry()
    machines.dies = False
    house.run(made)
    assert house.status(made) == "Finished"
    assert machines.disks == {"app": "cloud:job-j"}
    assert set(machines.former.values()) == {"own"}
    assert former(house, made) == [("disk-app-0", False), ("disk-app-1", False)]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"family": "windows"}, "runs Windows, and the source runs Linux"),
        ({"disks": ()}, "has 0 disks, and the source 1"),
        ({"disks": (GIB,)}, f"its system disk has {GIB} bytes"),
        ({"architecture": "arm64"}, "has the processor architecture arm64"),
    ],
)
def test_r47_a_machine_that_does_not_fit_makes_no_job(
    house: House, machines: Machines, changes: dict[str, Any], why: str
) -> None:
    machines.machines["app"] = replace(APP, **changes)
    with pytest.raises(OutOfRange, match=why) as refused:
        job(house)
    assert refused.value.code == "InvalidParameter.InstanceId"
    assert house.store.jobs.all() == []


def test_r45_r46_a_machine_of_another_account_or_region_makes_no_job(
    house: House, machines: Machines
) -> None:
    with pytest.raises(OutOfRange, match="does not exist in the account and the region"):
        job(house, InstanceId="i-of-others")
    house.cloud.target_instances = None
    house.crash()
    with pytest.raises(StateRefusal, match="this provider makes images"):
        job(house)


def test_a_machine_that_runs_is_refused_unless_it_may_be_stopped(house: House, machines: Machines) -> None:
    machines.machines["app"] = replace(APP, running=True)
    made = job(house)  # it may be stopped until the job starts
    with pytest.raises(OutOfRange, match="is running; stop it, or let the job stop it"):
        house.service.start(made)
    assert house.status(made) == "Ready"
    house.service.modify(made, {"StopTargetInstance": True})
    house.service.start(made)
    house.run(made)
    assert house.status(made) == "Finished"
    assert machines.orders[0].stop


def test_a_scheduled_start_waits_until_the_machine_is_stopped(house: House, machines: Machines) -> None:
    fields = {"TargetType": "TargetInstance", "InstanceId": "app"}
    made = house.job(definition=fields, scheduled_start=house.clock.now + 3600)
    machines.machines["app"] = replace(APP, running=True)
    house.later(3700)
    assert house.status(made) == "Ready"
    assert "its scheduled run waits: app: is running" in house.get(made).waiting
    machines.machines["app"] = APP
    house.later(61)
    house.run(made)
    assert (house.status(made), machines.disks) == ("Finished", {"app": "cloud:job-j"})


def test_a_machine_that_was_started_meanwhile_keeps_its_disks_and_the_job_can_go_on(
    house: House, machines: Machines
) -> None:
    made = job(house)
    house.service.start(made)
    machines.machines["app"] = replace(APP, running=True)
    house.run(made)
    assert house.status(made) == "InError"
    assert "is running" in str(house.get(made).error)
    assert (machines.disks, house.store.hand_overs.of([made])) == ({}, {})
    machines.machines["app"] = APP
    house.service.start(made)
    house.run(made)
    assert house.status(made) == "Finished"
    assert len(house.cloud.images) == 1  # the image that went nowhere is gone
    assert machines.disks == {"app": f"cloud:{house.cloud.images[0]}"}


def test_a_target_that_fails_half_way_is_tried_again_and_the_disks_from_before_stay(
    house: House, machines: Machines
) -> None:
    made = job(house)
    house.service.start(made)
    machines.fails = TargetFailed("the storage is full", on="app", remedy="make room", retryable=False)
    house.run(made)
    assert house.status(made) == "InError"
    assert state(house, made) is HandOverState.BEGUN
    with pytest.raises(StateRefusal, match="the former disks of its target instance are kept"):
        house.service.delete(made)
    machines.fails = None
    house.service.start(made)
    house.run(made)
    assert (house.status(made), state(house, made)) == ("Finished", HandOverState.DONE)
    assert set(machines.former.values()) == {"own"}


@pytest.mark.parametrize(
    ("report", "why"),
    [
        ({"refusal": "the guest is encrypted"}, "was not converted (the guest is encrypted)"),
        ({"boot": {"boots": False, "outcome": "kernel panic"}}, "does not boot (kernel panic)"),
        ({"boot": {"boots": True, "outcome": "login prompt"}, "refusal": ""}, ""),
        (
            {"boot": {"boots": False, "known": False, "outcome": "no sign of life"}},
            "",
        ),  # a Windows in a cloud
    ],
)
def test_an_image_that_is_not_as_the_job_wants_goes_nowhere(
    house: House, machines: Machines, monkeypatch: pytest.MonkeyPatch, report: dict[str, Any], why: str
) -> None:
    make = house.cloud.make_image

    def reported(wanted: Any) -> StoredImage:
        return replace(make(wanted), details={"conversion": report})

    monkeypatch.setattr(house.cloud, "make_image", reported)
    made = job(house)
    house.service.start(made)
    house.run(made)
    assert house.status(made) == ("InError" if why else "Finished")
    assert why in str(house.get(made).error)
    assert bool(machines.disks) is not bool(why)


@pytest.mark.parametrize(
    ("asked", "end", "disks"),
    [
        (HandOverState.PUTTING_BACK, HandOverState.PUT_BACK, "own"),
        (HandOverState.RELEASING, HandOverState.RELEASED, "cloud:job-j"),
    ],
)
def test_the_former_disks_are_put_back_or_removed_when_somebody_asks(
    house: House, machines: Machines, asked: HandOverState, end: HandOverState, disks: str
) -> None:
    made = job(house)
    house.service.start(made)
    house.run(made)
    with pytest.raises(StateRefusal, match="the former disks of its target instance are kept"):
        house.service.delete(made)
    machines.fails = TargetFailed("it runs", on="app", remedy="stop it", retryable=True)
    house.service.former_disks(made, asked)
    do(house)
    row = house.store.hand_overs.of([made])[made]
    assert (row.state, "it runs" in row.trouble) == (HandOverState.DONE, True)
    machines.fails = None
    for _ in range(2):
        house.service.former_disks(made, asked)
        do(house)
        assert state(house, made) is end
    assert (machines.disks, machines.former) == ({"app": disks}, {})
    assert former(house, made) == [("disk-app-0", True), ("disk-app-1", True)]
    other = next(w for w in (HandOverState.PUTTING_BACK, HandOverState.RELEASING) if w is not asked)
    with pytest.raises(StateRefusal, match="the former disks are"):
        house.service.former_disks(made, other)
    house.service.delete(made)
    house.turn()
    assert house.get(made).status is JobStatus.DELETED


def test_what_was_asked_for_is_done_by_the_next_process(house: House, machines: Machines) -> None:
    made = job(house)
    house.service.start(made)
    house.run(made)
    house.service.former_disks(made, HandOverState.PUTTING_BACK)
    closed = TargetInstanceMonitor(house.store, house.steps.target_instances)
    closed.close()
    closed.look()
    assert state(house, made) is HandOverState.PUTTING_BACK
    house.crash()
    do(house)
    assert state(house, made) is HandOverState.PUT_BACK
    assert machines.disks == {"app": "own"}


def test_a_job_without_a_target_instance_has_no_former_disks(house: House, machines: Machines) -> None:
    made = house.job("k")
    house.service.start(made)
    house.run(made)
    with pytest.raises(StateRefusal, match="has put no image onto a target instance"):
        house.service.former_disks(made, HandOverState.RELEASING)
    assert machines.orders == []


@pytest.mark.parametrize("asked", [HandOverState.PUTTING_BACK, HandOverState.RELEASING])
def test_a_run_and_a_request_about_its_former_disks_do_not_meet(
    house: House, machines: Machines, asked: HandOverState
) -> None:
    made = half_done(house, machines)
    house.service.former_disks(made, asked)
    with pytest.raises(StateRefusal, match="are being put back or removed"):
        house.service.start(made)
    do(house)
    house.service.start(made)
    with pytest.raises(StateRefusal, match="the job is running"):
        house.service.former_disks(made, asked)
    house.run(made)
    assert (house.status(made), state(house, made)) == ("Finished", HandOverState.DONE)


def half_done(house: House, machines: Machines) -> str:
    """A job in InError whose hand-over has begun."""
    made = job(house)
    house.service.start(made)
    machines.fails = TargetFailed("half", on="app", remedy="try again", retryable=False)
    house.run(made)
    machines.fails = None
    assert (house.status(made), state(house, made)) == ("InError", HandOverState.BEGUN)
    return made


def test_what_was_done_before_a_state_changed_is_not_recorded(house: House, machines: Machines) -> None:
    made = half_done(house, machines)
    house.store.hand_overs.end(made, HandOverState.PUT_BACK, of=HandOverState.PUTTING_BACK)
    assert state(house, made) is HandOverState.BEGUN


def test_no_way_leads_to_a_deleted_job_whose_former_disks_are_kept(house: House, machines: Machines) -> None:
    made = half_done(house, machines)
    with pytest.raises(StateRefusal, match="the former disks of its target instance are kept"):
        house.service.delete_source(house.get(made).source_id, force=True)
    for _ in range(4):
        house.clock.advance(31 * DAY)
        house.turn()
        house.turn()
    assert house.status(made) != "Deleted"
    assert made in [row.id for row in house.store.jobs.all()]


def test_two_jobs_do_not_have_one_machine(house: House, machines: Machines) -> None:
    first = job(house)
    with pytest.raises(OutOfRange, match=rf"app: the job job-j \({first}\) goes onto it"):
        job(house, "k")
    house.service.start(first)
    house.run(first)
    with pytest.raises(OutOfRange, match=rf"app: the job job-j \({first}\) keeps its former disks"):
        job(house, "k")
    house.service.former_disks(first, HandOverState.RELEASING)
    do(house)
    job(house, "k")


def test_a_machine_that_was_put_back_is_looked_at_again(house: House, machines: Machines) -> None:
    made = half_done(house, machines)
    house.service.former_disks(made, HandOverState.PUTTING_BACK)
    do(house)
    machines.machines["app"] = replace(APP, running=True)
    with pytest.raises(OutOfRange, match="is running"):
        house.service.start(made)


def test_other_fields_change_whatever_became_of_the_machine(house: House, machines: Machines) -> None:
    made = job(house)
    machines.machines.clear()
    house.service.modify(made, {"BootCheck": True})
    with pytest.raises(OutOfRange, match="app does not exist"):
        house.service.modify(made, {"StopTargetInstance": True})


def test_a_provider_that_stops_no_machine_says_so_when_the_job_is_made(
    house: House, machines: Machines
) -> None:
    machines.stops = False
    with pytest.raises(OutOfRange, match="this provider stops no machine") as refused:
        job(house, StopTargetInstance=True)
    assert refused.value.code == "InvalidParameter.StopTargetInstance"


def test_the_machine_has_a_token_of_its_own(house: House, machines: Machines) -> None:
    """What an intermediate instance's token names goes with that instance."""
    made = job(house)
    house.service.start(made)
    house.run(made)
    assert machines.orders[0].token == target_token(made) != instance_token(made)
    ledger = StoreLedger(house.store.resources)
    ledger.intend(target_token(made), "former disk", f"{target_token(made)}/former/1/1")
    assert [entry.kind for entry in ledger.entries(target_token(made))] == ["former disk"]
    assert all(entry.kind != "former disk" for entry in ledger.entries(instance_token(made)))


def test_what_fits() -> None:
    require_fitting(APP, [GIB], "debian12_64Guest", "x86_64", stop=False)
    require_fitting(replace(APP, family=""), [GIB], "windows2019srv_64Guest", "x86_64", stop=False)
    require_fitting(replace(APP, running=True), [GIB, GIB], "", "x86_64", stop=True)
    with pytest.raises(BadInput, match="is running"):
        require_fitting(replace(APP, running=True), [GIB], "", "x86_64", stop=False)
