"""A drill that the control plane does: ask for it, follow it, and tell its result as if it had been done here."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from pathlib import Path
from typing import Any, Final

import click

from connector import files
from connector.cli import drill_view
from connector.cli.records import items
from connector.clients.smc import Json, SmcClient
from connector.errors import (
    BadInput,
    BootFailed,
    ConnectorError,
    ControlFailed,
    Ineligible,
    Interrupted,
    NotFound,
    from_json,
)
from connector.outages import Silence
from connector.specification import drill_words

PACE: Final = 1.0  # seconds between two looks


def asked(client: SmcClient, job: Json, **options: Any) -> Json:
    """Ask for a drill, or a plan, and wait for its end; answer its row. Raises why it has no result."""
    row = client.call("StartReplicationJobDrill", JobId=job["JobId"], **options)
    try:
        row = _ended(client, job, row)
    except KeyboardInterrupt:
        raise Interrupted(
            "stopped watching; the drill goes on",
            on=str(job["Name"]),
            remedy=f"`connector job show {job['Name']}` shows its result, `connector job drill {job['Name']} --stop` ends it",
        ) from None
    if row["State"] != "Done":
        raise _failure(row, str(job["Name"]))
    return row


def rows(client: SmcClient, job_ids: list[str], **filters: Any) -> list[Json]:
    """The drills of jobs, newest first."""
    return items(client.call("DescribeReplicationJobDrills", JobId=job_ids, **filters), "Drills", "Drill")


def tell(client: SmcClient, row: Json, report_to: Path | None, as_json: bool) -> None:
    """Tell the result of a drill that is done; keep its files. Raises BootFailed when the machine does not come up."""
    report = drill_view.report(row)
    if report_to is not None:
        report = _fetched(client, row, report, report_to)
    if as_json:
        click.echo(json.dumps(report))
    else:
        for line in _lines(row, report):
            click.echo(line)
    if row["Verdict"] != "boots":
        raise BootFailed(
            f"does not boot: {drill_words.result(row).partition(': ')[2]}",
            on=str(row["ImageName"]),
            remedy=f"see {report_to}" if report_to else "say --report DIR to get its console and its screen",
        )


def require_convertible(row: Json) -> None:
    """Raise Ineligible for a guest that was not converted."""
    if refusal := str(row.get("Refusal") or ""):
        raise Ineligible(
            f"cannot be converted: {refusal}",
            on=str(row["ImageName"]),
            remedy="a drill starts it as it is",
        )


def _lines(row: Json, report: Json) -> list[str]:
    lines = [f"image {row['ImageName']} of run {row['RunNumber']}"]
    if report.get("refusal"):
        lines.append(f"not converted: {drill_view.visible_line(str(report['refusal']))}")
    if conversion := report.get("conversion"):
        lines += drill_view.plan_lines(conversion)
        if row["ConversionSeconds"]:
            lines.append(f"converted in {row['ConversionSeconds']:.0f} s")
    lines += drill_view.boot_lines(report["boot"])
    return lines + ([f"note: {row['Note']}"] if row.get("Note") else [])


def _ended(client: SmcClient, job: Json, row: Json) -> Json:
    """Wait, and say what it does whenever that changes."""
    silence, last_phase = Silence(_say), ""
    while True:
        if (phase := _phase(row)) != last_phase:
            last_phase = phase
            _say(phase)
        if row["State"] not in drill_words.OPEN:
            return row
        time.sleep(PACE)
        try:
            row = _again(client, job, row)
            silence.heard()
        except ControlFailed as failed:
            silence.bear(failed)


def _again(client: SmcClient, job: Json, row: Json) -> Json:
    for newer in rows(client, [job["JobId"]]):
        if newer["DrillId"] == row["DrillId"]:
            return newer
    raise NotFound(
        "the drill is gone", on=str(job["Name"]), remedy="somebody deleted the job; see `connector job list`"
    )


def _phase(row: Json) -> str:
    if row["State"] == "Waiting":
        return "waiting for the control plane: one drill runs at a time"
    return drill_view.visible_line(str(row["Phase"])) if row["State"] == "Running" else ""


def _say(line: str) -> None:
    """On standard error, so that it does not mix with the result."""
    if line:
        click.echo(line, err=True)


def _failure(row: Json, name: str) -> ConnectorError:
    """Why a drill has no result."""
    if row["State"] == "Stopped":
        return Interrupted("the drill was stopped", on=name, remedy="run the same command again")
    body = {
        "error": row["ErrorKind"],
        "what": f"the drill failed: {row['ErrorReason'] or row['State']}",
        "on": row["ErrorSubject"] or name,
        "remedy": row["ErrorRemedy"] or "run the same command again",
    }
    return from_json(body, ControlFailed)


#: The fields of a report that name the files of a drill.
_FIELDS: Final = {"console.log": "console", "screen.png": "screen", "screen.jpg": "screen"}


def _fetched(client: SmcClient, row: Json, report: Json, directory: Path) -> Json:
    """Fetch what the drill kept, and write it with the report; answer the report with the names of our files."""
    boot = dict(report["boot"]) | {"console": None, "screen": None}
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for kept in items(row, "Files", "File"):
            name = _FIELDS[kept["Name"]]
            files.replace(directory / kept["Name"], _content(client, row, kept))
            boot[name] = str(directory / kept["Name"])
        fetched = report | {"boot": boot}
        files.replace(directory / "report.json", (json.dumps(fetched, indent=2) + "\n").encode())
    except OSError as error:
        raise BadInput(
            f"cannot be written ({error.strerror})", on=str(directory), remedy="name another --report"
        ) from error
    return fetched


def _content(client: SmcClient, row: Json, kept: Json) -> bytes:
    answer = client.call(
        "ExportReplicationJobDrillFile", JobId=row["JobId"], DrillId=row["DrillId"], File=kept["Name"]
    )
    content = base64.b64decode(answer["Content"])
    if hashlib.sha256(content).hexdigest() != kept["Sha256"]:
        raise ControlFailed(
            "the file is not as it was kept", on=str(kept["Name"]), remedy="repeat the drill", retryable=False
        )
    return content
