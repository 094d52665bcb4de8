"""`Plane` has the few operations of the control plane that waves need.

Parameters have the public API's names, so a plan prints exactly what is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from connector.specification import images

Parameters = Mapping[str, Any]

#: Tags by which the jobs of a wave are found.
WAVE: Final = "wave"
GROUP: Final = "wave-group"

#: The disks that a job leaves out; they are set by a separate operation.
LEFT_OUT: Final = "LeftOutDisks"


@dataclass(frozen=True, slots=True)
class SourceDiskView:
    """One disk of a source. `index` 0 is the system disk. `size`: bytes. `key`: 0 if it is not known."""

    index: int
    label: str
    size: int
    key: int = 0


@dataclass(frozen=True, slots=True)
class BlockingFinding:
    """A finding that blocks a job. `subject`: the machine, or the machine and the label of a disk."""

    subject: str
    text: str

    def concerns(self, machine: str, label: str) -> bool:
        """Whether it is about the disk with this label of the machine with this name."""
        return self.subject == f"{machine} {label}"


@dataclass(frozen=True, slots=True)
class SourceView:
    """A registered machine. Empty facts are not known. `name`: the machine's in vCenter. `registered`: the source's."""

    id: str
    name: str
    registered: str
    state: str  # Available, InUse, Unavailable, Deleting
    trouble: str = ""  # why it is Unavailable
    missing: bool = False  # no longer in vCenter
    moref: str = ""
    vcenter: str = ""  # its instance UUID
    address: str = ""  # of its vCenter: the URL at which the appliance reaches it
    power: str = ""
    folder: str = ""
    cluster: str = ""
    guest: str = ""
    networks: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    disks: tuple[SourceDiskView, ...] = ()
    blocking: tuple[BlockingFinding, ...] = ()
    last_job: str = ""

    @property
    def size(self) -> int:
        return sum(disk.size for disk in self.disks)


@dataclass(frozen=True, slots=True)
class RunView:
    """One run of a job. Times are ISO 8601 in UTC; empty: not yet."""

    start: str
    end: str
    kind: str
    image: str


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as the control plane shows it. `asked`: its definition, in the names of CreateReplicationJob."""

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
    down: str = ""  # a sentence if a cutover keeps its source down; empty while it is up
    cut_over: bool = False  # its cutover was asked for, so a start resumes the cutover
    runs: tuple[RunView, ...] = ()

    @property
    def state(self) -> str:
        return f"{self.status}/{self.business}" if self.business else self.status

    @property
    def rolled_back(self) -> bool:
        """Whether its cutover was rolled back. The source runs again, and the next start syncs it again."""
        return self.status == "Stopped" and bool(self.runs) and self.runs[-1].kind == images.ROLLBACK

    @property
    def rolled_back_images(self) -> frozenset[str]:
        """Ids of the images of cutovers that were rolled back."""
        return images.rolled_back([(run.kind, run.image) for run in self.runs], cut_over=self.cut_over)

    @property
    def group(self) -> str:
        return self.tags.get(GROUP, "")


@dataclass(frozen=True, slots=True)
class Passed:
    """What one pass of a machine moved, in bytes and seconds."""

    planned: int
    read: int
    wire: int
    downtime: float | None  # seconds; None: it was not shut down
    digests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DrillView:
    """A drill of a job. `open`: it waits or runs. `boots`: None unless a copy was started to its end. `text`: how it stands."""

    id: str
    job: str
    image: str
    open: bool
    boots: bool | None
    text: str
    ended: str  # ISO 8601 in UTC; empty: not yet


class Plane(Protocol):
    """The control plane. Several threads may call it at once. Errors are `ConnectorError`s of the control plane.

    A change is durable when the call returns. `create` with the same ClientToken answers the same job. `unite` makes
    jobs one application, by their ranks. `cut_over_all` begins the cutover of all of them, or of none. `settled`: nothing
    of the application runs, and nothing is about to be rolled back. `drills`: the last drill of each job that has one.
    """

    def sources(self) -> Sequence[SourceView]: ...
    def jobs(self, wave: str) -> Sequence[JobView]: ...
    def jobs_by_id(self, ids: Sequence[str]) -> Sequence[JobView]: ...
    def passes(self, job: str) -> Sequence[Passed]: ...
    def image_files(self, job: str) -> Mapping[str, str]: ...
    def drills(self, ids: Sequence[str]) -> Mapping[str, DrillView]: ...
    def start_drill(self, job: str, network: str) -> DrillView: ...
    def create(self, parameters: Parameters) -> str: ...
    def modify(self, job: str, parameters: Parameters) -> None: ...
    def leave_out(self, job: str, disk_keys: Sequence[int]) -> None: ...
    def tag(self, jobs: Sequence[str], tags: Mapping[str, str]) -> None: ...
    def untag(self, jobs: Sequence[str], keys: Sequence[str]) -> None: ...
    def start(self, job: str) -> None: ...
    def cut_over(self, job: str, *, final_sync: bool) -> None: ...
    def unite(self, application: str, ranks: Mapping[str, int]) -> None: ...
    def cut_over_all(self, application: str) -> None: ...
    def settled(self, application: str) -> bool: ...
    def is_united(self, application: str) -> bool: ...
    def delete(self, job: str) -> None: ...
