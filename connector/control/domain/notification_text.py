"""A notification says what the table of events, ids and figures say. Names that people wrote stay apart. Pure.

So whoever shows `title`, `text` and `remedy` shows nothing that a guest or a user of vCenter wrote, and no secret.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Final

from connector.amounts import span
from connector.control.domain.notified_events import BY_ID, EventSeverity, NotifiedEvent, SubjectKind
from connector.control.domain.notifying import DueNotification, EventSubject, Figure, MessagePhase
from connector.names import visible

#: Of the document; it grows when a field changes its meaning or goes.
VERSION: Final = 1
#: Characters of a name.
LONGEST_NAME: Final = 128

_PREFIXES: Final = {MessagePhase.RAISED: "", MessagePhase.REMINDER: "Still: ", MessagePhase.OVER: "Over: "}


def document(due: DueNotification) -> str:
    """The notification as JSON: the same bytes in each attempt to deliver it."""
    condition = due.episode.condition
    event, subject = BY_ID[condition.event], condition.subject
    body = {
        "version": VERSION,
        "id": due.id,
        "event": event.id,
        "phase": str(due.phase),
        "severity": str(event.severity),
        "title": _PREFIXES[due.phase] + event.title,
        "text": _text(event, due),
        "remedy": "" if due.phase is MessagePhase.OVER else event.remedy,
        "at": moment(due.at),
        "since": moment(due.episode.began),
        "subject": {"kind": str(subject.kind), "id": subject.id},
        "workgroup": subject.workgroup or None,
        "figures": dict(condition.figures),
        "untrusted": {"name": _name(subject)},
    }
    return json.dumps(body, ensure_ascii=True, separators=(",", ":"))


def document_of_test(notification_id: str, now: float) -> str:
    """A test, in the form of a notification. Its event is `test`, which no other notification has."""
    body = {
        "version": VERSION,
        "id": notification_id,
        "event": "test",
        "phase": str(MessagePhase.RAISED),
        "severity": str(EventSeverity.INFO),
        "title": "A test of notifications",
        "text": "Somebody has run connector control notify test.",
        "remedy": "Nothing is to be done.",
        "at": moment(now),
        "since": moment(now),
        "subject": {"kind": str(SubjectKind.CONTROL_PLANE), "id": "control-plane"},
        "workgroup": None,
        "figures": {},
        "untrusted": {"name": ""},
    }
    return json.dumps(body, separators=(",", ":"))


def moment(seconds: float) -> str:
    """A time in UTC, to the second; empty for one that no calendar has."""
    try:
        at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return ""
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _name(subject: EventSubject) -> str:
    """One line without control characters and invisible ones."""
    return visible(subject.name)[:LONGEST_NAME]


def _text(event: NotifiedEvent, due: DueNotification) -> str:
    condition = due.episode.condition
    if due.phase is MessagePhase.OVER:
        kind = str(condition.subject.kind).replace("-", " ")
        named = (
            kind if condition.subject.kind is SubjectKind.CONTROL_PLANE else f"{kind} {condition.subject.id}"
        )
        return f"It is over for the {named}; it was told first for {moment(due.episode.began)}."
    words = {str(condition.subject.kind): condition.subject.id} | _words(condition.figures)
    return event.text.format_map(words)


def _words(figures: Mapping[str, Figure]) -> dict[str, str]:
    return {name: _word(name, value) for name, value in figures.items()}


def _word(name: str, value: Figure) -> str:
    """A figure as people read it, by the unit in its name."""
    if isinstance(value, str):
        return value
    if name.endswith("_timestamp"):
        return moment(value)
    return f"{value:.1%}" if name.endswith("_ratio") else span(value)
