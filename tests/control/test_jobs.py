"""The table of a job's states, and what follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.control.domain import jobs, sources
from connector.control.domain.jobs import JobEvent, JobState, JobStatus
from connector.control.domain.sources import SourceEvent, SourceState
from connector.errors import Conflict

DOCUMENT = Path(__file__).parents[2] / "docs" / "control.md"


@given(st.lists(st.sampled_from(JobEvent), max_size=40))
def test_no_path_leaves_the_table(path: list[JobEvent]) -> None:
    state = jobs.READY
    for event in path:
        try:
            after = jobs.follow(state, event)
        except Conflict as refused:
            assert event not in jobs.events(state)
            assert str(state) in str(refused)
            continue
        assert after in jobs.STATES
        assert any(t.event is event and state in t.sources and t.target == after for t in jobs.TRANSITIONS)
        state = after


def test_every_state_can_be_reached_and_ends_deleted() -> None:
    reached = {jobs.READY}
    while more := {jobs.follow(s, e) for s in reached for e in jobs.events(s)} - reached:
        reached |= more
    assert reached == set(jobs.STATES)
    for state in jobs.STATES:
        todo, seen = {state}, {state}
        while todo:
            todo = {jobs.follow(s, e) for s in todo for e in jobs.events(s)} - seen
            seen |= todo
        assert jobs.DELETED in seen


def test_one_event_in_one_state_has_one_target() -> None:
    lines = [(t.event, source) for t in jobs.TRANSITIONS for source in t.sources]
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize(
    ("state", "allowed"),
    [
        (jobs.READY, {JobEvent.START, JobEvent.DELETE}),
        (jobs.PREPARING, set()),
        (jobs.SYNCING, {JobEvent.STOP}),
        (jobs.PROCESSING, set()),
        (jobs.CLEANING, set()),
        (jobs.ROLLING_BACK, set()),
        (jobs.STOPPED, {JobEvent.START, JobEvent.ROLLBACK, JobEvent.DELETE}),
        (jobs.IN_ERROR, {JobEvent.START, JobEvent.ROLLBACK, JobEvent.DELETE}),
        (jobs.WAITING, {JobEvent.START, JobEvent.STOP, JobEvent.CUTOVER, JobEvent.DELETE}),
        (jobs.FINISHED, {JobEvent.ROLLBACK, JobEvent.DELETE}),
        (jobs.EXPIRED, {JobEvent.ROLLBACK, JobEvent.DELETE}),
        (jobs.DELETING, set()),
        (jobs.DELETED, set()),
    ],
)
def test_r84_r86_r87_r88_r91_r93_operations_are_those_of_the_public_api(
    state: JobState, allowed: set[JobEvent]
) -> None:
    assert set(jobs.allowed(state)) == allowed


def test_a_running_job_never_jumps_to_finished_without_cleaning() -> None:
    into = {source for t in jobs.TRANSITIONS if t.target.status is JobStatus.FINISHED for source in t.sources}
    assert into == {jobs.CLEANING}


@given(st.sampled_from(SourceState), st.lists(st.sampled_from(SourceEvent), max_size=30))
def test_a_source_never_takes_two_jobs(state: SourceState, path: list[SourceEvent]) -> None:
    holds = state is SourceState.IN_USE
    for event in path:
        try:
            state = sources.follow(state, event)
        except Conflict:
            continue
        if event is SourceEvent.TAKEN:
            assert not holds
        holds = state is SourceState.IN_USE


@pytest.mark.generated
def test_the_document_shows_the_table_as_it_is() -> None:
    text = DOCUMENT.read_text()
    assert jobs.diagram() in text
    assert jobs.table() in text
    assert sources.diagram() in text
