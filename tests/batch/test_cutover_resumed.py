"""A cutover that did not go through at once: owed hooks, stopped jobs, machines that are not ready, a window that closes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.batch.apply import Apply
from connector.batch.begin import begin
from connector.batch.cutover import CutoverResult
from connector.batch.hooks import HookFailed, HookRunner
from connector.cli.batch import carry_out_plan, cutover_code
from connector.errors import Conflict, ControlFailed, Ineligible, Interrupted
from tests.batch.conftest import HEAD, Estate, wave
from tests.batch.test_cutover import ORDERED, WAVE, Cut, beside, hook, windowed

ONE = HEAD + "  incremental: {every: 6h, keep: 3}\nschedule: {start: now}\nmachines:\n  - name: web-01\n"


def noting(place: Path, phase: str = "after-cutover") -> str:
    """A hook that fails until the file `mended` is there, and notes for which group it ran."""
    script = f'read -r event; test -e {place}/mended && echo "$event" >> {place}/ran'
    return hook(phase, ["sh", "-c", script])


def ran(place: Path) -> str:
    return (place / "ran").read_text() if (place / "ran").exists() else ""


@pytest.fixture
def cut(estate: Estate) -> Cut:
    ready = Cut(estate)
    ready.ready()
    return ready


def test_an_after_cutover_hook_that_failed_runs_when_the_command_is_repeated(
    cut: Cut, tmp_path: Path
) -> None:
    cut.text = WAVE + noting(tmp_path)
    for _ in range(2):
        with pytest.raises(HookFailed, match="hook h"):
            cut.run(regardless=True)
        assert cut.states() == {"db-01": "Finished", "web-01": "Waiting", "web-02": "Waiting"}
    (tmp_path / "mended").touch()
    assert cut.run(regardless=True).finished == ("group db", "group web")
    assert [json.loads(line)["group"] for line in ran(tmp_path).splitlines()] == ["db", "web"]
    cut.run(regardless=True)
    assert len(ran(tmp_path).splitlines()) == 2  # a finished wave owes nothing


def test_a_hook_that_failed_costs_no_other_group_its_hook(estate: Estate, tmp_path: Path) -> None:
    text = beside(estate, -10)
    script = f'grep -q \'"group": "web"\' && exit 3; touch {tmp_path}/other'
    cut = Cut(estate, text + hook("after-cutover", ["sh", "-c", script]))
    cut.ready()
    with pytest.raises(HookFailed):
        cut.run()
    assert (tmp_path / "other").exists()
    assert "group db: finished" in cut.said and "group web: finished" not in cut.said


def test_the_hook_of_a_group_that_finished_while_nobody_watched_runs_later(cut: Cut, tmp_path: Path) -> None:
    cut.text = WAVE + noting(tmp_path)
    (tmp_path / "mended").touch()
    work, calls = cut.work, 0

    def interrupt(seconds: float) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyboardInterrupt
        work(seconds)

    cut.work = interrupt  # type: ignore[method-assign]
    with pytest.raises(Interrupted, match="no longer watching"):
        cut.run(regardless=True)
    for _ in range(6):
        work()
    assert cut.states()["db-01"] == "Finished"
    assert cut.run(regardless=True).finished == ("group db", "group web")
    assert len(ran(tmp_path).splitlines()) == 2


def test_an_after_apply_hook_that_failed_runs_when_the_command_is_repeated(
    estate: Estate, tmp_path: Path
) -> None:
    estate.has("web-01")
    manifest = wave(ONE + noting(tmp_path, "after-apply"))
    hooks = HookRunner(manifest, print)
    for _ in range(2):
        with pytest.raises(HookFailed):
            carry_out_plan(estate.plane, estate.plan(manifest), hooks, as_json=True)
    (tmp_path / "mended").touch()
    for _ in range(2):
        carry_out_plan(estate.plane, estate.plan(manifest), hooks, as_json=True)
    (line,) = ran(tmp_path).splitlines()
    assert json.loads(line)["machines"] == ["web-01"]


def test_a_hook_that_fails_before_the_cutover_leaves_no_source_going_down(estate: Estate) -> None:
    script = 'grep -q \'"group": "db"\' && exit 3; true'
    cut = Cut(estate, beside(estate, -10) + hook("before-cutover", ["sh", "-c", script]))
    cut.ready()
    with pytest.raises(HookFailed):
        cut.run()
    cut.work()
    assert set(cut.states().values()) == {"Waiting"}
    assert not [job for job in estate.house.store.jobs.all() if job.cutover]


class _Deaf:
    """A control plane that does not answer the second request for a cutover, once."""

    def __init__(self, plane: Any) -> None:
        self._plane, self.asked = plane, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plane, name)

    def cut_over(self, job: str, *, final_sync: bool) -> None:
        self.asked += 1
        if self.asked == 2:
            raise ControlFailed("no answer", on="https://control", retryable=True)
        self._plane.cut_over(job, final_sync=final_sync)


def test_a_control_plane_that_is_silent_while_it_is_asked_is_asked_again(estate: Estate) -> None:
    cut = Cut(estate, beside(estate, -10))
    cut.ready()
    estate.plane = _Deaf(estate.plane)  # type: ignore[assignment]
    assert len(cut.run().finished) == 3
    assert set(cut.states().values()) == {"Finished"}


def _stopped(cut: Cut, machine: str = "db-01") -> str:
    """The job of a machine whose cutover a person stopped before the source was shut down."""
    house = cut.estate.house
    names = {source.id: source.name for source in cut.estate.plane.sources()}
    (job,) = [job.id for job in cut.estate.plane.jobs("w1") if names[job.source] == machine]
    house.service.cutover(job, last_sync=True, changes={})
    house.turn()
    house.service.stop(job)
    house.turn()
    assert house.status(job) == "Stopped"
    return job


def test_a_stopped_cutover_is_resumed_by_the_wave_s_cutover_and_by_nothing_else(cut: Cut) -> None:
    _stopped(cut)
    assert begin(cut.estate.plane, "w1").left == ("db-01",)
    assert cut.run(regardless=True) == CutoverResult(("group db", "group web"))
    assert "db-01: its stopped cutover goes on" in cut.said


def test_a_cutover_that_is_stopped_while_it_is_watched_is_not_resumed_by_itself(cut: Cut) -> None:
    house, work = cut.estate.house, cut.work

    def stop(seconds: float) -> None:
        house.later(seconds)
        for job in house.store.jobs.all():
            if job.cutover and str(job.state) == "Running/Syncing":
                house.service.stop(job.id)
        house.turn()

    cut.work = stop  # type: ignore[method-assign]
    stopped = cut.run(regardless=True)
    assert [machine for machine, _ in stopped.failed] == ["db-01"]
    cut.work = work  # type: ignore[method-assign]
    assert cut.run(regardless=True).finished == ("group db", "group web")


def test_a_machine_that_stopped_between_two_runs_is_refused_with_the_command_that_helps(cut: Cut) -> None:
    names = {source.id: source.name for source in cut.estate.plane.sources()}
    (job,) = [job.id for job in cut.estate.plane.jobs("w1") if names[job.source] == "db-01"]
    cut.estate.house.service.stop(job)
    with pytest.raises(Conflict, match="it is Stopped") as refused:
        cut.run(regardless=True)
    assert "connector job start" in refused.value.remedy


def test_one_that_a_finding_refuses_stops_no_other(estate: Estate) -> None:
    estate.has("web", "db")
    manual = HEAD + "schedule: {start: manual}\nmachines:\n  - selector: name:*\n"
    assert not Apply(estate.plane, estate.plan(wave(manual)), clock=estate.house.clock).run().failures
    names = {source.id: source.name for source in estate.plane.sources()}

    def refuse(action: str, parameters: dict[str, Any]) -> Ineligible | None:
        job = parameters.get("JobId")
        if action != "StartReplicationJob" or names[estate.house.get(str(job)).source_id] != "web":
            return None
        return Ineligible("a disk is shared")

    estate.desk.refuse = refuse
    begun = begin(estate.plane, "w1")
    assert (begun.started, begun.failed) == (("db",), (("web", "a disk is shared"),))


def test_no_group_begins_while_a_machine_is_in_its_first_run(estate: Estate, tmp_path: Path) -> None:
    cut = Cut(estate, ONE + hook("before-cutover", ["touch", str(tmp_path / "begun")]))
    estate.has("web-01")
    assert not Apply(estate.plane, estate.plan(wave(cut.text)), clock=estate.house.clock).run().failures
    estate.house.turn()
    with pytest.raises(Conflict, match="its first run is not over") as refused:
        cut.run(regardless=True)
    assert refused.value.on == "web-01" and "batch status" in refused.value.remedy
    assert not (tmp_path / "begun").exists()


def test_no_machine_is_shut_down_after_the_window_although_its_group_began_in_it(estate: Estate) -> None:
    cut = Cut(estate, windowed(estate, -10, 60))
    cut.ready()
    house = estate.house
    house.later(6 * 3600.0)  # the next delta of each machine is under way
    cut.text = windowed(estate, -10, 60)
    assert set(cut.states().values()) == {"Running"}
    work = cut.work

    def slowly(seconds: float) -> None:
        cut.pace = 90.0
        work(seconds)

    cut.work = slowly  # type: ignore[method-assign]
    late = cut.run()
    assert (late.finished, late.failed, late.not_begun) == ((), (), ("group db", "group web"))
    assert cutover_code(late) == 11
    assert not [job for job in house.store.jobs.all() if job.cutover]
    assert "window closed" in cut.said[-1]
    assert cut.run(regardless=True).finished == ("group db", "group web")


def test_a_cutover_that_has_begun_is_finished_after_the_window(estate: Estate) -> None:
    cut = Cut(estate, windowed(estate, -10, 60))
    cut.ready()
    cut.pace = 90.0
    assert cut.run().finished == ("group db",)


def test_a_member_whose_application_is_rolled_back_is_not_begun_anew_by_itself(cut: Cut) -> None:
    """Its cutover was stopped a moment ago, and the control plane has not taken the others back yet."""
    cut.text = ORDERED
    house = cut.estate.house
    names = {source.id: source.name for source in cut.estate.plane.sources()}
    web = {names[job.source]: job.id for job in cut.estate.plane.jobs("w1") if job.group == "web"}
    house.applications.put("w1.web", {web["web-02"]: 1, web["web-01"]: 2})
    house.applications.cutover("w1.web", {})
    house.sweep()
    house.service.stop(web["web-01"])
    house.sweep()
    assert house.status(web["web-01"]) == "Stopped" and house.get(web["web-01"]).cutover
    taken_back = cut.run(regardless=True)
    assert {machine for machine, _ in taken_back.failed} == set(web)
    assert {cut.states()[machine] for machine in web} == {"Stopped"}


def test_a_repeated_command_follows_an_application_whose_cutover_is_under_way(cut: Cut) -> None:
    cut.text, work = ORDERED, cut.work

    def interrupt(seconds: float) -> None:
        if any(job.cutover and job.application for job in cut.estate.house.store.jobs.all()):
            raise KeyboardInterrupt
        work(seconds)

    cut.work = interrupt  # type: ignore[method-assign]
    with pytest.raises(Interrupted, match="the cutover of web-0"):
        cut.run(regardless=True)
    cut.work = work  # type: ignore[method-assign]
    assert cut.run(regardless=True) == CutoverResult(("group db", "group web"))
