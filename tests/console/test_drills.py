"""Rehearsals on the page of a job: who may ask for one, what is shown of it, and what a guest wrote stays text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.control.console import actions
from connector.control.domain.access import Role
from connector.control.domain.drills import DrillState
from connector.errors import TargetFull
from tests.console.conftest import Console
from tests.console.reading import Element
from tests.control.rehearsals import Rehearsal
from tests.waiting import eventually

PNG = b"\x89PNG\r\n\x1a\nand so on"
START, PLAN, STOP = "Rehearse the cutover", "Only plan the conversion", "Stop the rehearsal"


class Staged:
    """A console whose target does drills, and a job with an image."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.rehearsal = Rehearsal(console.house)
        console.app = console.process()
        self.job = self.rehearsal.job()
        self.rehearsal.pretended.contents = {"screen.png": PNG, "console.log": b"\x1b[2J<b>secret</b>\xff"}

    def card(self, role: Role = Role.OPERATOR) -> Element:
        return self.console.job_page(self.job, role).page.one(id="drill")

    def drilled(self) -> str:
        """The id of a drill that is done."""
        self.rehearsal.ask(self.job)
        return self.rehearsal.done(self.job).id


@pytest.fixture
def staged(console: Console) -> Iterator[Staged]:
    made = Staged(console)
    yield made
    made.rehearsal.pretended.held.set()
    made.rehearsal.monitor.close()


def test_a_rehearsal_is_asked_for_followed_and_shown(staged: Staged) -> None:
    visitor = staged.console.visitor(Role.OPERATOR)
    page = visitor.get(f"/console/jobs/{staged.job}")
    assert "Nobody has tried whether a copy of its image boots." in page.page.one(id="drill").text
    asked = visitor.press(page, START)
    assert "The rehearsal is asked for. The source is not touched." in asked.banner
    assert "it waits for its turn" in asked.page.one(id="drill").text
    assert START not in asked.buttons()
    done = staged.rehearsal.done(staged.job)
    page = visitor.get(f"/console/jobs/{staged.job}")
    card = page.page.one(id="drill")
    assert "The copy boots" in card.text
    assert "login prompt after 31 s; converted in 12 s" in card.text
    assert "the job does not convert its images" in card.text
    assert "/etc/fstab" in card.text
    picture = card.one("img")
    assert picture["src"] == f"/console/jobs/{staged.job}/drills/{done.id}/screen/screen.png"
    assert picture["alt"].startswith("Screen of the copy of")
    assert {START, PLAN} <= page.buttons().keys()
    entries = staged.console.store.audit.page().rows
    assert entries[0].action == "StartReplicationJobDrill"
    assert entries[0].who == staged.console.people[Role.OPERATOR][0].id


def test_who_may_look_sees_the_screen_and_has_no_buttons(staged: Staged) -> None:
    drill = staged.drilled()
    visitor = staged.console.visitor(Role.READER)
    page = visitor.get(f"/console/jobs/{staged.job}")
    assert "The copy boots" in page.page.one(id="drill").text
    assert page.buttons() == {}
    screen = visitor.get(f"/console/jobs/{staged.job}/drills/{drill}/screen/screen.png")
    assert (screen.status, screen.header("content-type")) == (200, "image/png")
    assert screen.header("cache-control") == "no-store"
    log = visitor.get(f"/console/jobs/{staged.job}/drills/{drill}/console")
    assert (log.status, log.header("content-disposition")) == (200, 'attachment; filename="console.log"')
    assert log.header("content-type").startswith("text/plain")
    assert "<b>secret</b>" in log.text
    for word in ("drill", "plan-conversion", "stop-drill"):
        assert visitor.post(f"/console/jobs/{staged.job}/{word}").status == 403, word


def test_a_file_that_is_not_as_it_was_kept_is_not_shown(staged: Staged) -> None:
    drill = staged.drilled()
    visitor = staged.console.visitor(Role.READER)
    staged.rehearsal.pretended.contents["screen.png"] = PNG + b"changed"
    assert visitor.get(f"/console/jobs/{staged.job}/drills/{drill}/screen/screen.png").status == 404
    staged.rehearsal.pretended.contents["screen.png"] = b"<svg onload=alert(1)>"
    drill = staged.drilled()
    assert visitor.get(f"/console/jobs/{staged.job}/drills/{drill}/screen/screen.png").status == 404
    assert visitor.get(f"/console/jobs/{staged.job}/drills/d-none/console").status == 404
    assert visitor.get(f"/console/jobs/j-none/drills/{drill}/console").status == 404


def test_a_machine_that_does_not_boot_and_a_drill_that_fails_say_why(staged: Staged) -> None:
    pretended = staged.rehearsal.pretended
    pretended.boot |= {"boots": False, "outcome": "kernel panic", "reason": "<i>no root</i>"}
    staged.drilled()
    card = staged.card()
    assert "The copy DOES NOT BOOT" in card.text
    assert "kernel panic (<i>no root</i>)" in card.text  # a guest's words are text
    pretended.fails = TargetFull("64 MiB are needed", on="/srv", remedy="make room")
    staged.drilled()
    assert "64 MiB are needed; make room" in staged.card().text


def test_a_plan_is_asked_for_and_the_last_drill_stays(staged: Staged) -> None:
    visitor = staged.console.visitor(Role.OPERATOR)
    staged.drilled()
    page = visitor.get(f"/console/jobs/{staged.job}")
    assert "Nothing is started." in visitor.press(page, PLAN).banner
    assert staged.rehearsal.done(staged.job).plan_only
    card = staged.card()
    assert "The copy boots" in card.text
    assert "note: cloud-init is installed" in card.text


def test_a_rehearsal_is_stopped(staged: Staged) -> None:
    rehearsal, visitor = staged.rehearsal, staged.console.visitor(Role.OPERATOR)
    rehearsal.pretended.held.clear()
    rehearsal.ask(staged.job)
    rehearsal.monitor.look()
    eventually(lambda: "starting the copy" in staged.card().text, "the page says what it does")
    stopped = visitor.press(visitor.get(f"/console/jobs/{staged.job}"), STOP)
    assert "The rehearsal is being stopped." in stopped.banner
    assert STOP not in stopped.buttons()
    assert rehearsal.done(staged.job).state is DrillState.STOPPED
    refused = visitor.post(f"/console/jobs/{staged.job}/stop-drill")
    assert (refused.status, "no drill of this job waits or runs" in refused.banner) == (400, True)


def test_without_an_image_or_a_target_that_does_drills_there_is_no_button(
    staged: Staged, make_console: Callable[..., Console], quick_folder: Path
) -> None:
    fresh = staged.console.house.incremental("db")
    assert not {START, PLAN} & staged.console.job_page(fresh).buttons().keys()
    other = make_console()
    job = other.house.job()
    page = other.job_page(job)
    assert "this target offers none" in page.page.one(id="drill").text
    assert not {START, PLAN} & page.buttons().keys()


def test_no_action_on_jobs_has_the_address_of_a_drill() -> None:
    assert not {"drill", "plan-conversion", "stop-drill"} & {action.word for action in actions.ACTIONS}
