"""A failed apply takes back what it can, and says what stays and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from connector.batch import quantities
from connector.batch.apply import Applied, Apply
from connector.cli.batch_view import print_applied
from connector.errors import ConnectorError, ControlFailed, Interrupted
from tests.batch.conftest import HEAD, Estate, wave

MANUAL = HEAD + "schedule: {start: manual}\nmachines:\n  - name: web-01\n  - name: web-02\n"


def applied(estate: Estate, text: str) -> Applied:
    planned = estate.plan(wave(text))
    return Apply(estate.plane, planned, clock=estate.house.clock, pause=estate.house.later).run()


@pytest.fixture
def ready(estate: Estate) -> Estate:
    """Two jobs that are Ready, and begin by hand."""
    estate.has("web-01", "web-02")
    assert not applied(estate, MANUAL).failures
    return estate


def labelled(text: str) -> str:
    return text.replace("  name: w1", "  name: w1\n  labels: {owner: me}")


def refuse_last(estate: Estate, failure: BaseException) -> None:
    """The second job that is tagged is not tagged, once."""
    tagged = 0

    def refuse(action: str, _given: dict[str, Any]) -> ConnectorError | None:
        nonlocal tagged
        tagged += action == "TagResources"
        if action == "TagResources" and tagged == 2:
            if not isinstance(failure, ConnectorError):
                raise failure
            return failure
        return None

    estate.desk.refuse = refuse


def test_tags_that_a_failed_apply_added_are_taken_off_again(ready: Estate) -> None:
    refuse_last(ready, ControlFailed("no answer"))
    done = applied(ready, labelled(MANUAL))
    assert done.failures and not done.left
    assert [job.tags for job in ready.plane.jobs("w1")] == [{"wave": "w1"}] * 2


def test_a_scheduled_start_that_a_failed_apply_set_is_said_with_what_to_do(
    ready: Estate, capsys: pytest.CaptureFixture[str]
) -> None:
    soon = quantities.written(ready.house.clock() + 3600)
    text = labelled(MANUAL.replace("manual", soon))
    refuse_last(ready, ControlFailed("no answer"))
    planned = ready.plan(wave(text))
    done = applied(ready, text)
    scheduled = [job for job in ready.plane.jobs("w1") if job.asked["ScheduledStartTime"]]
    assert scheduled
    assert len(done.left) == len(scheduled)
    for problem in done.left:
        assert f"{soon} stays: it cannot be unset" in problem.what
        assert "begins by itself" in problem.remedy and "connector job delete w1-web-0" in problem.remedy
    print_applied(planned, done, as_json=False)
    said = capsys.readouterr().err
    assert "nothing is left of it" not in said and soon in said


def test_an_interrupted_apply_says_what_stays_too(ready: Estate) -> None:
    soon = quantities.written(ready.house.clock() + 3600)
    refuse_last(ready, KeyboardInterrupt())
    with pytest.raises(Interrupted, match="stays: it cannot be unset") as stopped:
        applied(ready, labelled(MANUAL.replace("manual", soon)))
    assert "connector job delete" in stopped.value.remedy


def test_an_interrupted_apply_of_which_nothing_is_left_says_so(estate: Estate) -> None:
    estate.has("web-01")

    def refuse(action: str, _given: dict[str, Any]) -> ConnectorError | None:
        if action == "CreateReplicationJob":
            raise KeyboardInterrupt
        return None

    estate.desk.refuse = refuse
    with pytest.raises(Interrupted, match="nothing is left of it"):
        applied(estate, HEAD + "machines:\n  - name: web-01\n")
    assert estate.plane.jobs("w1") == []
