"""Machines of one application that are read, cut over, or given back, together: who waits for whom. Pure.

Those that run are read when all are ready, so that their snapshots are taken close together; more is not promised.

At cutover they are shut down in the order of their ranks, none before all are ready, and none is read before all are off: that is
the point that all images show. None becomes an image before all are proved. Whoever fails before that takes all back;
they start again in reverse order. `Member.proved` is the one thing that is decided for good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from connector.control.domain.entities import Outcome, Task

SLACK: Final = 600.0  # seconds beyond the deadlines of its ranks that an application may be partly down


@dataclass(frozen=True, slots=True)
class Member:
    """One job's part. `tasks`: those that were offered so far, None for one under way; `ended`: its newest run did.

    `down_since` and `deadline` (seconds) are the job's; `trouble` says how it ended, `failed` whether badly, rather than
    because it was asked to stop; `stopping`: that it was. `proved`: it was decided that everybody here is.
    """

    job_id: str
    name: str
    rank: int
    ended: float | None = None
    tasks: Mapping[Task, Outcome | None] = field(default_factory=dict)
    down_since: float | None = None
    deadline: float = 600.0
    trouble: str = ""
    failed: bool = False
    stopping: bool = False
    proved: bool = False
    run_id: str = ""

    @property
    def over(self) -> bool:
        """Whether none of its runs is open."""
        return self.ended is not None

    @property
    def off(self) -> bool:
        """Whether it was shut down, and ended its shutdown well."""
        return self.tasks.get(Task.SHUTDOWN) is Outcome.DONE

    @property
    def read(self) -> bool:
        """Whether its last state was read and proved, and nobody has stopped it."""
        return self.tasks.get(Task.FINAL) is Outcome.DONE and not self.over and not self.stopping


def together(members: Sequence[Member]) -> bool:
    """Whether the point is reached: all are off."""
    return all(member.off for member in members)


def provable(members: Sequence[Member]) -> bool:
    """Whether it may be decided now that all are proved."""
    return together(members) and all(member.read for member in members)


def broken(members: Sequence[Member]) -> str:
    """Why all are taken back, naming who is the reason; empty when they are proved, or still may be."""
    if any(member.proved for member in members):
        return ""
    where = "before all machines of its application were " + ("proved" if together(members) else "off")
    over = sorted(
        (not member.failed, member.ended, member.name, member.trouble)
        for member in members
        if member.ended is not None
    )
    if over:
        _, _, name, trouble = over[0]
        return f"{name} {trouble} {where}"
    ending = [m.name for m in members if _undone(m)]
    return f"{ending[0]} ended {where}" if ending else ""


def _undone(member: Member) -> bool:
    return any(outcome not in (None, Outcome.DONE) for outcome in member.tasks.values())


def overdue(members: Sequence[Member], now: float) -> str:
    """Why it has lasted too long that some are off and some are not; empty when it has not."""
    if together(members):
        return ""
    began = min((member.down_since for member in members if member.down_since is not None), default=now)
    by_rank: dict[int, float] = {}
    for member in members:
        by_rank[member.rank] = max(by_rank.get(member.rank, 0.0), member.deadline)
    limit = sum(by_rank.values()) + SLACK
    return f"not all machines of its application were off within {limit:.0f} s" if now - began > limit else ""


def obstacle(task: Task, member: Member, members: Sequence[Member]) -> str:
    """What this member's pass waits for; empty when it may be given out."""
    if task is Task.POWER_ON:
        later = [m for m in members if m.rank > member.rank and not m.over]
        waits = [m for m in later if m.tasks.get(Task.POWER_ON) is None]
        return f"waits for {waits[0].name} to run again" if waits else ""
    if task is Task.READ:
        late = [m for m in members if not m.tasks and not m.over]
        return f"waits for {late[0].name} to be ready" if late else ""
    if broken(members):
        return "waits: its application is taken back"
    unready = [m for m in members if Task.SHUTDOWN not in m.tasks]
    running = [m for m in members if not m.off and (task is not Task.SHUTDOWN or m.rank < member.rank)]
    if unready:
        return f"waits for {unready[0].name} to be ready"
    return f"waits for {running[0].name} to be off" if running else ""


def unproved(member: Member, members: Sequence[Member]) -> str:
    """Whom a member that is proved waits for; empty when it waits for nobody."""
    others = [m.name for m in members if m.job_id != member.job_id and not m.read]
    return f"proved, waits for {others[0]} to be proved" if others and not member.proved else ""
