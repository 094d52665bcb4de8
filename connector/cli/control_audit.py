"""`connector control audit` copies the audit log into a file, and verifies it there or in the database.

Exit codes of `verify`: 0 every line is as it was written; 4 the log is damaged; 2 a file cannot be read.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from connector.cli.control_state import database_option, opened_store, state_option
from connector.cli.options import JSON
from connector.errors import BadInput

_DIGEST = re.compile(r"[0-9a-f]{64}")


@click.group()
def audit() -> None:
    """The audit log: copy it into a file, and verify it."""


@audit.command()
@state_option()
@database_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@JSON
def export(state: Path, database: str, file: Path, as_json: bool) -> None:
    """Write all lines to the new FILE, mode 0600. The control plane may run meanwhile.

    Keep it on another machine: with it `verify --against` shows later whether lines were changed or cut.

    \b
    connector control audit export --state /var/lib/connector/control /backup/audit-2026-11-28.jsonl
    """
    from connector.control.state import audit_export
    from connector.control.store.audit import NAME

    with opened_store(state, database) as store:
        head = audit_export.write(store.audit.entries(), NAME, file)
    if as_json:
        click.echo(json.dumps({"file": str(file), "lines": head.number, "head": head.digest}))
        return
    click.echo(f"{file}: {_lines(head.number)}, head {head.digest}")


@audit.command()
@state_option(required=False)
@database_option
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--against",
    metavar="EARLIER",
    type=click.Path(dir_okay=False, path_type=Path),
    help="An earlier export: each of its lines must still be there.",
)
@click.option(
    "--head", "known", metavar="DIGEST", help="A head that was noted earlier: a line must have this digest."
)
@JSON
def verify(
    state: Path | None,
    database: str,
    file: Path | None,
    against: Path | None,
    known: str | None,
    as_json: bool,
) -> None:
    """Check that every line is as it was written: in FILE, an export, or else in the database.

    Lines that were cut from the end, and a log that was written anew, are found only with --against or --head.

    \b
    connector control audit verify audit-2026-12-05.jsonl --against audit-2026-11-28.jsonl
    """
    from connector.control.domain.audit_log import verify as walk
    from connector.control.state import audit_export

    if known is not None and not _DIGEST.fullmatch(known):
        raise BadInput(
            "a digest has 64 hexadecimal digits",
            on="--head",
            remedy="copy it from the console or from verify",
        )
    earlier = () if against is None else audit_export.entries(against)
    more = earlier, str(against), known or ""
    if file is not None:
        head = walk(audit_export.entries(file), str(file), *more)
    elif state is not None:
        from connector.control.store.audit import NAME

        with opened_store(state, database) as store:
            head = walk(store.audit.entries(), NAME, *more)
    else:
        raise BadInput("name an export, or a control plane's state", on="FILE", remedy="give FILE or --state")
    if as_json:
        click.echo(json.dumps({"lines": head.number, "head": head.digest}))
        return
    click.echo(f"{file or 'audit log'}: {_lines(head.number)}, all as they were written; head {head.digest}")
    if against is not None:
        click.echo(f"All lines of {against} are among them.")


def _lines(number: int) -> str:
    return "1 line" if number == 1 else f"{number} lines"
