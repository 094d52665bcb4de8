"""Every command that shows a source that a cutover has shut down also shows the two commands that end the outage."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from connector.cli import asking, records
from connector.cli.acting import ROLL_BACK, START, STOP
from connector.clients.smc import Json
from connector.errors import BadInput, ConnectorError
from connector.specification import source_down


def ways_on(name: str, progress: Json | None = None) -> str:
    """The commands that end the outage of a job of a control plane, as far as its state allows them.

    `progress`: the answer of DescribeReplicationJobProgress; without it the job is at rest.
    """
    start, roll_back = f"connector job start {name} --watch", f"connector job rollback {name} --watch"
    allowed: list[Any] = records.items(progress or {}, "AllowedOperations", "AllowedOperation")
    if not allowed or {START.action, ROLL_BACK.action} <= set(allowed):
        return source_down.ways_on(start, roll_back)
    if ROLL_BACK.action in allowed:
        return f"power the source on again: {roll_back}"
    if STOP.action in allowed:
        return f"it is under way; to take it back: connector job stop {name}, then {roll_back}"
    return ""


def lines(rows: Iterable[Json]) -> list[str]:
    """One line for each job whose source is down."""
    return [f"{row.get('Name') or row['JobId']}: {text}" for row in rows if (text := source_down.of_row(row))]


def ended(row: Json) -> str:
    """How the outage of this job's source has ended."""
    if row.get("Status") == "Finished":
        return "the cutover is done: the image has taken the source's place"
    return "the source is up" if not row.get("CutOver") else "the cutover has ended"


def say(rows: Iterable[Json]) -> None:
    """Print these lines on standard error, whatever the output is: people must see them."""
    for line in lines(rows):
        click.echo(line, err=True)


def added(failed: ConnectorError, row: Json, name: str, ways: str = "") -> ConnectorError:
    """The error with its meaning for the source. `ways`: how to end the outage, if not by commands on the job."""
    if text := source_down.of_row(row):
        failed.what = f"{text}; {failed.what}"
        ways = ways or ways_on(name, row)
        failed.remedy = "; ".join(filter(None, (failed.remedy, ways)))
    return failed


def agree_to_lose_rollback(rows: Sequence[Json], yes: bool) -> None:
    """Ask before finished cutovers are deleted: nothing here can power their sources on afterwards.

    Raises BadInput if there is no terminal.
    """
    finished = [row for row in rows if row.get("DownSinceTime") and not row.get("SourceDown")]
    if yes or not finished:
        return
    names = ", ".join(str(row.get("Name") or row["JobId"]) for row in finished)
    lost = "its cutover shut the source down, and cannot be rolled back after a deletion"
    if not sys.stdin.isatty():
        raise BadInput(lost, on=names, remedy="give --yes to delete it; images stay")
    if not asking.agreed(f"{names}: {lost}. Images stay. Delete {names} and the transferred data?"):
        raise click.Abort


def agree(rows: Sequence[Json], question: str, yes: bool) -> None:
    """Ask before anything is done to jobs whose sources are down.

    Raises BadInput if there is no terminal. `question` contains `{names}`.
    """
    down = [row for row in rows if row.get("SourceDown")]
    if yes or not down:
        return
    say(down)
    names = ", ".join(str(row.get("Name") or row["JobId"]) for row in down)
    if not sys.stdin.isatty():
        raise BadInput(
            f"{source_down.TITLE}: {question.format(names=names)}", on=names, remedy="give --yes to do it"
        )
    if not asking.agreed(question.format(names=names)):
        raise click.Abort
