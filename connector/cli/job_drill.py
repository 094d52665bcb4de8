"""`connector job drill` rehearses a cutover with the job's last image: convert a copy, start it, throw it away."""

from __future__ import annotations

from pathlib import Path

import click

from connector.cli import machine_image, records
from connector.cli.access import with_client
from connector.cli.boot_view import MARKER, REPORT, TIMEOUT, hardware_of, pattern_of, tell_drill
from connector.cli.conversion import NETWORK, NEW_MACS, guest_image
from connector.cli.options import JSON
from connector.cli.report import stale_images
from connector.clients.smc import Json, SmcClient
from connector.conversion.virtual_machine import require_tools
from connector.errors import BadInput, NotFound


@click.command()
@click.argument("word", metavar="JOB")
@NETWORK
@NEW_MACS
@TIMEOUT
@MARKER
@REPORT
@with_client
@JSON
def drill(
    client: SmcClient,
    word: str,
    network: str,
    new_macs: bool,
    timeout: int,
    marker: str | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Convert a copy of the job's last image, start it, and throw it away: would the machine come up after a cutover?

    The source and the image are not touched. Run it on the computer that has the images (provider local). It works between two
    runs, days before the cutover.

    \b
    connector job drill web-01
    connector job drill web-01 --network keep --report drill-of-web-01

    \b
    Exit codes: 0 it boots; 13 it does not; 3 the job has no image yet; 9 no space for the copy; 2 the image is not on this
    computer, or a tool is missing.
    """
    location = _last_image(client, records.find_job(client, word))
    described = machine_image.read([location])
    require_tools(described.machine.firmware)
    hardware = hardware_of(described, None, 1)
    guest = guest_image(described, network, new_macs)
    tell_drill(guest, hardware, pattern_of(marker), timeout, report, as_json)


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
    location = Path(max(images, key=lambda row: str(row["CompletedTime"]))["Location"])
    if not location.is_dir():
        raise BadInput(
            f"its last image is not on this computer: {location}",
            on=f"job {job['Name']}",
            remedy="run this on the computer of the control plane; images in a cloud are tried there",
        )
    return location
