"""`connector record`: a conversation with this vCenter for the people who develop the connector."""

from __future__ import annotations

import json
from pathlib import Path

import click

from connector.cli import estate
from connector.cli.options import JSON, vcenter_options


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@vcenter_options
@click.option("--machine", default="", metavar="VM", help="Also read what a pass would read of this machine.")
@JSON
def record(
    directory: Path,
    url: str,
    user: str,
    password_file: Path | None,
    thumbprint: str,
    authority: Path | None,
    machine: str,
    as_json: bool,
) -> None:
    """Write down what vCenter answers, without names, addresses and secrets, into DIR.

    Nothing is changed in vCenter. Names, addresses, paths, UUIDs and notes become pseudonyms; equal ones stay equal.
    The key that made them is never stored. Look through the file before you give it away.

    \b
    connector record for-support --vcenter https://vc.example.com --thumbprint AA:BB:.. --machine web-01
    """
    from connector.vcenter.record import record as write_down

    access = estate.settings(url, user, password_file, thumbprint, authority)
    done = write_down(access, directory, machine)
    if as_json:
        click.echo(json.dumps({"file": str(done.file), "calls": done.calls, "machines": done.machines}))
    else:
        click.echo(
            f"{done.file}: {done.calls} calls, {done.machines} machine(s). Look through it, then send it."
        )
