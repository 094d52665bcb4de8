"""The final table has a row for each disk and pass: bytes planned, read and sent, and the digest that proves them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from connector import amounts
from connector.cli import records
from connector.cli.display import print_table
from connector.clients.smc import Json, SmcClient
from connector.specification import images

COLUMNS = (
    ("machine", "left"),
    ("disk", "left"),
    ("pass", "left"),
    ("capacity", "right"),
    ("to copy", "right"),
    ("read", "right"),
    ("sent", "right"),
    ("ratio", "right"),
    ("rate", "right"),
    ("downtime", "right"),
    ("digest", "left"),
)


@dataclass(frozen=True, slots=True)
class DiskReport:
    """One disk in one pass, in bytes and seconds. `planned`: bytes that were allocated or had changed."""

    machine: str
    disk: str
    key: int
    kind: str
    capacity: int
    planned: int
    read: int
    zero: int
    wire: int
    seconds: float
    digest: str
    note: str = ""
    downtime: float | None = None
    readers: str = ""

    @property
    def ratio(self) -> float | None:
        """Bytes read for each byte sent."""
        return self.read / self.wire if self.wire and self.read else None

    @property
    def rate(self) -> float | None:
        return self.read / self.seconds if self.seconds > 0 and self.read else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio, "rate": self.rate}


@dataclass(frozen=True, slots=True)
class JobReport:
    """One job that rests. `snapshots`: the cost of each snapshot. `downtime`: see `forecasts`. `note`: why nothing was done."""

    machine: str
    status: str
    disks: list[DiskReport]
    images: list[dict[str, Any]]
    snapshots: list[dict[str, Any]]
    downtime: dict[str, float | None]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"disks": [disk.to_json() for disk in self.disks]}


def report(client: SmcClient, job: Json) -> JobReport:
    """The report of a job at its end. `job`: the answer of DescribeReplicationJobProgress."""
    passes = list(records.rows(client, records.PASS, JobId=job["JobId"]))[::-1]
    resources = records.rows(client, records.RESOURCE, JobId=job["JobId"])
    stale = stale_images(records.find(client, records.JOB, job["JobId"]))
    return JobReport(
        machine=job["SourceName"],
        status=job["Status"],
        disks=disk_reports(job, passes),
        images=[
            _image(job["JobId"], row) | {"rolled_back": row["ImageId"] in stale}
            for row in resources
            if row["ImageId"]
        ],
        snapshots=snapshot_costs(job, passes),
        downtime=forecasts(job, passes),
    )


def stale_images(job: Json) -> frozenset[str]:
    """Ids of the images of cutovers that were rolled back. `job`: the answer of DescribeReplicationJobs."""
    runs = records.items(job, "ReplicationJobRuns", "ReplicationJobRun")
    kinds = [(str(run.get("Type") or ""), str(run.get("ImageId") or "")) for run in runs]
    return images.rolled_back(kinds, cut_over=bool(job.get("CutOver")))


def disk_reports(job: Json, passes: Sequence[Json]) -> list[DiskReport]:
    """All disks of all passes that are done, oldest first."""
    return [
        _row(job["SourceName"], disk, downtime(row))
        for row in passes
        for disk in records.items(row, "Disks", "Disk")
    ]


def downtime(row: Json) -> float | None:
    """Seconds from the first request to shut the machine down until its image existed, including all interruptions.

    None for a pass that needed no shutdown.
    """
    return _known(row["DowntimeSeconds"])


def snapshot_costs(job: Json, passes: Sequence[Json]) -> list[dict[str, Any]]:
    """The cost of the snapshots of a job's passes, oldest first: seconds, and whether a snapshot still exists."""
    rows = [
        {
            "machine": job["SourceName"],
            "pass": pass_row["PassId"],
            "create": _known(pass_row["SnapshotCreateSeconds"]),
            "remove": _known(pass_row["SnapshotRemoveSeconds"]),
            "left": pass_row["SnapshotLeft"],
            "governor": [
                {"at": _seconds(change["Time"]), "pace": change["Pace"], "reason": change["Reason"]}
                for change in records.items(pass_row, "PaceChanges", "PaceChange")
            ],
        }
        for pass_row in passes
    ]
    return [row for row in rows if (row["create"], row["remove"], row["left"]) != (None, None, "")]


def forecasts(job: Json, passes: Sequence[Json]) -> dict[str, float | None]:
    """The downtime of a cutover in seconds: the prediction at its beginning, and the measured one."""
    finals = [row for row in passes if row["Final"] and row["Outcome"] == "done"]
    return {
        "predicted": _known(job["PredictedDowntimeSeconds"]),
        "measured": downtime(finals[-1]) if finals else None,
    }


def show_snapshot_costs(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print for each snapshot the times of its tasks, which include the stun, what slowed the reading, and why it was left."""
    for row in rows:
        durations = (
            f"{what} in {row[key]:.2f} s" for key, what in _SNAPSHOT_COST if row.get(key) is not None
        )
        if line := ", ".join(durations):
            console.print(f"{row['machine']}: snapshot {line} (the stun is a part of it)", highlight=False)
        for change in row.get("governor", ()):
            why = f": {change['reason']}" if change["reason"] else ""
            console.print(f"{row['machine']}: {change['pace']}{why}", highlight=False)
        if row.get("left"):
            console.print(f"{row['machine']}: its snapshot still exists: {row['left']}", highlight=False)


def show_forecast(machine: str, seconds: Mapping[str, float | None], console: Console) -> None:
    """Print the measured and the predicted downtime after a cutover."""
    if seconds["measured"] is None:
        return
    predicted = f", predicted {seconds['predicted']:.0f} s" if seconds["predicted"] is not None else ""
    console.print(f"{machine}: down for {seconds['measured']:.0f} s{predicted}", highlight=False)


_SNAPSHOT_COST = (("create", "taken"), ("remove", "removed"))


def _known(seconds: float) -> float | None:
    return None if seconds < 0 else float(seconds)


def _seconds(time: str) -> float | None:
    return datetime.fromisoformat(time).timestamp() if time else None


def _image(job: str, row: Json) -> dict[str, Any]:
    return {
        "id": row["ImageId"],
        "job_id": job,
        "run_id": row["Token"].removeprefix("image-"),
        "name": row["Name"],
        "format": row["Format"],
        "ready": row["Ready"],
        "details": json.loads(row["Details"]),
        "created": _seconds(row["CreationTime"]),
        "removed": row["Released"],
        "completed": _seconds(row["CompletedTime"]),
    }


def _row(machine: str, disk: Json, down: float | None) -> DiskReport:
    return DiskReport(
        machine=machine,
        disk=disk["Label"],
        key=disk["DiskKey"],
        kind=disk["Kind"],
        capacity=disk["SizeBytes"],
        planned=disk["PlannedBytes"],
        read=disk["ReadBytes"],
        zero=disk["ZeroBytes"],
        wire=disk["WireBytes"],
        seconds=disk["Seconds"],
        digest=disk["Digest"],
        note=disk["Note"],
        downtime=down,
        readers=disk["Readers"],
    )


def show(reports: Sequence[DiskReport], console: Console) -> None:
    """Print the table and the notes below it, such as why a disk was read in full."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, side in COLUMNS:
        table.add_column(title, justify="right" if side == "right" else "left", no_wrap=True)
    for row in reports:
        table.add_row(*_cells(row))
    print_table(table, console, lead=("machine", "disk", "kind"))
    for line in _notes(reports):
        console.print(line, highlight=False)


def _cells(row: DiskReport) -> Iterable[str]:
    yield row.machine
    yield row.disk
    yield row.kind
    yield from (amounts.size(value) for value in (row.capacity, row.planned, row.read, row.wire))
    yield "-" if row.ratio is None else f"{row.ratio:.1f}"
    yield "-" if row.rate is None else amounts.rate(row.rate)
    yield "-" if row.downtime is None else f"{row.downtime:.1f} s"
    yield row.digest[:16]


def _notes(reports: Sequence[DiskReport]) -> Iterable[str]:
    for row in reports:
        if row.note:
            yield f"{row.machine} {row.disk}: {row.note}"
    readers = {row.readers for row in reports if row.readers}
    if len(readers) == 1:
        yield f"read by {min(readers)}"
    elif readers:
        yield from (f"{row.machine} {row.disk}, {row.kind}: read by {row.readers}" for row in reports)
