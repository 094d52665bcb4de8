"""Quotas bound how much exists and how much is read at once. All processes on one database should have the same quotas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final, NamedTuple

from connector.control.domain.entities import Pass
from connector.errors import BadInput


@dataclass(frozen=True, slots=True)
class Quotas:
    """First quotas of objects that exist, then limits on what all appliances read at the same time.

    A disk that is read costs its ESXi host and its vCenter one connection. A machine that is read costs each of its
    datastores the growth of one snapshot. A machine or application that exceeds a limit alone is read when nothing
    else is.
    """

    sources: int = 1000
    jobs: int = 1000
    running: int = 50
    workgroups: int = 50
    workgroup_sources: int = 50
    host_disks: int = 8
    datastore_machines: int = 15
    vcenter_disks: int = 48
    passes: int = 50

    @classmethod
    def of(cls, words: Iterable[str]) -> Quotas:
        """Quotas from words such as `host_disks=4`. Raises `BadInput` for an unknown limit and for a number below 1."""
        names = [limit.name for limit in fields(cls)]
        limits: dict[str, int] = {}
        for word in words:
            name, _, number = word.partition("=")
            if name not in names or not number.isdecimal() or not 1 <= int(number) < 1 << 31:
                raise BadInput(
                    f"{word[:80]!r} is no limit",
                    on="--limit",
                    remedy=f"NAME=NUMBER; NAME: {', '.join(names)}",
                )
            limits[name] = int(number)
        return cls(**limits)


@dataclass(frozen=True, slots=True)
class PassGroup:
    """Passes that begin together, when there is room for all: one pass, or those of an application."""

    passes: Sequence[Pass]
    #: It is an application's group: its room is kept even when it may begin, until it has begun.
    together: bool = False
    #: Its room was kept for it, so only running passes count against it.
    admitted: bool = False
    #: It belongs to other vCenters than the passes that are judged: it counts only where a limit counts all vCenters.
    elsewhere: bool = False

    @property
    def needs(self) -> Counter[_Kind]:
        """How much of each limit it needs."""
        used = _use(self.passes)
        return Counter({kind: used[kind] for kind in used if not (self.elsewhere and kind.vcenter)})


class _Kind(NamedTuple):
    """What one limit counts: a field of `Quotas`, a vCenter, and a host or datastore of it."""

    limit: str
    vcenter: str = ""
    place: str = ""

    def __str__(self) -> str:
        return _READING[self.limit].words.format(place=self.place)


class _ReadingLimit(NamedTuple):
    """A limit on what is read. `words`: what it counts, for people; `places`: where a pass uses it; `amount`: how much."""

    words: str
    places: Callable[[Pass], Iterable[tuple[str, str]]]  # vCenter, and a host or datastore of it
    amount: Callable[[Pass], int]


#: By the fields of `Quotas`; the other fields are quotas of objects that exist.
_READING: Final[Mapping[str, _ReadingLimit]] = {
    "passes": _ReadingLimit("machines in all", lambda _: [("", "")], lambda _: 1),
    "vcenter_disks": _ReadingLimit(
        "disks of its vCenter", lambda attempt: [(attempt.vcenter, "")], lambda attempt: attempt.disk_count
    ),
    "host_disks": _ReadingLimit(
        "disks on host {place}",
        lambda attempt: [(attempt.vcenter, attempt.host)] if attempt.host else [],
        lambda attempt: attempt.disk_count,
    ),
    "datastore_machines": _ReadingLimit(
        "machines on datastore {place}",
        lambda attempt: [(attempt.vcenter, store) for store in attempt.datastores],
        lambda _: 1,
    ),
}


def why_waiting(
    groups: Sequence[PassGroup],
    running: Sequence[Pass],
    limits: Quotas,
    reserved: Sequence[Pass] = (),
    names: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Why each pass of the groups must wait while `running` are read; empty for a pass that may begin. Pure.

    `names` of jobs by their ids are for the text only.

    The oldest group comes first, and its room is kept free: so a machine with many disks does not wait for ever.
    `reserved` passes belong to applications that are already being shut down. They count as read, but not against one
    another, so no two applications wait for each other.
    """
    reading = _use(running)
    used = reading + _use(reserved)
    older: list[PassGroup] = []
    why_of: dict[str, str] = {}
    for group in groups:
        needed = group.needs
        why = _obstacle(needed, reading if group.admitted else used, limits)
        if not why and not group.admitted and (first := _first_ahead(needed, used, older, limits)):
            job_id = first.passes[0].job_id
            why = f"waits its turn behind the older pass of job {(names or {}).get(job_id, job_id)}"
        if not group.admitted and (why or group.together):
            older.append(group)
        why_of |= dict.fromkeys((attempt.id for attempt in group.passes), why)
    return why_of


def _first_ahead(
    needed: Counter[_Kind], used: Counter[_Kind], older: Sequence[PassGroup], limits: Quotas
) -> PassGroup | None:
    """The first of the older groups for whose room this one must wait."""
    reserved_use = Counter(used)
    for group in older:
        reserved_use += group.needs
        if _obstacle(needed, reserved_use, limits):
            return group
    return None


def _obstacle(needed: Counter[_Kind], used: Counter[_Kind], limits: Quotas) -> str:
    for kind, more in needed.items():
        limit = getattr(limits, kind.limit)
        if used[kind] > 0 and used[kind] + more > limit:
            return f"waits: {used[kind]} of {limit} {kind} are being read (limit {kind.limit})"
    return ""


def _use(passes: Iterable[Pass]) -> Counter[_Kind]:
    used: Counter[_Kind] = Counter()
    for attempt in passes:
        for name, limit in _READING.items():
            for vcenter, place in limit.places(attempt):
                used[_Kind(name, vcenter, place)] += limit.amount(attempt)
    return used
