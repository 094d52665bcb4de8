"""`connector migrate` runs control plane, appliance and instances on this machine for one command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from connector.cli import elsewhere, estate
from connector.cli.abandon import abandon, agree, unfinished
from connector.cli.display import choose, wide_console
from connector.cli.elsewhere import refuse_others
from connector.cli.job_parameters import migration_options
from connector.cli.migration import MigrationRequest, refuse_open_cutovers, to_cut_over
from connector.cli.migration import migrate as bring
from connector.cli.options import JSON, vcenter_options
from connector.cli.report import JobReport, show, show_forecast, show_snapshot_costs
from connector.cli.stack import Stack, StackLocation
from connector.cli.typed import as_typed
from connector.errors import BadInput, Ineligible
from connector.model import Machine, PowerState, Severity
from connector.sources.factory import AUTO, ReaderSettings, readers
from connector.specification import image_formats
from connector.specification import images as stale
from connector.vcenter.client import VCenter

AUTO_FORMAT: Final = "auto"
FORMATS: Final = (AUTO_FORMAT, *image_formats.NAMES)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="VM...")
@vcenter_options
@click.option(
    "--vddk",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="CONNECTOR_VDDK",
    help="The unpacked VDDK: the directory above lib64. Without it, disks are read over NFC.",
)
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for images and state.",
)
@click.option(
    "--incremental", is_flag=True, help="Keep the job open: the same command again sends the changes since."
)
@click.option(
    "--cutover", is_flag=True, help="Shut the machine down, send the last delta, make the final image."
)
@click.option(
    "--rollback",
    is_flag=True,
    help="Roll a cutover back: give the machine its state back and power it on. Not with --incremental or --cutover.",
)
@click.option(
    "--abandon",
    "give_up",
    is_flag=True,
    help="Give an unfinished migration up: its images stay, its copied disks are deleted. Asks first.",
)
@click.option("--yes", is_flag=True, help="With --abandon: do not ask.")
@click.option("--again", is_flag=True, help="Copy a machine again whose migration is finished.")
@click.option(
    elsewhere.OPTION,
    "despite_others",
    is_flag=True,
    help="Cut over although a control plane or another connector works on the machine.",
)
@click.option(
    "--format",
    "image_format",
    type=click.Choice(FORMATS),
    default="auto",
    show_default=True,
    help="Image format.",
)
@migration_options
@click.option(
    "--transports", default="nbdssl", show_default=True, help="VDDK transports, tried from left to right."
)
@JSON
def migrate(
    names: tuple[str, ...],
    url: str,
    user: str,
    password_file: Path | None,
    thumbprint: str,
    authority: Path | None,
    vddk: Path | None,
    target: Path,
    incremental: bool,
    cutover: bool,
    rollback: bool,
    give_up: bool,
    yes: bool,
    again: bool,
    despite_others: bool,
    image_format: str,
    transports: str,
    as_json: bool,
    **fields: Any,
) -> None:
    """Migrate machines while they run. VM is a name, an inventory path, a moref or an instance UUID.

    Images appear in DIR/images. The same command again resumes an interrupted run inside the disk. A finished
    migration is not repeated, unless --again is given.

    \b
    connector migrate web-01 db-01 --vcenter https://vc.example.com --thumbprint AA:BB:.. \\
        --to /srv/images --incremental
    connector migrate web-01 db-01 ... --cutover
    """
    _refuse_contradictions(rollback, give_up, goes_on=incremental or cutover or again)
    access = estate.settings(url, user, password_file, thumbprint, authority)
    with estate.session(access) as vcenter:
        chosen = [vcenter.find(name) for name in estate.named(names)]
        machines = list({machine.moref: machine for machine in chosen}.values())
        if not rollback and not give_up:
            refuse_blocked(vcenter, machines)
        version = vcenter.about.version
    configured = readers(ReaderSettings(vddk, transports))
    for reader in configured.chosen(fields.get("Reader") or AUTO):
        reader.check(version)
    if image_format != AUTO_FORMAT:
        fields["ImageFormat"] = image_format
    request = MigrationRequest(
        incremental, cutover, chosen_format(image_format), fields, rollback=rollback, again=again
    )
    house = StackLocation(access, vddk, target, transports)
    first = partial(refuse_open_cutovers, machines=() if cutover or rollback else machines)
    if give_up:
        _give_up(house, machines, yes, as_json)
        return
    with as_typed(), choose(as_json) as display, Stack(house, warn, first) as stack:
        if cutover and not despite_others:
            refuse_others(to_cut_over(stack, machines), stack.thumbprint)
        finished = bring(stack, machines, request, display)
    if as_json or not rollback:
        tell(finished, as_json)


def _refuse_contradictions(rollback: bool, give_up: bool, *, goes_on: bool) -> None:
    """Raise BadInput for options that exclude each other."""
    if rollback and (goes_on or give_up):
        raise BadInput(
            "a cutover is either done or rolled back",
            on="--rollback",
            remedy="give --rollback without the others",
        )
    if give_up and goes_on:
        raise BadInput(
            "a migration is either given up or goes on",
            on="--abandon",
            remedy="give --abandon without the others",
        )


def _give_up(house: StackLocation, machines: Sequence[Machine], yes: bool, as_json: bool) -> None:
    with as_typed(), Stack(house, warn) as stack:
        jobs = unfinished(stack.client, machines)
        agree(jobs, yes)  # before the display: it would write over the question
        with choose(as_json) as display:
            abandon(stack.client, jobs, display, house.target)


def warn(message: str) -> None:
    """Print a warning on standard error, whatever the output is: people must see it."""
    click.echo(message, err=True)


def refuse_blocked(vcenter: VCenter, machines: Sequence[Machine]) -> None:
    """Print known obstacles before anything begins. Raises Ineligible for the first one."""
    from connector.cloud import factory

    for machine in machines:
        grave = Severity.blocking(running=machine.power is PowerState.ON)
        for finding in vcenter.check(machine, factory.limits("local")):
            if finding.severity in grave:
                raise Ineligible(
                    f"{finding.message} ({finding.check})", on=finding.subject, remedy=finding.remedy
                )


def chosen_format(image_format: str) -> str:
    """The format of images. `auto` is qcow2 if qemu-img is installed, else raw."""
    if image_format != AUTO_FORMAT:
        return image_format
    return (image_formats.DEFAULT if shutil.which("qemu-img") else image_formats.RAW).name


def tell(jobs: Sequence[JobReport], as_json: bool, *, images: bool = True) -> None:
    """Print the table of disks, and where the images are, unless `images` is False because they will be deleted."""
    if as_json:
        for job in jobs:
            click.echo(json.dumps({"event": "result"} | job.to_json()))
        return
    console = wide_console()
    worked = [job for job in jobs if not job.note]
    if worked:
        show([row for job in worked for row in job.disks], console)
    show_snapshot_costs([row for job in worked for row in job.snapshots], console)
    for job in worked:
        show_forecast(job.machine, job.downtime, console)
    for job in jobs if images else ():
        for line in image_lines(job):
            console.print(line, highlight=False)
    for job in jobs:
        if job.note:
            console.print(job.note, highlight=False)


def image_lines(job: JobReport) -> list[str]:
    """Where the images are. If a cutover was rolled back, which one to use: the plain name may be of the earlier one."""
    images = [image for image in job.images if not image["removed"]]
    valid = [image for image in images if not image["rolled_back"]]
    chooses = len(valid) < len(images) and job.status == "Finished"
    in_order = sorted(valid, key=lambda image: image["created"] or 0.0)
    newest = in_order[-1] if chooses and in_order else None

    def kind(image: dict[str, Any]) -> str:
        if image["rolled_back"]:
            return f"image {stale.NOT_THIS}:"
        if newest is None:
            return "image"
        return f"{stale.USE_THIS}:" if image is newest else "older image:"

    lines = []
    for image in images:
        details = image["details"]
        location = details.get("location", image["name"])
        is_other = image["id"] not in (location, "") and image["id"] == details.get("converted")
        shown = f"{image['id']}, converted from {location}" if is_other else location
        lines.append(f"{job.machine}: {kind(image)} {shown}")
        if note := image["details"].get("note"):  # what a conversion or a start of a copy has to say
            lines.append(f"{job.machine}:   {note}")
    return lines
