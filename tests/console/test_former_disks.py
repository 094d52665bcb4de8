"""The former disks of a target instance on the page of a job: what is kept, and the two ways on."""

from __future__ import annotations

import pytest

from connector.control.domain.access import Role
from connector.control.domain.entities import HandOverState
from connector.specification.former_disk_words import STATES, UNDER_WAY
from tests.console.conftest import Console


@pytest.fixture
def job(console: Console) -> str:
    """A job whose image is on the disks of a machine."""
    made = console.house.job("web")
    console.house.store.hand_overs.begin(made, "app-01")
    console.house.store.hand_overs.end(made, HandOverState.DONE, of=HandOverState.BEGUN)
    return made


PUT_BACK, RELEASE = "Put the former disks of app-01 back", "Remove the former disks of app-01"


@pytest.mark.parametrize(
    ("button", "banner", "state", "text"),
    [
        (
            PUT_BACK,
            "The target instance gets its former disks again.",
            HandOverState.PUTTING_BACK,
            "the former disks are being put back",
        ),
        (
            RELEASE,
            "The former disks of the target instance are being removed.",
            HandOverState.RELEASING,
            "the former disks are being removed",
        ),
    ],
)
def test_they_are_put_back_or_let_go(
    console: Console, job: str, button: str, banner: str, state: HandOverState, text: str
) -> None:
    visitor = console.visitor(Role.OPERATOR)
    page = visitor.get(f"/console/jobs/{job}")
    assert "the former disks are kept" in page.page.one(id="resources").text
    pressed = visitor.press(page, button)
    assert banner in pressed.banner
    assert console.house.store.hand_overs.of([job])[job].state is state
    assert text in pressed.page.one(id="resources").text
    assert not {PUT_BACK, RELEASE} & pressed.buttons().keys()
    entry = console.store.audit.page().rows[0]
    assert entry.action in ("PutBackFormerDisks", "ReleaseFormerDisks")


def test_why_it_could_not_be_done_is_text_and_it_can_be_asked_for_again(console: Console, job: str) -> None:
    console.house.store.hand_overs.ask(job, HandOverState.PUTTING_BACK)
    console.house.store.hand_overs.end(
        job, HandOverState.DONE, "<b>it runs</b>; stop it", of=HandOverState.PUTTING_BACK
    )
    page = console.job_page(job, Role.OPERATOR)
    assert "<b>it runs</b>; stop it" in page.page.one(id="resources").text
    assert {PUT_BACK, RELEASE} <= page.buttons().keys()


def test_who_may_only_look_has_no_buttons(console: Console, job: str) -> None:
    visitor = console.visitor(Role.READER)
    page = visitor.get(f"/console/jobs/{job}")
    assert "the former disks are kept" in page.page.one(id="resources").text
    assert page.buttons() == {}
    for word in ("put-back", "release-former"):
        assert visitor.post(f"/console/jobs/{job}/{word}").status == 403, word


def test_a_job_without_a_target_instance_shows_nothing_of_it(console: Console) -> None:
    made = console.house.job("web")
    assert "arget instance" not in console.job_page(made, Role.OPERATOR).page.one(id="resources").text


def test_every_state_has_its_words() -> None:
    assert set(STATES) == set(HandOverState)
    assert set(UNDER_WAY) == {state for state in HandOverState if state.is_asked}
