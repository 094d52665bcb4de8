"""`connector demo` migrates machines of a simulated vCenter while they write, and then compares every byte.

The migration runs as against a real vCenter, and the comparison reads both disks again.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click
from pydantic import SecretStr

from connector import amounts, child
from connector.cli.compare import Comparison, compare
from connector.cli.display import Display, choose
from connector.cli.estate import session
from connector.cli.migrate import FORMATS, chosen_format, tell
from connector.cli.migration import MigrationRequest, migrate
from connector.cli.options import JSON
from connector.cli.report import JobReport
from connector.cli.stack import Stack, StackLocation
from connector.errors import BadInput, ControlFailed, ProofFailed, TargetFailed
from connector.model import Machine
from connector.settings import VCenterSettings
from connector.sources.factory import AUTO, ORDER, VDDK
from connector.specification import image_formats
from connector.specification.image_formats import ImageFormat
from connector.transfer.qemu_img import qemu_img
from connector.vcenter.client import VCenter
from simulator.estate.estate import Estate
from simulator.estate.inventory import VirtualDisk

PAUSE = 3.0  # seconds in which the guests write between two passes


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file of an image."""

    path: Path
    format: ImageFormat


@dataclass(frozen=True, slots=True)
class Equal:
    """One disk after the cutover, source against image."""

    machine: str
    disk: str
    image: Path
    compared: Comparison


@click.command()
@click.option(
    "--disk",
    "disks",
    multiple=True,
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Use this image (raw, qcow2, vmdk) instead of generated disks. Repeatable.",
)
@click.option("--vms", default=2, show_default=True, type=click.IntRange(1, 50), help="Made-up machines.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep everything here. [default: temporary]",
)
@click.option("--guest-rate", default="2M", show_default=True, help="Bytes/s that each guest writes.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same disks.")
@click.option(
    "--format",
    "image_format",
    type=click.Choice(FORMATS),
    default="auto",
    show_default=True,
    help="Image format.",
)
@click.option(
    "--reader",
    type=click.Choice([AUTO, *ORDER]),
    default=AUTO,
    show_default=True,
    help="What reads the disks. auto: the stand-in of VDDK where a C compiler can build it, else NFC.",
)
@JSON
def demo(
    disks: tuple[Path, ...],
    vms: int,
    directory: Path | None,
    guest_rate: str,
    seed: int,
    image_format: str,
    reader: str,
    as_json: bool,
) -> None:
    """Migrate simulated machines while they write, cut over, and compare every byte.

    \b
    connector demo
    connector demo --reader nfc
    connector demo --disk debian-12.qcow2
    """
    options = [f"--disk={disk.resolve()}" for disk in disks] or [f"--vms={vms}"]
    if disks:
        options.append("--vms=0")
    fields = {} if reader == AUTO else {"Reader": reader}
    arguments = [*options, f"--guest-rate={guest_rate}", f"--seed={seed}"]
    with ExitStack() as unwind:
        home = directory or Path(unwind.enter_context(tempfile.TemporaryDirectory(prefix="connector-demo-")))
        home.mkdir(parents=True, exist_ok=True)
        if reader == VDDK:
            arguments.append(f"--vddk-dir={home / 'vcenter' / 'vddk'}")
        elif reader != AUTO:
            arguments.append("--no-vddk")
        request = MigrationRequest(True, image_format=chosen_format(image_format), fields=fields)
        with choose(as_json) as display:
            jobs = _migrate_all(home, arguments, request, display)
            display.say("reading both sides again, byte for byte")
            equals = list(_compare_all(home, jobs))
        tell(jobs, as_json, images=directory is not None)
        _conclude(equals, as_json)


def _migrate_all(
    home: Path, arguments: list[str], request: MigrationRequest, display: Display
) -> list[JobReport]:
    """Do a full pass, a delta pass and a cutover of every machine; answer the reports of the jobs."""
    display.say("starting a simulated vCenter")
    with _vcenter(home, arguments) as (access, vddk), session(access) as vcenter:
        machines = vcenter.machines()
        for machine in machines:
            display.say(_portrait(machine))
        with Stack(StackLocation(access, vddk, home / "target")) as stack:
            display.say("full pass")
            migrate(stack, machines, request, display)
            display.say(f"the guests go on writing for {PAUSE:.0f} s, then a delta pass")
            time.sleep(PAUSE)
            migrate(stack, machines, request, display)
            display.say("cutover: shut down, last delta, image")
            finished = migrate(stack, machines, replace(request, incremental=False, cutover=True), display)
        _nothing_left(vcenter)
    return finished


@contextmanager
def _vcenter(home: Path, arguments: Sequence[str]) -> Iterator[tuple[VCenterSettings, Path | None]]:
    with _simulator(home, arguments) as simulator:
        facts = {key: str(value) for key, value in simulator.ready.items()}
        vddk = simulator.ready["vddk"]
        password = Path(facts["password_file"]).read_text().rstrip("\n")
        yield (
            VCenterSettings(
                url=facts["url"],
                user=facts["user"],
                password=SecretStr(password),
                thumbprint=facts["thumbprint"],
            ),
            None if vddk is None else Path(str(vddk)),
        )


def _simulator(home: Path, arguments: Sequence[str]) -> child.Child:
    log = home / "simulator.log"
    words = ["--directory", str(home / "vcenter"), "--exit-with-stdin", *arguments]
    try:
        return child.start("simulator", words, name="simulator", log=log, timeout=300.0)
    except ControlFailed as failed:  # its log says why, but the log may be deleted with `home`
        messages = [line for line in log.read_text().splitlines() if line.startswith("Error: ")]
        raise BadInput(
            messages[-1].removeprefix("Error: ") if messages else failed.what, on="simulator"
        ) from None


def _portrait(machine: Machine) -> str:
    sizes = ", ".join(amounts.size(disk.capacity) for disk in machine.disks)
    return f"{machine.name}: {machine.firmware}, {amounts.plural(len(machine.disks), 'disk')} ({sizes}), {machine.power}"


def _nothing_left(vcenter: VCenter) -> None:
    """Raise ProofFailed if a snapshot was left."""
    for machine in vcenter.machines():
        if machine.snapshots:
            raise ProofFailed(
                f"snapshot {machine.snapshots[0].name} was left",
                on=machine.name,
                remedy="report it: the demonstration should leave nothing",
            )


def _compare_all(home: Path, jobs: Sequence[JobReport]) -> Iterator[Equal]:
    with closing(Estate(home / "vcenter")) as estate, tempfile.TemporaryDirectory(dir=home) as room:
        names = {machine.name: machine for machine in estate.inventory.vms.values()}
        for job in jobs:
            image = job.images[-1]["details"]
            folder = Path(image["location"])
            for disk in names[job.machine].disks:
                form = image_formats.named(image["format"])
                file = folder / f"{disk.key}.{form.suffix}"
                yield _compare_one(estate, job.machine, disk, ImageFile(file, form), Path(room))


def _compare_one(estate: Estate, machine: str, disk: VirtualDisk, image: ImageFile, room: Path) -> Equal:
    raw = _as_raw(image, room)
    source = estate.storage.disk(disk.storage)
    with raw.open("rb") as target:

        def read(offset: int, length: int) -> bytes:
            target.seek(offset)
            return target.read(length)

        compared = compare(source.read, read, disk.capacity)
    if raw != image.path:
        raw.unlink()
    return Equal(machine, disk.label, image.path, compared)


def _as_raw(image: ImageFile, room: Path) -> Path:
    if image.format is image_formats.RAW:
        return image.path
    raw = room / f"{image.path.stem}.raw"
    words = ("convert", "-f", image.format.driver, "-O", "raw", str(image.path), str(raw))
    if trouble := qemu_img(*words).trouble:
        raise TargetFailed(f"qemu-img failed ({trouble})", on=str(image.path), remedy="check the free space")
    return raw


def _conclude(equals: Sequence[Equal], as_json: bool) -> None:
    """Print the results of the comparison. Raises ProofFailed for the first difference."""
    for result in equals:
        first = result.compared.first_difference
        if as_json:
            fields = {
                "event": "compared",
                "machine": result.machine,
                "disk": result.disk,
                "capacity": result.compared.capacity,
            }
            click.echo(
                json.dumps(
                    fields
                    | {
                        "equal": result.compared.equal,
                        "digest": result.compared.digest,
                        "first_difference": first,
                    }
                )
            )
        elif result.compared.equal:
            click.echo(
                f"{result.machine} {result.disk}: {result.compared.capacity} bytes equal, BLAKE3 {result.compared.digest}"
            )
    for result in equals:
        if not result.compared.equal:
            raise ProofFailed(
                f"differs from its source at byte {result.compared.first_difference}",
                on=f"{result.machine} {result.disk}",
                remedy=f"the image is {result.image}",
            )
    if not as_json:
        click.echo("every image equals its powered-off source, byte for byte; no snapshot is left")
