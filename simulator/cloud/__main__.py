"""`python -m simulator.cloud`: an ECS region on this machine, until a signal stops it.

One JSON line on standard output says that it is ready and where everything is. SIGTERM, SIGINT, or (with
--exit-with-stdin) the end of standard input stop it and every running instance.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click

from simulator.cloud import AccessKey, Boot, Region, Server, Stock, Timing, serve
from simulator.cloud.dispatch import OPERATIONS
from simulator.cloud.images import POINT
from simulator.faults import Faults, demand_known, parse

#: Images that exist from the beginning, one for each architecture.
PUBLIC_IMAGES: Final = {"m-sim-x86": "x86_64", "m-sim-arm": "arm64"}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="0: any free port.")
@click.option("--directory", type=click.Path(path_type=Path), help="Disks and logs. [default: temporary]")
@click.option("--region", "name", default="cn-hangzhou", help="Name of the region.")
@click.option("--zone", "zones", multiple=True, help="Repeatable. [default: REGION-h and REGION-i]")
@click.option(
    "--boot", default="", metavar="COMMAND", help="What a running instance runs; see docs/simulator-cloud.md."
)
@click.option(
    "--boot-guest", default="", metavar="COMMAND", help="What an instance of an image of your own runs."
)
@click.option(
    "--image", "images", multiple=True, metavar="ID=ARCHITECTURE", help="A public image. Repeatable."
)
@click.option(
    "--sold-out", multiple=True, metavar="PATTERN[@ZONE]", help="Types or disk categories. Repeatable."
)
@click.option("--access-key-id", default="", envvar="SIMULATOR_ACCESS_KEY_ID", help="[default: one is made]")
@click.option(
    "--secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Holds the key's secret. [default: $SIMULATOR_ACCESS_KEY_SECRET, else one is made]",
)
@click.option("--deny", multiple=True, metavar="ACTION", help="What the key may not call. Repeatable.")
@click.option(
    "--speed",
    default=1.0,
    type=click.FloatRange(0.001),
    help="How fast things become ready: 2 is twice as fast.",
)
@click.option("--lag", default=0.1, help="Seconds until what was made can be seen.")
@click.option(
    "--faults",
    "faults_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Fault rules (JSON), see docs/simulator-cloud.md.",
)
@click.option("--exit-with-stdin", is_flag=True, help="Stop when standard input ends.")
@click.option("-v", "--verbose", is_flag=True, help="Log to standard error.")
def main(
    host: str,
    port: int,
    directory: Path | None,
    name: str,
    zones: tuple[str, ...],
    boot: str,
    boot_guest: str,
    images: tuple[str, ...],
    sold_out: tuple[str, ...],
    access_key_id: str,
    secret_file: Path | None,
    deny: tuple[str, ...],
    speed: float,
    lag: float,
    faults_file: Path | None,
    exit_with_stdin: bool,
    verbose: bool,
) -> None:
    """An imaginary ECS region whose instances really run, for trying and testing without an account."""
    logging.basicConfig(level=logging.DEBUG if verbose else logging.WARNING)
    stop = _stop_event(exit_with_stdin)
    with ExitStack() as stack:
        try:
            home = _directory(stack, directory)
            rules = parse(faults_file.read_text()) if faults_file else []
            demand_known(rules, {POINT}.union(*OPERATIONS.values()))
            key, secret_path = _key(home, access_key_id, secret_file, deny)
            region = Region(
                home,
                Stock(zones or (f"{name}-h", f"{name}-i"), sold_out=sold_out),
                Boot(home, boot, boot_guest),
                name=name,
                timing=_timing(speed, lag),
                faults=Faults(rules),
            )
            for image_id, architecture in (_images(images) or PUBLIC_IMAGES).items():
                region.add_public_image(image_id, architecture)
            server = stack.enter_context(serve(region, [key], host=host, port=port))
        except (OSError, ValueError) as error:
            raise click.ClickException(str(error)) from None
        _announce(server, key, secret_path)
        stop.wait()


def _stop_event(with_stdin: bool) -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def watch() -> None:
        while os.read(0, 4096):
            pass
        stop.set()

    if with_stdin:
        threading.Thread(target=watch, name="stdin", daemon=True).start()
    return stop


def _directory(stack: ExitStack, directory: Path | None) -> Path:
    if directory is None:
        temporary = tempfile.TemporaryDirectory(prefix="simulator-cloud-", ignore_cleanup_errors=True)
        return Path(stack.enter_context(temporary))
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / "files").exists():
        raise ValueError(f"{directory}: an earlier region lies here; a region does not outlive its process")
    return directory.absolute()


def _key(home: Path, key_id: str, secret_file: Path | None, deny: tuple[str, ...]) -> tuple[AccessKey, Path]:
    """The key, and a file with its secret."""
    if secret_file is not None:
        secret, path = secret_file.read_text().strip(), secret_file.absolute()
    else:
        secret, path = (
            os.environ.get("SIMULATOR_ACCESS_KEY_SECRET") or secrets.token_urlsafe(30),
            home / "secret",
        )
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secret + "\n")
    return AccessKey(key_id or f"LTAI{secrets.token_hex(10)}", secret, denied=deny), path


def _timing(speed: float, lag: float) -> Timing:
    whole = Timing()
    return Timing(
        pending=whole.pending / speed,
        starting=whole.starting / speed,
        disk=whole.disk / speed,
        snapshot=whole.snapshot / speed,
        image=whole.image / speed,
        network=whole.network / speed,
        lag=lag,
    )


def _images(options: tuple[str, ...]) -> dict[str, str]:
    images = {}
    for text in options:
        image_id, _, architecture = text.partition("=")
        if architecture not in ("", "x86_64", "arm64"):
            raise ValueError(f"--image {text}: the architecture is x86_64 or arm64")
        images[image_id] = architecture or "x86_64"
    return images


def _announce(server: Server, key: AccessKey, secret_path: Path) -> None:
    region = server.region
    ready = {
        "endpoint": server.endpoint,
        "certificate": str(server.certificate),
        "region": region.name,
        "zones": list(region.stock.zones),
        "images": {image.id: image.architecture for image in region.images},
        "access_key_id": key.id,
        "secret_file": str(secret_path),
        "directory": str(region.directory),
        "pid": os.getpid(),
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
