"""The table at the end: per disk and pass, what was there, what was read, what crossed the wire, and how it was proved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

COLUMNS = (
    ("machine", "left"),
    ("disk", "left"),
    ("pass", "left"),
    ("capacity", "right"),
    ("planned", "right"),
    ("read", "right"),
    ("wire", "right"),
    ("ratio", "right"),
    ("rate", "right"),
    ("downtime", "right"),
    ("digest", "left"),
)


@dataclass(frozen=True, slots=True)
class DiskReport:
    """One disk in one pass. Bytes and seconds; `planned` is what was allocated or had changed."""

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

    @property
    def ratio(self) -> float | None:
        """Plain bytes read for one byte on the wire."""
        return self.read / self.wire if self.wire and self.read else None

    @property
    def rate(self) -> float | None:
        return self.read / self.seconds if self.seconds > 0 and self.read else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio, "rate": self.rate}


def disk_reports(job: Mapping[str, Any]) -> list[DiskReport]:
    """Every finished pass of one job as the control plane shows it, oldest first."""
    name, rows = job["source_name"], []
    for done in job["passes"]:
        result = done.get("result") or {}
        for disk in result.get("disks", ()):
            rows.append(_row(name, disk, downtime(job, done)))
    return rows


def downtime(job: Mapping[str, Any], done: Mapping[str, Any]) -> float | None:
    """Seconds from first asking a machine to shut down until its image existed, through whatever happened in between.

    None for a pass that needed no shutdown.
    """
    since = job.get("down_since")
    if since is None or not done["final"]:
        return None
    made = [image["completed"] for image in job["images"] if image["run_id"] == done["run_id"]]
    return float(max((m for m in made if m), default=done["ended"] or since)) - float(since)


def tolls(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the snapshots of one job's finished passes cost its machine, oldest first: seconds, and what still stands."""
    return [
        {"machine": job["source_name"], "pass": done["id"]}
        | done["result"]["toll"]
        | {"governor": done["result"].get("governor", [])}
        for done in job["passes"]
        if (done.get("result") or {}).get("toll")
    ]


def show_tolls(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Per snapshot: its tasks' times, within which the machine was stunned, what slowed its reading, why it resisted."""
    for row in rows:
        took = (f"{what} in {row[key]:.2f} s" for key, what in _TOLL if row.get(key) is not None)
        if line := ", ".join(took):
            console.print(f"{row['machine']}: snapshot {line} (the stun is a part of it)", highlight=False)
        for change in row.get("governor", ()):
            why = f": {change['reason']}" if change["reason"] else ""
            console.print(f"{row['machine']}: {change['pace']}{why}", highlight=False)
        if row.get("left"):
            console.print(f"{row['machine']}: its snapshot still stands: {row['left']}", highlight=False)


def forecasts(job: Mapping[str, Any]) -> dict[str, float | None]:
    """The downtime of a cutover in seconds: as it was predicted when it began, and as it was."""
    finals = [done for done in job["passes"] if done["final"] and done.get("result")]
    return {
        "predicted": job.get("predicted_downtime"),
        "measured": downtime(job, finals[-1]) if finals else None,
    }


def show_forecast(machine: str, seconds: Mapping[str, float | None], console: Console) -> None:
    """One line after a cutover."""
    if seconds["measured"] is None:
        return
    said = f", predicted {seconds['predicted']:.0f} s" if seconds["predicted"] is not None else ""
    console.print(f"{machine}: down for {seconds['measured']:.0f} s{said}", highlight=False)


_TOLL = (("create", "taken"), ("remove", "removed"))


def _row(machine: str, disk: Mapping[str, Any], down: float | None) -> DiskReport:
    return DiskReport(
        machine=machine,
        disk=str(disk["label"]),
        key=int(disk["key"]),
        kind=str(disk["kind"]),
        capacity=int(disk["capacity"]),
        planned=int(disk["planned"]),
        read=int(disk["read"]),
        zero=int(disk["zero"]),
        wire=int(disk["wire"]),
        seconds=float(disk["seconds"]),
        digest=str(disk["digest"]),
        note=str(disk.get("note", "")),
        downtime=down,
    )


def show(reports: Sequence[DiskReport], console: Console) -> None:
    """Print the table, and below it every note (why a disk was read in full, what could not be tracked)."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, side in COLUMNS:
        table.add_column(title, justify="right" if side == "right" else "left", no_wrap=True)
    for row in reports:
        table.add_row(*_cells(row))
    console.print(table)
    for line in _notes(reports):
        console.print(line, highlight=False)


def _cells(row: DiskReport) -> Iterable[str]:
    yield row.machine
    yield row.disk
    yield row.kind
    yield from (decimal(value) for value in (row.capacity, row.planned, row.read, row.wire))
    yield "-" if row.ratio is None else f"{row.ratio:.1f}"
    yield "-" if row.rate is None else f"{decimal(int(row.rate))}/s"
    yield "-" if row.downtime is None else f"{row.downtime:.1f} s"
    yield row.digest[:16]


def _notes(reports: Sequence[DiskReport]) -> Iterable[str]:
    for row in reports:
        if row.note:
            yield f"{row.machine} {row.disk}: {row.note}"
