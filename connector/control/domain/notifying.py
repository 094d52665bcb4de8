"""Which notifications are due is decided from what is true now and what was told before. Pure.

The rule: each event of each subject has one episode at a time. It is told when it has been true for `hold` seconds, again after
each `reminder`, and once when it has been untrue for `settle` seconds. Then nothing is told of it for `QUIET` seconds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from connector.control.domain.clock import SET_BACK
from connector.control.domain.notified_events import BY_ID, EventSeverity, NotifiedEvent, SubjectKind

#: Seconds after the end of an episode in which the next one of the same event and subject is not told.
QUIET: Final = 900.0
#: Seconds after which nobody has looked: what was not told yet begins anew.
GAP: Final = 180.0
#: Seconds after which it is written down again that an episode goes on.
SEEN: Final = 45.0

Figure = float | str


class MessagePhase(StrEnum):
    """What a notification says of its episode."""

    RAISED = "raised"
    REMINDER = "reminder"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class EventSubject:
    """What an event is about. `name`: text that people wrote, in vCenter or here. `workgroup`: empty for what has none."""

    kind: SubjectKind
    id: str
    name: str = ""
    workgroup: str = ""


@dataclass(frozen=True, slots=True)
class WatchedCondition:
    """Something that is true now. `lingers`: it is not bad enough to begin an episode, and bad enough to keep one.

    `entry`: for what happened at one moment, the number of its entry in the jobs' log.
    """

    event: str
    subject: EventSubject
    figures: Mapping[str, Figure] = field(default_factory=dict)
    lingers: bool = False
    entry: int = 0

    @property
    def key(self) -> tuple[str, str]:
        return self.event, self.subject.id


@dataclass(frozen=True, slots=True)
class Episode:
    """What is remembered of one event of one subject. All times are seconds since the epoch.

    `began` and `seen`: the first and the last look at which it was true. `told`: when it was told last, `count`: how
    often, in all episodes. `over`: when it ended; None while it goes on. `before`: when the episode before it ended.
    """

    condition: WatchedCondition
    began: float
    seen: float
    told: float | None = None
    over: float | None = None
    before: float | None = None
    count: int = 0

    @property
    def key(self) -> tuple[str, str]:
        return self.condition.key


@dataclass(frozen=True, slots=True)
class DueNotification:
    """One notification that is due. `id` is the same whoever decides it, and is never that of another one."""

    id: str
    episode: Episode
    phase: MessagePhase
    at: float


@dataclass(frozen=True, slots=True)
class NotificationDecision:
    """`episodes`: those that changed; `forgotten`: keys of those that left nothing; `due`: in their order."""

    episodes: tuple[Episode, ...] = ()
    forgotten: tuple[tuple[str, str], ...] = ()
    due: tuple[DueNotification, ...] = ()


@dataclass(frozen=True, slots=True)
class RecipientFilter:
    """What one recipient wants to be told. Empty `events` and `workgroups`: all."""

    name: str
    severity: EventSeverity = EventSeverity.INFO
    events: frozenset[str] = frozenset()
    workgroups: frozenset[str] = frozenset()

    def wants(self, condition: WatchedCondition) -> bool:
        event = BY_ID[condition.event]
        if self.events and event.id not in self.events:
            return False
        if self.workgroups and condition.subject.workgroup not in self.workgroups:
            return False
        return event.severity.rank >= self.severity.rank


def decide(
    now: float, conditions: Iterable[WatchedCondition], episodes: Sequence[Episode]
) -> NotificationDecision:
    """What is due now. `conditions`: all that are true; of one event and subject the last one counts."""
    true_now = {condition.key: condition for condition in conditions}
    known = {episode.key: episode for episode in episodes}
    changed: list[Episode] = []
    forgotten: list[tuple[str, str]] = []
    due: list[DueNotification] = []
    for key in dict.fromkeys([*known, *true_now]):
        before = known.get(key)
        after, phase = _judge(BY_ID[key[0]], true_now.get(key), before, now)
        if after is None and before is not None:
            forgotten.append(key)
        elif after is not None and after != before:
            changed.append(after)
        if after is not None and phase is not None:
            due.append(DueNotification(_id(after), after, phase, now))
    due.sort(key=lambda one: -BY_ID[one.episode.condition.event].severity.rank)
    return NotificationDecision(tuple(changed), tuple(forgotten), tuple(due))


def elapsed(since: float, now: float) -> float:
    """Seconds since then. A time that is far ahead was written before the clock was set back: the wait counts as over."""
    return math.inf if since > now + SET_BACK else max(0.0, now - since)


def recipients_of(due: DueNotification, filters: Iterable[RecipientFilter]) -> Iterator[str]:
    """The names of those who are to be told."""
    return (one.name for one in filters if one.wants(due.episode.condition))


_Judged = tuple[Episode | None, MessagePhase | None]


def _judge(
    event: NotifiedEvent, condition: WatchedCondition | None, episode: Episode | None, now: float
) -> _Judged:
    if event.is_moment:
        return _moment(condition, episode, now)
    if condition is None:
        return _untrue(event, episode, now)
    if episode is None or episode.over is not None:
        if condition.lingers:
            return episode, None
        ended, count = (episode.over, episode.count) if episode is not None else (None, 0)
        return _untold(event, Episode(condition, now, now, before=ended, count=count), now)
    if episode.told is None:
        if condition.lingers:
            return _untrue(event, episode, now)
        began = now if elapsed(episode.seen, now) > GAP else episode.began
        return _untold(
            event, replace(episode, condition=condition, began=began, seen=_seen(episode, now)), now
        )
    if elapsed(episode.told, now) >= event.reminder:
        return _told(replace(episode, condition=condition), now), MessagePhase.REMINDER
    seen = _seen(episode, now)
    return (replace(episode, seen=seen, condition=condition) if seen != episode.seen else episode), None


def _moment(condition: WatchedCondition | None, episode: Episode | None, now: float) -> _Judged:
    """What happened once. One that follows soon is told later, and of several only the last one."""
    if condition is not None and (episode is None or condition.entry > episode.condition.entry):
        ended, count = (None, 0)
        if episode is not None:
            ended, count = (episode.before if episode.over is None else episode.over), episode.count
        episode = Episode(condition, now, now, before=ended, count=count)
    if episode is None or episode.over is not None or not _quiet_is_over(episode, now):
        return episode, None
    return replace(_told(episode, now), over=now), MessagePhase.RAISED


def _untrue(event: NotifiedEvent, episode: Episode | None, now: float) -> _Judged:
    if episode is None or episode.over is not None:
        return episode, None
    if episode.told is None:  # nobody heard of it
        return (None if episode.before is None else replace(episode, over=episode.before)), None
    if elapsed(episode.seen, now) < event.settle:
        return episode, None
    return replace(_told(episode, now), over=now, seen=episode.seen), MessagePhase.OVER


def _untold(event: NotifiedEvent, episode: Episode, now: float) -> _Judged:
    if elapsed(episode.began, now) < event.hold or not _quiet_is_over(episode, now):
        return episode, None
    return _told(episode, now), MessagePhase.RAISED


def _quiet_is_over(episode: Episode, now: float) -> bool:
    return episode.before is None or elapsed(episode.before, now) >= QUIET


def _told(episode: Episode, now: float) -> Episode:
    return replace(episode, told=now, seen=now, count=episode.count + 1)


def _seen(episode: Episode, now: float) -> float:
    return now if elapsed(episode.seen, now) >= SEEN else episode.seen


def _id(episode: Episode) -> str:
    parts = (*episode.key, f"{episode.began:.3f}", str(episode.condition.entry), str(episode.count))
    return "n-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
