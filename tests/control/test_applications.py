"""An application is cut over as one: shut down in order, read when all are off, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

import pytest

from connector.control.domain.cohorts import (
    SLACK,
    Member,
    broken,
    obstacle,
    overdue,
    provable,
    together,
    unproved,
)
from connector.control.domain.entities import Appliance, Json, Outcome, Pass, Task
from connector.control.domain.jobs import JobEvent
from connector.control.http import views
from connector.control.store import NewJob
from connector.control.store.limits import Quotas
from connector.errors import BadInput, Conflict, NotFound, TargetFailed
from tests.control.house import Crash, House

RANKS = {"web": 1, "app": 2, "db": 3}


def _made(house: House, ranks: Mapping[str, int] = RANKS) -> dict[str, str]:
    """An application of jobs that wait between two runs; ids by the names of their machines."""
    house.register(*ranks)
    jobs = {name: house.incremental(name) for name in ranks}
    for job in jobs.values():
        house.service.start(job)
        house.run(job)
    house.applications.put("shop", {jobs[name]: rank for name, rank in ranks.items()})
    return jobs


def _errand(house: House, *, outcome: Outcome = Outcome.DONE, asked: bool = True) -> str:
    """The name of the machine whose power was dealt with next; empty when nobody's may be now."""
    found = house.take(power_tasks=True)
    if found is None:
        return ""
    if found.task is Task.SHUTDOWN and asked:
        house.store.cutovers.going_down(found.job_id, found.id)
    error = {"error": "Conflict", "what": "it does not obey"} if outcome is Outcome.FAILED else None
    house.finish(found.id, house.appliance, outcome, error, {"shutdown": 5.0, "powered_on": True})
    house.turn()
    return _machine(house, found)


def _machine(house: House, found: Pass) -> str:
    return house.store.sources.get(house.get(found.job_id).source_id).machine


def _in_two_vcenters(house: House) -> tuple[Appliance, dict[str, str]]:
    """An application whose cutover begins: web, and db in a vCenter that another appliance serves."""
    away = house.enrol("a2", "https://other")
    house.register("web")
    house.sources |= {"db": house.register("db", by=away)[0]}
    jobs = {name: house.incremental(name) for name in ("web", "db")}
    for name, job in jobs.items():
        house.service.start(job)
        for _ in range(4):
            house.turn()
            house.carry(by=away if name == "db" else None)
        house.turn()
    house.applications.put("shop", {jobs["web"]: 1, jobs["db"]: 2})
    house.applications.cutover("shop", {})
    return away, jobs


def _states(house: House, jobs: Mapping[str, str]) -> set[str]:
    return {house.status(job) for job in jobs.values()}


def _notes(house: House, job: str, kind: str = "application") -> list[str]:
    return [entry.text for entry in house.store.jobs.history(job) if entry.kind == kind]


def test_machines_go_down_in_order_and_none_is_read_before_all_are_off(house: House) -> None:
    jobs = _made(house)
    house.applications.cutover("shop", {})
    house.turn()
    assert _states(house, jobs) == {"Running/Syncing"}
    seen = []
    for waits in ("web", "app", "db"):
        assert house.take() is None
        held = house.get(jobs["db"]).waiting
        assert waits == "db" or held in ("waits for job-web to be off", "waits for job-app to be off")
        seen.append(_errand(house))
    assert seen == ["web", "app", "db"]
    finals = []
    while (found := house.take()) is not None:
        finals.append(_machine(house, found))
        assert found.task is Task.FINAL
        house.finish(found.id, house.appliance, Outcome.DONE, None, {})
    house.turn()
    assert sorted(finals) == ["app", "db", "web"]
    assert _states(house, jobs) == {"Finished"}


def test_machines_of_one_rank_go_down_side_by_side(house: House) -> None:
    jobs = _made(house, {"a": 1, "b": 1, "c": 2})
    house.applications.cutover("shop", {})
    house.turn()
    taken = [house.take(power_tasks=True), house.take(power_tasks=True)]
    assert {_machine(house, found) for found in taken if found} == {"a", "b"}
    assert house.take(power_tasks=True) is None
    assert _states(house, jobs) == {"Running/Syncing"}


def test_nothing_is_shut_down_before_every_instance_stands(house: House) -> None:
    jobs = _made(house)
    house.applications.cutover("shop", {})
    for run in house.store.runs.open()[:2]:
        house.store.passes.offer(run.id, 0)
    assert house.take(power_tasks=True) is None
    house.turn()
    assert house.take(power_tasks=True) is not None
    assert len(jobs) == 3


@pytest.mark.parametrize("crash", [False, True])
def test_invariant_7_one_that_fails_before_the_point_takes_all_back_in_reverse_order(
    house: House, crash: bool
) -> None:
    jobs = _made(house)
    house.applications.cutover("shop", {})
    house.turn()
    assert [_errand(house), _errand(house, outcome=Outcome.FAILED)] == ["web", "app"]
    if crash:
        house.crash()
    house.turn()
    house.turn()
    assert _states(house, jobs) == {"Running/RollingBack"}
    assert house.take() is None
    assert [_errand(house) for _ in jobs] == ["db", "app", "web"]
    assert _states(house, jobs) == {"Stopped"}
    for job in jobs.values():
        assert _notes(house, job)[-1] == (
            "job-app failed (it does not obey) before all machines of its application were off: this source is rolled back"
        )
        assert (house.get(job).cutover, house.get(job).down_since) == (False, None)
        assert house.get(job).keep_cbt
    house.service.start(jobs["web"])
    assert str(house.run(jobs["web"]).state) == "Waiting"


def test_a_person_who_stops_one_before_the_point_stops_all(house: House) -> None:
    jobs = _made(house)
    house.applications.cutover("shop", {})
    house.turn()
    held = house.take(power_tasks=True)
    assert held is not None and _machine(house, held) == "web"
    house.service.stop(jobs["db"])
    house.turn()
    assert house.store.passes.to_stop(house.appliance, [held.id]) == [held.id]
    assert house.status(jobs["app"]) in ("Running/Syncing", "Stopped")
    house.finish(held.id, house.appliance, Outcome.STOPPED, None, {})
    for _ in range(3):
        house.turn()
    assert [_errand(house) for _ in jobs] == ["db", "app", "web"]
    assert _states(house, jobs) == {"Stopped"}


def test_a_shutdown_that_no_appliance_carries_out_does_not_keep_the_others_down_for_ever(
    house: House,
) -> None:
    jobs = _made(house)
    house.applications.cutover("shop", {"shutdown_deadline": 100.0})
    house.turn()
    assert _errand(house) == "web"
    house.later(299.0 + SLACK)
    assert _states(house, jobs) == {"Running/Syncing"}
    house.later(2.0)
    for _ in range(3):
        house.turn()
    assert _states(house, jobs) == {"Running/RollingBack"}
    for job in jobs.values():
        assert "failed (not all machines of its application were off within 900 s)" in _notes(house, job)[-1]


def test_a_rollback_that_fails_is_no_reason_to_keep_others_off_and_is_repeated(house: House) -> None:
    jobs = _made(house)
    house.applications.cutover("shop", {})
    house.turn()
    _errand(house, outcome=Outcome.FAILED)
    for _ in range(3):
        house.turn()
    assert [_errand(house, outcome=Outcome.FAILED), _errand(house), _errand(house)] == ["db", "app", "web"]
    assert [house.status(jobs[name]) for name in RANKS] == ["Stopped", "Stopped", "InError"]
    with pytest.raises(Conflict, match="rolled back"):
        house.service.start(jobs["db"])
    house.applications.rollback("shop")
    house.turn()
    assert _errand(house) == "db"
    assert _states(house, jobs) == {"Stopped"}


def _off(house: House) -> dict[str, str]:
    """All are shut down, none is read."""
    jobs = _made(house)
    house.applications.cutover("shop", {})
    house.turn()
    for _ in jobs:
        _errand(house)
    return jobs


@pytest.mark.parametrize("crash", [False, True])
def test_none_becomes_an_image_before_all_are_proved(house: House, crash: bool) -> None:
    jobs = _off(house)
    images = list(house.cloud.images)
    for left in (2, 1):
        proved = house.carry()
        house.turn()
        assert proved is not None and house.get(proved.job_id).waiting.startswith("proved, waits for job-")
        assert left and _states(house, jobs) == {"Running/Syncing"} and house.cloud.images == images
    if crash:
        house.crash()
    house.carry()
    for crash_after in (2, 5, None) if crash else (None,):
        with suppress(Crash):
            house.turn(crash_after)
        if crash:
            house.crash()
    house.turn()
    assert _states(house, jobs) == {"Finished"}
    assert len(house.cloud.images) == len(images) + 3


@pytest.mark.parametrize("crash", [False, True])
def test_invariant_10_one_whose_proof_fails_leaves_no_image_and_takes_all_back(
    house: House, crash: bool
) -> None:
    jobs = _off(house)
    images = list(house.cloud.images)
    house.carry()
    failed = house.carry(Outcome.FAILED)
    if crash:
        house.crash()
    for _ in range(3):
        house.turn()
    assert _states(house, jobs) == {"Running/RollingBack"}
    assert [_errand(house) for _ in jobs] == ["db", "app", "web"]
    assert _states(house, jobs) == {"Stopped"} and house.cloud.images == images
    assert failed is not None
    culprit = house.get(failed.job_id).name
    for job in jobs.values():
        why = f"{culprit} failed (broken) before all machines of its application were proved"
        assert _notes(house, job)[-1] == f"{why}: this source is rolled back"
        assert (house.get(job).error or {})["what"] == f"{why}: all are rolled back"


def test_a_person_who_stops_one_that_is_proved_stops_all(house: House) -> None:
    jobs = _off(house)
    proved = house.carry()
    assert proved is not None
    house.service.stop(proved.job_id)
    while house.carry() is not None:
        pass
    for _ in range(3):
        house.turn()
    assert _states(house, jobs) == {"Running/RollingBack"}


def test_once_all_are_proved_nobody_is_stopped(house: House) -> None:
    jobs = _off(house)
    while house.carry() is not None:
        pass
    house.conductor.look()
    with pytest.raises(Conflict, match="it ends in a moment"):
        house.service.stop(jobs["web"])
    house.turn()
    assert _states(house, jobs) == {"Finished"}


def test_one_whose_image_fails_when_all_are_proved_resumes_alone_at_the_same_point(house: House) -> None:
    jobs = _off(house)
    while house.carry() is not None:
        pass
    house.conductor.look()
    house.cloud.no_image = TargetFailed("no room for an image")
    house.turn()
    house.cloud.no_image = None
    assert _states(house, jobs) == {"InError"}
    for _ in range(3):
        house.turn()
    assert _states(house, jobs) == {"InError"}
    for job in jobs.values():
        run = house.store.runs.of(job)[-1]
        house.service.start(job)
        again = house.store.runs.of(job)[-1]
        assert (again.plan, again.cohort, again.rank) == ((Task.FINAL,), run.cohort, run.rank)
        assert str(house.run(job).state) == "Finished"


def test_an_application_that_was_cut_over_goes_back_as_a_whole_in_reverse_order(house: House) -> None:
    jobs = _off(house)
    with pytest.raises(Conflict, match="stop a running job first"):
        house.applications.rollback("shop")
    for _ in jobs:
        house.carry()
    house.turn()
    with pytest.raises(Conflict, match="as a whole"):
        house.service.rollback(jobs["db"])
    house.applications.rollback("shop", keep_cbt=True)
    house.turn()
    assert house.get(jobs["web"]).waiting == "waits for job-app to run again"
    assert [_errand(house) for _ in jobs] == ["db", "app", "web"]
    assert _states(house, jobs) == {"Stopped"}
    assert house.get(jobs["web"]).keep_cbt
    with pytest.raises(Conflict, match="was not cut over"):
        house.applications.rollback("shop")


def test_all_or_none_begin(house: House) -> None:
    jobs = _made(house)
    house.service.start(jobs["db"])
    with pytest.raises(Conflict, match="Running"):
        house.applications.cutover("shop", {})
    assert [house.status(jobs[name]) for name in ("web", "app")] == ["Waiting", "Waiting"]


def test_a_member_is_neither_cut_over_alone_nor_in_two_applications(house: House) -> None:
    jobs = _made(house)
    with pytest.raises(Conflict, match="as a whole"):
        house.service.cutover(jobs["web"], last_sync=True, changes={})
    with pytest.raises(Conflict, match="belongs to the application shop"):
        house.applications.put("other", {jobs["web"]: 0})
    with pytest.raises(BadInput, match="twice"):
        house.applications.put("shop", {jobs["web"]: 0, "job-web": 1})
    once = house.service.create(NewJob(house.register(*RANKS, "once")[-1], "once")).id
    with pytest.raises(Conflict, match="runs once"):
        house.applications.put("shop", {once: 0})
    house.applications.cutover("shop", {})
    with pytest.raises(Conflict, match="being cut over"):
        house.applications.put("shop", {})
    house.turn()
    house.service.stop(jobs["web"])
    for _ in range(4):
        house.turn()
    while _errand(house):
        pass
    assert house.applications.put("shop", {}) == []
    with pytest.raises(NotFound):
        house.applications.get("shop")
    house.service.start(jobs["web"])
    house.run(jobs["web"])
    house.service.cutover(jobs["web"], last_sync=True, changes={})


def test_an_order_of_a_member_shuts_down_only_when_it_says_so(house: House) -> None:
    jobs = _made(house)
    house.applications.cutover("shop", {})
    house.turn()

    def order(found: Pass | None) -> Json:
        assert found is not None
        job = house.get(found.job_id)
        source = house.store.sources.get(job.source_id)
        return views.order(job, source, found, None, [], alone=False, now=house.clock.now)

    first = house.take(power_tasks=True)
    told = order(first)
    assert (told["task"], told["final"], told["may_shut_down"]) == ("shutdown", False, True)
    assert first is not None
    house.store.cutovers.going_down(first.job_id, first.id)
    assert order(first)["settling"] == 660.0
    house.finish(first.id, house.appliance, Outcome.DONE, None, {})
    house.turn()
    while _errand(house):
        pass
    told = order(house.take())
    assert (told["task"], told["final"], told["may_shut_down"]) == ("final", True, False)
    assert len(jobs) == 3


def _member(name: str, rank: int, **more: object) -> Member:
    return Member(name, name, rank, **more)  # type: ignore[arg-type]


def test_the_rules_by_themselves() -> None:
    ready = {Task.SHUTDOWN: None}
    off = {Task.SHUTDOWN: Outcome.DONE}
    a, b = _member("a", 1, tasks=ready), _member("b", 2, tasks=ready)
    assert obstacle(Task.SHUTDOWN, a, [a, b]) == ""
    assert obstacle(Task.SHUTDOWN, b, [a, b]) == "waits for a to be off"
    assert obstacle(Task.SHUTDOWN, a, [a, _member("b", 2)]) == "waits for b to be ready"
    assert overdue([a, b], 1e9) == ""  # nobody is down
    down = _member("a", 1, tasks=off, down_since=0.0, deadline=10.0)
    assert obstacle(Task.FINAL, down, [down, b]) == "waits for b to be off"
    assert obstacle(Task.SHUTDOWN, b, [down, b]) == ""
    assert overdue([down, b], 610.0 + SLACK) == "" != overdue([down, b], 611.0 + SLACK)
    done = _member("b", 2, tasks=off)
    assert together([down, done]) and broken([down, done]) == overdue([down, done], 1e9) == ""
    stopped = _member("b", 2, tasks=off, ended=3.0, trouble="was stopped")
    first = _member("c", 3, tasks=ready, ended=4.0, trouble="failed (x)", failed=True)
    assert broken([down, stopped, first]) == "c failed (x) before all machines of its application were off"
    assert broken([down, stopped]) == "b was stopped before all machines of its application were proved"
    read = {Task.SHUTDOWN: Outcome.DONE, Task.FINAL: Outcome.DONE}
    a, b = _member("a", 1, tasks=read), _member("b", 2, tasks=read)
    assert provable([a, b]) and not provable([a, down]) and not provable([a, replace(b, stopping=True)])
    assert not provable([a, replace(b, ended=1.0)])
    assert broken([replace(a, proved=True), stopped]) == ""
    assert (unproved(b, [b, down]), unproved(a, [a, b])) == ("proved, waits for a to be proved", "")
    stopped = _member("b", 2, tasks={Task.SHUTDOWN: Outcome.STOPPED})
    assert obstacle(Task.FINAL, down, [down, stopped]) == "waits: its application is rolled back"


def _limited(make_house: Callable[[Quotas], House], limits: Quotas) -> tuple[House, dict[str, str]]:
    house = make_house(limits)
    return house, _made(house)


def test_an_application_goes_down_when_there_is_room_for_all_of_it_and_is_not_overtaken(
    make_house: Callable[[Quotas], House],
) -> None:
    house, jobs = _limited(make_house, Quotas(host_disks=7))  # two disks each
    house.register(*RANKS, "old", "new")
    old, new = house.job("old"), house.job("new")
    house.service.start(old)
    house.turn()
    held = house.take()
    assert held is not None
    house.clock.advance(1)
    house.applications.cutover("shop", {})
    house.turn()
    house.clock.advance(1)
    house.service.start(new)
    house.turn()
    assert house.take(power_tasks=True) is None and house.take() is None
    assert (
        house.get(jobs["web"]).waiting
        == "waits: 2 of 7 disks on host host-1 are being read (limit host_disks)"
    )
    assert house.get(new).waiting.startswith("waits its turn behind the older pass of job ")
    house.finish(held.id, house.appliance, Outcome.DONE, None, {})
    house.turn()
    for name in RANKS:
        assert house.take() is None
        assert _errand(house) == name
    finals = [house.take() for _ in jobs]
    assert all(found is not None and found.task is Task.FINAL for found in finals)
    assert house.take() is None
    for found in finals:
        assert found is not None
        house.finish(found.id, house.appliance, Outcome.DONE, None, {})
    house.turn()
    assert _states(house, jobs) == {"Finished"}
    last = house.take()
    assert last is not None and last.job_id == new


def test_room_is_kept_for_an_application_whose_machines_go_down(
    make_house: Callable[[Quotas], House],
) -> None:
    house, _ = _limited(make_house, Quotas(passes=3))
    house.register(*RANKS, "other")
    house.applications.cutover("shop", {})
    house.turn()
    assert _errand(house) == "web"
    other = house.job("other")
    house.service.start(other)
    house.turn()
    assert house.take() is None
    assert house.get(other).waiting == "waits: 3 of 3 machines in all are being read (limit passes)"


def test_an_application_larger_than_a_limit_is_read_in_turns_when_nothing_else_is(
    make_house: Callable[[Quotas], House],
) -> None:
    house, jobs = _limited(make_house, Quotas(host_disks=3))
    house.applications.cutover("shop", {})
    house.turn()
    assert [_errand(house) for _ in jobs] == ["web", "app", "db"]
    for _ in jobs:
        found = house.take()
        assert found is not None and house.take() is None
        house.finish(found.id, house.appliance, Outcome.DONE, None, {})
        house.turn()
    assert _states(house, jobs) == {"Finished"}


def test_two_applications_of_which_each_fills_the_limit_go_one_after_the_other(
    make_house: Callable[[Quotas], House],
) -> None:
    house, jobs = _limited(make_house, Quotas(host_disks=6))
    house.register(*RANKS, "a", "b")
    others = {name: house.incremental(name) for name in ("a", "b")}
    for job in others.values():
        house.service.start(job)
        house.run(job)
    house.applications.put("other", dict.fromkeys(others.values(), 0))
    house.applications.cutover("shop", {})
    house.turn()
    house.clock.advance(1)
    house.applications.cutover("other", {})
    house.turn()
    assert [_errand(house) for _ in range(4)] == ["web", "app", "db", ""]
    for _ in jobs:
        house.carry()
    house.turn()
    assert _states(house, jobs) == {"Finished"}
    assert {_errand(house), _errand(house)} == {"a", "b"}


def test_ordinary_runs_go_together_and_the_spread_of_their_snapshots_is_kept(house: House) -> None:
    jobs = _made(house)
    assert house.applications.spread("shop") is None
    house.clock.advance(13 * 3600)
    house.planner.look()
    assert _states(house, jobs) == {"Running/Preparing"}
    (first, *_) = house.store.runs.open()
    house.store.jobs.advance(first.id, JobEvent.PREPARED)
    house.store.passes.offer(first.id, 0)
    assert house.take() is None
    house.turn()
    for at, _ in enumerate(jobs):
        found = house.take()
        assert found is not None and found.task is Task.READ
        result = {"snapshot_taken": 1000.0 + 2 * at}
        house.finish(found.id, house.appliance, Outcome.DONE, None, result)
    house.turn()
    assert _states(house, jobs) == {"Waiting"}
    assert house.applications.spread("shop") == 4.0
    house.service.start(jobs["web"])
    house.run(jobs["web"])
    assert house.applications.spread("shop") is None
    house.service.start(jobs["web"])
    with pytest.raises(Conflict):
        house.applications.start("shop", {})
    assert [house.status(jobs[name]) for name in ("app", "db")] == ["Waiting", "Waiting"]
    house.run(jobs["web"])
    house.applications.start("shop", {})
    assert _states(house, jobs) == {"Running/Preparing"}


def test_one_that_fails_an_ordinary_run_does_not_keep_the_others(house: House) -> None:
    jobs = _made(house)
    house.applications.start("shop", {})
    (first, *_) = house.store.runs.open()
    house.store.jobs.settle(
        first.id, JobEvent.FAILED, Outcome.FAILED, {"error": "TargetFailed", "what": "no instance"}
    )
    for _ in range(3):
        house.turn()
        house.carry()
    house.turn()
    assert sorted(house.status(job) for job in jobs.values()) == ["InError", "Waiting", "Waiting"]


def test_a_member_that_no_appliance_reaches_holds_up_no_other_in_a_rollback(house: House) -> None:
    """The web server of one vCenter runs again although the vCenter of its database is silent."""
    away, jobs = _in_two_vcenters(house)
    house.turn()
    assert _errand(house) == "web"
    house.service.stop(jobs["web"])
    house.turn()
    house.service.revoke(away.id)
    for _ in range(3):
        house.turn()
    assert house.status(jobs["web"]) == "Running/RollingBack"
    assert _errand(house) == "web"
    assert house.status(jobs["web"]) == "Stopped"


def test_a_finished_member_that_no_appliance_reaches_holds_up_no_other_in_a_rollback(house: House) -> None:
    away, jobs = _in_two_vcenters(house)
    for _ in range(4):
        house.turn()
        for appliance in (house.appliance, away):
            if (found := house.take(appliance, power_tasks=True)) is not None:
                if found.task is Task.SHUTDOWN:
                    house.store.cutovers.going_down(found.job_id, found.id)
                house.finish(found.id, appliance, Outcome.DONE, None, {})
            house.carry(by=appliance)
    house.turn()
    assert {house.status(job) for job in jobs.values()} == {"Finished"}
    house.service.revoke(away.id)
    house.turn()
    assert house.store.sources.of(house.get(jobs["db"])).state == "Unavailable"
    house.applications.rollback("shop")
    for _ in range(3):
        house.turn()
    assert house.status(jobs["web"]) == "Running/RollingBack"
    assert _errand(house) == "web"


def test_to_look_at_an_application_that_waits_is_no_write_with_consequences(house: House) -> None:
    jobs = _off(house)
    house.carry()
    house.conductor.look()
    assert any("proved, waits for" in house.get(job).waiting for job in jobs.values())
    before = house.store.epochs.current().sequence
    for _ in range(3):
        house.conductor.look()
    assert house.store.epochs.current().sequence == before
