"""`connector job drill` and `conversion`: rehearse a cutover with a job's last image, here or at the control plane."""

from __future__ import annotations

import json
from pathlib import Path

import click

from connector.cli import drill_remote, drill_view, machine_image, records, tables
from connector.cli.access import with_client
from connector.cli.boot_view import MARKER, REPORT, TIMEOUT, hardware_of, pattern_of, say, tell_drill
from connector.cli.conversion import NETWORKS, NEW_MACS, guest_image
from connector.cli.options import JSON
from connector.cli.report import stale_images
from connector.clients.smc import Json, SmcClient
from connector.conversion.virtual_machine import require_tools
from connector.errors import NotFound

_NETWORK = click.option(
    "--network",
    type=click.Choice(NETWORKS),
    help="As for connector machine drill. Default: as the job converts its images, else none.",
)


@click.command()
@click.argument("word", metavar="JOB")
@_NETWORK
@NEW_MACS
@TIMEOUT
@MARKER
@REPORT
@click.option(
    "--remote", is_flag=True, help="The control plane does it, even if the image is on this computer."
)
@click.option("--stop", is_flag=True, help="Stop the drill that the control plane does, or that waits there.")
@with_client
@JSON
def drill(
    client: SmcClient,
    word: str,
    network: str | None,
    new_macs: bool,
    timeout: int,
    marker: str | None,
    report: Path | None,
    remote: bool,
    stop: bool,
    as_json: bool,
) -> None:
    """Convert a copy of the job's last image, start it, and throw it away: would the machine come up after a cutover?

    The source and the image are not touched. It works between two runs, days before the cutover. When the image is not on this
    computer, the control plane does it (provider local); its result stays with the job: connector job show.

    \b
    connector job drill web-01
    connector job drill web-01 --network keep --report drill-of-web-01
    connector job drill web-01 --remote

    \b
    Exit codes: 0 it boots; 13 it does not; 3 the job has no image yet; 9 no space for the copy; 2 a tool is missing, or
    the target offers no drills.
    """
    job = records.find_job(client, word)
    if stop:
        row = client.call("StopReplicationJobDrill", JobId=job["JobId"])
        tables.told(word, "the drill is being stopped", row, as_json)
        return
    pattern = pattern_of(marker)
    location = _last_image(client, job)
    if remote or not location.is_dir():
        if not remote:
            say("the image is not on this computer: the control plane tries it")
        options = {"Network": network, "NewMacs": new_macs, "Timeout": timeout, "Marker": marker}
        drill_remote.tell(client, drill_remote.asked(client, job, **options), report, as_json)
        return
    described = machine_image.read([location])
    require_tools(described.machine.firmware, secure_boot=described.machine.secure_boot)
    hardware = hardware_of(described, None, 1)
    guest = guest_image(described, network or str(job.get("Conversion") or "none"), new_macs)
    tell_drill(guest, hardware, pattern, timeout, report, as_json)


@click.command()
@click.argument("word", metavar="JOB")
@click.option("--new", is_flag=True, help="Let the control plane plan now, with the job's last image.")
@_NETWORK
@NEW_MACS
@with_client
@JSON
def conversion(
    client: SmcClient, word: str, new: bool, network: str | None, new_macs: bool, as_json: bool
) -> None:
    """Show what a conversion of the job's image changes, as its last drill or plan at the control plane found it.

    --new plans anew: the control plane reads the guest's files, changes nothing and starts nothing.

    \b
    connector job conversion web-01
    connector job conversion web-01 --new --network keep

    \b
    Exit codes: 0 the plan; 5 the guest cannot be converted; 3 there is no plan so far.
    """
    job = records.find_job(client, word)
    options = {"PlanOnly": True, "Network": network, "NewMacs": new_macs}
    row = drill_remote.asked(client, job, **options) if new else _last_plan(client, job)
    report = drill_view.report(row)
    if as_json:
        click.echo(json.dumps(report.get("conversion") or {"refusal": report.get("refusal")}))
    elif report.get("conversion"):
        click.echo(f"image {row['ImageName']} of run {row['RunNumber']}, network {row['Network']}")
        for line in drill_view.plan_lines(report["conversion"]):
            click.echo(line)
    drill_remote.require_convertible(row)


def _last_plan(client: SmcClient, job: Json) -> Json:
    for row in drill_remote.rows(client, [job["JobId"]]):
        if row["State"] == "Done":
            return row
    raise NotFound(
        "no conversion was planned so far", on=f"job {job['Name']}", remedy="say --new to plan one now"
    )


def _last_image(client: SmcClient, job: Json) -> Path:
    """Where the newest image is that is not of a cutover that was rolled back."""
    stale = stale_images(records.find(client, records.JOB, job["JobId"]))
    images = [
        row
        for row in records.rows(client, records.RESOURCE, JobId=job["JobId"])
        if row["Ready"] and not row["Released"] and row["ImageId"] not in stale
    ]
    if not images:
        raise NotFound("has no image yet", on=f"job {job['Name']}", remedy="let its first run finish")
    return Path(max(images, key=lambda row: str(row["CompletedTime"]))["Location"])
