"""`connector group` manages workgroups. An action on a workgroup is an action on the jobs of its sources."""

from __future__ import annotations

import uuid
from typing import Any, Final

import click

from connector.cli import acting, job_view, source_down, tables, watching
from connector.cli.access import with_client
from connector.cli.options import JSON
from connector.cli.records import GROUP, JOB, SOURCE, find, identity, items, rows, some, tag_words
from connector.clients.smc import Json, SmcClient
from connector.control.domain.jobs import BusinessStatus, JobEvent, JobState, JobStatus, allowed
from connector.errors import BadInput, Conflict

STATUSES: Final = ("NotStarted", "InProgress", "Cutover", "Completed")

COLUMNS: Final[tuple[tables.Column, ...]] = (
    ("name", lambda row: row.get("Name")),
    ("id", lambda row: row.get("WorkgroupId")),
    ("status", lambda row: row.get("Status")),
    ("failed", lambda row: _warned(row, "InError")),
    ("without a job", lambda row: _warned(row, "UnRelated")),
    ("tags", tables.tags),
    ("description", lambda row: row.get("Description")),
)
MEMBERS: Final[tuple[tables.Column, ...]] = (
    ("source", lambda row: row.get("Name")),
    ("id", lambda row: row.get("SourceId")),
    ("state", lambda row: row.get("State")),
    ("job", lambda row: row["Job"].get("Name")),
    ("job id", lambda row: row.get("JobId")),
    ("job state", lambda row: job_view.state(row["Job"]) if row["Job"] else None),
    ("progress", lambda row: f"{float(row['Job'].get('Progress') or 0):.0f} %" if row["Job"] else None),
)

_GROUP = click.argument("word", metavar="GROUP")
_SOURCES = click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
_WATCH = click.option("--watch", "then_watch", is_flag=True, help="Then watch the jobs until they rest.")


def _warned(row: Json, kind: str) -> int:
    warnings = items(row, "Warnings", "Warning")
    return sum(len(items(w, "SourceIds", "SourceId")) for w in warnings if w.get("WarningType") == kind)


@click.group()
def group() -> None:
    """Workgroups: sources that belong together.

    GROUP is an id or a name. start, stop, cutover and watch act on the jobs of its sources whose state allows it.
    Other jobs are named and left as they are.
    """


@group.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only workgroups in this status.")
@click.option(
    "--tag", "tagged", multiple=True, metavar="KEY[=VALUE]", help="Only workgroups with this tag. Repeatable."
)
@with_client
@JSON
def list_(client: SmcClient, status: str | None, tagged: tuple[str, ...], as_json: bool) -> None:
    """List workgroups, newest first.

    \b
    connector group list --status InProgress
    """
    groups = rows(client, GROUP, Status=status, Tag=tag_words(tagged))
    tables.listed(groups, COLUMNS, as_json, "no workgroup")


@group.command()
@_GROUP
@with_client
@JSON
def show(client: SmcClient, word: str, as_json: bool) -> None:
    """Show one workgroup with its sources and their last jobs.

    --json prints one document: the workgroup, and `SourceServers` with a `Job` in each.

    \b
    connector group show shop
    """
    row = find(client, GROUP, word)
    members = _members(client, row["WorkgroupId"])
    if as_json:
        tables.document(row | {"SourceServers": {"SourceServer": members}})
        return
    tables.shown(row, COLUMNS)
    tables.section("sources", members, MEMBERS)


@group.command()
@click.argument("name")
@click.option("--description", help="A description.")
@click.option("--tag", "tagged", multiple=True, metavar="KEY=VALUE", help="Repeat it.")
@with_client
@JSON
def create(
    client: SmcClient, name: str, description: str | None, tagged: tuple[str, ...], as_json: bool
) -> None:
    """Make a workgroup.

    \b
    connector group create shop --description "Saturday night"
    """
    answer = client.call(
        "CreateWorkgroup",
        Name=name,
        Description=description,
        Tag=tag_words(tagged),
        ClientToken=uuid.uuid4().hex,
    )
    key = answer["WorkgroupId"]
    tables.told(name, f"workgroup {key} created", {"WorkgroupId": key}, as_json)


@group.command()
@_GROUP
@click.option("--name", help="A new name.")
@click.option("--description", help="A new description.")
@with_client
@JSON
def modify(client: SmcClient, word: str, name: str | None, description: str | None, as_json: bool) -> None:
    """Change a workgroup's name or description.

    \b
    connector group modify shop --name shop-eu
    """
    if name is None and description is None:
        raise BadInput("nothing to change", on=word, remedy="give --name or --description")
    key = identity(client, GROUP, word)
    client.call("ModifyWorkgroupAttribute", WorkgroupId=key, Name=name, Description=description)
    tables.told(word, "modified", {"WorkgroupId": key}, as_json)


@group.command()
@_GROUP
@with_client
@JSON
def delete(client: SmcClient, word: str, as_json: bool) -> None:
    """Delete an empty workgroup.

    \b
    connector group delete shop
    """
    key = identity(client, GROUP, word)
    client.call("DeleteWorkgroup", WorkgroupId=key)
    tables.told(word, "deleted", {"WorkgroupId": key}, as_json)


@group.command()
@_GROUP
@_SOURCES
@with_client
@JSON
def associate(client: SmcClient, word: str, sources: tuple[str, ...], as_json: bool) -> None:
    """Put sources into a workgroup. A source is in at most one workgroup.

    \b
    connector group associate shop web-01 db-01
    """
    _put(client, "AssociateSourceServers", "added", word, sources, as_json)


@group.command()
@_GROUP
@_SOURCES
@with_client
@JSON
def disassociate(client: SmcClient, word: str, sources: tuple[str, ...], as_json: bool) -> None:
    """Take sources out of a workgroup.

    \b
    connector group disassociate shop web-01
    """
    _put(client, "DisassociateSourceServers", "taken out", word, sources, as_json)


@group.command()
@_GROUP
@_WATCH
@with_client
@JSON
def start(client: SmcClient, word: str, then_watch: bool, as_json: bool) -> None:
    """Start or resume the workgroup's jobs.

    \b
    connector group start shop --watch
    """
    _act(client, word, JobEvent.START, acting.START, then_watch, as_json)


@group.command()
@_GROUP
@click.option("--yes", is_flag=True, help="Do not ask.")
@_WATCH
@with_client
@JSON
def stop(client: SmcClient, word: str, yes: bool, then_watch: bool, as_json: bool) -> None:
    """Stop the workgroup's jobs. Their positions are kept.

    Cutovers that have shut their sources down are stopped only after a question, because the sources stay down.

    \b
    connector group stop shop
    """
    stoppable = [job for job in _jobs(client, word) if _possible(job, JobEvent.STOP)]
    source_down.agree(
        stoppable, "stop the cutovers of {names}? The sources stay down until you resume them", yes
    )
    _act(client, word, JobEvent.STOP, acting.STOP, then_watch, as_json)


@group.command()
@_GROUP
@click.option("--sync/--no-sync", default=None, help="As for `connector job cutover`.")
@_WATCH
@with_client
@JSON
def cutover(client: SmcClient, word: str, sync: bool | None, then_watch: bool, as_json: bool) -> None:
    """Cut over the workgroup's waiting incremental jobs.

    \b
    connector group cutover shop --sync --watch
    """
    if sync is None:
        raise BadInput(
            "a cutover must say whether the sources are shut down and their last changes read",
            on=word,
            remedy="give --sync or --no-sync",
        )
    _act(client, word, JobEvent.CUTOVER, acting.CUT_OVER, then_watch, as_json, SyncData=sync)


@group.command()
@_GROUP
@with_client
@JSON
def watch(client: SmcClient, word: str, as_json: bool) -> None:
    """Watch the workgroup's jobs until they rest; see `connector job watch`.

    \b
    connector group watch shop
    """
    watching.watch(client, _jobs(client, word), as_json)


def _members(client: SmcClient, key: str) -> list[Json]:
    """The workgroup's sources, each with its last job."""
    sources = list(rows(client, SOURCE, WorkgroupId=key))
    jobs = {row["JobId"]: row for row in some(client, JOB, [s["JobId"] for s in sources if s.get("JobId")])}
    return [source | {"Job": jobs.get(source.get("JobId"), {})} for source in sources]


def _jobs(client: SmcClient, word: str) -> list[Json]:
    jobs = [member["Job"] for member in _members(client, identity(client, GROUP, word)) if member["Job"]]
    if not jobs:
        raise Conflict(
            "no source of the workgroup has a job", on=word, remedy="create jobs: connector job create"
        )
    return jobs


def _act(
    client: SmcClient,
    word: str,
    event: JobEvent,
    action: acting.Act,
    then_watch: bool,
    as_json: bool,
    **parameters: Any,
) -> None:
    jobs = _jobs(client, word)
    ready = [job for job in jobs if _possible(job, event)]
    for job in jobs:
        if job not in ready:
            click.echo(f"{tables.plain(job.get('Name'))}: not changed, it is {job_view.state(job)}", err=True)
    if not ready:
        raise Conflict(
            f"no job of the workgroup is in a state for {event}",
            on=word,
            remedy="look at the jobs with `connector job list`",
        )
    acting.act(client, action, ready, as_json, **parameters)
    if then_watch:
        watching.watch(client, ready, as_json)


def _possible(job: Json, event: JobEvent) -> bool:
    if event is JobEvent.CUTOVER and job.get("RunOnce", True):
        return False
    status, business = str(job.get("Status")), str(job.get("BusinessStatus") or "")
    if status not in list(JobStatus) or business not in list(BusinessStatus):
        return True  # an unknown status: the control plane decides
    return event in allowed(JobState(JobStatus(status), BusinessStatus(business)))


def _put(
    client: SmcClient, action: str, outcome: str, word: str, sources: tuple[str, ...], as_json: bool
) -> None:
    key = identity(client, GROUP, word)
    ids = [identity(client, SOURCE, source) for source in sources]
    client.call(action, WorkgroupId=key, SourceId=ids)
    for source, source_id in zip(sources, ids, strict=True):
        tables.told(source, outcome, {"WorkgroupId": key, "SourceId": source_id}, as_json)
