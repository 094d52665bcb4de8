"""`connector appliance`: who reads for this control plane, and who has fallen silent."""

from __future__ import annotations

from typing import Final

import click

from connector.cli import tables
from connector.cli.access import with_client
from connector.cli.options import JSON
from connector.cli.records import APPLIANCE, find, rows
from connector.cli.smc_client import SmcClient

COLUMNS: Final[tuple[tables.Column, ...]] = (
    ("name", lambda row: row.get("Name")),
    ("id", lambda row: row.get("ApplianceId")),
    ("vCenter", lambda row: row.get("VCenter")),
    ("version", lambda row: row.get("Version")),
    ("online", lambda row: row.get("Online")),
    ("heard of", lambda row: row.get("HeartbeatTime")),
    ("token", lambda row: row.get("AccessTokenId")),
    ("notice", lambda row: row.get("Notice")),
)


@click.group()
def appliance() -> None:
    """Appliances that have enrolled. APPLIANCE is an id, or a name that one alone has."""


@appliance.command("list")
@click.option("--name", help="This name, exactly.")
@click.option("--vcenter", "of_vcenter", metavar="URL", help="Of this vCenter, exactly.")
@click.option("--online/--offline", default=None, help="Heard of lately, or not.")
@with_client
@JSON
def list_(
    client: SmcClient, name: str | None, of_vcenter: str | None, online: bool | None, as_json: bool
) -> None:
    """List appliances by name.

    \b
    connector appliance list --offline
    """
    found = rows(client, APPLIANCE, Name=name, VCenter=of_vcenter, Online=online)
    tables.listed(found, COLUMNS, as_json, "no appliance")


@appliance.command()
@click.argument("word", metavar="APPLIANCE")
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
