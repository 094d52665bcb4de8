"""Columns of a job and of lists of jobs. The extensions' answers are fetched where they are needed."""

from __future__ import annotations

import json
from typing import Final

from connector import amounts
from connector.cli import drill_remote, drill_view, source_down, tables
from connector.cli.records import JOB, Noun, items, rows
from connector.cli.report import stale_images
from connector.clients.refusal import NotOffered
from connector.clients.smc import Json, SmcClient
from connector.specification import images, limited_by
from connector.specification import source_down as down_words

_PASS: Final = Noun("pass", "DescribeReplicationJobPasses", "Passes", "Pass", "PassId", "p-")
_DRILLS: Final = 3  # of a job that are shown, the newest first
#: States of the API in words for people.
PASS_STATES: Final = {"offered": "waits for an appliance", "taken": "under way"}
_RESOURCE: Final = Noun(
    "resource", "DescribeReplicationJobResources", "Resources", "Resource", "Token", "instance-"
)


def state(row: Json) -> str:
    """The business status while the job runs, else the status, and whether the source is down."""
    word = str(row.get("BusinessStatus") or row.get("Status"))
    return f"{word}, {down_words.TITLE}" if row.get("SourceDown") else word


#: The command for each operation that a job may allow.
_COMMANDS: Final = {
    "StartReplicationJob": "start",
    "StopReplicationJob": "stop",
    "CutOverReplicationJob": "cutover",
    "RollbackReplicationJob": "rollback",
    "DeleteReplicationJob": "delete",
}


def _commands(details: Json) -> list[str]:
    allowed = map(str, items(details, "AllowedOperations", "AllowedOperation"))
    return [f"connector job {_COMMANDS[name]}" if name in _COMMANDS else name for name in allowed]


def _progress(row: Json) -> str:
    """The progress; empty if no pass of this run has read anything."""
    percent = float(row.get("Progress") or 0)
    return "" if not percent and row.get("Status") != "Running" else f"{percent:.0f} %"


def _rhythm(row: Json) -> str:
    if row.get("RunOnce", True):
        return "once"
    kept = amounts.plural(int(str(row.get("MaxNumberOfImageToKeep") or 0)), "image")
    return f"every {row.get('Frequency')} h, {kept} kept"


def _left(disk: Json) -> str:
    seconds = int(disk.get("RemainingSeconds", -1))
    if seconds == 0:
        return "done" if disk.get("WantedBytes") or disk.get("State") == "proved" else "-"
    return "-" if seconds < 0 else f"{seconds // 3600}:{seconds % 3600 // 60:02}:{seconds % 60:02}"


def _outcome(row: Json) -> str:
    """The outcome of a pass, or its state."""
    state = str(row.get("State") or "")
    return str(row.get("Outcome") or PASS_STATES.get(state, state))


def _bytes(name: str, title: str = "") -> tables.Column:
    def cell(row: Json) -> str | None:
        size = row.get(f"{name.title()}Bytes")
        return None if size is None else amounts.size(int(size))

    return title or name, cell


COLUMNS: Final[tuple[tables.Column, ...]] = (
    ("name", lambda row: row.get("Name")),
    ("id", lambda row: row.get("JobId")),
    ("source", tables.named("SourceName", "SourceId")),
    ("state", state),
    ("progress", _progress),
    ("runs", _rhythm),
    ("started", lambda row: row.get("StartTime")),
    ("ended", lambda row: row.get("EndTime")),
    ("image", lambda row: row.get("ImageId")),
    ("error", lambda row: row.get("ErrorCode")),
)
FIELDS: Final[tuple[tables.Column, ...]] = (
    ("attention", lambda row: down_words.of_row(row)),
    (
        "ways on",
        lambda row: (
            source_down.ways_on(str(row.get("Name")), row["Details"]) if down_words.of_row(row) else ""
        ),
    ),
    ("name", lambda row: row.get("Name")),
    ("id", lambda row: row.get("JobId")),
    ("description", lambda row: row.get("Description")),
    ("source", tables.both("SourceName", "SourceId")),
    ("state", lambda row: f"{row.get('Status')} {row.get('BusinessStatus') or ''}"),
    ("allowed", lambda row: ", ".join(_commands(row["Details"]))),
    ("waits for", lambda row: row["Details"].get("WaitingFor")),
    ("error", lambda row: row["Details"].get("ErrorMessage") or row.get("StatusInfo")),
    ("runs", _rhythm),
    ("next run", lambda row: row["Details"].get("NextRunTime")),
    ("starts at", lambda row: row.get("ScheduledStartTime")),
    ("valid until", lambda row: row.get("ValidTime")),
    ("image name", lambda row: row.get("ImageName")),
    ("newest image", lambda row: row.get("ImageId")),
    ("target instance", lambda row: row.get("InstanceId")),
    ("instance", lambda row: row.get("TransitionInstanceId")),
    ("appliance", lambda row: row["Details"].get("ApplianceName")),
    ("phase", lambda row: row["Details"].get("Phase")),
    ("region", lambda row: row.get("RegionId")),
    ("workgroup", tables.both("WorkgroupName", "WorkgroupId")),
    ("tags", tables.tags),
    ("created", lambda row: row.get("CreationTime")),
)
DISKS: Final[tuple[tables.Column, ...]] = (
    ("index", lambda disk: disk.get("Index")),
    ("disk", lambda disk: disk.get("Label")),
    _bytes("wanted", "to copy"),
    _bytes("done", "copied"),
    _bytes("wire", "sent"),
    ("rate", lambda disk: amounts.rate(int(disk.get("BytesPerSecond") or 0))),
    ("left", _left),
    ("limited by", lambda disk: limited_by.named(str(disk.get("Bottleneck") or ""))),
    ("read by", lambda disk: disk.get("Readers")),
)
RUNS: Final[tuple[tables.Column, ...]] = (
    ("started", lambda run: run.get("StartTime")),
    ("ended", lambda run: run.get("EndTime")),
    ("type", lambda run: run.get("Type")),
    ("image", lambda run: run.get("ImageId")),
)
PASSES: Final[tuple[tables.Column, ...]] = (
    ("pass", lambda row: f"run {row.get('RunNumber')}, attempt {row.get('Attempt')}"),
    ("started", lambda row: row.get("StartTime")),
    ("ended", lambda row: row.get("EndTime")),
    ("outcome", _outcome),
    ("appliance", lambda row: row.get("ApplianceName")),
    ("disk", lambda row: row.get("Label")),
    ("kind", lambda row: row.get("Kind")),
    _bytes("planned", "to copy"),
    _bytes("read"),
    _bytes("wire", "sent"),
    ("read by", lambda row: row.get("Readers")),
    ("digest", lambda row: str(row.get("Digest") or "")[:16]),
    ("error", lambda row: row.get("ErrorMessage")),
)
RESOURCES: Final[tuple[tables.Column, ...]] = (
    ("kind", lambda row: row.get("Kind")),
    ("name", lambda row: row.get("Name")),
    ("id", lambda row: row.get("ResourceId")),
    ("note", lambda row: row.get("Note")),
    ("place", lambda row: "target" if row.get("Place") == "cloud" else row.get("Place")),
    ("costs", lambda row: bool(row.get("Billable")) and not row.get("Released")),
    ("released", lambda row: row.get("Released")),
    ("made", lambda row: row.get("CreationTime")),
)


def complete(client: SmcClient, row: Json) -> Json:
    """The job with `Details`, `Passes`, `Resources` and `Drills`; they are empty if the control plane has no extensions."""
    key = row[JOB.key]
    details: list[Json] = []
    try:
        answer = client.call("DescribeReplicationJobProgress", JobId=[key])
        details = items(answer, JOB.plural, JOB.singular)
        passes = list(rows(client, _PASS, JobId=key))
        resources = list(rows(client, _RESOURCE, JobId=key))
    except NotOffered:
        passes, resources = [], []
    return row | {
        "Drills": {"Drill": _drills(client, key)},
        "Details": details[0] if details else {},
        "Passes": {"Pass": passes},
        "Resources": {"Resource": resources},
    }


def _drills(client: SmcClient, key: str) -> list[Json]:
    """The drills, newest first; none of a control plane of an earlier version."""
    try:
        return drill_remote.rows(client, [key])
    except NotOffered:
        return []


def resources(row: Json) -> list[Json]:
    """The resources, each image with a note which one to use if a cutover was rolled back."""
    stale = stale_images(row)
    notes = dict.fromkeys(stale, images.NOT_THIS)
    if stale and row.get("Status") == "Finished" and row.get("ImageId") not in stale:
        notes[str(row.get("ImageId"))] = images.USE_THIS
    return [
        resource
        | {"Note": "; ".join(filter(None, (notes.get(str(resource.get("ImageId"))), _said(resource))))}
        for resource in row["Resources"]["Resource"]
    ]


def _said(resource: Json) -> str:
    """What the provider says of an image: of its format, its conversion, the start of a copy."""
    details = json.loads(resource.get("Details") or "{}")
    return str(details.get("note") or "")


def print_job(row: Json) -> None:
    """Print the answer of `complete` for people."""
    tables.shown(row, FIELDS)
    tables.section("disks", items(row["Details"], "Disks", "Disk"), DISKS, lead=("index", "disk"))
    tables.section("runs", _runs(row), RUNS)
    tables.section(
        "passes",
        [line for pass_row in row["Passes"]["Pass"] for line in _per_disk(pass_row)],
        PASSES,
        lead=("pass", "disk"),
    )
    tables.section("drills", row["Drills"]["Drill"][:_DRILLS], drill_view.COLUMNS, lead=("asked", "image"))
    tables.section("created for this job", resources(row), RESOURCES, lead=("kind", "name"))


def _runs(row: Json) -> list[Json]:
    """The runs; one that shut the source down is a cutover, whoever began it."""
    cutovers = {attempt.get("RunNumber") for attempt in row["Passes"]["Pass"] if attempt.get("Final")}
    runs = items(row, "ReplicationJobRuns", "ReplicationJobRun")
    return [run | ({"Type": "Cutover"} if number in cutovers else {}) for number, run in enumerate(runs, 1)]


def _per_disk(row: Json) -> list[Json]:
    return [row | disk for disk in items(row, "Disks", "Disk")] or [row]
