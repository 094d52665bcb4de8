"""Parameters and answers of the operations on jobs and of the extensions. Data only."""

from __future__ import annotations

from typing import Final

from connector.control.domain.jobs import BusinessStatus, JobStatus
from connector.control.smc.operations import Field
from connector.specification import image_formats, kinds
from connector.specification.fields import JOB_FIELDS
from connector.specification.value import Flag, ListOf, OneOf, Parameter, Text, Whole

JOB_ID: Final = Parameter("JobId", kinds.ID, required=True)

_STATUSES: Final = OneOf(tuple(str(s) for s in JobStatus if s is not JobStatus.DELETED))
_BUSINESS: Final = OneOf(tuple(str(b) for b in BusinessStatus if b))
_WORD: Final = Text(0, 256)

#: One parameter for each field of a job. A field that is part of another has none.
_FIELDS: Final = tuple(
    (field, Parameter(field.name, field.kind, field.required, field.help))
    for field in JOB_FIELDS
    if field.parameter and not field.part_of
)

CREATE: Final = tuple(parameter for _, parameter in _FIELDS)
MODIFY: Final = (JOB_ID, *(parameter for field, parameter in _FIELDS if field.changes))

DESCRIBE: Final = (
    Parameter("JobId", ListOf(kinds.ID, 50)),
    Parameter("SourceId", ListOf(kinds.ID, 50)),
    Parameter("InstanceId", ListOf(kinds.ID, 50), meaning="destination instances"),
    Parameter("Name", kinds.WORD, meaning="exact"),
    Parameter("Status", _STATUSES),
    Parameter("BusinessStatus", _BUSINESS),
    Parameter("JobType", Whole(0, 3)),
    Parameter("RegionId", Text(1, 80)),
    Parameter("ResourceGroupId", kinds.WORD),
    kinds.TAG_FILTER,
    *kinds.PAGE,
)

CUT_OVER: Final = (JOB_ID, Parameter("SyncData", Flag(), meaning="one more run first; default false"))

#: A disk of the cross-zone operation, which is refused.
CROSS_ZONE: Final = (
    Parameter("RegionId", Text(1, 80)),
    *(
        Parameter(name, _WORD)
        for name in ("InstanceId", "TargetZoneId", "TargetVSwitchId", "TargetInstanceType")
    ),
    Parameter("AutoPay", Flag()),
    Parameter("ClientToken", kinds.TOKEN),
    Parameter("ResourceGroupId", _WORD),
    Parameter("Disk", ListOf(kinds.CROSS_ZONE_DISK, 64)),
)


MAX_RESULTS: Final = 500
DEFAULT_RESULTS: Final = 100

PROGRESS: Final = (Parameter("JobId", ListOf(kinds.ID, 50), required=True),)
LOG: Final = (
    JOB_ID,
    Parameter(
        "AfterEntryId", Whole(0, (1 << 31) - 1), meaning="only what came later; default: the newest entries"
    ),
    Parameter("MaxResults", Whole(1, MAX_RESULTS), meaning=f"default {DEFAULT_RESULTS}"),
)
PASSES: Final = (JOB_ID, *kinds.PAGE)
EVIDENCE: Final = (JOB_ID,)
MANIFEST: Final = (
    JOB_ID,
    Parameter("PassId", kinds.ID, required=True, meaning="a pass that DescribeReplicationJobEvidence lists"),
)
RESOURCES: Final = (
    JOB_ID,
    Parameter("Released", Flag(), meaning="false: only what exists, true: only what is gone"),
    *kinds.PAGE,
)
LEFT_OUT: Final = (
    JOB_ID,
    Parameter(
        "DiskKey",
        ListOf(Whole(0), 64, "Duplicate.DiskKey"),
        meaning="all disks to leave out, as DescribeSourceServerFindings lists them; none: every disk is migrated",
    ),
)
KEEP_TRACKING: Final = Parameter(
    "KeepChangeTracking",
    Flag(),
    meaning="leave CBT on although a pass turned it on, because another cutover will follow; default false",
)
ROLLBACK: Final = (JOB_ID, KEEP_TRACKING)
FINDINGS: Final = (
    Parameter("SourceId", ListOf(kinds.ID, 50)),
    Parameter("MachineId", ListOf(kinds.WORD, 50), meaning="managed object references"),
    Parameter("WorkgroupId", kinds.WORD),
    *kinds.PAGE,
)
ESTIMATE: Final = (
    Parameter("SourceId", ListOf(kinds.ID, 1000), required=True),
    Parameter(
        "BandwidthLimit",
        Whole(1, 1_000_000, "Mbit/s"),
        meaning="rate of the link that all sources share; default: what the newest passes of their vCenters have reached",
    ),
    Parameter("AtOnce", Whole(1, 1000), meaning="sources that are migrated at a time; default 2"),
)
APPLIANCES: Final = (
    Parameter("ApplianceId", ListOf(kinds.ID, 50)),
    Parameter("Name", kinds.WORD, meaning="exact"),
    Parameter("VCenter", kinds.WORD, meaning="its instance UUID, exact"),
    Parameter("Online", Flag()),
    *kinds.PAGE,
)


def _text(name: str, meaning: str = "") -> Field:
    return Field(name, "string", meaning)


def _whole(name: str, meaning: str = "") -> Field:
    return Field(name, "integer", meaning)


def _flag(name: str, meaning: str = "") -> Field:
    return Field(name, "boolean", meaning)


def _time(name: str, meaning: str) -> Field:
    return Field(name, "string", f"{meaning}; empty: not yet")


def _list(name: str, item: str, *fields: Field, meaning: str = "") -> Field:
    return Field(name, "list", meaning, item, fields)


_PAGE: Final = (_whole("TotalCount"), _whole("PageNumber"), _whole("PageSize"))

_READERS: Final = _text("Readers", "what read the disk for this pass, in this order: vddk, nfc, https")
_RATE: Final = _whole("BytesPerSecond", "made durable, over the last seconds; 0 when nothing is read")
_REMAINING: Final = _whole("RemainingSeconds", "at this rate; -1: not known")

_DISK_KEY: Final = _whole("DiskKey", "vCenter's key; -1: not known")

PROGRESS_ANSWER: Final = (
    _list(
        "ReplicationJobs",
        "ReplicationJob",
        _text("JobId"),
        _text("Name"),
        _text("SourceId"),
        _text("SourceName"),
        _text("Status"),
        _text("BusinessStatus"),
        _list(
            "AllowedOperations", "AllowedOperation", meaning="names of operations that the state allows now"
        ),
        _text("WaitingFor", "what the job waits for, in words"),
        _time("NextRunTime", "of an incremental job in Waiting"),
        _flag("CutOver", "the cutover has been asked for"),
        _text("ErrorCode"),
        _text("ErrorMessage", "what failed, and what to do"),
        _text("ErrorKind", "the kind of error, as docs/errors.md lists them; empty: none"),
        _text("ErrorReason", "what failed"),
        _text("ErrorSubject", "on which object; empty: said already"),
        _text("ErrorRemedy", "what to do"),
        _flag("ErrorRetryable", "the same again may succeed"),
        _whole("RunNumber", "of the newest run, from 1; 0: none yet"),
        _text("RunType", "Manual, Schedule or Rollback"),
        _time("RunStartTime", "with milliseconds"),
        _time("RunEndTime", "with milliseconds"),
        _text("RunOutcome", "done, failed or stopped; empty while it lasts"),
        _flag("StopRequested"),
        _text("PassId", "the newest pass"),
        _text("ApplianceName", "who reads"),
        _text("Phase", "what the pass does, in words"),
        Field("Progress", "float", "0 to 100"),
        _whole("WantedBytes", "the pass's plan"),
        _whole("DoneBytes", "durable of it"),
        _whole("WireBytes", "what crossed the network"),
        _RATE,
        _REMAINING,
        _flag("SourceDown", "a cutover has shut the source down, and neither it nor a rollback has ended"),
        _time("DownSinceTime", "when our cutover asked the source to shut down"),
        _whole(
            "BackInSeconds", "until the cutover is expected to end; 0: longer than predicted; -1: not known"
        ),
        Field("PredictedDowntimeSeconds", "float", "said when the cutover began; -1: nothing was known"),
        _list(
            "Disks",
            "Disk",
            _whole("Index", "0 is the system disk"),
            _DISK_KEY,
            _text("Label"),
            _whole("SizeBytes"),
            _text("State"),
            _whole("WantedBytes"),
            _whole("DoneBytes"),
            _whole("ReadBytes"),
            _whole("ZeroBytes"),
            _whole("WireBytes"),
            _RATE,
            _REMAINING,
            _text(
                "Bottleneck",
                "what limits the rate: reading (the source), network, limit (the bandwidth limit), cpu, writing (the target)",
            ),
            _READERS,
        ),
        meaning="in the order asked for; unknown ids are left out",
    ),
)

LOG_ANSWER: Final = (
    _text("JobId"),
    _text("Status", "the status when the log was read; the entry that led to it is in the log"),
    _whole("TotalCount", "entries in all"),
    _list(
        "LogEntries",
        "LogEntry",
        _whole("EntryId", "grows; AfterEntryId of the next request"),
        _text("Time"),
        _text("Kind"),
        _text("Text"),
        meaning="oldest first",
    ),
)

_FORECAST: Final = tuple(
    Field(f"Forecast{part}Seconds", "float", meaning)
    for part, meaning in (
        ("", "how long a cutover that begins now would keep the source down; -1: not known yet"),
        ("Shutdown", "part of it, until the guest is off"),
        ("Snapshot", "taking and removing the snapshot"),
        ("Reading", "what has changed"),
        ("Rest", "proof and the rest of the pass"),
        ("Image", "the image"),
    )
)

PASSES_ANSWER: Final = (
    *_PAGE,
    *_FORECAST,
    _whole("ForecastBytes", "bytes that it would read; -1: not known yet"),
    _list(
        "Passes",
        "Pass",
        _text("PassId"),
        _whole("RunNumber"),
        _whole("Attempt"),
        _text("Task", "what it does: read, final (read, with the machine shut down), shutdown or power-on"),
        _flag("Final", "with the source shut down"),
        _text("State", "Offered, Taken, Finished or Lost"),
        _text("Outcome", "done, failed or stopped; empty while it lasts"),
        _text("ApplianceName"),
        _time("OfferedTime", "when an appliance could take it"),
        _time("StartTime", "when an appliance took it"),
        _time("EndTime", "when it ended"),
        _text("ErrorMessage"),
        Field("DowntimeSeconds", "float", "from shutting the source down to the image; -1: it was not"),
        Field(
            "SnapshotCreateSeconds",
            "float",
            "duration of vCenter's task, during which the machine is stunned; -1: not known",
        ),
        Field("SnapshotRemoveSeconds", "float", "the same for its removal"),
        _text("SnapshotLeft", "why the snapshot still exists; empty: it is gone"),
        _list(
            "PaceChanges",
            "PaceChange",
            _text("Time"),
            _text("Pace", "how the source was read from then on"),
            _text("Reason", "what made it so"),
            meaning="oldest first",
        ),
        _list(
            "Disks",
            "Disk",
            _DISK_KEY,
            _text("Label"),
            _text("Kind", "what was read: full, delta, ..."),
            _whole("SizeBytes"),
            _whole("PlannedBytes", "allocated, or changed since the base"),
            _whole("ReadBytes"),
            _whole("ZeroBytes"),
            _whole("WireBytes"),
            Field("Seconds", "float"),
            _text("Digest", "the digest that both ends agreed on"),
            _text("Note", "such as why the whole disk was read"),
            _READERS,
            meaning="for a pass that is done",
        ),
        meaning="newest first",
    ),
)

EVIDENCE_ANSWER: Final = (
    _text("JobId"),
    _list(
        "Evidences",
        "Evidence",
        _text("PassId"),
        _whole("RunNumber"),
        _text("CreationTime"),
        _whole("Size", "bytes of the manifest"),
        _text("Fingerprint", "of the key that signed it"),
        _text("PublicKey", "that key, PEM"),
        meaning="oldest first",
    ),
)

MANIFEST_ANSWER: Final = (
    _text("JobId"),
    _text("PassId"),
    _text("Manifest", "exactly the bytes that were signed; see docs/evidence.md"),
)

RESOURCES_ANSWER: Final = (
    *_PAGE,
    _list(
        "Resources",
        "Resource",
        _text("Kind", "instance, image, snapshot, ..."),
        _text("Place", "cloud or vcenter"),
        _text("ResourceId", "the place's own id for it; empty: recorded, not created yet"),
        _text("Name", "of an image"),
        _text("ImageId", "of an image"),
        _text("Format", f"of an image: {', '.join(image_formats.NAMES)}"),
        _flag("Ready", "an image that is complete"),
        _text("Location", "of an image: where it is, in the provider's own form"),
        _text("Details", "of an image: everything that the provider reports about it, as JSON"),
        _time("CompletedTime", "of an image"),
        _flag("Billable", "it is in the cloud and costs money"),
        _flag("Released", "it is gone"),
        _text("Token", "by which the place knows it as ours"),
        _text("PassId", "the pass that needed it"),
        _text("CreationTime"),
        meaning="oldest first",
    ),
)

LEFT_OUT_ANSWER: Final = (_text("JobId"), _list("LeftOutDisks", "DiskKey"))

ROLLBACK_ANSWER: Final = (_text("JobId"), _text("Status"), _text("BusinessStatus"))

_MEMBERS: Final = _list(
    "Members",
    "Member",
    _text("JobId"),
    _text("Name"),
    _text("SourceId"),
    _whole("Rank", "the lowest is shut down first and started last"),
    _whole("StartPlace", "1 should be started first at the target; equal ones side by side"),
    _text("Status"),
    _text("BusinessStatus"),
    _flag("CutOver"),
    _text("WaitingFor", "what its pass waits for, e.g. another member to be off"),
    _time("DownSince", "when the source was asked to shut down"),
    _text("ErrorMessage"),
)
_SPREAD: Final = _whole(
    "Spread",
    "seconds between the snapshots of the last run that all were read by together; -1: there was none",
)
_SETTLED: Final = _flag("Settled", "nothing of it runs, and nothing is about to be rolled back")
APPLICATION_ANSWER: Final = (_text("Name"), _SETTLED, _SPREAD, _MEMBERS)
APPLICATIONS_ANSWER: Final = (_list("Applications", "Application", *APPLICATION_ANSWER),)

FINDINGS_ANSWER: Final = (
    *_PAGE,
    _list(
        "SourceServers",
        "SourceServer",
        _text("SourceId"),
        _text("Name"),
        _text("State"),
        _text("VCenter", "its instance UUID"),
        _text("VCenterUrl", "as its appliance reaches it; empty: not known"),
        _text("MachineId", "its managed object reference"),
        _text("InstanceUuid", "vCenter's own UUID of the machine"),
        _text("MachineName", "its name in vCenter"),
        _text("InventoryPath", "e.g. /DC0/vm/prod/web-01"),
        _text("ClusterName", "empty: not known, or a host of its own"),
        _list("Networks", "Network", meaning="names"),
        _list("MachineTags", "MachineTag", meaning="names of its tags in vCenter"),
        _text("PowerState"),
        _text("GuestName"),
        _text("Firmware"),
        _list(
            "DiskKeys",
            "DiskKey",
            meaning="vCenter's keys, in the order of the disks of DescribeSourceServers",
        ),
        _flag("CbtEnabled"),
        _time("LastSeenTime", "when an appliance saw it last"),
        _flag("Eligible", "a job can be created: what blocks concerns at most disks that it can leave out"),
        _list(
            "Findings",
            "Finding",
            _text("Check"),
            _text("Severity", "block, warm-block (only while it runs), warn or info"),
            _text("Subject"),
            _text("Message"),
            _text("Remedy"),
        ),
        meaning="newest first",
    ),
)

_PERIOD: Final = tuple(
    Field(f"{part}Seconds", "float", meaning)
    for part, meaning in (
        ("Before", "instances and snapshots"),
        ("Transfer", "data / rate"),
        ("Image", "data / 30 MiB a second, for each source"),
        ("After", "release, and a first look"),
        ("Total", ""),
    )
)
ESTIMATE_ANSWER: Final = (
    *_PERIOD,
    _whole("BytesPerSecond", "of the link"),
    _flag("RateMeasured", "passes have reached it; else it was given"),
    _list(
        "SourceServers",
        "SourceServer",
        _text("SourceId"),
        _text("Name"),
        _whole("Bytes", "to be moved"),
        _flag("BytesMeasured", "its newest full pass had to read them; else the capacity of its disks"),
        *_PERIOD,
        meaning="each of them alone, in the order asked for",
    ),
)

APPLIANCES_ANSWER: Final = (
    *_PAGE,
    _list(
        "Appliances",
        "Appliance",
        _text("ApplianceId"),
        _text("Name"),
        _text("VCenter"),
        _text("Version"),
        _flag("Online", "heard of within the grace time"),
        _text("HeartbeatTime"),
        _text("CreationTime"),
        _text("AccessTokenId", "the activation code that it enrolled with; empty: the built-in one"),
        _text("AccessTokenName", "its name; empty: it is gone, or built in"),
        _text("State", "waiting (for approval), approved or revoked"),
        _text("WorkgroupId", "its tenant; empty: the administrator"),
        _text("WorkgroupName"),
        _text("Notice", "what of its inventory is not registered, and why"),
        meaning="by name",
    ),
)
