"""`connector job former-disks`: the disks that a target instance had before a job put its image there."""

from __future__ import annotations

import sys
import time
from typing import Final

import click

from connector.cli import records, tables
from connector.cli.access import with_client
from connector.cli.asking import agreed
from connector.cli.options import JSON
from connector.clients.smc import Json, SmcClient
from connector.errors import BadInput, Interrupted, NotFound, TargetFailed
from connector.specification.former_disk_words import STATES, UNDER_WAY

PACE: Final = 1.0  # seconds between two looks


@click.command("former-disks")
@click.argument("word", metavar="JOB")
@click.option("--put-back", is_flag=True, help="Give the target instance these disks again.")
@click.option("--release", is_flag=True, help="Remove them. There is no way back then.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
@JSON
def former_disks(
    client: SmcClient, word: str, put_back: bool, release: bool, yes: bool, as_json: bool
) -> None:
    """Show, put back or remove the disks that a target instance had before the job.

    A job with TargetType TargetInstance replaces the disks of a machine in the target and keeps the former ones until you let
    them go. They may cost money. --put-back gives the machine its former disks again, and removes what the job put there; stop
    the machine first. Both wait for the end.

    \b
    connector job former-disks web-01
    connector job former-disks web-01 --put-back
    connector job former-disks web-01 --release

    \b
    Exit codes: 0 done; 3 no such job, or it has no target instance; 9 the target refused, or the machine runs.
    """
    if put_back and release:
        raise BadInput(
            "--put-back and --release exclude each other", on="former-disks", remedy="give one of them"
        )
    operation = "PutBackFormerDisks" if put_back else "ReleaseFormerDisks" if release else None
    job = records.find_job(client, word)
    row = _row(client, job)
    if operation is not None:
        _agree(operation, row, yes)
        client.call(operation, JobId=job["JobId"])
        row = _ended(client, job)
    if as_json:
        tables.document(row)
    else:
        click.echo(
            f"target instance {tables.plain(row['InstanceId'])}: {STATES.get(row['State'], row['State'])}"
        )
        tables.section("former disks", records.items(row, "Disks", "Disk"), _COLUMNS)
    if operation is not None and row["Trouble"]:
        raise TargetFailed(
            str(row["Trouble"]), on=str(job["Name"]), remedy="mend it, then run the same command again"
        )


_COLUMNS: Final[tuple[tables.Column, ...]] = (
    ("disk", lambda row: row["Reference"] or "not known yet"),
    ("since", lambda row: row["CreationTime"]),
)


def _row(client: SmcClient, job: Json) -> Json:
    rows = records.items(
        client.call("DescribeFormerDisks", JobId=[job["JobId"]]), "FormerDisks", "FormerDisk"
    )
    if not rows:
        raise NotFound(
            "has put no image onto a target instance",
            on=f"job {job['Name']}",
            remedy="its TargetType is Image, or its run has not come that far: `connector job show`",
        )
    return rows[0]


def _agree(operation: str, row: Json, yes: bool) -> None:
    if yes:
        return
    question = (
        f"put the former disks of {row['InstanceId']} back? What the job put there, and what was written since, goes"
        if operation == "PutBackFormerDisks"
        else f"remove the former disks of {row['InstanceId']}? There is no way back then"
    )
    if not sys.stdin.isatty():
        raise BadInput(f"this needs an answer: {question}", on="former-disks", remedy="add --yes")
    if not agreed(question):
        raise Interrupted("nothing was changed", on=str(row["InstanceId"]))


def _ended(client: SmcClient, job: Json) -> Json:
    """The row when nothing is under way any more."""
    try:
        while (row := _row(client, job))["State"] in UNDER_WAY:
            time.sleep(PACE)
    except KeyboardInterrupt:
        raise Interrupted(
            "stopped watching; it goes on",
            on=str(job["Name"]),
            remedy=f"`connector job former-disks {job['Name']}` shows how far it is",
        ) from None
    return row
