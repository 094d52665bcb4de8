"""The control plane as waves need it: what it knows, and the few things that are asked of it.

Parameters are in the public API's names: what a plan prints is what is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

Parameters = Mapping[str, Any]

#: Tags by which the jobs of a wave are found.
WAVE: Final = "wave"
GROUP: Final = "wave-group"

#: What a job leaves behind: a parameter of an operation of its own.
LEFT_OUT: Final = "LeftOutDisks"


@dataclass(frozen=True, slots=True)
class SourceDiskView:
    """One disk of a source; `index` 0 is the system disk. `size` is bytes; `key` is 0 where it is not known."""

    index: int
    label: str
    size: int
    key: int = 0


@dataclass(frozen=True, slots=True)
class SourceView:
    """A registered machine. Empty facts are not known. `name` is the machine's in vCenter, `registered` the source's."""

    id: str
    name: str
    registered: str
    state: str  # Available, InUse, Unavailable, Deleting
    trouble: str = ""  # why it is Unavailable
    missing: bool = False  # no longer in vCenter
    moref: str = ""
    vcenter: str = ""
    power: str = ""
    folder: str = ""
    cluster: str = ""
    guest: str = ""
    networks: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    disks: tuple[SourceDiskView, ...] = ()
    blocking: tuple[str, ...] = ()  # findings that no job gets past
    last_job: str = ""

    @property
    def size(self) -> int:
        return sum(disk.size for disk in self.disks)


#: Kind of a run that gives the source back.
ROLLBACK: Final = "Rollback"


@dataclass(frozen=True, slots=True)
class RunView:
    """One run of a job; times are ISO 8601 in UTC, empty for not yet."""

    start: str
    end: str
    kind: str
    image: str


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as the control plane shows it; `asked` in the names of CreateReplicationJob."""

    id: str
    name: str
    source: str
    status: str
    business: str
    progress: float
    asked: Parameters
    tags: Mapping[str, str]
    created: str = ""
    started: str = ""
    ended: str = ""
    image: str = ""
    error: str = ""
    waiting: str = ""
    down: str = ""  # that a cutover keeps its source down, in words; empty while it is up
    cut_over: bool = False  # its cutover has been asked for: to start it is to resume that
    runs: tuple[RunView, ...] = ()

    @property
    def state(self) -> str:
        return f"{self.status}/{self.business}" if self.business else self.status

    @property
    def rolled_back(self) -> bool:
        """Its cutover was taken back: the source runs again, and the next start syncs it anew."""
        return self.status == "Stopped" and bool(self.runs) and self.runs[-1].kind == ROLLBACK

    @property
    def group(self) -> str:
        return self.tags.get(GROUP, "")


@dataclass(frozen=True, slots=True)
class Passed:
    """What one reading of a machine moved; bytes and seconds."""

    planned: int
    read: int
    wire: int
    downtime: float | None  # seconds; None: it was not shut down
    digests: tuple[str, ...] = ()


class Plane(Protocol):
    """All of it may be called from several threads at once. Errors are `ConnectorError`s of the control plane.

    What changes something is durable when it returns; `create` with the same ClientToken answers the same job. `unite` makes
    these jobs one application, by their ranks; `cut_over_all` begins the cutover of all of them, or of none; `settled`: that
    nothing of it runs, nor is about to be taken back.
    """

    def sources(self) -> Sequence[SourceView]: ...
    def jobs(self, wave: str) -> Sequence[JobView]: ...
    def jobs_by_id(self, ids: Sequence[str]) -> Sequence[JobView]: ...
    def passes(self, job: str) -> Sequence[Passed]: ...
    def create(self, parameters: Parameters) -> str: ...
    def modify(self, job: str, parameters: Parameters) -> None: ...
    def leave_out(self, job: str, disk_keys: Sequence[int]) -> None: ...
    def tag(self, job: str, tags: Mapping[str, str]) -> None: ...
    def start(self, job: str) -> None: ...
    def cut_over(self, job: str, *, final_sync: bool) -> None: ...
    def unite(self, application: str, ranks: Mapping[str, int]) -> None: ...
    def cut_over_all(self, application: str) -> None: ...
    def settled(self, application: str) -> bool: ...
    def delete(self, job: str) -> None: ...
