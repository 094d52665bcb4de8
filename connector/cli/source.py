"""`connector source` shows the machines that appliances have registered, and what blocks their migration."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import zip_longest
from typing import Any, Final

import click

from connector import amounts
from connector.cli import source_down, tables
from connector.cli.access import with_client
from connector.cli.options import JSON
from connector.cli.records import GROUP, JOB, SOURCE, find, find_job, identity, items, rows, some, tag_words
from connector.cli.tagging import tag_commands
from connector.clients.refusal import NotOffered
from connector.clients.smc import Json, SmcClient
from connector.errors import BadInput

STATES: Final = ("Available", "Unavailable", "InUse", "Deleting")


def _disks(row: Json) -> list[Json]:
    system = {"Index": 0, "Size": row.get("SystemDiskSize"), "Path": "system disk"}
    parts = items(row, "SystemDiskParts", "SystemDiskPart")
    if parts:
        system["Path"] = parts[0].get("Path")
    whole: list[Json] = [disk for disk in [(row.get("Disks") or {}).get("System")] if disk]
    whole += items(row.get("Disks") or {}, "Data", "Data")
    disks = [system, *items(row, "DataDisks", "DataDisk")]
    parts_of = [part.get("Parts") for part in whole[: len(disks)]]
    return [disk | {"Parts": part} for disk, part in zip_longest(disks, parts_of)]


def _size(disk: Json) -> int:
    """The bytes of a disk at the source; without them, its size at the target."""
    exact = sum(int(part.get("SizeBytes") or 0) for part in items(disk, "Parts", "Part"))
    return exact or int(disk.get("Size") or 0) << 30


COLUMNS: Final[tuple[tables.Column, ...]] = (
    ("name", lambda row: row.get("Name")),
    ("id", lambda row: row.get("SourceId")),
    ("state", lambda row: row.get("State")),
    ("platform", lambda row: row.get("Platform")),
    ("disks", lambda row: len(_disks(row))),
    ("size", lambda row: amounts.size(sum(map(_size, _disks(row))))),
    ("last job", tables.named("JobName", "JobId")),
    ("workgroup", tables.named("WorkgroupName", "WorkgroupId")),
    ("error", lambda row: row.get("ErrorCode")),
)
FIELDS: Final[tuple[tables.Column, ...]] = (
    ("name", lambda row: row.get("Name")),
    ("id", lambda row: row.get("SourceId")),
    ("description", lambda row: row.get("Description")),
    ("state", lambda row: row.get("State")),
    ("why", lambda row: row.get("StatusInfo")),
    ("platform", lambda row: row.get("Platform")),
    ("architecture", lambda row: row.get("Architecture")),
    ("vCenter", lambda row: row["Details"].get("VCenter")),
    ("machine", lambda row: row["Details"].get("MachineName")),
    ("managed object", lambda row: row["Details"].get("MachineId")),
    ("power", lambda row: row["Details"].get("PowerState")),
    ("firmware", lambda row: row["Details"].get("Firmware")),
    ("CBT", lambda row: row["Details"].get("CbtEnabled")),
    ("can be migrated", lambda row: row["Details"].get("Eligible")),
    ("last seen", lambda row: row["Details"].get("LastSeenTime")),
    ("last job", tables.both("JobName", "JobId")),
    ("workgroup", tables.both("WorkgroupName", "WorkgroupId")),
    ("tags", tables.tags),
    ("created", lambda row: row.get("CreationTime")),
)
DISKS: Final[tuple[tables.Column, ...]] = (
    ("index", lambda disk: disk.get("Index")),
    ("disk", lambda disk: disk.get("Path")),
    ("size", lambda disk: amounts.size(_size(disk))),
    ("at the target", lambda disk: tables.gib(disk.get("Size"))),
)
FINDINGS: Final[tuple[tables.Column, ...]] = (
    ("check", lambda finding: finding.get("Check")),
    ("severity", lambda finding: finding.get("Severity")),
    ("object", lambda finding: finding.get("Subject")),
    ("finding", lambda finding: finding.get("Message")),
    ("remedy", lambda finding: finding.get("Remedy")),
)


def _lasting(part: str) -> Callable[[Json], str]:
    return lambda row: _duration(float(row.get(f"{part}Seconds") or 0))


def _duration(seconds: float) -> str:
    """Hours and minutes, rounded up: a forecast has no seconds."""
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


_PARTS: Final[tuple[tables.Column, ...]] = (
    ("before", _lasting("Before")),
    ("transfer", _lasting("Transfer")),
    ("image", _lasting("Image")),
    ("after", _lasting("After")),
    ("in all", _lasting("Total")),
)
ESTIMATE: Final[tuple[tables.Column, ...]] = (
    ("link", lambda row: amounts.line(int(row.get("BytesPerSecond") or 0))),
    ("rate is", lambda row: "as passes have measured it" if row.get("RateMeasured") else "as given"),
    *_PARTS,
)
SHARES: Final[tuple[tables.Column, ...]] = (
    ("name", lambda row: row.get("Name")),
    ("data", lambda row: amounts.size(int(row.get("Bytes") or 0))),
    ("data is", lambda row: "measured" if row.get("BytesMeasured") else "the disks' capacity"),
    *_PARTS,
)


@click.group()
def source() -> None:
    """Migration sources: machines that appliances have registered.

    SOURCE is an id, or a name that only one source has.
    """


@source.command("list")
@click.option("--name", help="Only sources with exactly this name.")
@click.option("--state", type=click.Choice(STATES), help="Only sources in this state.")
@click.option("--job", help="Only the source whose last job is this job (id or name).")
@click.option("--group", help="Only sources in this workgroup (id or name).")
@click.option(
    "--tag", "tagged", multiple=True, metavar="KEY[=VALUE]", help="Only sources with this tag. Repeatable."
)
@with_client
@JSON
def list_(
    client: SmcClient,
    name: str | None,
    state: str | None,
    job: str | None,
    group: str | None,
    tagged: tuple[str, ...],
    as_json: bool,
) -> None:
    """List sources, newest first. All filters must match.

    \b
    connector source list --state Available
    connector source list --group shop --tag owner=shop --json
    """
    sources = rows(
        client,
        SOURCE,
        Name=name,
        State=state,
        JobId=find_job(client, job)[JOB.key] if job else None,
        WorkgroupId=identity(client, GROUP, group) if group else None,
        Tag=tag_words(tagged),
    )
    tables.listed(sources, COLUMNS, as_json, "no source")


@source.command()
@click.argument("word", metavar="SOURCE")
@with_client
@JSON
def show(client: SmcClient, word: str, as_json: bool) -> None:
    """Show one source: its disks, and the findings that block or limit its migration.

    --json prints one document: the source as DescribeSourceServers answers it, with `Details` of
    DescribeSourceServerFindings.

    \b
    connector source show web-01
    """
    row = find(client, SOURCE, word)
    row["Details"] = _details(client, row["SourceId"])
    if as_json:
        tables.document(row)
        return
    tables.shown(row, FIELDS)
    tables.section("disks", _disks(row), DISKS)
    tables.section(
        "findings",
        items(row["Details"], "Findings", "Finding"),
        FINDINGS,
        lead=("check", "severity", "object"),
    )


@source.command()
@click.argument("words", metavar="SOURCE...", nargs=-1, required=True)
@click.option(
    "--mbit",
    type=click.IntRange(1, 1_000_000),
    help="Mbit/s of the link that all sources share. Default: what passes of their vCenter have reached.",
)
@click.option(
    "--at-once",
    type=click.IntRange(1, 1000),
    default=2,
    show_default=True,
    help="Sources that are migrated at a time.",
)
@with_client
@JSON
def estimate(
    client: SmcClient, words: tuple[str, ...], mbit: int | None, at_once: int, as_json: bool
) -> None:
    """Forecast how long the migration of sources takes: all of them together, and each alone.

    \b
    connector source estimate web-01 db-01 --mbit 200
    """
    keys = [identity(client, SOURCE, word) for word in words]
    answer = client.call("EstimateMigration", SourceId=keys, BandwidthLimit=mbit, AtOnce=at_once)
    if as_json:
        tables.document(answer)
        return
    tables.shown(answer, ESTIMATE)
    tables.section("each alone", items(answer, SOURCE.plural, SOURCE.singular), SHARES)


@source.command()
@click.argument("word", metavar="SOURCE")
@click.option("--name", help="A new name, which no other source may have.")
@click.option("--description", help="A new description.")
@with_client
@JSON
def modify(client: SmcClient, word: str, name: str | None, description: str | None, as_json: bool) -> None:
    """Change a source's name or description.

    \b
    connector source modify web-01 --description "shop, frontend"
    """
    if name is None and description is None:
        raise BadInput("nothing to change", on=word, remedy="give --name or --description")
    key = identity(client, SOURCE, word)
    client.call("ModifySourceServerAttribute", SourceId=key, Name=name, Description=description)
    tables.told(word, "modified", {"SourceId": key}, as_json)


@source.command()
@click.argument("word", metavar="SOURCE")
@click.option(
    "--force", is_flag=True, help="Delete its job too, and release the job's intermediate resources."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
@JSON
def delete(client: SmcClient, word: str, force: bool, yes: bool, as_json: bool) -> None:
    """Delete a source. The machine itself is not changed; a rescan registers it again.

    With --force, a job that can be rolled back is deleted only after a question, or with --yes. A job whose cutover keeps
    its source down is not deleted this way.

    \b
    connector source delete web-01
    """
    row = find(client, SOURCE, word)
    key = row["SourceId"]
    if force and row.get("JobId"):
        source_down.agree_to_lose_rollback(list(some(client, JOB, [row["JobId"]])), yes)
    client.call("DeleteSourceServer", SourceId=key, Force=force)
    tables.told(word, "deleted", {"SourceId": key}, as_json)


for command in tag_commands(SOURCE, "sourceserver"):
    source.add_command(command)


def _details(client: SmcClient, key: str) -> dict[str, Any]:
    """The findings, which only an extension has; empty if the control plane has no extensions."""
    try:
        rows = items(
            client.call("DescribeSourceServerFindings", SourceId=[key]), SOURCE.plural, SOURCE.singular
        )
    except NotOffered:
        return {}
    return rows[0] if rows else {}
