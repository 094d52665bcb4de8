"""`connector support-bundle` collects what a supporter needs, shows it, and writes it after a yes."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from connector import amounts
from connector.cli import asking
from connector.cli.options import JSON
from connector.errors import BadInput
from connector.names import visible

if TYPE_CHECKING:
    from connector.support.installation import Installation
    from connector.support.parts import PartCollector

_STREAM: Final = Path("-")
_FILE = click.Path(dir_okay=False, path_type=Path)
_DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.command("support-bundle")
@click.option("--appliance", "appliance", type=_FILE, metavar="FILE", help="An appliance's configuration.")
@click.option("--control", "control", type=_FILE, metavar="FILE", help="A control plane's configuration.")
@click.option(
    "--state",
    type=_DIRECTORY,
    metavar="DIR",
    help="State directory of a control plane without a configuration.",
)
@click.option("--instance", type=_DIRECTORY, metavar="DIR", help="The directory of an intermediate instance.")
@click.option(
    "--to", "directory", type=_DIRECTORY, metavar="DIR", help="The directory of `connector migrate`."
)
@click.option("--log", "logs", type=_FILE, multiple=True, metavar="FILE", help="Also this log. Repeatable.")
@click.option(
    "--lines", default=20_000, show_default=True, type=click.IntRange(1, 1_000_000), help="Lines of each log."
)
@click.option(
    "--metrics",
    multiple=True,
    metavar="[HOST:]PORT",
    help="Also the metrics that a service serves there. Repeatable.",
)
@click.option("--doctor", is_flag=True, help="Also run connector doctor, which logs in to vCenter.")
@click.option("--anonymous", is_flag=True, help="Replace names and addresses; equal ones stay equal.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The .tar.gz to write; - is standard output.",
)
@click.option("--list", "only_list", is_flag=True, help="Show what would be in it, and write nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@JSON
def support_bundle(
    appliance: Path | None,
    control: Path | None,
    state: Path | None,
    instance: Path | None,
    directory: Path | None,
    logs: tuple[Path, ...],
    lines: int,
    metrics: tuple[str, ...],
    doctor: bool,
    anonymous: bool,
    output: Path | None,
    only_list: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Write what a supporter needs into one file, without secrets: settings, logs, states, errors.

    What is configured on this computer is found by itself; the options name what is elsewhere. Every file is listed with
    its source, its size and what was replaced, before anything is written. What cannot be read is listed with the reason.

    \b
    connector support-bundle --list
    connector support-bundle --anonymous --output /tmp/for-support.tar.gz
    connector support-bundle --to /srv/images
    connector support-bundle --yes --output - | ssh me@desk "cat > for-support.tar.gz"
    """
    from connector.cli import deep_snapshots
    from connector.support.bundle import BundleOptions, collect

    if not (only_list or yes or sys.stdin.isatty()):
        raise BadInput(
            "nobody can be asked without a terminal", on="support-bundle", remedy="give --yes or --list"
        )
    installation = _installation(appliance, control, state, instance, directory)
    options = BundleOptions(lines, anonymous, doctor, logs, metrics, deep_snapshots.directory())
    parts = collect(installation, options)
    _show(parts, as_json, to_stderr=output == _STREAM)
    if only_list:
        return
    if not yes and not asking.agreed("Write these into the bundle?"):
        raise click.Abort
    _write(
        parts,
        output or Path(time.strftime("connector-support-%Y%m%dT%H%M%SZ.tar.gz", time.gmtime())),
        as_json,
    )


def _installation(
    appliance: Path | None,
    control: Path | None,
    state: Path | None,
    instance: Path | None,
    directory: Path | None,
) -> Installation:
    """What the options name; without one, what is found."""
    from connector.support.installation import Installation

    if not any((appliance, control, state, instance, directory)):
        return Installation.found()
    return Installation(appliance, control, instance, directory, state)


def _show(parts: PartCollector, as_json: bool, *, to_stderr: bool) -> None:
    for part in parts.parts:
        if as_json:
            words = {"path": part.path, "source": part.source, "size": part.size, "replaced": part.replaced}
            missing = {"missing": part.trouble} if part.content is None else {}
            click.echo(json.dumps(words | missing), err=to_stderr)
            continue
        told = (
            f"{amounts.size(part.size):>10}  replaced: {part.replaced}"
            if part.content is not None
            else f"   MISSING  {part.trouble}"
        )
        click.echo(
            f"{part.path:<44} {visible(told) if part.content is None else told}  ({visible(part.source)})",
            err=to_stderr,
        )
    if not as_json:
        kept = "replaced" if parts.names is not None else "kept; --anonymous replaces them"
        click.echo(f"Secrets are removed. Names and addresses are {kept}.", err=to_stderr)


def _write(parts: PartCollector, output: Path, as_json: bool) -> None:
    from connector.support import archive

    anonymous = parts.names is not None
    sources = [parts.told(part.source) for part in parts.parts]
    if output == _STREAM:
        archive.stream(sys.stdout.buffer, parts.parts, anonymous=anonymous, sources=sources)
        return
    archive.write(output, parts.parts, anonymous=anonymous, sources=sources)
    if as_json:
        click.echo(json.dumps({"bundle": str(output), "size": output.stat().st_size}))
    else:
        click.echo(f"{output}: {amounts.size(output.stat().st_size)}. Look through it, then send it.")
