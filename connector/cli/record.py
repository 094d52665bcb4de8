"""`connector record` records vCenter's answers for a bug report, without names, addresses and secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector import amounts
from connector.cli import estate
from connector.cli.options import JSON, vcenter_options
from connector.errors import BadInput

if TYPE_CHECKING:
    from connector.cli.record_nfc import BothRecordings
    from connector.vcenter.record import Recording


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@vcenter_options
@click.option("--machine", default="", metavar="VM", help="Also read what a pass would read of this machine.")
@click.option(
    "--nfc",
    is_flag=True,
    help="Also record how a host gives the first disk of --machine over NFC. Takes a snapshot for a moment; asks first.",
)
@click.option("--yes", is_flag=True, help="With --nfc: do not ask.")
@JSON
def record(
    directory: Path,
    url: str,
    user: str,
    password_file: Path | None,
    thumbprint: str,
    authority: Path | None,
    machine: str,
    nfc: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Write down what vCenter answers, without names, addresses and secrets, into DIR.

    Without --nfc, nothing is changed in vCenter. Names, addresses, paths, UUIDs and notes become pseudonyms; equal texts
    stay equal. The key of the pseudonyms is never stored. Read the files before you give them away.

    With --nfc, a snapshot of the machine is taken for a moment and removed, because a host does not give the disk of a
    machine that runs. What the host says goes into DIR/nfc.txt, with the same pseudonyms. Of the disk's content nothing
    is kept; where the disk is zero can be seen.

    \b
    connector record for-support --vcenter https://vc.example.com --thumbprint AA:BB:.. --machine web-01
    connector record for-support --vcenter https://vc.example.com --thumbprint AA:BB:.. --machine web-01 --nfc
    """
    if nfc and not machine:
        raise BadInput("it reads a disk of one machine", on="--nfc", remedy="give --machine VM")
    access = estate.settings(url, user, password_file, thumbprint, authority)
    if nfc:
        from connector.cli.record_nfc import record_both

        _show_both(record_both(access, directory, machine, yes), as_json)
    else:
        from connector.vcenter.record import record as write_down

        _show(write_down(access, directory, machine), as_json)


def _facts(written: Recording) -> dict[str, object]:
    return {"file": str(written.file), "calls": written.calls, "machines": written.machines}


def _words(written: Recording) -> str:
    counts = f"{amounts.plural(written.calls, 'call')}, {amounts.plural(written.machines, 'machine')}"
    return f"{written.file}: {counts}."


def _show(written: Recording, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_facts(written)))
    else:
        click.echo(f"{_words(written)} Look through it, then send it.")


def _show_both(written: BothRecordings, as_json: bool) -> None:
    if as_json:
        over_nfc = {"file": str(written.nfc), "connections": written.connections, "trouble": written.trouble}
        click.echo(json.dumps(_facts(written.vcenter) | {"nfc": over_nfc}))
        return
    click.echo(_words(written.vcenter))
    click.echo(f"{written.nfc}: {amounts.plural(written.connections, 'connection')}.")
    if written.trouble:
        click.echo(
            f"The last one ended early, and what was said until then is in the file: {written.trouble}"
        )
    click.echo("Look through both, then send them.")
