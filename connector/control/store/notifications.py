"""The outbox of notifications: what is due is decided, written down, and only then delivered.

Any number of processes may decide and deliver: one decides at a time, and a delivery is claimed before each attempt. A process
that dies between an attempt and its record leads to one more attempt, with the same id and the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from connector.control.domain.clock import SET_BACK
from connector.control.domain.conditions import NotificationFacts, Readings, conditions
from connector.control.domain.notified_events import BY_ID, DAY, SubjectKind
from connector.control.domain.notifying import (
    DueNotification,
    Episode,
    EventSubject,
    MessagePhase,
    NotificationDecision,
    RecipientFilter,
    WatchedCondition,
    decide,
    elapsed,
    recipients_of,
)
from connector.control.store import notification_facts as facts
from connector.control.store import tables
from connector.control.store.database import NOTIFYING, Database

_EPISODES: Final = tables.episodes
_NOTIFICATIONS: Final = tables.notifications
_DELIVERIES: Final = tables.deliveries

#: Seconds for which what ended is kept.
KEPT: Final = 30 * DAY
#: Seconds between two looks at the readings of all jobs, which are the most rows.
READINGS: Final = 60.0
#: Seconds between two attempts, at most.
LONGEST_PAUSE: Final = 3600.0


class DeliveryState(StrEnum):
    """What became of the delivery of a notification to one recipient."""

    PENDING = "pending"
    SENT = "sent"
    GIVEN_UP = "given-up"
    DROPPED = "dropped"  # the end of something that the recipient never heard of


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notification for one recipient. `attempts` includes the one that is under way."""

    notification_id: str
    recipient: str
    event: str
    subject: str
    phase: MessagePhase
    state: DeliveryState
    created: float
    attempts: int
    not_before: float
    trouble: str
    ended: float | None
    document: str = field(repr=False)


class NotificationStore:
    """Episodes, notifications and their deliveries. Thread-safe. None of its writes is counted: they change no job."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._readings: tuple[float, Sequence[Readings]] = (float("-inf"), ())

    def decide(
        self,
        recipients: Iterable[RecipientFilter],
        write: Callable[[DueNotification], str],
        certificate_ends: float | None = None,
    ) -> int:
        """Decide what is due and put it into the outbox; answer how many notifications that are. `write`: the document."""
        filters, now = list(recipients), self._database.now()
        readings = self._newest_readings(now)
        with self._database.write(counted=False) as connection:
            self._database.exclusive(connection, NOTIFYING)
            seen = _facts(connection, now, certificate_ends, readings)
            true_now = list(conditions(seen))
            known = _known(connection, true_now)
            if seen.held:  # what else a restored database says waits until somebody has confirmed it
                known = [episode for episode in known if episode.condition.event == "state-held"]
            decision = decide(now, true_now, known)
            _remember(connection, decision)
            _put(connection, [(due, list(recipients_of(due, filters)), write(due)) for due in decision.due])
            return len(decision.due)

    def claim(self, recipient: str, lease: float) -> Delivery | None:
        """The next delivery that is due to this recipient. For `lease` seconds nobody else gets it.

        Of one event and subject, nothing is delivered before what was told earlier has been delivered or given up.
        """
        now = self._database.now()
        due = _due(recipient, now, lease)
        while True:  # each turn ends with this delivery, or with one less that is due
            with self._database.read() as connection:  # a long search takes no lock
                found = connection.execute(due).first()
            if found is None:
                return None
            if delivery := self._claimed(found.notification_id, recipient, now, lease):
                return delivery

    def _claimed(self, notification_id: str, recipient: str, now: float, lease: float) -> Delivery | None:
        """The delivery, claimed. None: another process was faster, or the recipient never heard of what is over."""
        with self._database.write(counted=False) as connection:
            free = (*_is(notification_id, recipient), *_may_be_tried(_DELIVERIES.c, now, lease))
            row = connection.execute(_all().where(*free)).first()
            if row is None:
                return None
            if row.phase == MessagePhase.OVER and not _was_told(connection, row):
                _end(connection, row, DeliveryState.DROPPED, now)
                return None
            mine = (*_is(row.notification_id, recipient), _DELIVERIES.c.attempts == row.attempts)
            values = {"claimed_until": now + lease, "attempts": row.attempts + 1}
            if connection.execute(_DELIVERIES.update().where(*mine).values(**values)).rowcount != 1:
                return None
            return _delivery(row, attempts=row.attempts + 1)

    def sent(self, delivery: Delivery) -> None:
        """Record that the recipient has it."""
        with self._database.write(counted=False) as connection:
            _end(connection, delivery, DeliveryState.SENT, self._database.now())

    def failed(self, delivery: Delivery, trouble: str, pause: float) -> None:
        """Record a failed attempt; the next one is made after `pause` seconds. One that ended after its claim changes nothing."""
        values = {"trouble": trouble, "not_before": self._database.now() + pause, "claimed_until": 0.0}
        with self._database.write(counted=False) as connection:
            connection.execute(_DELIVERIES.update().where(*_attempt(delivery)).values(**values))

    def give_up(self, delivery: Delivery, trouble: str) -> None:
        """Record that no further attempt is made, unless another one is under way."""
        values = {"state": DeliveryState.GIVEN_UP, "ended": self._database.now(), "trouble": trouble}
        with self._database.write(counted=False) as connection:
            mine = _attempt(delivery)
            connection.execute(_DELIVERIES.update().where(*mine).values(claimed_until=0.0, **values))

    def abandon(self, recipients: Iterable[str], patience: float) -> int:
        """Give up what has waited for recipients other than these for `patience` seconds: nobody delivers to them."""
        now = self._database.now()
        orphans = (
            _DELIVERIES.c.state == DeliveryState.PENDING,
            _DELIVERIES.c.recipient.not_in(list(recipients)),
            _DELIVERIES.c.created < now - patience,
        )
        values = {
            "state": DeliveryState.GIVEN_UP,
            "ended": now,
            "trouble": "no such recipient in the settings",
        }
        with self._database.write(counted=False) as connection:
            return connection.execute(_DELIVERIES.update().where(*orphans).values(**values)).rowcount

    def forget(self) -> None:
        """Remove what ended long ago."""
        before = self._database.now() - KEPT
        old = sa.select(_NOTIFICATIONS.c.id).where(_NOTIFICATIONS.c.created < before)
        open_ones = sa.select(_DELIVERIES.c.notification_id).where(
            _DELIVERIES.c.state == DeliveryState.PENDING
        )
        with self._database.write(counted=False) as connection:
            ids = list(
                connection.execute(old.where(_NOTIFICATIONS.c.id.not_in(open_ones)).limit(500)).scalars()
            )
            connection.execute(_DELIVERIES.delete().where(_DELIVERIES.c.notification_id.in_(ids)))
            connection.execute(_NOTIFICATIONS.delete().where(_NOTIFICATIONS.c.id.in_(ids)))
            connection.execute(_EPISODES.delete().where(_EPISODES.c.over < before))

    def recent(self, limit: int) -> list[Delivery]:
        """The newest deliveries, newest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                _all().order_by(_DELIVERIES.c.created.desc(), _NOTIFICATIONS.c.id).limit(limit)
            )
            return [_delivery(row) for row in rows]

    def _newest_readings(self, now: float) -> Sequence[Readings]:
        """Of all jobs, as of the last minute. They are many rows, so no lock is held while they are read."""
        looked, readings = self._readings
        if elapsed(looked, now) >= READINGS:
            with self._database.read() as connection:
                readings = facts.readings(connection)
            self._readings = (now, readings)
        return readings


def _facts(
    connection: sa.Connection, now: float, certificate_ends: float | None, readings: Sequence[Readings]
) -> NotificationFacts:
    if facts.held(connection):
        return NotificationFacts(now, held=True)
    return NotificationFacts(
        now,
        certificate_ends=certificate_ends,
        down=facts.down(connection),
        expiring=facts.expiring(connection, now),
        snapshots=facts.snapshots(connection, now),
        space=facts.space(connection),
        appliances=facts.appliances(connection, now),
        readings=readings,
        moments=facts.moments(connection, now),
    )


def _due(recipient: str, now: float, lease: float) -> sa.Select[Any]:
    """Ids of what may be tried now: the most urgent first, then the oldest. Nothing is before what was told earlier.

    One pass over all that waits: a search for each would be chosen without knowing that thousands wait.
    """
    c = _DELIVERIES.c
    place = sa.func.row_number().over(partition_by=(c.event, c.subject), order_by=c.number).label("place")
    waiting = sa.select(_DELIVERIES, place).where(c.recipient == recipient, c.state == DeliveryState.PENDING)
    w = waiting.subquery().c
    urgency = sa.case({event.id: event.severity.rank for event in BY_ID.values()}, value=w.event, else_=0)
    found = sa.select(w.notification_id).where(w.place == 1, *_may_be_tried(w, now, lease))
    return found.order_by(urgency.desc(), w.not_before, w.created).limit(1)


def _may_be_tried(c: Any, now: float, lease: float) -> tuple[sa.ColumnElement[bool], ...]:
    """A time far ahead was written before the clock was set back."""
    free = sa.or_(c.claimed_until <= now, c.claimed_until > now + lease + SET_BACK)
    rested = sa.or_(c.not_before <= now, c.not_before > now + LONGEST_PAUSE + SET_BACK)
    return free, rested


def _all() -> sa.Select[Any]:
    n = _NOTIFICATIONS.c
    columns = (n.phase, n.began, n.document)
    joined = _DELIVERIES.join(_NOTIFICATIONS, n.id == _DELIVERIES.c.notification_id)
    return sa.select(_DELIVERIES, *columns).select_from(joined)


def _was_told(connection: sa.Connection, row: Any) -> bool:
    """Whether the recipient has heard of the episode that is over."""
    c, n = _DELIVERIES.c, _NOTIFICATIONS.c
    same = (c.event == row.event, c.subject == row.subject, c.recipient == row.recipient)
    episode = (n.began == row.began, n.id != row.notification_id)
    joined = _DELIVERIES.join(_NOTIFICATIONS, n.id == c.notification_id)
    query = sa.select(n.id).select_from(joined).where(*same, *episode, c.state == DeliveryState.SENT)
    return connection.execute(query).first() is not None


def _is(notification_id: str, recipient: str) -> tuple[sa.ColumnElement[bool], ...]:
    c = _DELIVERIES.c
    pending = c.state == DeliveryState.PENDING
    return (c.notification_id == notification_id, c.recipient == recipient, pending)


def _attempt(delivery: Delivery) -> tuple[sa.ColumnElement[bool], ...]:
    """The delivery, as long as nobody has made a later attempt."""
    mine = _is(delivery.notification_id, delivery.recipient)
    return (*mine, _DELIVERIES.c.attempts == delivery.attempts)


def _end(connection: sa.Connection, row: Any, state: DeliveryState, now: float) -> None:
    values = {"state": state, "ended": now, "claimed_until": 0.0, "trouble": ""}
    mine = _is(row.notification_id, row.recipient)
    connection.execute(_DELIVERIES.update().where(*mine).values(**values))


def _put(connection: sa.Connection, told: Iterable[tuple[DueNotification, Sequence[str], str]]) -> None:
    """Put these into the outbox. Thousands may be due at once, and writers wait meanwhile: two statements for all."""
    notifications: list[dict[str, Any]] = []
    deliveries: list[dict[str, Any]] = []
    for due, recipients, document in told:
        event, subject = due.episode.key
        about = {"event": event, "subject": subject, "created": due.at}
        times = {"began": due.episode.began, "phase": due.phase}
        fresh = {"state": DeliveryState.PENDING, "attempts": 0, "not_before": due.at, "claimed_until": 0.0}
        fresh |= {"notification_id": due.id, "number": due.episode.count, "trouble": ""}
        if recipients:
            notifications.append({"id": due.id, "document": document} | about | times)
        deliveries += [about | fresh | {"recipient": name} for name in dict.fromkeys(recipients)]
    if notifications:
        connection.execute(_NOTIFICATIONS.insert(), notifications)
        connection.execute(_DELIVERIES.insert(), deliveries)


def _known(connection: sa.Connection, true_now: Sequence[WatchedCondition]) -> list[Episode]:
    """The episodes that go on, and those of what is true now. Another version may know more events."""
    subjects = {condition.subject.id for condition in true_now}
    c = _EPISODES.c
    relevant = sa.or_(c.over.is_(None), c.subject.in_(subjects))
    return [
        _episode(row) for row in connection.execute(sa.select(_EPISODES).where(c.event.in_(BY_ID), relevant))
    ]


def _remember(connection: sa.Connection, decision: NotificationDecision) -> None:
    changed = [episode.key for episode in decision.episodes]
    gone = [{"gone": event, "whose": subject} for event, subject in (*changed, *decision.forgotten)]
    c = _EPISODES.c
    mine = (c.event == sa.bindparam("gone"), c.subject == sa.bindparam("whose"))
    if gone:
        connection.execute(_EPISODES.delete().where(*mine), gone)
    if decision.episodes:
        connection.execute(_EPISODES.insert(), [_row(episode) for episode in decision.episodes])


def _row(episode: Episode) -> dict[str, Any]:
    condition = episode.condition
    subject = condition.subject
    about = {"kind": str(subject.kind), "name": subject.name, "workgroup": subject.workgroup}
    return {
        "event": condition.event,
        "subject": subject.id,
        "about": about | {"figures": dict(condition.figures)},
        "entry": condition.entry,
        "began": episode.began,
        "seen": episode.seen,
        "told": episode.told,
        "over": episode.over,
        "before": episode.before,
        "count": episode.count,
    }


def _episode(row: Any) -> Episode:
    about = row.about
    subject = EventSubject(SubjectKind(about["kind"]), row.subject, about["name"], about["workgroup"])
    condition = WatchedCondition(row.event, subject, about["figures"], entry=row.entry)
    return Episode(condition, row.began, row.seen, row.told, row.over, row.before, row.count)


def _delivery(row: Any, attempts: int | None = None) -> Delivery:
    return Delivery(
        row.notification_id,
        row.recipient,
        row.event,
        row.subject,
        MessagePhase(row.phase),
        DeliveryState(row.state),
        row.created,
        row.attempts if attempts is None else attempts,
        row.not_before,
        row.trouble,
        row.ended,
        row.document,
    )
