"""`connector token` manages activation codes. A code is shown only once, or written to a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import click

from connector.cli import tables
from connector.cli.access import with_client
from connector.cli.options import JSON
from connector.cli.records import GROUP, TOKEN, find, identity, rows
from connector.cli.secret import new_secret_file
from connector.clients.smc import SmcClient
from connector.errors import BadInput

STATUSES: Final = ("activated", "unactivated", "expired")

COLUMNS: Final[tuple[tables.Column, ...]] = (
    ("name", lambda row: row.get("Name")),
    ("id", lambda row: row.get("AccessTokenId")),
    ("status", lambda row: row.get("Status")),
    ("sources", lambda row: f"{row.get('RegisteredCount')} of {row.get('Count')}"),
    ("days", lambda row: row.get("TimeToLiveInDays")),
    ("created", lambda row: row.get("CreationTime")),
    ("description", lambda row: row.get("Description")),
)

_TOKEN = click.argument("word", metavar="TOKEN")


@click.group()
def token() -> None:
    """Activation codes (access tokens), with which appliances enrol.

    TOKEN is an id, or a name that only one token has. Creating, disabling and deleting need the role admin.
    """


@token.command("list")
@click.option("--name", help="Only the token with exactly this name.")
@click.option("--status", type=click.Choice(STATUSES), help="Only tokens in this status.")
@with_client
@JSON
def list_(client: SmcClient, name: str | None, status: str | None, as_json: bool) -> None:
    """List activation codes, without the codes.

    \b
    connector token list --status activated
    """
    tables.listed(rows(client, TOKEN, Name=name, Status=status), COLUMNS, as_json, "no activation code")


@token.command()
@_TOKEN
@with_client
@JSON
def show(client: SmcClient, word: str, as_json: bool) -> None:
    """Show one activation code, without the code.

    \b
    connector token show site-a
    """
    row = find(client, TOKEN, word)
    if as_json:
        tables.document(row)
    else:
        tables.shown(row, COLUMNS)


@token.command()
@click.argument("name")
@click.option("--description", help="A description.")
@click.option(
    "--vcenter",
    "of_vcenter",
    metavar="UUID",
    help="Instance UUID of the only vCenter that it is valid for. Without it appliances wait for approval.",
)
@click.option(
    "--workgroup",
    metavar="GROUP",
    help="The tenant of the vCenter (id or name of a workgroup). Needs --vcenter.",
)
@click.option("--joins", is_flag=True, help="The first appliance needs no approval either. Needs --vcenter.")
@click.option("--count", type=int, help="Sources that it may bring in, 1 to 1000. Default: 100.")
@click.option("--days", type=int, help="Days that it is valid, 1 to 90. Default: 30.")
@click.option(
    "--code-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the code to this new file, mode 0600, and do not print it.",
)
@with_client
@JSON
def create(
    client: SmcClient,
    name: str,
    description: str | None,
    of_vcenter: str | None,
    workgroup: str | None,
    joins: bool,
    count: int | None,
    days: int | None,
    code_file: Path | None,
    as_json: bool,
) -> None:
    """Make an activation code. It is shown only once. Name its file in the appliance's configuration.

    \b
    connector token create site-a --vcenter 4a6b2f0e-... --count 200 --days 7 --code-file site-a.code
    """
    if of_vcenter is None and (joins or workgroup is not None):
        raise BadInput("--workgroup and --joins need a vCenter", remedy="give --vcenter as well")
    with new_secret_file(code_file) as keep:
        parameters = {"Name": name, "Description": description, "Count": count, "TimeToLiveInDays": days}
        if of_vcenter is None:
            answer = client.call("CreateAccessToken", **parameters)
        else:
            tenant = identity(client, GROUP, workgroup) if workgroup else None
            parameters |= {"VCenter": of_vcenter, "WorkgroupId": tenant, "JoinsByItself": joins}
            answer = client.call("CreateEnrolmentCode", **parameters)
        key, code = str(answer["AccessTokenId"]), str(answer["AccessTokenCode"])
        keep(code)
    fields = {"AccessTokenId": key, "Name": name}
    if code_file is not None:
        tables.told(name, f"token {key} created, its code is in {code_file}", fields, as_json)
    elif as_json:
        click.echo(json.dumps(fields | {"AccessTokenCode": code}))
    else:
        click.echo(f"AccessToken ID   {key}\nActivation code  {code}")
        click.echo("The code is not shown again.", err=True)


@token.command()
@_TOKEN
@with_client
@JSON
def disable(client: SmcClient, word: str, as_json: bool) -> None:
    """Disable an activation code. Appliances that enrolled with it wait for approval again; their sources stay.

    \b
    connector token disable site-a
    """
    key = identity(client, TOKEN, word)
    client.call("DisableAccessToken", AccessTokenId=key)
    tables.told(word, "disabled", {"AccessTokenId": key}, as_json)


@token.command()
@_TOKEN
@with_client
@JSON
def delete(client: SmcClient, word: str, as_json: bool) -> None:
    """Delete an activation code. Appliances that enrolled with it wait for approval again; their sources stay.

    \b
    connector token delete site-a
    """
    key = identity(client, TOKEN, word)
    client.call("DeleteAccessToken", AccessTokenId=key)
    tables.told(word, "deleted", {"AccessTokenId": key}, as_json)
