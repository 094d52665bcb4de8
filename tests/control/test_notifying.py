"""Which notifications are due: told once, reminded, over once, and never a flood. Pure."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from connector.control.domain.conditions import (
    FreeSpace,
    JobAtRisk,
    JobMoment,
    NotificationFacts,
    OpenSnapshot,
    Readings,
    ReadingTime,
    SilentAppliance,
    conditions,
)
from connector.control.domain.jobs import IN_ERROR, ROLLING_BACK, SYNCING, JobState
from connector.control.domain.notification_text import LONGEST_NAME, document
from connector.control.domain.notified_events import (
    BY_ID,
    DAY,
    DOWN,
    ENDS,
    EVENTS,
    EXPIRES,
    FREE,
    HOUR,
    MINUTE,
    OPEN,
    SILENT,
    EventSeverity,
    SubjectKind,
    table,
)
from connector.control.domain.notifying import (
    GAP,
    QUIET,
    DueNotification,
    Episode,
    EventSubject,
    MessagePhase,
    RecipientFilter,
    WatchedCondition,
    decide,
    recipients_of,
)

ROOT: Final = Path(__file__).parents[2]
NOW: Final = 1_790_000_000.0
JOB: Final = EventSubject(SubjectKind.JOB, "j-1", "web-01", "g-1")
LOOK: Final = 10.0


class Looks:
    """Looks one after the other, each with what the one before remembered."""

    def __init__(self, event: str = "datastore-filling") -> None:
        self.event, self.now = event, NOW
        self.known: dict[tuple[str, str], Episode] = {}
        self.told: list[DueNotification] = []

    def look(self, true: bool, *, lingers: bool = False, entry: int = 0, after: float = LOOK) -> list[str]:
        self.now += after
        true_now = [WatchedCondition(self.event, JOB, {"free_ratio": 0.07}, lingers, entry)] if true else []
        decision = decide(self.now, true_now, list(self.known.values()))
        for key in decision.forgotten:
            del self.known[key]
        self.known |= {episode.key: episode for episode in decision.episodes}
        self.told += decision.due
        return [str(due.phase) for due in decision.due]

    def during(self, seconds: float, true: bool, **how: Any) -> list[str]:
        return [phase for _ in range(int(seconds / LOOK)) for phase in self.look(true, **how)]


def test_it_is_told_when_it_has_been_true_for_a_while_and_over_once() -> None:
    looks, event = Looks(), BY_ID["datastore-filling"]
    assert looks.during(event.hold, True) == []
    assert looks.look(True) == ["raised"]
    assert looks.during(6 * HOUR, True) == []
    assert looks.during(event.settle - 60, False) == []
    assert looks.during(event.settle, False) == ["over"]
    assert looks.during(2 * DAY, False) == []
    assert len({due.id for due in looks.told}) == 2


def test_what_nobody_was_told_is_never_over() -> None:
    looks = Looks()
    assert looks.during(60, True) + looks.during(DAY, False) == []
    assert looks.known == {}


def test_it_is_told_again_after_the_reminder_and_not_before() -> None:
    looks = Looks("source-down")
    assert looks.during(2 * HOUR + BY_ID["source-down"].hold + 60, True) == ["raised", "reminder", "reminder"]
    assert len({due.id for due in looks.told}) == 3


def test_a_value_around_the_threshold_is_told_once() -> None:
    looks = Looks()
    looks.during(300, True)
    for _ in range(50):
        looks.during(60, True, lingers=True)
        looks.during(60, True)
    assert [due.phase for due in looks.told] == [MessagePhase.RAISED]
    assert Looks().during(DAY, True, lingers=True) == []


def test_a_condition_that_comes_and_goes_tells_little() -> None:
    looks = Looks("snapshot-too-old")  # it is told at once
    for _ in range(200):
        looks.during(360, True)
        looks.during(360, False)
    times = [due.at for due in looks.told if due.phase is MessagePhase.RAISED]
    assert all(later - earlier >= QUIET for earlier, later in pairwise(times))


def test_a_shorter_dip_than_the_settling_changes_nothing() -> None:
    looks = Looks()
    looks.during(600, True)
    for _ in range(100):
        looks.during(60, False)
        looks.during(60, True)
    assert len(looks.told) == 1


def test_what_was_true_before_nobody_looked_begins_anew() -> None:
    """A control plane that was off for a night does not call its appliances silent before they could be heard."""
    looks = Looks("appliance-silent")
    looks.look(True)
    assert looks.look(True, after=8 * HOUR) == []
    assert looks.look(False) == []
    assert looks.known == {}


def test_a_moment_is_told_once_whatever_is_read_again() -> None:
    looks = Looks("job-failed")
    assert looks.look(True, entry=7) == ["raised"]
    assert looks.during(3 * DAY, True, entry=7) == []
    assert looks.during(3 * DAY, False) == []


def test_moments_that_follow_at_once_are_told_later_and_together() -> None:
    looks = Looks("job-failed")
    told = [phase for entry in range(1, 60) for phase in looks.look(True, entry=entry)]
    assert told == ["raised"]
    assert looks.during(QUIET, False) == ["raised"]
    assert looks.told[-1].episode.condition.entry == 59
    assert len({due.id for due in looks.told}) == 2


@pytest.mark.parametrize("back", [60.0, HOUR, 365 * DAY])
def test_a_clock_that_is_set_back_neither_silences_nor_floods(back: float) -> None:
    looks = Looks("source-down")
    looks.during(600, True)
    looks.look(True, after=-back)
    told = len(looks.told)
    assert told <= 2  # a reminder at once, when the last one is in the future now
    looks.during(BY_ID["source-down"].reminder - 2 * LOOK, True)
    assert len(looks.told) <= told + 1
    looks.during(600, False)
    assert looks.told[-1].phase is MessagePhase.OVER


_STEPS = st.lists(
    st.tuples(
        st.booleans(),
        st.booleans(),
        st.floats(-2 * HOUR, 2 * HOUR) | st.sampled_from([LOOK, MINUTE, GAP, QUIET]),
    ),
    max_size=60,
)


@given(st.sampled_from([event.id for event in EVENTS if not event.is_moment]), _STEPS)
def test_every_history_has_a_beginning_before_each_end_and_no_id_twice(
    event: str, steps: list[tuple[bool, bool, float]]
) -> None:
    looks = Looks(event)
    for true, lingers, after in steps:
        looks.look(true, lingers=lingers, after=after)
    phases = "".join({"raised": "b", "reminder": "r", "over": "o"}[str(due.phase)] for due in looks.told)
    assert re.fullmatch(r"(br*o)*(br*)?", phases)
    assert len({due.id for due in looks.told}) == len(looks.told)


@given(st.sampled_from([event.id for event in EVENTS]), st.lists(st.booleans(), max_size=400))
def test_no_history_of_looks_floods(event: str, history: list[bool]) -> None:
    """At most three notifications of one event of one subject in a quarter of an hour, however it flaps."""
    looks = Looks(event)
    for number, true in enumerate(history):
        looks.look(true, entry=number, after=LOOK)
    times = [due.at for due in looks.told]
    assert all(later - earlier > QUIET - LOOK for earlier, later in zip(times, times[3:], strict=False))


def test_the_more_urgent_is_told_first() -> None:
    true_now = [
        WatchedCondition("snapshot-too-old", JOB, {"open_seconds": 1.0}),
        WatchedCondition("state-held", JOB),
    ]
    due = decide(NOW, true_now, []).due
    assert [one.episode.condition.event for one in due] == ["state-held", "snapshot-too-old"]


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        (RecipientFilter("a"), True),
        (RecipientFilter("a", EventSeverity.CRITICAL), False),
        (RecipientFilter("a", EventSeverity.WARNING), True),
        (RecipientFilter("a", events=frozenset({"snapshot-too-old"})), True),
        (RecipientFilter("a", events=frozenset({"job-failed"})), False),
        (RecipientFilter("a", workgroups=frozenset({"g-1"})), True),
        (RecipientFilter("a", workgroups=frozenset({"g-2"})), False),
    ],
)
def test_a_recipient_is_told_what_it_wants(one: RecipientFilter, wanted: bool) -> None:
    (due,) = decide(NOW, [WatchedCondition("snapshot-too-old", JOB, {"open_seconds": 1.0})], []).due
    assert bool(list(recipients_of(due, [one]))) is wanted


def _found(facts: NotificationFacts) -> dict[str, WatchedCondition]:
    return {condition.event: condition for condition in conditions(facts)}


def _down(state: JobState, since: float, predicted: float | None = 600.0) -> dict[str, WatchedCondition]:
    job = JobAtRisk(JOB, state.status, state, False, NOW + DAY, NOW - since, predicted)
    return _found(NotificationFacts(NOW, down=[job]))


@pytest.mark.parametrize(
    ("state", "since", "predicted", "firm"),
    [
        (SYNCING, 500.0, 600.0, False),
        (SYNCING, 700.0, 600.0, True),
        (SYNCING, 700.0, None, False),
        (SYNCING, DOWN + 1, None, True),
        (IN_ERROR, 10.0, 600.0, True),
        (ROLLING_BACK, 700.0, 600.0, False),
        (ROLLING_BACK, DOWN + 1, 600.0, True),
    ],
)
def test_a_source_is_down_longer_than_forecast(
    state: JobState, since: float, predicted: float | None, firm: bool
) -> None:
    found = _down(state, since, predicted)["source-down"]
    assert found.lingers is not firm


def test_a_cutover_that_is_resumed_does_not_say_that_the_source_is_up() -> None:
    looks = Looks("source-down")
    looks.during(600, True)
    assert looks.during(1800, True, lingers=True) == []
    assert looks.during(600, False) == ["over"]


def _reading(taken: float, seconds: float, delta: bool = True) -> ReadingTime:
    return ReadingTime(taken, 10 << 30, 10 << 30, seconds, delta)


@pytest.mark.parametrize(
    ("times", "lags"),
    [
        ([_reading(0, 900, False), _reading(1000, 1100), _reading(2200, 1300)], True),
        ([_reading(0, 900, False), _reading(1000, 1100), _reading(2200, 1100)], False),
        ([_reading(0, 900, False), _reading(1000, 900), _reading(2200, 1300)], False),
        ([_reading(0, 900, False), _reading(1000, 1100)], False),
        ([_reading(0, 900), _reading(1000, 1100, False), _reading(2200, 1300)], False),
        ([_reading(2200, 900), _reading(1000, 1100), _reading(0, 1300)], False),
        ([], False),
    ],
)
def test_deltas_converge_unless_two_took_longer_than_their_changes(
    times: list[ReadingTime], lags: bool
) -> None:
    found = _found(NotificationFacts(NOW, readings=[Readings(JOB, tuple(times))]))
    assert ("will-not-converge" in found) is lags


def test_free_space_counts_again_from_a_higher_share() -> None:
    def found(share: float) -> bool | None:
        one = _found(NotificationFacts(NOW, space=[FreeSpace(JOB, share)])).get("datastore-filling")
        return None if one is None else one.lingers

    assert [found(share) for share in (0.0, 0.079, 0.08, 0.099, 0.1, 1.0)] == [
        False,
        False,
        True,
        True,
        None,
        None,
    ]


def test_an_error_that_nobody_knows_is_told_as_an_unforeseen_one() -> None:
    moment = JobMoment(JOB, 1, "job-failed", "<script> password=hunter2")
    assert _found(NotificationFacts(NOW, moments=[moment]))["job-failed"].figures == {
        "error": "ConnectorError"
    }


def test_while_the_state_is_held_only_that_is_told() -> None:
    job = JobAtRisk(JOB, IN_ERROR.status, IN_ERROR, False, NOW, NOW - DAY, 1.0)
    assert list(_found(NotificationFacts(NOW, held=True, down=[job]))) == ["state-held"]


def _every_document(name: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """Each event in each phase, with figures of every kind."""
    job = JobAtRisk(
        EventSubject(SubjectKind.JOB, "j-1", name),
        IN_ERROR.status,
        IN_ERROR,
        False,
        NOW + HOUR,
        NOW - DAY,
        600.0,
    )
    once = JobAtRisk(job.subject, job.status, job.state, True, NOW + HOUR, None, None)
    readings = Readings(job.subject, (_reading(0, 1, False), _reading(10, 20), _reading(30, 40)))
    facts = NotificationFacts(
        NOW,
        certificate_ends=NOW + DAY,
        down=[job],
        expiring=[job, once],
        snapshots=[OpenSnapshot(job.subject, NOW - 3 * DAY)],
        space=[FreeSpace(job.subject, 0.05)],
        appliances=[SilentAppliance(EventSubject(SubjectKind.APPLIANCE, "a-1", name), NOW - HOUR)],
        readings=[readings],
        moments=[
            JobMoment(job.subject, 1, "job-failed", "TargetFull"),
            JobMoment(job.subject, 2, "job-finished"),
        ],
    )
    found = _found(facts) | _found(NotificationFacts(NOW, held=True))
    assert found.keys() == BY_ID.keys()
    for condition in found.values():
        for phase in MessagePhase:
            text = document(DueNotification("n-1", Episode(condition, NOW, NOW), phase, NOW))
            yield text, json.loads(text)


def test_every_event_has_a_document_in_every_phase() -> None:
    fields = ["version", "id", "event", "phase", "severity", "title", "text", "remedy"]
    fields += ["at", "since", "subject", "workgroup", "figures", "untrusted"]
    for _, body in _every_document("web-01"):
        assert list(body) == fields
        assert "{" not in body["text"] and body["untrusted"]["name"] in ("web-01", "")
        assert body["title"] and body["text"].endswith(".")
        assert bool(body["remedy"]) is (body["phase"] != "over")


HOSTILE: Final = (
    "x\r\nBcc: everyone@example.com\r\n\r\nowned",
    "<!channel> <https://evil.example|click>",
    "\x1b[31mred\x07\x00",
    "evil\u202egnp.exe",
    "a" * 5000,
    "{job} {0} %s ${HOME}",
    "\ud800",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_only_where_it_is_marked_as_untrusted(name: str) -> None:
    for text, body in _every_document(name):
        shown = body["untrusted"].pop("name")
        assert len(shown) <= LONGEST_NAME and shown.isprintable() and "\n" not in shown
        assert text.isascii() and text.isprintable()
        rest = json.dumps(body)
        assert not any(word in rest for word in ("evil", "Bcc", "channel", "aaaa", "{job}", "31m"))


#: The thresholds of rules, as the rules write them.
THRESHOLDS: Final = {
    "ConnectorSourceIsDown": DOWN,
    "ConnectorSnapshotIsOld": OPEN,
    "ConnectorApplianceSilent": SILENT,
    "ConnectorDatastoreFills": FREE,
    "ConnectorCertificateEnds": ENDS,
}


def _rules() -> dict[str, Any]:
    groups = yaml.safe_load((ROOT / "config" / "prometheus" / "alerts.yaml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@pytest.mark.parametrize(("name", "value"), THRESHOLDS.items())
def test_a_threshold_is_that_of_the_alert_rule(name: str, value: float) -> None:
    written = re.search(r"[<>] ([\d. *]+)$", _rules()[name]["expr"])
    assert written is not None
    product = 1.0
    for factor in written[1].split("*"):
        product *= float(factor)
    assert product == value


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.id)
def test_an_event_is_told_as_late_and_as_urgently_as_its_alert_rules(event: Any) -> None:
    spans = {"": 0.0, "s": 1.0, "m": MINUTE, "h": HOUR}
    for name in event.rules:
        rule = _rules()[name]
        waits = str(rule.get("for", "0s"))
        assert float(waits[:-1]) * spans[waits[-1]] == event.hold
    if event.rules:
        urgencies = [EventSeverity(_rules()[name]["labels"]["severity"]) for name in event.rules]
        assert max(urgencies, key=lambda one: one.rank) == event.severity
    assert f'within="{EXPIRES:.0f}"' in _rules()["ConnectorJobsExpire"]["expr"]


@pytest.mark.generated
def test_the_page_shows_the_table_as_it_is() -> None:
    page = ROOT / "docs" / "notifications.md"
    text = page.read_text()
    begin, end = "<!-- events -->\n", "\n<!-- end of events -->"
    before, _, rest = text.partition(begin)
    shown, found, after = rest.partition(end)
    assert found, "the page has lost its marks"
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(before + begin + table() + end + after)
        shown = table()
    assert shown == table()
