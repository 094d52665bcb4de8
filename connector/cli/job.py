"""`connector job` manages migration jobs, from creation to the last image."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from connector.cli import acting, evidence_file, job_view, log_view, source_down, tables, watching
from connector.cli.access import with_client
from connector.cli.former_disks import former_disks
from connector.cli.job_drill import conversion, drill
from connector.cli.job_parameters import definition, field_options, with_other_parts
from connector.cli.options import JSON
from connector.cli.records import JOB, SOURCE, find, find_job, identity, rows, tag_words
from connector.cli.tagging import tag_commands
from connector.clients.smc import Json, SmcClient
from connector.errors import BadInput
from connector.specification import source_down as down_words
from connector.specification.kinds import LOCAL_REGION

STATUSES: Final = ("Ready", "Running", "Stopped", "InError", "Waiting", "Finished", "Expired", "Deleting")

_JOBS = click.argument("words", nargs=-1, required=True, metavar="JOB...")
_WATCH = click.option("--watch", "then_watch", is_flag=True, help="Then watch the job until it rests.")
_YES = click.option("--yes", is_flag=True, help="Do not ask.")
_TAG = click.option(
    "--tag", "tagged", multiple=True, metavar="KEY[=VALUE]", help="Tag of the job. Repeatable."
)


@click.group()
def job() -> None:
    """Migration jobs: create, start, watch, cut over.

    JOB is an id, a name that only one job has, or the name of a source, which means its last job. Several jobs are
    done one after the other; the first failure decides the exit code.
    """


@job.command("list")
@click.option("--name", help="Only the job with exactly this name.")
@click.option("--status", type=click.Choice(STATUSES), help="Only jobs in this status.")
@click.option("--source", help="Only jobs of this source (id or name).")
@_TAG
@with_client
@JSON
def list_(
    client: SmcClient,
    name: str | None,
    status: str | None,
    source: str | None,
    tagged: tuple[str, ...],
    as_json: bool,
) -> None:
    """List jobs, newest first. All filters must match.

    \b
    connector job list --status InError
    connector job list --source web-01 --json
    """
    of = [identity(client, SOURCE, source)] if source else None
    jobs = list(rows(client, JOB, Name=name, Status=status, SourceId=of, Tag=tag_words(tagged)))
    tables.listed(jobs, job_view.COLUMNS, as_json, "no job")
    source_down.say(jobs)


@job.command()
@click.argument("word", metavar="JOB")
@with_client
@JSON
def show(client: SmcClient, word: str, as_json: bool) -> None:
    """Show one job: its disks, runs and passes, and the resources that it created.

    --json prints one document: the job as DescribeReplicationJobs answers it, with `Details`, `Passes`, `Resources` and `Drills`
    of the API's extensions.

    \b
    connector job show web-01
    """
    row = job_view.complete(client, find_job(client, word))
    if as_json:
        tables.document(row)
    else:
        job_view.print_job(row)


@job.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@field_options(new=True)
@click.option(
    "--region", default=LOCAL_REGION, envvar="CONNECTOR_REGION", show_default=True, help="Where to."
)
@_TAG
@click.option("--start", "then_start", is_flag=True, help="Start it at once.")
@_WATCH
@with_client
@JSON
def create(
    client: SmcClient,
    sources: tuple[str, ...],
    region: str,
    tagged: tuple[str, ...],
    then_start: bool,
    then_watch: bool,
    as_json: bool,
    **fields: Any,
) -> None:
    """Make a job for each source. It runs once; with --every or --on-demand it waits for its next run after each run.

    \b
    connector job create web-01 --start --watch
    connector job create web-01 db-01 --every 12 --keep 3
    connector job create web-01 --name web --start-at 2026-12-05T22:00:00Z
    """
    parameters = definition(fields)
    if "Name" in parameters and len(sources) > 1:
        raise BadInput(
            "several jobs cannot have the same name", on=parameters["Name"], remedy="create them one by one"
        )
    shared = {
        "RegionId": region,
        "JobType": 3,
        "Tag": tag_words(tagged),
        "RunOnce": not ("Frequency" in parameters or parameters.get("OnDemand")),
    } | parameters
    failures, jobs = acting.Failures(), []
    for source in [find(client, SOURCE, word) for word in sources]:
        with failures.of(str(source["Name"])):
            jobs.append(_create(client, source, shared, as_json))
            if then_start:
                acting.act(client, acting.START, jobs[-1:], as_json)
    failures.done()
    if then_watch:
        watching.watch(client, jobs, as_json)


@job.command()
@click.argument("word", metavar="JOB")
@field_options(new=False)
@with_client
@JSON
def modify(client: SmcClient, word: str, as_json: bool, **fields: Any) -> None:
    """Change a job. Name and description can always be changed, most fields only before the first run.

    docs/job-fields.md says when each field can be changed.

    \b
    connector job modify web-01 --every 1
    connector job modify web-01 --valid-until 2027-01-31T00:00:00Z
    """
    changes = definition(fields)
    if not changes:
        raise BadInput("nothing to change", on=word, remedy="see connector job modify --help")
    stands = find_job(client, word)
    key, changes = str(stands[JOB.key]), with_other_parts(changes, fields, stands)
    client.call("ModifyReplicationJobAttribute", JobId=key, **changes)
    tables.told(word, "modified", {"JobId": key}, as_json)


@job.command()
@_JOBS
@_WATCH
@with_client
@JSON
def start(client: SmcClient, words: tuple[str, ...], then_watch: bool, as_json: bool) -> None:
    """Begin or resume a job in Ready, Stopped or InError, or begin the next run of a job in Waiting.

    A cutover that was stopped or has failed is resumed.

    \b
    connector job start web-01 db-01 --watch
    """
    _act(client, acting.START, _found(client, words), then_watch, as_json)


@job.command()
@_JOBS
@_YES
@_WATCH
@with_client
@JSON
def stop(client: SmcClient, words: tuple[str, ...], yes: bool, then_watch: bool, as_json: bool) -> None:
    """Stop a job that reads or waits. The position inside the disks is kept, and start resumes there.

    A cutover that has shut its source down is stopped only after a question, because the source stays down.

    \b
    connector job stop web-01
    """
    jobs = _found(client, words)
    source_down.agree(jobs, "stop the cutover of {names}? The source stays down until you resume it", yes)
    _act(client, acting.STOP, jobs, then_watch, as_json)
    for row in jobs if not (as_json or then_watch) else ():  # who watches reads it at the end
        if down_words.of_row(row):
            click.echo(f"{row['Name']}: {source_down.ways_on(row['Name'])}", err=True)


@job.command()
@_JOBS
@click.option(
    "--sync/--no-sync",
    default=None,
    help="Shut the source down and read its last changes first, or end with the existing images.",
)
@_WATCH
@with_client
@JSON
def cutover(
    client: SmcClient, words: tuple[str, ...], sync: bool | None, then_watch: bool, as_json: bool
) -> None:
    """Cut over waiting incremental jobs.

    --sync shuts the source down, reads its changes, proves them and makes the last image. --no-sync only releases the
    intermediate resources. One of the two must be given.

    \b
    connector job cutover web-01 --sync --watch
    """
    if sync is None:
        raise BadInput(
            "a cutover must say whether the source is shut down and its last changes read",
            on=words[0],
            remedy="give --sync or --no-sync",
        )
    _act(client, acting.CUT_OVER, _found(client, words), then_watch, as_json, SyncData=sync)


@job.command()
@_JOBS
@click.option(
    "--keep-cbt", is_flag=True, help="Leave CBT on although a pass turned it on: another cutover will follow."
)
@_WATCH
@with_client
@JSON
def rollback(
    client: SmcClient, words: tuple[str, ...], keep_cbt: bool, then_watch: bool, as_json: bool
) -> None:
    """After a cutover: give the source its state back and power it on. Then the job is Stopped; start syncs it again.

    Works from Finished, InError, Stopped and Expired. Data that was written to the new machine is not copied back.

    \b
    connector job rollback web-01 --watch
    """
    _act(client, acting.ROLL_BACK, _found(client, words), then_watch, as_json, KeepChangeTracking=keep_cbt)


@job.command()
@_JOBS
@_YES
@with_client
@JSON
def delete(client: SmcClient, words: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Delete jobs that do not run, and release their intermediate resources. Images stay.

    On a terminal it asks first. A job that can be rolled back, because its cutover has shut the source down, is deleted
    only after a question, or with --yes.

    \b
    connector job delete web-01
    """
    jobs = _found(client, words)
    source_down.agree(jobs, "delete {names}? Afterwards only you can power the source on again", yes)
    source_down.agree_to_lose_rollback(jobs, yes)
    if not yes and sys.stdin.isatty() and not any(row.get("DownSinceTime") for row in jobs):
        names = ", ".join(str(row["Name"]) for row in jobs)
        click.confirm(f"Images stay. Delete {names} and the transferred data?", abort=True, err=True)
    _act(client, acting.DELETE, jobs, False, as_json)


@job.command()
@_JOBS
@with_client
@JSON
def watch(client: SmcClient, words: tuple[str, ...], as_json: bool) -> None:
    """Watch jobs until they rest in Finished, Waiting, Stopped or Ready. InError, Expired and a deletion are failures.

    A terminal shows a bar for each disk with rate, time left and what limits the rate. --json prints one event per
    line: `phase`, `disk`, and at the end a `result` for each job.

    \b
    connector job watch web-01 db-01
    """
    watching.watch(client, _found(client, words), as_json)


@job.command()
@click.argument("word", metavar="JOB")
@click.option(
    "--lines", type=click.IntRange(1), default=100, show_default=True, help="Number of newest entries."
)
@click.option("--follow", is_flag=True, help="Print new entries until the job rests.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write all entries into this new file; with --json one object per line.",
)
@with_client
@JSON
def logs(client: SmcClient, word: str, lines: int, follow: bool, output: Path | None, as_json: bool) -> None:
    """Print a job's log, oldest entry first, or write all of it into a file.

    \b
    connector job logs web-01 --follow
    connector job logs web-01 --output web-01.log
    """
    if follow and output is not None:
        raise BadInput("--follow and --output exclude each other", remedy="leave one of them out")
    key = str(find_job(client, word)[JOB.key])
    if output is not None:
        log_view.save(client, key, output, as_json)
    elif follow:
        log_view.follow(client, key, lines, as_json)
    else:
        log_view.print_log(client, key, lines, as_json)


@job.command()
@click.argument("word", metavar="JOB")
@click.option("--pass", "pass_id", metavar="PASS", help="Only evidence of this pass. Default: the newest.")
@click.option(
    "--to",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the signed manifest to this file, and the public key to FILE.pub.",
)
@with_client
@JSON
def evidence(client: SmcClient, word: str, pass_id: str | None, to: Path | None, as_json: bool) -> None:
    """List the evidence of a job's passes, or write one manifest to a file for `connector verify`.

    \b
    connector job evidence web-01
    connector job evidence web-01 --to evidence.json
    """
    key = str(find_job(client, word)[JOB.key])
    entries = evidence_file.entries(client, key, pass_id)
    if to is None:
        tables.listed(entries, evidence_file.COLUMNS, as_json, "no evidence yet")
    else:
        evidence_file.write(client, key, entries, to)
        tables.told(word, f"evidence of {entries[-1]['PassId']} is in {to}", entries[-1], as_json)


job.add_command(drill)
job.add_command(former_disks)
job.add_command(conversion)
for command in tag_commands(JOB, "replicationjob"):
    job.add_command(command)


def _create(client: SmcClient, source: Json, parameters: Json, as_json: bool) -> Json:
    token = uuid.uuid4().hex
    answer = client.call("CreateReplicationJob", SourceId=source["SourceId"], ClientToken=token, **parameters)
    key, name = answer["JobId"], str(source["Name"])
    tables.told(name, f"job {key} created", {"JobId": key, "SourceId": source["SourceId"]}, as_json)
    return {"JobId": key, "Name": parameters.get("Name") or name}


def _found(client: SmcClient, words: Sequence[str]) -> list[Json]:
    """All jobs that these words name, each once. They are looked up before anything is done to the first."""
    jobs = [find_job(client, word) for word in words]
    return list({row["JobId"]: row for row in jobs}.values())


def _act(
    client: SmcClient,
    action: acting.Act,
    jobs: list[Json],
    then_watch: bool,
    as_json: bool,
    **parameters: Any,
) -> None:
    acting.act(client, action, jobs, as_json, **parameters)
    if then_watch:
        watching.watch(client, jobs, as_json)
