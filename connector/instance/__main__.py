"""The intermediate instance as a program: it prints one JSON line when it is ready, or one error line and exits."""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import click
from pydantic import ValidationError

from connector import child, environment, logs, private, readable
from connector.errors import BadInput, ConnectorError, PortInUse, TargetFailed
from connector.instance import user_data as cloud_data
from connector.instance.blocks import BlockServer
from connector.instance.metrics import InstanceMetrics
from connector.instance.revoked import Revoked
from connector.instance.server import ControlServer
from connector.instance.service import InstanceService
from connector.instance.store import DiskStore
from connector.log_settings import LogSection
from connector.metrics.serving import serve as serve_metrics
from connector.model import Credential
from connector.service_manager import ServiceManager
from connector.transfer import certificates, tls


@click.command()
@click.option(
    "--directory", type=click.Path(path_type=Path), required=True, help="where disks and images live"
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--control-port", default=8080, show_default=True)
@click.option("--block-port", default=8703, show_default=True)
@click.option("--credential-stdin", is_flag=True, help="read {authority, certificate, key} as one JSON line")
@click.option("--credential-file", type=click.Path(path_type=Path), help="read the same from a file")
@click.option("--user-data", metavar="FILE|URL", help="read it from the user data of the cloud instance")
@click.option(
    "--devices",
    type=click.Path(path_type=Path),
    help="disks are devices below this directory (/dev), which the control plane assigns; default: files",
)
@click.option("--metrics", default="", metavar="[HOST:]PORT", help="serve metrics and health; default: off")
@click.option("--log-format", type=click.Choice(logs.FORMATS), help="default: as systemd reads it, else text")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@click.option("--syslog", default="", metavar="udp://HOST[:PORT]", help="each message goes there too")
@click.option("--exit-with-stdin", is_flag=True, help="stop when standard input ends")
def main(
    directory: Path,
    host: str,
    control_port: int,
    block_port: int,
    credential_stdin: bool,
    credential_file: Path | None,
    user_data: str | None,
    devices: Path | None,
    metrics: str,
    log_format: str | None,
    log_level: str,
    syslog: str,
    exit_with_stdin: bool,
) -> None:
    """Serve disks on BLOCK_PORT and their control on CONTROL_PORT until a signal stops the program."""
    environment.hide()
    manager = ServiceManager.found()
    logs.to_stderr(logging.INFO)
    try:
        _log(log_format, log_level, syslog)
        credential = _credential(credential_stdin, credential_file, user_data)
        serve(
            directory, host, control_port, block_port, credential, exit_with_stdin, devices, manager, metrics
        )
    except ConnectorError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)


def _log(how: str | None, level: str, syslog: str) -> None:
    try:
        LogSection.model_validate({"format": how, "level": level, "syslog": syslog}).apply("instance")
    except ValidationError:
        raise BadInput("must be udp://HOST[:PORT]", on="--syslog") from None


def serve(
    directory: Path,
    host: str,
    control_port: int,
    block_port: int,
    credential: Credential,
    exit_with_stdin: bool,
    devices: Path | None = None,
    manager: ServiceManager | None = None,
    metrics: str = "",
) -> None:
    """Returns after a graceful stop. Port 0 picks a free port; the ready line names it."""
    manager = manager or ServiceManager()
    with ExitStack() as stack:
        stack.callback(os.close, child.own_directory(directory, "another instance"))
        control = stack.enter_context(_listen(host, control_port))
        blocks = stack.enter_context(_listen(host, block_port))
        _raise_limits()
        store = _open(directory, devices)
        stack.callback(store.close)
        revoked = Revoked(directory)
        block_server = BlockServer(blocks, tls.context(credential, server=True), store, revoked)
        block_server.start()
        stack.callback(block_server.close)
        service = InstanceService(store, revoked)
        stack.callback(service.close)
        server = ControlServer(
            service.application(),
            tls.context(credential, server=True, protocol=None),
            control,
            revoked,
            manager,
        )
        sources = (InstanceMetrics(store, block_server).collect,)
        ends = {"instance": certificates.ends(credential.certificate)} if metrics else {}
        metrics_url = serve_metrics(stack, "instance", metrics, manager, sources, ends)
        _stop_on_request(server, exit_with_stdin, manager)
        ready = {
            "ready": True,
            "control_port": control.getsockname()[1],
            "block_port": blocks.getsockname()[1],
            **({"metrics": metrics_url} if metrics_url else {}),
        }
        print(json.dumps(ready), flush=True)
        server.serve_until_stopped()


def _credential(from_stdin: bool, file: Path | None, user_data: str | None) -> Credential:
    if from_stdin + (file is not None) + (user_data is not None) != 1:
        raise BadInput("give exactly one of --credential-stdin, --credential-file and --user-data")
    if user_data is not None:
        return cloud_data.credential(user_data)
    try:
        body = json.loads(sys.stdin.readline() if file is None else readable.text(file))
        return Credential(body["authority"], body["certificate"], body["key"])
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput("the credential is not a JSON object with authority, certificate and key") from None


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server((host, port), backlog=128)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited; asyncio would not set it
        return listener
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse("another program listens there", on=f"{host}:{port}", remedy="stop it") from None
        raise TargetFailed(
            f"cannot listen ({error.strerror})",
            on=f"{host}:{port}",
            remedy="check that the address is this machine's",
        ) from None


def _open(directory: Path, devices: Path | None) -> DiskStore:
    private.directory(directory)
    try:
        return DiskStore(directory, devices)
    except OSError as error:
        raise TargetFailed(
            f"cannot be used ({error.strerror})",
            on=str(directory),
            remedy="give a directory that this process may write",
        ) from error


def _raise_limits() -> None:
    """Allow as many open files as the system does: every disk needs three."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file size limit fails the write and not the process


def _stop_on_request(server: ControlServer, exit_with_stdin: bool, manager: ServiceManager) -> None:
    def stop(*_: object) -> None:
        server.should_exit = True
        manager.stopping()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if exit_with_stdin:

        def watch() -> None:
            while sys.stdin.buffer.read(4096):
                pass
            stop()

        threading.Thread(target=watch, name="stdin", daemon=True).start()


if __name__ == "__main__":
    main()
