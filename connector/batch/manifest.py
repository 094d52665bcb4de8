"""What a wave's manifest may say: every field with its type, bounds and meaning; what is not here is refused. Pure.

The JSON Schema for editors and the reference in docs are generated from these classes.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from connector.batch import fields, quantities, selectors
from connector.specification import bounds

API_VERSION: Final = "connector/v1"
KIND: Final = "MigrationWave"
MAX_MACHINES: Final = 2000
#: Prefixes of tag keys that belong to the service, and to waves.
RESERVED: Final = ("aliyun", "acs:", "http://", "https://", "wave")


def _checked(check: Callable[[str], Any]) -> AfterValidator:
    def same(text: str) -> str:
        check(text)
        return text

    return AfterValidator(same)


def _zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError("no such time zone; write one such as Europe/Berlin or UTC") from None


def _tag_key(key: str) -> None:
    if key.lower().startswith(RESERVED):
        raise ValueError(f"a tag's key starts with none of {', '.join(RESERVED)}")


def _no_url(value: str) -> None:
    if value.lower().startswith(("http://", "https://")):
        raise ValueError("the value of a tag is no URL")


Duration = Annotated[str, _checked(quantities.seconds), Field(pattern=r"^[0-9]{1,9} ?[smhd]$")]
Size = Annotated[str, _checked(quantities.size), Field(pattern=r"^[0-9]{1,9} ?(MiB|GiB|TiB)$")]
Rate = Annotated[str, _checked(quantities.megabits), Field(pattern=r"^[0-9]{1,9} ?(Mbit/s|Gbit/s)$")]
Moment = Annotated[str, Field(min_length=16, max_length=25)]
Zone = Annotated[str, _checked(_zone), Field(max_length=64)]
Query = Annotated[str, _checked(selectors.checked), Field(min_length=1, max_length=400)]
#: Names of waves and groups become tags and parts of job names.
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
Line = Annotated[str, Field(min_length=1, max_length=400, pattern=r"^[^\x00-\x1f\x7f]+$")]
Word = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x20\x7f]+$")]
Url = Annotated[str, Field(max_length=2000, pattern=r"^https?://[^\s/@]+(/\S*)?$")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
TagKey = Annotated[
    str, _checked(_tag_key), Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")
]
TagValue = Annotated[str, _checked(_no_url), Field(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]
Labels = Annotated[dict[TagKey, TagValue], Field(max_length=16)]
Pattern = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z{][A-Za-z0-9:_{}-]*$")]


class ManifestPart(BaseModel):
    """Frozen, and closed: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Metadata(ManifestPart):
    """What the wave is called."""

    name: Name = Field(description="Name of the wave; its jobs carry it as the tag `wave`.")
    labels: Labels = Field(default={}, description="Tags that every job of the wave carries.")
    description: Annotated[str, Field(max_length=400)] = Field(default="", description="For people.")


class NetworkSection(ManifestPart):
    """Where the intermediate instance of a machine stands."""

    mode: Literal["internet", "vpc"] = Field(
        default="internet", description="`vpc` needs `vswitch`, or a mapping under `networks`."
    )
    vpc: Word | None = Field(default=None, description="VPC id.")
    vswitch: Word | None = Field(default=None, description="VSwitch id.")


class TargetSection(ManifestPart):
    """What a machine becomes."""

    region: Word | None = Field(default=None, description="Region of the image, e.g. `cn-hangzhou`.")
    type: Literal["Image", "TargetInstance"] | None = Field(
        default=None,
        description="What is made; default `Image`. `TargetInstance`: the image also goes onto the disks of `instance`.",
    )
    instance: Word | None = Field(
        default=None,
        description="Id of the target instance, whose disks the image replaces; only jobs that run once.",
    )
    imageName: Pattern | None = Field(
        default=None,
        description="Name of the image; `{wave}`, `{group}`, `{machine}` and `{moref}` are filled in. Default `{machine}`.",
    )
    instanceType: Word | None = Field(
        default=None,
        description="Type of the intermediate instance; default: the provider's own order of types.",
    )
    ramRole: Word | None = Field(default=None, description="RAM role of the intermediate instance.")
    licence: Literal["BYOL"] | None = Field(default=None, description="`BYOL`: bring your own licence.")
    network: NetworkSection | None = Field(default=None, description="Network of the intermediate instance.")


class DiskSize(ManifestPart):
    """A larger disk at the target."""

    disk: Line | int = Field(description="Label as vCenter shows it, glob allowed, or key.")
    size: Size = Field(description="At least the size of the source's disk; whole GiB.")


class DisksSection(ManifestPart):
    """Which disks must be there, and how large they become."""

    include: Annotated[list[Line | int], Field(max_length=64)] | None = Field(
        default=None,
        description="Labels (globs) or keys of the disks to migrate; the others stay behind. Absent: all.",
    )
    exclude: Annotated[list[Line | int], Field(max_length=64)] | None = Field(
        default=None,
        description="Labels (globs) or keys of disks to leave behind. The system disk cannot be left behind.",
    )
    sizes: Annotated[list[DiskSize], Field(max_length=64)] | None = Field(
        default=None, description="Larger disks at the target."
    )


class Incremental(ManifestPart):
    """A job that goes on with deltas until its cutover."""

    every: Duration = Field(description="Interval between two runs: whole hours from 1h to 168h.")
    keep: Annotated[int, Field(ge=1, le=10)] = Field(description="Images to keep, the newest ones.")


class ReplicationSection(ManifestPart):
    """How bytes travel."""

    compression: Annotated[int, Field(ge=0, le=10)] | None = Field(
        default=None, description="Level; 0 is none."
    )
    checksum: bool | None = Field(default=None, description="Compare checksums while transferring.")


class DrillSection(ManifestPart):
    """How a machine's cutover is rehearsed."""

    network: Literal["none", "dhcp", "keep"] | None = Field(
        default=None,
        description="Network of the copy: `dhcp`, `keep`, or `none` to leave it as it is. Default: as `conversion` says.",
    )


if TYPE_CHECKING:

    class JobKeys(ManifestPart):
        """The keys that the table of job fields makes."""

else:
    JobKeys = create_model("JobKeys", __base__=ManifestPart, **fields.keys())


class Choices(JobKeys):
    """What `defaults` and each machine may choose; a machine's choice wins, field by field."""

    group: Name | None = Field(default=None, description="Order group, one of `groups`.")
    target: TargetSection = Field(default=TargetSection(), description="What the machine becomes.")
    disks: DisksSection = Field(default=DisksSection(), description="Choices about single disks.")
    incremental: Incremental | None = Field(
        default=None, description="Interval and images to keep. Absent, or `null` against a default: one run."
    )
    bandwidth: Rate | None = Field(default=None, description="Limit for each machine. Absent: unlimited.")
    replication: ReplicationSection = Field(default=ReplicationSection(), description="How bytes travel.")
    validFor: Duration | None = Field(
        default=None,
        description=f"Life of a job from its creation, {bounds.words(bounds.DAYS_VALID, 'd')};"
        f" the control plane's default is {bounds.DEFAULT_DAYS_VALID}d.",
    )
    drill: DrillSection | bool | None = Field(
        default=None,
        description="`true`, or how: `batch drill` converts and starts a copy of its newest image. Absent: it is not tried.",
    )
    labels: Labels = Field(default={}, description="Tags of the jobs, besides those of the wave.")


class MachineEntry(Choices):
    """One machine by `name`, `moref` or both, or all that a `selector` finds. With both the `moref` decides."""

    name: Line | None = Field(default=None, description="Name in vCenter; must be one machine's alone.")
    moref: Word | None = Field(default=None, description="Managed object reference, e.g. `vm-101`.")
    vcenter: Line | None = Field(
        default=None,
        description="URL, host or instance UUID of the vCenter, when several are registered and a moref is not enough.",
    )
    selector: Query | None = Field(
        default=None,
        description="Names side by side, then conditions that narrow them: `web-* db-01`, `name:`, `moref:`, "
        "`folder:/DC0/vm/prod` (in or below), `cluster:c1`, `tag:tier=web`, `network:vlan-*`, `guest:debian*`, "
        "`power:on`; `!` before a condition turns it round. A machine that another entry names is left to that entry.",
    )


class CutoverWindow(ManifestPart):
    """When a cutover may begin. Moments without an offset are in `timeZone`."""

    start: Moment = Field(description="ISO 8601, e.g. `2026-12-05T22:00`.")
    end: Moment = Field(
        description="No source is shut down after it. A machine whose cutover has begun is finished."
    )


class CutoverSection(ManifestPart):
    """The window in which `batch cutover` works without `--now`."""

    window: CutoverWindow = Field(description="When a cutover may begin.")
    finalSync: bool = Field(
        default=True,
        description="Shut the source down and copy the last changes. `false`: end with the last image.",
    )


class Group(ManifestPart):
    """Machines that are cut over together, after the groups that they depend on."""

    name: Name = Field(description="Name of the group.")
    after: Annotated[list[Name], Field(max_length=64)] = Field(
        default=[], description="Groups that must be finished before this one begins."
    )
    window: CutoverWindow | None = Field(
        default=None, description="A window of its own, instead of the wave's."
    )
    shutdownOrder: Annotated[list[Line], Field(max_length=100)] = Field(
        default=[],
        description=(
            "Names of its machines, globs allowed, first to shut down first; those of one line side by side. The group is"
            " then one application: all of it becomes images, or all of it is powered on again."
        ),
    )


class Schedule(ManifestPart):
    """When the first run of each machine begins."""

    start: Annotated[str, Field(min_length=3, max_length=25)] = Field(
        default="manual",
        description="`manual`: by `job start`. `now`: at once. A moment: then, at most 30 days ahead; past: at once.",
    )


class Phase(StrEnum):
    """Where hooks run."""

    BEFORE_APPLY = "before-apply"
    AFTER_APPLY = "after-apply"
    BEFORE_CUTOVER = "before-cutover"
    AFTER_CUTOVER = "after-cutover"


class HttpCall(ManifestPart):
    """A request; any status below 400 is success. Redirects are not followed."""

    url: Url = Field(description="Where to.")
    method: Literal["POST", "PUT", "GET"] = Field(
        default="POST", description="POST and PUT carry the event as JSON."
    )
    headersFromEnvironment: Annotated[dict[Word, Variable], Field(max_length=16)] = Field(
        default={},
        description="Header -> environment variable with its value, so that no secret is in the file.",
    )


class Hook(ManifestPart):
    """Something that is done around a phase, by the command that carries the phase out. `http` or `command`."""

    name: Name = Field(description="Name of the hook.")
    phase: Phase = Field(description="When. Cutover hooks run once for each group.", strict=False)
    groups: Annotated[list[Name], Field(max_length=64)] = Field(
        default=[], description="Cutover hooks: only for these groups."
    )
    http: HttpCall | None = Field(default=None, description="A request.")
    command: Annotated[list[Line], Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="Program and arguments, no shell. The event is JSON on its standard input."
    )
    environment: Annotated[list[Variable], Field(max_length=16)] = Field(
        default=[],
        description=(
            "Variables with secrets that the program gets. Without it, it gets none whose name or value looks like"
            " one (PASSWORD, SECRET, TOKEN, ...), nor any that `headersFromEnvironment` names."
        ),
    )
    timeout: Duration = Field(default="60s", description="After it the hook has failed; a program is ended.")
    onFailure: Literal["stop", "continue"] = Field(
        default="stop", description="`stop`: nothing after the hook is done; `continue`: a warning."
    )


class Happening(StrEnum):
    """What can be notified."""

    APPLIED = "applied"
    CUTOVER_BEGUN = "cutover-begun"
    GROUP_FINISHED = "group-finished"
    WAVE_FINISHED = "wave-finished"
    FAILED = "failed"


class Notification(ManifestPart):
    """A webhook that is told; its failure is a warning and never more."""

    name: Name = Field(description="Name of the notification.")
    webhook: HttpCall = Field(description="Where to.")
    events: Annotated[list[Annotated[Happening, Field(strict=False)]], Field(min_length=1, max_length=8)] = (
        Field(default=list(Happening), description="What is told.")
    )


class NetworkMapping(ManifestPart):
    """Machines on this network of vCenter use that VSwitch; the first that matches one of a machine's networks wins."""

    source: Line = Field(description="Name of a network or port group in vCenter, glob allowed.")
    vswitch: Word = Field(description="VSwitch id.")
    vpc: Word | None = Field(default=None, description="VPC id.")


class Assumptions(ManifestPart):
    """What estimates rest on. Prices are in `currency`; 0 leaves the cost out."""

    used: Annotated[float, Field(gt=0, le=1, strict=False)] = Field(
        default=1.0, description="Part of a disk's size that is read in the first run."
    )
    dailyChange: Annotated[float, Field(ge=0, le=1, strict=False)] = Field(
        default=0.03, description="Part of it that changes in a day."
    )
    perMachine: Rate = Field(default="800Mbit/s", description="Rate of one machine.")
    link: Rate = Field(default="1Gbit/s", description="Rate of all machines together.")
    parallel: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=10, description="Machines that are read at the same time."
    )
    instanceHour: Annotated[float, Field(ge=0, strict=False)] = Field(
        default=0.0, description="Price of one intermediate instance for one hour."
    )
    diskGibMonth: Annotated[float, Field(ge=0, strict=False)] = Field(
        default=0.0, description="Price of 1 GiB of target disk for a month."
    )
    imageGibMonth: Annotated[float, Field(ge=0, strict=False)] = Field(
        default=0.0, description="Price of 1 GiB of image or snapshot for a month."
    )
    currency: Word = Field(default="EUR", description="Only printed.")


class MigrationWave(ManifestPart):
    """A wave: machines that migrate by one plan."""

    apiVersion: Literal["connector/v1"] = Field(description="Version of this format.")
    kind: Literal["MigrationWave"] = Field(description="What this is.")
    metadata: Metadata = Field(description="What the wave is called.")
    timeZone: Zone | None = Field(
        default=None, description="Of every moment that has no offset of its own, e.g. `Europe/Berlin`."
    )
    defaults: Choices = Field(
        default=Choices(), description="What machines choose unless they say otherwise."
    )
    machines: Annotated[list[MachineEntry], Field(min_length=1, max_length=MAX_MACHINES)] = Field(
        description="The machines of the wave."
    )
    groups: Annotated[list[Group], Field(max_length=64)] = Field(
        default=[],
        description="Order of the cutover. A machine without a group is cut over with the first ones.",
    )
    networks: Annotated[list[NetworkMapping], Field(max_length=256)] = Field(
        default=[], description="Networks of vCenter and their VSwitches."
    )
    schedule: Schedule = Field(default=Schedule(), description="When the first run begins.")
    cutover: CutoverSection | None = Field(
        default=None, description="The cutover's window. Without it: only with `--now`."
    )
    hooks: Annotated[list[Hook], Field(max_length=64)] = Field(
        default=[], description="What is done around phases."
    )
    notifications: Annotated[list[Notification], Field(max_length=16)] = Field(
        default=[], description="Who is told."
    )
    assumptions: Assumptions = Field(default=Assumptions(), description="What estimates rest on.")


def merged(base: Any, over: Any) -> Any:
    """`over` with what it leaves open taken from `base`, field by field; both of one class of `ManifestPart`."""
    values: dict[str, Any] = {}
    for name in type(base).model_fields:
        below, above = getattr(base, name), getattr(over, name)
        if name not in over.model_fields_set:
            values[name] = below
        elif type(below) is type(above) and isinstance(above, ManifestPart):
            values[name] = merged(below, above)
        elif isinstance(below, dict) and isinstance(above, dict):
            values[name] = below | above
        else:
            values[name] = above
    return type(base).model_construct(_fields_set=base.model_fields_set | over.model_fields_set, **values)
