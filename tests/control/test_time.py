"""What time does to jobs and sources: the clock is moved, the numbers are those of the requirements."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from connector.control.domain.access import TokenStatus
from connector.control.domain.entities import Outcome, Pass, Task
from connector.control.domain.jobs import JobEvent
from connector.control.domain.refusals import OutOfRange, RefusalCode, StateRefusal
from connector.control.store import NewJob, Quotas
from connector.control.store.limits import PassGroup, why_waiting
from connector.control.store.sources import OFFLINE_CODE
from connector.errors import AuthenticationFailed, BadInput
from tests.control import fresh
from tests.control.house import DAY, GRACE, HOUR, House


def _refused(code: RefusalCode) -> pytest.RaisesContext[StateRefusal]:
    return pytest.raises(StateRefusal, check=lambda refused: refused.code == code)


def test_r77_a_job_expires_thirty_days_after_its_creation(house: House) -> None:
    job = house.job()
    house.later(30 * DAY - 1)
    assert house.status(job) == "Ready"
    house.later(1)
    assert house.status(job) == "Expired"


@pytest.mark.parametrize(
    ("valid", "accepted"),
    [(7 * DAY - HOUR, False), (7 * DAY, True), (90 * DAY, True), (90 * DAY + HOUR, False)],
)
def test_r79_by_api_a_job_is_valid_for_seven_to_ninety_days(
    house: House, valid: float, accepted: bool
) -> None:
    until = house.clock.now + valid
    job = house.job("other")
    if accepted:
        assert house.get(house.job(valid_until=until)).valid_until == until
        assert house.service.modify(job, {"valid_until": until}).valid_until == until
    else:
        with pytest.raises(OutOfRange) as refused:
            house.job(valid_until=until)
        assert refused.value.code == "InvalidParameter.ValidTime"
        with pytest.raises(OutOfRange):
            house.service.modify(job, {"valid_until": until})


def test_r80_validity_counts_from_the_creation_not_from_the_start(house: House) -> None:
    job = house.job(valid_until=house.clock.now + 7 * DAY)
    house.later(6 * DAY)
    house.service.start(job)
    house.turn()
    house.carry(Outcome.FAILED)
    house.turn()
    assert house.status(job) == "InError"
    with pytest.raises(OutOfRange):
        house.service.modify(job, {"valid_until": house.clock.now + 89 * DAY})
    house.later(1 * DAY)
    assert house.status(job) == "Expired"


def test_r81_a_running_job_does_not_expire_before_its_run_has_ended(house: House) -> None:
    job = house.incremental()
    house.service.start(job)
    house.turn()
    house.later(40 * DAY)
    assert house.status(job) == "Running/Syncing"
    house.carry()
    house.turn()
    house.turn()
    assert house.status(job) == "Expired"


@pytest.mark.parametrize("state", ["Ready", "Stopped", "InError", "Waiting"])
def test_r82_whatever_does_not_run_expires(house: House, state: str) -> None:
    job = house.incremental(frequency=168)
    if state != "Ready":
        house.service.start(job)
        house.turn()
    if state == "Stopped":
        house.service.stop(job)
    if state in ("InError", "Waiting"):
        house.carry(Outcome.FAILED if state == "InError" else Outcome.DONE)
    house.turn()
    assert house.status(job) == state
    house.clock.advance(30 * DAY)
    with pytest.raises(StateRefusal, match="valid time"):
        house.service.start(job)
    house.turn()
    assert house.status(job) == "Expired"
    for new_job in (JobEvent.START, JobEvent.STOP, JobEvent.CUTOVER):
        with _refused(RefusalCode.JOB_STATUS):
            house.store.jobs.begin(job, new_job)


def test_x14_the_instance_of_an_incremental_job_stays_until_it_expires(house: House) -> None:
    job = house.incremental(frequency=168)
    house.service.start(job)
    assert str(house.run(job).state) == "Waiting"
    assert len(house.cloud.instances) == 1
    assert house.get(job).transition_instance
    house.later(30 * DAY)
    house.turn()
    assert house.status(job) == "Expired"
    assert not house.cloud.instances
    assert house.get(job).transition_instance is None


def test_r83_an_expired_job_is_deleted_seven_days_later(house: House) -> None:
    job = house.job()
    house.later(30 * DAY)
    house.later(7 * DAY - 1)
    assert house.status(job) == "Expired"
    house.later(1)
    assert house.status(job) == "Deleted"
    assert house.store.sources.get(house.sources["j"]).state == "Available"
    assert [entry.action for entry in house.store.audit.page(subject=job).rows] == ["delete", "expired"]


def test_r93_an_expired_job_can_only_be_deleted(house: House) -> None:
    job = house.job()
    house.later(30 * DAY)
    with _refused(RefusalCode.JOB_STATUS):
        house.service.modify(job, {"valid_until": house.clock.now + 8 * DAY})
    house.service.delete(job)
    house.turn()
    assert house.status(job) == "Deleted"


def test_x6_a_start_is_scheduled_within_thirty_days_and_happens_then(house: House) -> None:
    for wrong in (house.clock.now - 1, house.clock.now + 30 * DAY + 1):
        with pytest.raises(OutOfRange) as refused:
            house.job(scheduled_start=wrong)
        assert refused.value.code == "InvalidParameter.ScheduledStartTime"
    job = house.job(scheduled_start=house.clock.now + 2 * HOUR)
    house.later(2 * HOUR - 1)
    assert house.status(job) == "Ready"
    house.later(1)
    assert house.status(job) == "Running/Syncing"
    assert [run.kind for run in house.store.runs.of(job)] == ["Schedule"]


def test_x6_a_scheduled_start_waits_for_its_source_and_says_so(house: House) -> None:
    job = house.job(scheduled_start=house.clock.now + 2 * HOUR)
    house.clock.advance(2 * HOUR)
    house.watch.look()
    house.clock.advance(GRACE + 1)
    house.watch.look()
    house.planner.look()
    assert house.status(job) == "Ready"
    assert "no appliance of its vCenter is online" in house.get(job).waiting
    house.turn()
    house.turn()
    assert house.status(job) == "Running/Syncing"


def test_x10_the_next_run_begins_one_interval_after_the_last_one_ended(house: House) -> None:
    job = house.incremental(frequency=12)
    house.service.start(job)
    house.turn()
    house.clock.advance(5 * HOUR)  # the run takes long
    done = house.run(job)
    assert str(done.state) == "Waiting"
    assert done.next_run == house.clock.now + 12 * HOUR
    house.later(12 * HOUR - 1)
    assert house.status(job) == "Waiting"
    house.later(1)
    assert house.status(job) == "Running/Syncing"
    assert [run.kind for run in house.store.runs.of(job)] == ["Manual", "Schedule"]


def test_r101_a_changed_interval_counts_from_the_run_after_the_next_start(house: House) -> None:
    job = house.incremental(frequency=12)
    house.service.start(job)
    house.run(job)
    house.service.modify(job, {"frequency": 1})
    house.later(2 * HOUR)
    assert house.status(job) == "Waiting"
    house.later(10 * HOUR)
    assert house.run(job).next_run == house.clock.now + 1 * HOUR
    house.later(1 * HOUR)
    assert house.status(job) == "Running/Syncing"
    with _refused(RefusalCode.JOB_STATUS):
        house.service.modify(job, {"frequency": 2})


@pytest.mark.parametrize(("frequency", "images"), [(0, 3), (169, 3), (12, 0), (12, 11)])
def test_x2_interval_and_number_of_images_have_bounds(house: House, frequency: int, images: int) -> None:
    with pytest.raises(OutOfRange):
        house.incremental(frequency=frequency, max_images=images)
    assert house.store.jobs.all() == []


def test_a_run_that_was_missed_happens_once_when_somebody_is_back(house: House) -> None:
    job = house.incremental(frequency=1)
    house.service.start(job)
    house.run(job)
    house.clock.advance(10 * HOUR)
    house.crash()
    house.turn()
    assert len(house.store.runs.of(job)) == 2


def test_r91_waiting_allows_a_manual_run_a_stop_a_delete_and_a_change(house: House) -> None:
    job = house.incremental()
    house.service.start(job)
    house.run(job)
    house.service.modify(job, {"frequency": 6, "max_images": 2})
    house.service.start(job)
    assert str(house.run(job).state) == "Waiting"
    assert [run.kind for run in house.store.runs.of(job)] == ["Manual", "Manual"]
    assert house.service.stop(job).next_run is None
    house.later(29 * DAY)
    assert house.status(job) == "Stopped"
    house.service.start(job)
    assert house.run(job).next_run == house.clock.now + 6 * HOUR
    house.service.delete(job)
    house.turn()
    assert house.status(job) == "Deleted"


def test_x11_beyond_the_number_to_keep_the_oldest_unused_image_goes(house: House) -> None:
    job = house.incremental(max_images=2)
    for run in range(1, 5):
        house.service.start(job)
        house.run(job)
        if run == 2:
            house.cloud.in_use.add("job-j_CYCLE_2")
    assert house.cloud.images == ["job-j_CYCLE_2", "job-j_CYCLE_4"]
    images = house.store.resources.images(job)
    assert [image.name for image in images if not image.removed] == house.cloud.images
    assert house.get(job).image_id == images[-1].id
    texts = [entry.text for entry in house.store.jobs.history(job)]
    assert any("CYCLE_2 stays" in text for text in texts)
    assert "image job-j_CYCLE_1 removed: the job keeps 2, and there is a newer one" in texts


def test_after_a_clock_was_set_back_the_oldest_image_goes_not_the_newest(house: House) -> None:
    job = house.incremental(max_images=2)
    for _ in range(4):
        house.service.start(job)
        house.run(job)
        house.clock.advance(-HOUR)
    assert house.cloud.images == ["job-j_CYCLE_3", "job-j_CYCLE_4"]
    assert house.get(job).image_id == house.store.resources.images(job)[-1].id


def test_on_demand_nothing_begins_by_itself_and_every_image_stays(house: House) -> None:
    job = house.incremental(frequency=1, max_images=1)
    house.service.start(job)
    assert house.run(job).next_run == house.clock.now + HOUR
    house.service.modify(job, {"OnDemand": True})
    house.later(9 * HOUR)
    assert (house.status(job), len(house.store.runs.of(job))) == ("Waiting", 1)
    house.service.start(job)
    assert house.run(job).next_run is None
    house.later(9 * HOUR)
    assert house.cloud.images == ["job-j_CYCLE_1", "job-j_CYCLE_2"]
    house.service.modify(job, {"OnDemand": False})
    assert house.get(job).next_run == house.clock.now + HOUR  # the rhythm begins when it is said
    house.service.start(job)
    assert house.run(job).next_run == house.clock.now + HOUR
    assert house.cloud.images == ["job-j_CYCLE_3"]


def test_x12_images_of_incremental_runs_carry_their_number(house: House) -> None:
    job = house.incremental(image_name="web")
    for _ in range(2):
        house.service.start(job)
        house.run(job)
    assert house.cloud.images == ["web_CYCLE_1", "web_CYCLE_2"]


@pytest.mark.parametrize("last_sync", [True, False])
def test_x9_cutover_works_only_from_waiting_with_and_without_a_last_sync(
    house: House, last_sync: bool
) -> None:
    job = house.incremental()
    with _refused(RefusalCode.JOB_STATUS):
        house.service.cutover(job, last_sync=last_sync, changes={})
    house.service.start(job)
    house.run(job)
    house.service.cutover(job, last_sync=last_sync, changes={})
    done = house.run(job)
    assert str(done.state) == "Finished"
    assert house.cloud.images == ["job-j_CYCLE_1", *(["job-j"] if last_sync else [])]
    assert not house.cloud.instances
    assert house.store.sources.get(house.sources["j"]).state == "Available"


def test_r68_missed_heartbeats_make_the_sources_offline_and_the_next_one_brings_them_back(
    house: House,
) -> None:
    (source,) = house.register("a")
    house.turn()
    house.clock.advance(GRACE + 1)
    house.watch.look()
    found = house.store.sources.get(source)
    assert (found.state, found.error_code) == ("Unavailable", "SourceServer.Offline")
    with _refused(RefusalCode.SOURCE_STATE):
        house.service.create(NewJob(source, "x"))
    house.turn()
    found = house.store.sources.get(source)
    assert (found.state, found.error_code) == ("Available", "")


def test_an_appliance_that_registers_its_machines_is_heard(house: House) -> None:
    """It does so before its first heartbeat: a look in between must not take the machines away again."""
    (source,) = house.register("a")
    house.turn()
    house.clock.advance(GRACE + 1)
    house.watch.look()
    house.register("a")
    house.watch.look()
    found = house.store.sources.get(source)
    assert (found.state, found.error_code) == ("Available", "")


def test_r89_a_job_does_not_start_while_its_source_is_offline(house: House) -> None:
    job = house.job()
    house.turn()
    house.clock.advance(GRACE + 1)
    house.watch.look()
    found = house.store.sources.get(house.sources["j"])
    assert (found.state, found.error_code) == ("InUse", OFFLINE_CODE)
    with _refused(RefusalCode.SOURCE_STATE):
        house.service.start(job)
    house.service.delete(job)
    assert house.store.sources.get(house.sources["j"]).state == "Unavailable"


def test_a_lost_appliances_pass_goes_to_another_one_of_the_same_vcenter(house: House) -> None:
    job = house.job()
    house.service.start(job)
    house.turn()
    first = house.take()
    assert first is not None
    other, stranger = house.enrol("a2"), house.enrol("a3", "https://elsewhere")
    house.clock.advance(GRACE + 1)
    house.store.appliances.beat(other.id)
    house.store.appliances.beat(stranger.id)
    house.watch.look()
    assert house.take(stranger) is None
    second = house.take(other)
    assert second is not None
    assert (second.run_id, second.attempt) == (first.run_id, 2)


def test_r35_a_job_whose_instance_was_released_by_somebody_fails_clearly(house: House) -> None:
    job = house.job()
    house.service.start(job)
    house.turn()
    house.cloud.instances.clear()
    house.turn()
    found = house.get(job)
    assert (str(found.state), found.error_code) == ("InError", "TransitionInstance.Released")
    house.service.start(job)
    house.turn()
    assert house.status(job) == "InError"
    assert house.take() is None  # a pass of a run that has ended is nobody's
    house.service.delete(job)
    house.turn()
    again = house.service.create(NewJob(house.sources["j"], "again")).id
    house.service.start(again)
    assert str(house.run(again).state) == "Finished"


def test_r34_after_finished_the_source_takes_a_new_job(house: House) -> None:
    job = house.job()
    house.service.start(job)
    assert str(house.run(job).state) == "Finished"
    assert house.service.create(NewJob(house.sources["j"], "second")).status == "Ready"


@pytest.mark.parametrize("state", ["Ready", "Running", "InError"])
def test_r75_r76_no_second_job_while_one_is_unfinished(house: House, state: str) -> None:
    job = house.job()
    if state != "Ready":
        house.service.start(job)
        house.turn()
    if state == "InError":
        house.carry(Outcome.FAILED)
        house.turn()
    with _refused(RefusalCode.SOURCE_UNFINISHED):
        house.service.create(NewJob(house.sources["j"], "second"))


def test_r92_while_a_job_is_being_deleted_its_source_takes_another(house: House) -> None:
    job = house.job()
    house.service.delete(job)
    assert house.status(job) == "Deleting"
    assert house.service.create(NewJob(house.sources["j"], "second")).status == "Ready"


def test_r5_a_deleted_source_is_registered_anew_by_the_next_scan(house: House) -> None:
    (first,) = house.register("a")
    assert house.register("a") == [first]
    house.service.delete_source(first)
    (second,) = house.register("a")
    assert second != first
    assert house.store.sources.get(second).name == "a"


def test_r6_r7_a_source_with_a_job_is_deleted_only_with_force_and_never_while_it_runs(house: House) -> None:
    job = house.job()
    source = house.sources["j"]
    with _refused(RefusalCode.SOURCE_RELATED):
        house.service.delete_source(source)
    house.service.start(job)
    house.turn()
    for force in (True, False):
        with _refused(RefusalCode.SOURCE_RUNNING):
            house.service.delete_source(source, force=force)
    house.service.stop(job)
    house.turn()
    assert house.status(job) == "Stopped"


def test_x8_force_deletes_the_source_with_its_job_and_releases_both(house: House) -> None:
    job = house.job()
    house.service.start(job)
    house.turn()
    house.service.stop(job)
    house.turn()
    house.service.delete_source(house.sources["j"], force=True)
    assert house.store.sources.get(house.sources["j"]).state == "Deleting"
    assert house.status(job) == "Deleting"
    house.turn()
    house.turn()
    assert house.status(job) == "Deleted"
    assert not house.cloud.instances
    assert house.store.sources.all() == []


def test_r8_after_stop_and_delete_of_the_job_the_source_can_be_deleted(house: House) -> None:
    job = house.job()
    house.service.start(job)
    house.turn()
    house.service.stop(job)
    house.turn()
    house.service.delete(job)
    house.turn()
    house.service.delete_source(house.sources["j"])
    assert house.store.sources.all() == []


def test_x13_quotas_refuse_the_next_one(make_house: Callable[[Quotas], House]) -> None:
    house = make_house(Quotas(sources=3, jobs=2, running=1))
    a, b, c = house.register("a", "b", "c")
    assert "vm-d" not in house.store.sources.put(house.appliance.vcenter, [], None)
    with pytest.raises(KeyError):
        house.register("a", "b", "c", "d")
    (appliance,) = house.store.appliances.all()
    assert appliance.notice == "machines not registered: 1 (at most 3 sources)"
    first = house.service.create(NewJob(a, "one", scheduled_start=house.clock.now + 1)).id
    second = house.service.create(NewJob(b, "two")).id
    with _refused(RefusalCode.JOB_QUOTA):
        house.service.create(NewJob(c, "three"))
    house.service.start(second)
    with _refused(RefusalCode.RUNNING_QUOTA):
        house.service.start(first)
    house.later(2)
    assert house.get(first).waiting == "its scheduled run waits: the limit of running jobs is reached: 1"
    assert [str(house.run(job).state) for job in (second, first)] == ["Finished", "Finished"]


def test_x15_a_code_enrols_until_it_is_used_up_disabled_or_expired(house: House) -> None:
    tokens = house.store.tokens
    token, code = tokens.create("wave", "", count=2, days=7)
    member = house.enrol("t", "https://t", tokens.redeem(code).id)
    house.register("x", "y", by=member)
    assert tokens.get(token.id).registered == 2
    with pytest.raises(AuthenticationFailed, match="brought in 2 sources"):
        tokens.redeem(code)
    with pytest.raises(KeyError):
        house.register("x", "y", "z", by=member)
    other, second = tokens.create("other", "", count=9, days=7)
    tokens.disable(other.id)
    with pytest.raises(AuthenticationFailed, match="unactivated"):
        tokens.redeem(second)
    last, third = tokens.create("last", "", count=9, days=7)
    house.later(7 * DAY)
    with pytest.raises(AuthenticationFailed, match="expired"):
        tokens.redeem(third)
    assert tokens.get(last.id).status is TokenStatus.EXPIRED
    assert len(house.store.sources.all()) == 2
    assert code not in repr(house.store.tokens.all())


def test_x17_workgroups_have_limits_and_a_status_that_follows_from_their_jobs(tmp_path: Path) -> None:
    house = House(fresh.sqlite(tmp_path / "g.sqlite"), tmp_path, Quotas(workgroups=2, workgroup_sources=2))
    a, b, c = house.register("a", "b", "c")
    groups = house.store.workgroups
    wave = groups.create("wave", "first", client_token="t").id
    assert groups.create("other", "again", client_token="t").id == wave
    with _refused(RefusalCode.GROUP_NAME):
        groups.create("wave", "")
    other = groups.create("late", "").id
    with _refused(RefusalCode.GROUP_QUOTA):
        groups.create("third", "")
    groups.associate(wave, [a, b])
    with _refused(RefusalCode.GROUP_TAKEN):
        groups.associate(other, [a])
    with _refused(RefusalCode.GROUP_SOURCES_QUOTA):
        groups.associate(wave, [c])
    with _refused(RefusalCode.GROUP_NOT_EMPTY):
        groups.delete(wave)
    found = groups.get(wave)
    assert (found.status, found.unrelated) == ("NotStarted", tuple(sorted([a, b])))
    job = house.service.create(NewJob(a, "one")).id
    house.service.start(job)
    house.turn()
    assert groups.get(wave).status == "InProgress"
    house.carry(Outcome.FAILED)
    house.turn()
    assert groups.get(wave).failed == (a,)
    house.service.start(job)
    house.run(job)
    assert groups.get(wave).status == "Cutover"
    groups.disassociate(wave, [b])
    assert groups.page(status="Completed").total == 1
    groups.disassociate(wave, [a])
    groups.delete(wave)
    assert groups.page().total == 1


def test_what_a_deleted_job_left_in_vcenter_is_ordered_away_from_one_appliance(house: House) -> None:
    """Invariant 3."""
    job = house.job()
    house.service.start(job)
    house.turn()
    found = house.take()
    assert found is not None
    record = partial(house.store.resources.record, job, "snap", place="vcenter", kind="snapshot")
    record(pass_id=found.id)  # planned; whether it was created nobody knows
    house.service.stop(job)
    other, stranger = house.enrol("a2"), house.enrol("a3", "https://elsewhere")
    house.clock.advance(GRACE + 1)
    house.watch.look()
    house.turn()
    house.turn()
    assert house.status(job) == "Stopped"
    assert any(
        house.service.leftovers(a) for a in (house.appliance, other)
    )  # nobody reads: it may go at once
    house.service.delete(job)
    house.turn()
    asked = [bool(house.service.leftovers(a)) for a in (house.appliance, other, stranger)]
    assert sorted(asked) == [False, False, True]
    assert not asked[2]
    house.store.resources.cleaned("snap", "https://elsewhere")
    assert house.store.resources.leftovers(house.appliance.vcenter)
    second = house.service.create(NewJob(house.sources["j"], "second")).id
    house.service.start(second)
    assert not house.store.resources.leftovers(house.appliance.vcenter)
    house.run(second)
    ((machine, resource),) = house.store.resources.leftovers(house.appliance.vcenter)
    assert (machine.moref, resource.token) == ("vm-j", "snap")
    house.store.resources.cleaned("snap", house.appliance.vcenter)
    assert not house.store.resources.leftovers(house.appliance.vcenter)


def test_a_pass_waits_for_its_limit_and_its_job_says_why(make_house: Callable[[Quotas], House]) -> None:
    house = make_house(Quotas(host_disks=2))
    first, second = house.job("a"), house.job("b")
    for job in (first, second):
        house.service.start(job)
        house.later(1)  # the older one is taken first
    assert house.get(first).waiting == (
        "waits for room at the appliance a1, which reads as many machines at a time as its setting `passes` says"
    )
    assert house.take() is not None
    assert house.take(house.enrol("a2")) is None
    house.turn()
    assert house.get(first).waiting == ""
    assert house.get(second).waiting == "waits: 2 of 2 disks on host host-1 are being read (limit host_disks)"
    house.clock.advance(GRACE + 1)
    house.watch.look()
    assert house.get(second).waiting == "waits: none of the appliances a1, a2 is online"


def _pass(number: int, host: str, disks: int, stores: tuple[str, ...] = ("ds",)) -> Pass:
    nothing: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(Pass))
    known = {
        "id": str(number),
        "vcenter": "v",
        "host": host,
        "disk_count": disks,
        "job_id": f"j{number}",
        "datastores": list(stores),
    }
    known["task"] = Task.READ
    return Pass(**nothing | known)


@pytest.mark.parametrize(
    ("limits", "name", "why"),
    [
        (Quotas(passes=1), "passes", "1 of 1 machines in all"),
        (Quotas(vcenter_disks=3), "vcenter_disks", "3 of 3 disks of its vCenter"),
        (Quotas(host_disks=4), "host_disks", "3 of 4 disks on host h"),
        (Quotas(datastore_machines=1), "datastore_machines", "1 of 1 machines on datastore ds"),
    ],
)
def test_each_limit_holds_a_pass_back_and_is_named(limits: Quotas, name: str, why: str) -> None:
    running, wanted = [_pass(1, "h", 3)], _pass(2, "h", 2)
    assert (
        why_waiting([PassGroup((wanted,))], running, limits)["2"]
        == f"waits: {why} are being read (limit {name})"
    )
    assert why_waiting([PassGroup((wanted,))], running, Quotas())["2"] == ""


QUOTAS_OF_OBJECTS = {"sources", "jobs", "running", "workgroups", "workgroup_sources"}


@pytest.mark.parametrize(
    "name", [limit.name for limit in dataclasses.fields(Quotas) if limit.name not in QUOTAS_OF_OBJECTS]
)
def test_no_limit_on_what_is_read_is_without_effect(name: str) -> None:
    limits = Quotas(**{name: 1})
    why = why_waiting([PassGroup((_pass(2, "h", 2),))], [_pass(1, "h", 2)], limits)["2"]
    assert why.endswith(f"are being read (limit {name})")


def test_a_machine_larger_than_the_limit_runs_alone_and_is_not_overtaken() -> None:
    big, small, far = _pass(2, "h", 12), _pass(3, "h", 1), _pass(4, "other", 1)
    limits = Quotas(host_disks=8)
    assert why_waiting([PassGroup((big,))], [], limits)["2"] == ""
    why = why_waiting(
        [PassGroup((one,)) for one in (big, small, far)], [_pass(1, "h", 1)], limits, names={"j2": "big"}
    )
    assert why == {
        "2": "waits: 1 of 8 disks on host h are being read (limit host_disks)",
        "3": "waits its turn behind the older pass of job big",
        "4": "",
    }


def test_limits_are_chosen_by_name() -> None:
    assert Quotas.of(["host_disks=4", "jobs=2000"]) == Quotas(host_disks=4, jobs=2000)
    for wrong in ("disks=4", "jobs", "jobs=", "jobs=0", "jobs=-1", "jobs=many", "jobs=99999999999"):
        with pytest.raises(BadInput, match="NAME: sources, jobs"):
            Quotas.of([wrong])
