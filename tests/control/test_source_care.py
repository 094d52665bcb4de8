"""What appliances tell about their sources, and what the control plane makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from connector.appliance.cleanup.register import read_interrupted
from connector.cli.report import downtime
from connector.control.domain.allowed_events import allowed
from connector.control.domain.downtime import SHUTDOWN, predicted
from connector.control.domain.drills import Drill, DrillState
from connector.control.domain.entities import Job, JobImage, Json, Outcome, Pass, Task
from connector.control.domain.jobs import JobEvent
from connector.control.domain.refusals import StateRefusal
from connector.control.engine.monitors import ApplianceMonitor
from connector.control.http import views
from connector.control.smc import extension_shapes as show
from connector.control.store import NewJob, Quotas, pass_ends
from connector.errors import Conflict
from tests.control.conftest import VCENTER
from tests.control.house import DAY, GRACE, House, MovableClock


def _texts(house: House, job: str, kind: str) -> list[str]:
    return [entry.text for entry in house.store.jobs.history(job) if entry.kind == kind]


def test_a_pass_that_is_given_back_rests_and_its_job_says_why(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pass_ends, "ATTEMPTS", 2)
    job = house.job()
    house.service.start(job)
    house.turn()
    for _ in range(3):  # more often than an appliance may be lost
        found = house.take()
        assert found is not None
        why = {"error": "Interrupted", "what": "datastore ds has 3.0% free", "on": "j", "remedy": ""}
        house.finish(found.id, house.appliance, Outcome.STOPPED, why, {}, rest=300.0)
        house.turn()
        assert house.take() is None
        waiting = house.get(job).waiting
        assert waiting.startswith("rests, and is tried again at ")
        assert waiting.endswith(" UTC: datastore ds has 3.0% free")
        house.later(301.0)
    assert _texts(house, job, "lost")[-1].endswith(
        "given back by the appliance a1: datastore ds has 3.0% free"
    )
    house.carry()
    house.turn()
    assert house.status(job) == "Finished"


def test_a_pass_that_is_given_back_without_a_reason_does_not_count_as_lost(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pass_ends, "ATTEMPTS", 2)
    job = house.job()
    house.service.start(job)
    house.turn()
    for _ in range(2):
        attempt = house.take()
        assert attempt is not None
        house.finish(attempt.id, house.appliance, Outcome.STOPPED, None, {})
    attempt = house.take()
    assert attempt is not None
    house.store.pass_ends.lose(lambda taken: taken.id == attempt.id, "it died")
    assert house.take() is not None
    texts = [text.partition(": ")[0::2] for text in _texts(house, job, "lost")]
    assert texts[0][1] == "given back by the appliance a1"
    assert texts[-1] == (
        f"pass {attempt.id}",
        "ended without a report at the appliance a1: it died; it is offered again",
    )


def test_a_rest_does_not_grow_with_a_clock_that_is_set_back(house: House) -> None:
    job = house.job()
    house.service.start(job)
    house.turn()
    found = house.take()
    assert found is not None
    house.service.finish(found.id, house.appliance, Outcome.STOPPED, {"what": "full"}, {}, rest=300.0)
    house.turn()
    assert house.take() is None
    house.later(-3 * DAY)
    assert house.take() is not None


def test_the_next_run_does_not_move_away_with_a_clock_that_is_set_back(house: House) -> None:
    job = house.incremental()
    house.service.start(job)
    assert house.run(job).state.status == "Waiting"
    house.later(-3 * DAY)
    assert house.status(job).startswith("Running")


def test_a_clock_that_is_set_makes_nobody_silent(house: House) -> None:
    """Neither back nor forward: passes stay with those who read."""
    ticks = MovableClock()
    house.watch = ApplianceMonitor(house.store, house.steps, grace=GRACE, ticks=ticks)
    house.service.start(house.job())
    house.turn()
    taken = house.take()
    assert taken is not None
    for jump in (3 * DAY, -6 * DAY):
        for clock in (ticks, house.clock):
            clock.advance(GRACE + 1)
        house.turn()
        house.clock.advance(jump)
        house.watch.look()
        assert house.store.passes.of(taken.job_id)[-1].id == taken.id
        assert house.service.heard(house.appliance, {taken.id}) == []
    for clock in (ticks, house.clock):
        clock.advance(GRACE + 1)
    house.watch.look()  # now it is really silent
    assert house.store.passes.of(taken.job_id)[-1].id != taken.id


def test_a_resting_pass_is_stopped_at_once_and_without_an_error(house: House) -> None:
    job = house.job()
    house.service.start(job)
    house.turn()
    found = house.take()
    assert found is not None
    house.finish(found.id, house.appliance, Outcome.STOPPED, {"what": "full"}, {}, rest=300.0)
    house.service.stop(job)
    house.turn()
    assert (house.status(job), house.get(job).error) == ("Stopped", None)


def test_giving_back_when_asked_to_stop_is_stopping(house: House) -> None:
    job = house.job()
    house.service.start(job)
    house.turn()
    found = house.take()
    assert found is not None
    house.service.stop(job)
    house.finish(found.id, house.appliance, Outcome.STOPPED, {"what": "full"}, {}, rest=300.0)
    house.turn()
    assert (house.status(job), house.get(job).error) == ("Stopped", None)


def test_invariant_3_what_resists_stays_in_the_log_and_with_the_job_until_it_is_mended(house: House) -> None:
    job = house.incremental()
    house.service.start(job)
    house.turn()
    found = house.take()
    assert found is not None

    def told(trouble: str) -> None:
        house.store.resources.record(
            job, "snap", place="vcenter", kind="snapshot", pass_id=found.id, trouble=trouble
        )

    for trouble in ("", "a file is locked", "a file is locked"):
        told(trouble)
    house.finish(found.id, house.appliance, Outcome.DONE, None, {})
    house.turn()
    assert house.status(job) == "Waiting"
    assert _texts(house, job, "left") == ["snapshot snap is still in vCenter: a file is locked"]
    ((_, resource),) = house.service.leftovers(house.appliance)
    assert (resource.token, resource.trouble) == ("snap", "a file is locked")
    house.store.resources.cleaned("snap", house.appliance.vcenter, "the datastore is gone")
    assert len(_texts(house, job, "left")) == 2
    house.store.resources.cleaned("snap", house.appliance.vcenter)
    assert _texts(house, job, "mended") == ["snapshot snap is gone"]
    assert not house.service.leftovers(house.appliance)


def _cut_over(house: House, seconds: float = 0.0) -> tuple[str, Pass]:
    """A job whose final pass was taken and shuts its source down, so long ago."""
    job = house.incremental()
    house.service.start(job)
    house.run(job)
    house.service.cutover(job, last_sync=True, changes={})
    house.turn()
    found = house.take()
    assert found is not None and found.task is Task.FINAL
    house.store.cutovers.going_down(job, found.id)
    house.clock.advance(seconds)
    return job, found


def test_the_first_moment_of_the_shutdown_stays_through_crashes_and_new_attempts(house: House) -> None:
    job, found = _cut_over(house, 100.0)
    began = house.clock.now - 100.0
    house.crash()
    assert house.store.cutovers.going_down(job, found.id) == began
    assert house.get(job).down_since == began
    house.clock.advance(3600.0)  # it runs although it should long be off: somebody powered it on
    assert house.store.cutovers.going_down(job, found.id) == house.clock.now


def _interrupted(house: House) -> list[tuple[float, str, str]]:
    """The interrupted cutovers as an appliance reads them: since when, and the two ways on."""
    answer = {"down": [views.open_cutover(*row) for row in house.store.jobs.open_cutovers(VCENTER)]}
    return [(cutover.since, cutover.resume, cutover.take_back) for cutover in read_interrupted(answer)]


def test_an_appliance_hears_of_cutovers_that_were_interrupted_while_the_source_is_down(house: House) -> None:
    job, found = _cut_over(house, 40.0)
    name, began = house.get(job).name, house.clock.now - 40.0
    assert house.store.jobs.open_cutovers("another vCenter") == []
    assert _interrupted(house) == []  # it is under way
    house.finish(found.id, house.appliance, Outcome.FAILED, {"error": "x", "what": "broken"}, {})
    house.turn()
    ways = (f"connector job start {name} --watch", f"connector job rollback {name} --watch")
    assert _interrupted(house) == [(began, *ways)]
    house.service.rollback(job)
    house.turn()
    house.carry(power_tasks=True)
    house.turn()
    assert (house.status(job), _interrupted(house)) == ("Stopped", [])
    assert read_interrupted({}) == ()  # a control plane that does not know of it


def test_the_downtime_of_a_resumed_cutover_lasts_from_the_first_shutdown_to_the_image(house: House) -> None:
    job, found = _cut_over(house, 40.0)
    house.finish(found.id, house.appliance, Outcome.FAILED, {"error": "x", "what": "broken"}, {})
    house.turn()
    assert house.status(job) == "InError"
    house.clock.advance(60.0)
    house.service.start(job)
    house.turn()
    again = house.take()
    assert again is not None
    house.finish(again.id, house.appliance, Outcome.DONE, None, {"disks": []})
    house.turn()
    assert house.status(job) == "Finished"
    images = {image.run_id: image for image in house.store.resources.images(job)}
    since = house.get(job).down_since
    lasted = [
        downtime(show.passed(row, None, images.get(row.run_id), {}, since))
        for row in house.store.passes.of(job)
    ]
    assert (lasted[0], lasted[-1]) == (None, 100.0)


@pytest.mark.parametrize("end", [Outcome.DONE, Outcome.FAILED])
def test_rollback_gives_the_source_back_and_the_job_can_begin_anew(house: House, end: Outcome) -> None:
    job, found = _cut_over(house, 10.0)
    error = {"error": "x", "what": "broken"} if end is Outcome.FAILED else None
    house.finish(found.id, house.appliance, end, error, {})
    house.turn()
    assert house.status(job) == ("Finished" if end is Outcome.DONE else "InError")
    house.clock.advance(20.0)
    house.service.rollback(job)
    assert house.status(job) == "Running/RollingBack"
    assert house.store.sources.get(house.get(job).source_id).state == "InUse"
    house.turn()
    assert house.take() is None  # nothing to read
    errand = house.take(power_tasks=True)
    assert errand is not None and errand.task is Task.POWER_ON
    result: Json = {"powered_on": True, "restored_cbt": True, "troubles": ["the tape is stuck"]}
    house.finish(errand.id, house.appliance, Outcome.DONE, None, result)
    house.turn()
    back = house.get(job)
    assert (str(back.state), back.cutover, back.down_since) == ("Stopped", False, None)
    (told,) = [text for text in _texts(house, job, "rollback") if "has its state back" in text]
    assert "powered on again, CBT off as before, trouble: the tape is stuck; it was down for 30 s" in told
    house.service.start(job)
    assert str(house.run(job).state) == "Waiting"


def test_a_source_that_is_deleted_with_a_finished_cutover_is_not_called_down(house: House) -> None:
    job, found = _cut_over(house, 10.0)
    house.finish(found.id, house.appliance, Outcome.DONE, None, {})
    house.turn()
    assert house.status(job) == "Finished"
    house.store.removal.source(house.get(job).source_id, force=True)
    assert (house.status(job), house.get(job).down_since) == ("Deleting", None)


def test_a_source_that_a_cutover_keeps_down_is_not_deleted_with_its_job(house: House) -> None:
    """Afterwards nothing could power it on again, and nobody had been asked."""
    job, found = _cut_over(house, 10.0)
    house.finish(found.id, house.appliance, Outcome.FAILED, {"error": "ReaderFailed", "what": "broken"}, {})
    house.turn()
    assert house.status(job) == "InError" and house.get(job).down_since is not None
    with pytest.raises(StateRefusal, match="SOURCE IS DOWN: a cutover of its job"):
        house.store.removal.source(house.get(job).source_id, force=True)
    assert house.status(job) == "InError"


def test_a_cutover_that_keeps_its_source_down_is_resumed_whatever_else_runs(
    make_house: Callable[[Quotas], House],
) -> None:
    """The limit of running jobs protects the appliances; a source that is down waits for nobody."""
    house = make_house(Quotas(running=1))
    job, found = _cut_over(house, 10.0)
    house.finish(found.id, house.appliance, Outcome.FAILED, {"error": "ReaderFailed", "what": "broken"}, {})
    house.turn()
    house.service.start(house.job("other"))
    house.service.start(job)
    assert house.status(job) == "Running/Preparing"


def test_what_a_finished_job_turned_on_is_needed_while_another_job_of_the_machine_is_unfinished(
    house: House,
) -> None:
    """Turning CBT off under it would make its next run compare every disk."""
    done = house.job("first")
    house.service.start(done)
    house.run(done)
    house.store.resources.record(done, "tracking:x", place="vcenter", kind="tracking", reference="vm-first")

    def is_over() -> bool:
        (row,) = house.store.resources.remembered(house.appliance.vcenter)
        return bool(views.remembered(*row)["over"])

    assert is_over()
    other = house.service.create(NewJob(house.get(done).source_id, "second", run_once=False, frequency=12)).id
    assert not is_over()
    house.service.delete(other)
    house.turn()
    assert is_over()


def test_a_source_that_stayed_on_was_not_down(house: House) -> None:
    """It was to be asked, which is written down first; but it would not be shut down."""
    job, found = _cut_over(house, 10.0)
    refused = {"error": "VCenterFault", "what": "no tools"}
    house.finish(found.id, house.appliance, Outcome.FAILED, refused, {})
    house.turn()
    house.service.rollback(job)
    house.turn()
    errand = house.take(power_tasks=True)
    assert errand is not None
    house.finish(errand.id, house.appliance, Outcome.DONE, None, {"powered_on": False})
    house.turn()
    (told,) = [text for text in _texts(house, job, "rollback") if "has its state back" in text]
    assert "its power was left as it was" in told and "down for" not in told


@pytest.mark.parametrize(("deadline", "settles"), [(600.0, 660.0), (60.0, 120.0), (2.0, 4.0)])
def test_a_guest_that_was_asked_has_as_long_again_to_obey_and_a_minute_at_most(
    house: House, deadline: float, settles: float
) -> None:
    job, _ = _cut_over(house)
    row = house.get(job)
    asked = replace(row, down_since=1000.0, shutdown_deadline=deadline)
    assert asked.settles == 1000.0 + settles
    assert replace(asked, down_since=None).settles == 0.0


def test_a_rollback_that_fails_can_be_tried_again(house: House) -> None:
    job, found = _cut_over(house)
    house.finish(found.id, house.appliance, Outcome.DONE, None, {})
    house.turn()
    house.service.rollback(job)
    house.turn()
    house.carry(Outcome.FAILED, power_tasks=True)
    house.turn()
    assert house.status(job) == "InError"
    assert house.get(job).down_since is not None
    house.service.rollback(job)
    house.turn()
    house.carry(power_tasks=True)
    house.turn()
    assert house.status(job) == "Stopped"


def test_rollback_is_refused_where_there_is_no_way_back(house: House) -> None:
    once = house.job()
    house.service.start(once)
    house.run(once)
    assert JobEvent.ROLLBACK not in allowed(house.get(once))
    with pytest.raises(Conflict, match="never shut its source down"):
        house.service.rollback(once)
    house.service.delete(once)
    house.turn()
    job, found = _cut_over(house)
    with pytest.raises(Conflict, match="stop a running job first"):
        house.service.rollback(job)
    house.finish(found.id, house.appliance, Outcome.DONE, None, {})
    house.turn()
    assert JobEvent.ROLLBACK in allowed(house.get(job))
    another = house.service.create(NewJob(house.sources["j"], "another"))
    with pytest.raises(Conflict, match=rf"the job another \({another.id}\) has its source now"):
        house.service.rollback(job)


def test_the_newest_job_that_exists_is_its_source_s_last_one(house: House) -> None:
    first = house.job()
    source = house.get(first).source_id
    house.service.start(first)
    assert str(house.run(first).status) == "Finished"
    second = house.service.create(NewJob(source, "second")).id
    assert house.store.sources.get(source).last_job == second
    house.service.delete(second)
    house.turn()
    assert house.store.sources.get(source).last_job == first
    house.service.delete(first)
    house.turn()
    assert house.store.sources.get(source).last_job is None


def _measured(number: int, at: float, kind: str, planned: int, **more: object) -> Pass:
    disk = {"kind": kind, "planned": planned, "read": planned, "seconds": 4.0, "capacity": 10**9}
    return Pass(
        f"p-{number}", "r", "j", 0, 1, False, "v", None, "a", at, at, at + 10.0, "", [], Outcome.DONE, None,  # type: ignore[arg-type]
        {"disks": [disk], "toll": {"create": 1.0, "remove": 2.0}} | more, "h", [], 1,
    )  # fmt: skip


def test_a_cutover_is_predicted_from_the_last_delta_in_proportion_to_the_time(house: House) -> None:
    job: Job = house.get(house.incremental())
    full, delta = _measured(1, 0.0, "full", 10**9), _measured(2, 1000.0, "delta", 10**8)
    assert predicted(job, [full], [], 1000.0) is None
    told = predicted(job, [full, delta], [], 1500.0)
    assert told is not None
    assert told.changed == 10**8 // 2  # half the time, half the changes
    assert (told.shutdown, told.snapshot, told.reading, told.rest) == (SHUTDOWN, 3.0, 2.0, 5.0)
    assert told.seconds == pytest.approx(SHUTDOWN + 10.0)
    late = predicted(job, [full, delta], [], 1e9)
    assert late is not None and late.changed == 10**9
    known = predicted(job, [full, delta, _measured(3, 2000.0, "final", 0, shutdown=7.0)], [], 2000.0)
    assert known is not None and known.shutdown == 7.0


@pytest.mark.parametrize(
    ("definition", "details", "expected"),
    [
        ({}, {}, 30.0),
        ({"Conversion": "dhcp"}, {}, 30.0 + 20.0),
        ({"Conversion": "dhcp", "BootCheck": True}, {}, 30.0 + 20.0 + 40.0),
        ({"Conversion": "dhcp", "BootCheck": True}, {"conversion": {"conversion": {}, "boot": {}}}, 30.0),
        ({"Conversion": "none", "BootCheck": True}, {}, 30.0 + 40.0),
    ],
)
def test_a_conversion_that_the_last_image_did_without_is_predicted_by_the_last_drill(
    house: House, definition: Json, details: Json, expected: float
) -> None:
    """Its source is down meanwhile."""
    job = house.get(house.incremental())
    job = replace(job, definition=job.definition | definition)
    image = JobImage("m-1", job.id, "r", "web", "qcow2", True, details, 100.0, False, 130.0)
    drill = Drill(
        "d-1", job.id, "m-1", "web", "", 1, False, "dhcp", False, 600.0, "", 0.0, "a", state=DrillState.DONE,
        report={"conversion_seconds": 20.0, "boot": {"seconds": 40.0}},
    )  # fmt: skip
    passes = [_measured(1, 0.0, "full", 10**9), _measured(2, 1000.0, "delta", 10**8)]
    told = predicted(job, passes, [image], 1500.0, drill)
    assert told is not None
    assert told.image == expected


def test_a_cutover_whose_source_is_down_does_not_expire_and_can_be_resumed_or_rolled_back(
    house: House,
) -> None:
    """Expired, it would lose its instance, and after a week the only row that says that the source is down."""
    job, found = _cut_over(house, 10.0)
    house.finish(found.id, house.appliance, Outcome.FAILED, {"error": "x", "what": "broken"}, {})
    house.turn()
    assert house.status(job) == "InError"
    for days in (31, 45):
        house.later(days * DAY)
        house.turn()
        row = house.get(job)
        assert (str(row.state), row.down_since is not None) == ("InError", True)
    assert {JobEvent.START, JobEvent.ROLLBACK} <= set(allowed(row))
    house.service.start(job)
    assert house.status(job).startswith("Running")


def test_a_source_that_is_up_again_lets_its_job_expire(house: House) -> None:
    job, found = _cut_over(house, 10.0)
    house.finish(found.id, house.appliance, Outcome.FAILED, {"error": "x", "what": "broken"}, {})
    house.turn()
    house.service.rollback(job)
    house.turn()
    errand = house.take(power_tasks=True)
    assert errand is not None
    house.finish(errand.id, house.appliance, Outcome.DONE, None, {"powered_on": True})
    house.turn()
    house.later(31 * DAY)
    house.turn()
    assert house.status(job) == "Expired"
