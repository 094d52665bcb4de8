"""A cutover that has begun is finished whatever keeps its group from beginning, and nothing else of the group begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from connector.batch.cutover import CutOver, CutoverResult
from connector.batch.hooks import HookFailed, HookRunner
from connector.cli.batch import cutover_code
from connector.control.domain.entities import Outcome as Ended
from connector.errors import Conflict, Interrupted
from tests.batch.conftest import Estate, wave
from tests.batch.test_cutover import Cut, hook, windowed
from tests.batch.test_cutover_resumed import _stopped


@pytest.fixture
def cut(estate: Estate) -> Cut:
    """A wave whose window is open for a minute."""
    ready = Cut(estate)
    ready.ready()
    ready.text = windowed(estate, -10, 60)
    return ready


def job_of(cut: Cut, machine: str) -> str:
    names = {source.id: source.name for source in cut.estate.plane.sources()}
    (job,) = [job.id for job in cut.estate.plane.jobs("w1") if names[job.source] == machine]
    return job


def begun(cut: Cut, machine: str) -> str:
    """Its cutover is under way, and nobody watches it."""
    job = job_of(cut, machine)
    cut.estate.house.service.cutover(job, last_sync=True, changes={})
    cut.estate.house.turn()
    assert cut.estate.house.status(job).startswith("Running")
    return job


def failed_and_down(cut: Cut, machine: str) -> str:
    """Its source was shut down, then its last pass failed."""
    house, job = cut.estate.house, begun(cut, machine)
    final = house.take(cut.estate.appliance)
    assert final is not None and final.final
    house.store.cutovers.going_down(job, final.id)
    error = {"error": "ReaderFailed", "what": "broken", "on": "", "remedy": "", "retryable": False}
    house.finish(final.id, cut.estate.appliance, Ended.FAILED, error, {})
    house.turn()
    return house.get(job).name


@pytest.mark.parametrize("as_left", [begun, _stopped], ids=["under way", "stopped"])
def test_a_cutover_that_has_begun_is_finished_by_the_same_command_after_the_window(
    cut: Cut, as_left: Callable[[Cut, str], str], tmp_path: Path
) -> None:
    cut.text += hook("before-cutover", ["touch", str(tmp_path / "again")])
    as_left(cut, "db-01")
    cut.estate.house.later(120.0)
    done = cut.run()
    assert done == CutoverResult(("group db",), (), ("group web",))
    assert cutover_code(done) == 11
    assert cut.states() == {"db-01": "Finished", "web-01": "Waiting", "web-02": "Waiting"}
    assert "db-01: its cutover has begun and is finished" in cut.said
    assert "window closed" in cut.said[-1]
    assert not (tmp_path / "again").exists()


def test_only_the_machine_that_has_begun_is_finished_and_its_neighbour_is_not_shut_down(cut: Cut) -> None:
    """Its group even waits for another, which has not begun."""
    _stopped(cut, "web-01")
    cut.estate.house.later(120.0)
    assert cut.run() == CutoverResult((), (), ("group db", "group web"))
    assert cut.states() == {"db-01": "Waiting", "web-01": "Finished", "web-02": "Waiting"}
    with pytest.raises(Conflict, match="window closed"):
        cut.run()


def test_a_hook_that_fails_keeps_no_source_down(cut: Cut) -> None:
    cut.text += hook("before-cutover", ["sh", "-c", "exit 3"])
    _stopped(cut, "db-01")
    with pytest.raises(HookFailed, match="ended with 3"):
        cut.run()
    assert cut.states() == {"db-01": "Finished", "web-01": "Waiting", "web-02": "Waiting"}


def test_a_stuck_neighbour_keeps_nobody_s_source_down(cut: Cut) -> None:
    cut.text = cut.text.replace("{name: web, after: [db]}", "{name: web}")
    cut.estate.house.service.stop(job_of(cut, "web-02"))
    _stopped(cut, "web-01")
    done = cut.run(regardless=True)
    assert done == CutoverResult(("group db",), (), ("group web",))
    assert cut.states() == {"db-01": "Finished", "web-01": "Finished", "web-02": "Stopped"}
    assert cut.said[-1].startswith("web-02: it is Stopped")


def test_a_failed_cutover_that_keeps_its_source_down_is_said_before_the_window(cut: Cut) -> None:
    name = failed_and_down(cut, "db-01")
    cut.estate.house.later(120.0)
    with pytest.raises(Conflict, match=r"SOURCE IS DOWN since .*; it is InError: broken") as refused:
        cut.run()
    assert refused.value.on == "db-01"
    assert f"`connector job start {name}`" in refused.value.remedy
    assert f"`connector job rollback {name}`" in refused.value.remedy
    assert any("window closed" in line for line in cut.said)


def test_an_interrupt_says_which_source_is_down_although_nothing_runs(cut: Cut) -> None:
    failed_and_down(cut, "web-01")

    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    manifest = wave(cut.text)
    with pytest.raises(Interrupted, match=r"no cutover of the wave is under way; web-01: SOURCE IS DOWN"):
        CutOver(cut.estate.plane, manifest, HookRunner(manifest, print), interrupt).run(regardless=True)
