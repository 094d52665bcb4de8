"""`python -m tests.live --machine VM` looks at a real vCenter: which of the facts that we rely on hold there, and which do not.

It takes one snapshot of the machine and removes it; beyond that it only reads. Exit code 11 when a fact is refuted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from connector import environment
from connector.cli import estate
from connector.cli.deep import agree
from connector.cli.deep_snapshots import FileLedger, held, owner
from connector.cli.options import JSON, vcenter_options
from connector.errors import Conflict, ConnectorError
from connector.settings import VCenterSettings
from connector.vcenter.client import VCenter
from tests.live import other_facts
from tests.live.facts import Fact, Outcome, Seen, Site, every
from tests.live.nfc_facts import FACTS as NFC


@dataclass(frozen=True, slots=True)
class Row:
    """One fact and what the site shows."""

    fact: Fact
    seen: Seen

    def to_json(self) -> dict[str, str]:
        fact, seen = self.fact, self.seen
        row = {"fact": fact.id, "mark": fact.mark, "statement": fact.statement}
        return {**row, "outcome": seen.outcome, "seen": seen.words}


@contextmanager
def looked_at(access: VCenterSettings, name: str, yes: bool) -> Iterator[Site]:
    """The machine with a snapshot of ours, which is removed at the end."""
    with VCenter(access, owner=owner(), ledger=FileLedger()) as vcenter:
        machine = vcenter.find(name)
        agree([machine], yes, "--machine")
        with held(vcenter, machine) as snapshot:
            yield Site(vcenter, machine, snapshot, snapshot.disks[0])


def rows(site: Site, facts: Iterable[Fact]) -> Iterator[Row]:
    for fact in facts:
        yield Row(fact, fact.look(site))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@vcenter_options
@click.option("--machine", required=True, metavar="VM", help="A machine with a disk, running if possible.")
@click.option("--vddk", type=click.Path(file_okay=False, path_type=Path), envvar="CONNECTOR_VDDK")
@click.option("--transports", default="nbdssl", show_default=True)
@click.option("--yes", is_flag=True, help="Do not ask before the snapshot.")
@JSON
def main(
    url: str,
    user: str,
    password_file: Path | None,
    thumbprint: str,
    authority: Path | None,
    machine: str,
    vddk: Path | None,
    transports: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Prove or refute on a real site what the connector relies on. Only reads, through one snapshot of its own."""
    access = estate.settings(url, user, password_file, thumbprint, authority)
    refuted = 0
    with looked_at(access, machine, yes) as site:
        for row in rows(site, every(NFC, other_facts.facts(vddk, transports))):
            refuted += row.seen.outcome is Outcome.REFUTED
            if as_json:
                click.echo(json.dumps(row.to_json()))
            else:
                fact, seen = row.fact, row.seen
                click.echo(f"{fact.id:4} [{fact.mark}] {seen.outcome:8} {fact.statement}\n     {seen.words}")
    sys.exit(Conflict.exit_code if refuted else 0)


if __name__ == "__main__":
    environment.hide()
    try:
        main(standalone_mode=False)
    except ConnectorError as failed:
        click.echo(f"tests.live: {failed}", err=True)
        sys.exit(failed.exit_code)
