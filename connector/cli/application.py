"""`connector application` cuts machines that belong together over, and rolls them back, as one."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from connector.cli import job_view, tables, watching
from connector.cli.access import with_client
from connector.cli.options import JSON
from connector.cli.records import JOB, find_job, items, some
from connector.clients.smc import Json, SmcClient
from connector.errors import BadInput, Conflict, ConnectorError, Interrupted, NotFound

COLUMNS: Final[tuple[tables.Column, ...]] = (
    ("name", lambda row: row.get("Name")),
    ("jobs", lambda row: ", ".join(str(m.get("Name")) for m in _members(row))),
    ("state", lambda row: ", ".join(sorted({job_view.state(m) for m in _members(row)}))),
)
MEMBERS: Final[tuple[tables.Column, ...]] = (
    ("rank", lambda row: row.get("Rank")),
    ("job", lambda row: row.get("Name")),
    ("id", lambda row: row.get("JobId")),
    ("state", job_view.state),
    ("waits for", lambda row: row.get("WaitingFor")),
    ("down since", lambda row: row.get("DownSince")),
    ("error", lambda row: row.get("ErrorMessage")),
)

_NAME = click.argument("name", metavar="APPLICATION")
_WATCH = click.option("--watch", "then_watch", is_flag=True, help="Then watch its jobs until they rest.")


@click.group()
def application() -> None:
    """Applications: incremental jobs whose sources are cut over as one.

    The machines are shut down in order, and each waits until those before it are off. None is read before all are off,
    so the images show one common point. If one fails before all are proved, no image is made, and all are powered on
    again in reverse order.
    """


@application.command("list")
@with_client
@JSON
def list_(client: SmcClient, as_json: bool) -> None:
    """List applications.

    \b
    connector application list
    """
    tables.listed(_applications(client), COLUMNS, as_json, "no application")


@application.command()
@_NAME
@with_client
@JSON
def show(client: SmcClient, name: str, as_json: bool) -> None:
    """Show one application: its jobs in the order in which their sources are shut down.

    \b
    connector application show shop
    """
    row = _find(client, name)
    if as_json:
        tables.document(row)
    else:
        tables.section(
            f"{tables.plain(name)}, shut down from the top, started from the bottom", _members(row), MEMBERS
        )
        if (spread := int(row.get("Spread", -1))) >= 0:
            click.echo(f"snapshots of the last common run: {spread} s apart")


@application.command("set")
@_NAME
@click.argument("words", nargs=-1, required=True, metavar="JOB[=RANK]...")
@with_client
@JSON
def set_(client: SmcClient, name: str, words: tuple[str, ...], as_json: bool) -> None:
    """Set the jobs of the application, in the order of their shutdown. They are started in reverse order.

    Jobs with the same RANK are shut down side by side; without ranks each waits for the one before it. The command
    replaces the former jobs of the application.

    \b
    connector application set shop web-01 app-01 db-01
    connector application set shop web-01=1 web-02=1 db-01=2
    """
    members = _ranked(client, words)
    answer = client.call("SetMigrationApplication", Name=name, Member=members)
    together = "1 job is" if len(members) == 1 else f"{len(members)} jobs are"
    _tell(name, f"{together} cut over together", "SetMigrationApplication", answer, as_json)


@application.command()
@_NAME
@_WATCH
@with_client
@JSON
def start(client: SmcClient, name: str, then_watch: bool, as_json: bool) -> None:
    """Start a run of each job, or of none. The machines are read at nearly the same time, when all are ready.

    `show` says how many seconds were between their snapshots.

    \b
    connector application start shop --watch
    """
    _act(client, "StartMigrationApplication", "started", name, then_watch, as_json)


@application.command()
@_NAME
@_WATCH
@with_client
@JSON
def cutover(client: SmcClient, name: str, then_watch: bool, as_json: bool) -> None:
    """Shut the sources down in order, read their changes when all are off, and make images when all are proved.

    \b
    connector application cutover shop --watch
    """
    _act(client, "CutOverMigrationApplication", "cutover begun", name, then_watch, as_json)


@application.command()
@_NAME
@click.option("--keep-cbt", is_flag=True, help="Leave CBT on: another cutover will follow.")
@_WATCH
@with_client
@JSON
def rollback(client: SmcClient, name: str, keep_cbt: bool, then_watch: bool, as_json: bool) -> None:
    """After a cutover: give the sources their state back and power them on in reverse order. Then the jobs are Stopped.

    \b
    connector application rollback shop --watch
    """
    _act(
        client,
        "RollbackMigrationApplication",
        "being rolled back",
        name,
        then_watch,
        as_json,
        KeepChangeTracking=keep_cbt,
    )


@application.command()
@_NAME
@with_client
@JSON
def delete(client: SmcClient, name: str, as_json: bool) -> None:
    """End an application. Its jobs stay, and each is cut over by itself again.

    \b
    connector application delete shop
    """
    _find(client, name)
    answer = client.call("SetMigrationApplication", Name=name)
    _tell(name, "is no application any more", "SetMigrationApplication", answer, as_json)


def _applications(client: SmcClient, **filters: Any) -> list[Json]:
    return items(client.call("DescribeMigrationApplications", **filters), "Applications", "Application")


def _find(client: SmcClient, name: str) -> Json:
    matches = _applications(client, Name=name)
    if not matches:
        raise NotFound("no such application", on=name, remedy="see connector application list")
    return matches[0]


def _members(row: Json) -> list[Json]:
    return items(row, "Members", "Member")


def _ranked(client: SmcClient, words: tuple[str, ...]) -> list[Json]:
    split = [word.rpartition("=") for word in words]
    has_rank = [bool(separator) for _, separator, _ in split]
    if any(has_rank) and not all(has_rank):
        raise BadInput("some jobs have a rank and some have none", remedy="give each job its rank, or none")
    members = []
    for place, (name, separator, rank) in enumerate(split, 1):
        if separator and not rank.isdecimal():
            raise BadInput(f"{rank[:20]!r} is no rank", on=name, remedy="JOB=RANK, a number from 0 to 1000")
        word = name if separator else rank
        members.append({"JobId": find_job(client, word)[JOB.key], "Rank": int(rank) if separator else place})
    return members


def _act(
    client: SmcClient,
    action: str,
    outcome: str,
    name: str,
    then_watch: bool,
    as_json: bool,
    **parameters: Any,
) -> None:
    answer = client.call(action, Name=name, **parameters)
    _tell(name, outcome, action, answer, as_json)
    if then_watch:
        jobs = some(client, JOB, [str(member["JobId"]) for member in _members(answer)])
        _watch(client, name, jobs, as_json)


def _watch(client: SmcClient, name: str, jobs: list[Json], as_json: bool) -> None:
    """Watch until the jobs rest and none is about to be rolled back. Raises the first failure, or why all were rolled back."""
    failure: ConnectorError | None = None
    try:
        watching.watch(client, jobs, as_json)
    except Interrupted:
        raise
    except ConnectorError as failed:
        failure = failed
    with watching.left_alone(f"application {name}"):
        while not (row := _find(client, name)).get("Settled", True):
            time.sleep(watching.PACE)
    if failure:
        raise failure
    if wrong := next((text for m in _members(row) if (text := str(m.get("ErrorMessage") or ""))), ""):
        raise Conflict(wrong, on=name, remedy=f"see connector application show {name}")


def _tell(name: str, outcome: str, action: str, answer: Json, as_json: bool) -> None:
    tables.told(
        name, outcome, {"Name": name, "Operation": action, "RequestId": answer.get("RequestId")}, as_json
    )
