"""`connector record` records vCenter's answers for a bug report, without names, addresses and secrets."""

from __future__ import annotations

import json
from pathlib import Path

import click

from connector import amounts
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

    Nothing is changed in vCenter. Names, addresses, paths, UUIDs and notes become pseudonyms; equal texts stay equal.
    The key of the pseudonyms is never stored. Read the file before you give it away.

    \b
    connector record for-support --vcenter https://vc.example.com --thumbprint AA:BB:.. --machine web-01
    """
    from connector.vcenter.record import record as write_down

    access = estate.settings(url, user, password_file, thumbprint, authority)
    written = write_down(access, directory, machine)
    if as_json:
        click.echo(
            json.dumps({"file": str(written.file), "calls": written.calls, "machines": written.machines})
        )
    else:
        click.echo(
            f"{written.file}: {amounts.plural(written.calls, 'call')}, {amounts.plural(written.machines, 'machine')}. "
            "Look through it, then send it."
        )
