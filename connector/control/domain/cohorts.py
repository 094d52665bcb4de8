"""Which members of an application wait for which when they are read, cut over or rolled back together. Pure.

An ordinary run reads its members when all are ready. Their snapshots are then taken close together; nothing more is promised.

A cutover shuts the members down in the order of their ranks, and begins when all are ready. No member is read before all are
off: that is the common point that all images show. No member becomes an image before all are proved. If one fails before that,
all are rolled back and start again in reverse order; none waits for one that no appliance reaches now.
Only `Member.proved` is decided for good.

`ApplicationStore.decide` records what is decided here; `CohortMonitor` in `service/applications.py` carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from connector.control.domain.entities import Outcome, Task

SLACK: Final = 600.0  # seconds beyond the deadlines of its ranks that an application may be partly down


@dataclass(frozen=True, slots=True)
class Member:
    """One job's part in a cohort.

    `tasks`: the outcome of each task that was offered so far; None while it is under way. `ended`: when the newest run ended.
    `down_since` and `deadline` (seconds) are the job's. `trouble`: how it ended. `failed`: it ended badly, not because it was
    asked to stop. `stopping`: it was asked to stop. `proved`: it was decided that all members are proved. `reachable`: an
    appliance can work on its machine now.
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
    reachable: bool = True

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
    """Whether the common point is reached: all members are off."""
    return all(member.off for member in members)


def provable(members: Sequence[Member]) -> bool:
    """Whether it may be decided now that all are proved."""
    return together(members) and all(member.read for member in members)


def broken(members: Sequence[Member]) -> str:
    """Why all members are rolled back, with the name of the one that failed; empty when they are proved or still may be."""
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
    """Why the application has been partly down for too long; empty when it has not."""
    if together(members):
        return ""
    began = min((member.down_since for member in members if member.down_since is not None), default=now)
    by_rank: dict[int, float] = {}
    for member in members:
        by_rank[member.rank] = max(by_rank.get(member.rank, 0.0), member.deadline)
    limit = sum(by_rank.values()) + SLACK
    return f"not all machines of its application were off within {limit:.0f} s" if now - began > limit else ""


def obstacle(task: Task, member: Member, members: Sequence[Member]) -> str:
    """What this member's pass waits for; empty when an appliance may take it."""
    if task is Task.POWER_ON:
        later = [m for m in members if m.rank > member.rank and not m.over]
        waits = [m for m in later if m.tasks.get(Task.POWER_ON) is None and m.reachable]
        return f"waits for {waits[0].name} to run again" if waits else ""
    if task is Task.READ:
        late = [m for m in members if not m.tasks and not m.over]
        return f"waits for {late[0].name} to be ready" if late else ""
    if broken(members):
        return "waits: its application is rolled back"
    unready = [m for m in members if Task.SHUTDOWN not in m.tasks]
    running = [m for m in members if not m.off and (task is not Task.SHUTDOWN or m.rank < member.rank)]
    if unready:
        return f"waits for {unready[0].name} to be ready"
    return f"waits for {running[0].name} to be off" if running else ""


def unproved(member: Member, members: Sequence[Member]) -> str:
    """Which member a proved member waits for; empty when it waits for none."""
    unproved_names = [m.name for m in members if m.job_id != member.job_id and not m.read]
    return (
        f"proved, waits for {unproved_names[0]} to be proved" if unproved_names and not member.proved else ""
    )
