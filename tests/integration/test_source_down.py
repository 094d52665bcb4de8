"""The dangerous moment of a cutover: whoever stops it hears that the source is down, and both ways on work."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulator.faults import Rule
from tests.integration.command import Command
from tests.integration.conftest import Run, Start
from tests.integration.house import MIB, House, Shape, equal, is_off

#: A control plane that is configured and does not answer.
ELSEWHERE = {
    "CONNECTOR_CONTROL_URL": "https://127.0.0.1:1",
    "CONNECTOR_CONTROL_THUMBPRINT": ":".join(["AB"] * 32),
    "CONNECTOR_ACCESS_KEY_ID": "nobody",
    "CONNECTOR_ACCESS_KEY_SECRET": "nothing",
}
TINY = Shape("web-01", ((2 * MIB, MIB),))


@pytest.fixture
def tiny(make_house: Callable[..., House]) -> House:
    made: House = make_house(TINY)
    return made


def _words(house: House, *options: str) -> list[str]:
    return house.migration("web-01", "--format", "raw", *options)


def _stopped_in_cutover(house: House, start: Start) -> Command:
    """A cutover that was interrupted after the shutdown."""
    house.reader(bandwidth=MIB // 4)
    command = start(_words(house, "--cutover"))
    command.until(lambda event: event["event"] == "message" and "SOURCE IS DOWN" in event["message"])
    command.interrupt()
    return command


def test_a_cutover_that_is_interrupted_says_that_the_source_is_down_and_goes_both_ways(
    tiny: House, start: Start, run: Run
) -> None:
    assert run(_words(tiny, "--incremental")).code == 0
    tiny.write()
    command = _stopped_in_cutover(tiny, start)
    stopped = command.wait()
    command.gone()
    assert stopped.code == 130, stopped.stderr
    assert "web-01: SOURCE IS DOWN since " in stopped.complaint
    assert "and nothing is under way that brings it back" in stopped.complaint
    assert "resume the cutover: the same command again" in stopped.complaint
    assert stopped.complaint.count("the same command again") == 1
    assert "--rollback" in stopped.complaint
    assert is_off(tiny.machine())
    tiny.reader()

    refused = run(_words(tiny, "--incremental"))
    assert refused.code == 11, refused.stderr
    assert "web-01: SOURCE IS DOWN since " in refused.complaint
    assert "; an interrupted cutover is open; " in refused.complaint
    assert refused.complaint.endswith("; --cutover resumes it, --rollback takes it back")
    doctor = run(["doctor", "--only", "left", "--to", str(tiny.out), *tiny.access(), "--json"])
    assert doctor.code == 11
    (left,) = doctor.events
    assert (left["check"], left["on"]) == ("down", "web-01")
    assert f"resume: connector migrate web-01 --to {tiny.out} --cutover; take back: " in left["outcome"]
    assert is_off(tiny.machine())

    back = run(_words(tiny, "--rollback"))
    assert back.code == 0, back.stderr
    assert [e["message"] for e in back.events if e["event"] == "message"][-1] == "web-01 is powered on"
    assert not is_off(tiny.machine())
    assert not tiny.snapshots()
    nothing = run(_words(tiny, "--rollback", "--again"))
    assert nothing.code == 2

    done = run(_words(tiny, "--cutover"))
    assert done.code == 0, done.stderr
    assert is_off(tiny.machine())
    equal(tiny, "web-01", "web-01")

    again = run(_words(tiny, "--cutover"))
    assert again.code == 0 and "web-01: already finished, image web-01" in again.stdout

    taken_back = run(_words(tiny, "--rollback"))  # of a cutover that is finished
    assert taken_back.code == 0, taken_back.stderr
    assert not is_off(tiny.machine())


def test_a_cutover_that_fails_after_the_shutdown_says_so_and_is_resumed_by_the_same_command(
    tiny: House, run: Run
) -> None:
    assert run(_words(tiny, "--incremental")).code == 0
    nothing = run(_words(tiny, "--rollback"))
    assert nothing.code == 11 and "there is no cutover to roll back" in nothing.complaint
    refused = run(_words(tiny, "--cutover"), **ELSEWHERE)  # nobody can say whether it is migrated elsewhere
    assert refused.code == 12 and "--despite-other-jobs" in refused.complaint
    assert not is_off(tiny.machine())
    tiny.witness.add(Rule("QueryChangedDiskAreas", "fault", fault="NoPermission"))
    broken = run(_words(tiny, "--cutover"))
    assert broken.code == 4, broken.stderr
    assert "SOURCE IS DOWN since " in broken.complaint
    assert "and nothing is under way that brings it back" in broken.complaint
    assert "the same command with --rollback" in broken.complaint
    done = run(
        _words(tiny, "--cutover"), **ELSEWHERE
    )  # the source is down: it is resumed whoever else is there
    assert done.code == 0, done.stderr
    equal(tiny, "web-01", "web-01")


def test_what_is_finished_is_not_done_again_unless_asked(tiny: House, run: Run) -> None:
    words = _words(tiny)
    assert run(words).code == 0
    made = tiny.images()
    again = run(words)
    assert again.code == 0, again.stderr
    assert "web-01: already finished, image web-01" in again.stdout
    assert tiny.images() == made
    another = run([*words, "--again"])
    assert another.code == 0, another.stderr
    assert len(tiny.images()) == len(made) + 1
