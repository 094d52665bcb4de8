"""`connector appliance` lists appliances, and approves, revokes and rotates them."""

from __future__ import annotations

import os
import sys
from typing import Final

import click

from connector.cli import tables
from connector.cli.access import with_client
from connector.cli.first_boot import first_boot
from connector.cli.options import JSON
from connector.cli.records import APPLIANCE, find, identity, rows
from connector.clients.smc import SmcClient

COLUMNS: Final[tuple[tables.Column, ...]] = (
    ("name", lambda row: row.get("Name")),
    ("id", lambda row: row.get("ApplianceId")),
    ("vCenter", lambda row: row.get("VCenter")),
    ("version", lambda row: row.get("Version")),
    ("state", lambda row: row.get("State")),
    ("online", lambda row: row.get("Online")),
    ("heard of", lambda row: row.get("HeartbeatTime")),
    ("token", tables.named("AccessTokenName", "AccessTokenId")),
    ("workgroup", tables.named("WorkgroupName", "WorkgroupId")),
    ("notice", lambda row: row.get("Notice")),
)


_APPLIANCE = click.argument("word", metavar="APPLIANCE")


@click.group()
def appliance() -> None:
    """Appliances that have enrolled. APPLIANCE is an id, or a name that only one appliance has.

    Approving, revoking and rotating need the role admin.
    """


@appliance.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Run an appliance in the foreground with its configuration file; see `connector appliance run --help`.

    \b
    connector appliance run --config /etc/connector/appliance.yaml
    """
    sys.stdout.flush()
    # The appliance takes this process over, with its signals and its end.
    os.execv(sys.executable, [sys.executable, "-m", "connector.appliance", *arguments])  # noqa: S606


@appliance.command("list")
@click.option("--name", help="Only the appliance with exactly this name.")
@click.option(
    "--vcenter", "of_vcenter", metavar="UUID", help="Only appliances of the vCenter with this instance UUID."
)
@click.option("--online/--offline", default=None, help="Only appliances that are online, or are not.")
@with_client
@JSON
def list_(
    client: SmcClient, name: str | None, of_vcenter: str | None, online: bool | None, as_json: bool
) -> None:
    """List appliances by name.

    \b
    connector appliance list --offline
    """
    appliances = rows(client, APPLIANCE, Name=name, VCenter=of_vcenter, Online=online)
    tables.listed(appliances, COLUMNS, as_json, "no appliance")


@appliance.command()
@_APPLIANCE
@with_client
@JSON
def show(client: SmcClient, word: str, as_json: bool) -> None:
    """Show one appliance.

    \b
    connector appliance show site-a
    """
    row = find(client, APPLIANCE, word)
    if as_json:
        tables.document(row)
    else:
        tables.shown(row, COLUMNS)


@appliance.command()
@_APPLIANCE
@with_client
@JSON
def approve(client: SmcClient, word: str, as_json: bool) -> None:
    """Let a waiting appliance act for its vCenter.

    \b
    connector appliance approve site-a
    """
    _decide(client, "ApproveMigrationAppliance", word, "approved", as_json)


@appliance.command()
@_APPLIANCE
@with_client
@JSON
def revoke(client: SmcClient, word: str, as_json: bool) -> None:
    """Shut an appliance out at once: its secret and certificates are refused, and its passes are offered again.

    An appliance that enrols later with the same code for the same vCenter waits for approval.

    \b
    connector appliance revoke site-a
    """
    _decide(client, "RevokeMigrationAppliance", word, "revoked", as_json)


@appliance.command()
@_APPLIANCE
@with_client
@JSON
def rotate(client: SmcClient, word: str, as_json: bool) -> None:
    """Give an appliance a new secret and a new key for evidence, at its next heartbeat.

    The old secret ends when the new one is used. The old key stays valid for passes that were taken before.

    \b
    connector appliance rotate site-a
    """
    _decide(client, "RotateMigrationAppliance", word, "gets a new secret and key", as_json)


def _decide(client: SmcClient, operation: str, word: str, outcome: str, as_json: bool) -> None:
    key = identity(client, APPLIANCE, word)
    answer = client.call(operation, ApplianceId=key)
    tables.told(word, outcome, {"ApplianceId": key, "State": str(answer["State"])}, as_json)


appliance.add_command(first_boot)
