"""`python -m connector.control`: the control plane as a service. A line of JSON says that it is ready; on a terminal, a block."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Final

import click

from connector import child, environment, logs, usage
from connector.clients.heartbeat import SILENCE
from connector.cloud import factory
from connector.control import configuration
from connector.control.configuration import ControlConfiguration
from connector.control.plane import Options, run
from connector.control.store import Quotas
from connector.errors import ConnectorError
from connector.log_settings import LogSection
from connector.loopback import is_loopback
from connector.service_manager import ServiceManager

_LOG: Final = logging.getLogger(__name__)


def _from_file(context: click.Context, _: click.Parameter, path: Path | None) -> ControlConfiguration:
    """Make the file's values the defaults of the other options."""
    loaded = ControlConfiguration() if path is None else configuration.load(path)
    context.default_map = {**(context.default_map or {}), **loaded.options()}
    return loaded


@click.command(
    context_settings={
        "auto_envvar_prefix": "CONNECTOR_CONTROL",
        "show_default": True,
        "help_option_names": ["-h", "--help"],
    }
)
@click.option(
    "--config",
    "loaded",
    envvar="CONNECTOR_CONTROL_CONFIG",
    is_eager=True,
    callback=_from_file,
    type=click.Path(path_type=Path),
    help="YAML file with these settings and the section of a cloud. An option overrides the file.",
)
@click.option("--state", required=True, type=click.Path(path_type=Path), help="Own files.")
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Port to listen on. 0: any free port.")
@click.option("--database", default="", help="postgresql://USER@ADDRESS/NAME. Default: a SQLite file.")
@click.option(
    "--provider",
    "cloud",
    envvar="CONNECTOR_CONTROL_PROVIDER",
    type=click.Choice(factory.NAMES),
    default="local",
    help="The target cloud.",
)
@click.option("--images", type=click.Path(path_type=Path), help="Image store of the provider local.")
@click.option(
    "--instance-ports",
    default="",
    metavar="HOST:FIRST-LAST",
    help="Where instances of the provider local listen, two ports for each. Default: loopback addresses, which only appliances "
    "on this computer reach.",
)
@click.option(
    "--grace",
    default=SILENCE,
    type=click.FloatRange(1.0),
    help="Seconds after which a silent appliance is lost.",
)
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME=NUMBER",
    help="A limit, such as host_disks=4. Repeatable.",
)
@click.option(
    "--tls",
    type=click.Choice(["1.3", "1.2"]),
    default="1.3",
    help="Lowest version of TLS; 1.2 for old clients of the public API.",
)
@click.option(
    "--metrics",
    default="",
    metavar="[HOST:]PORT",
    help="Serve metrics and health for Prometheus. A port alone: on 127.0.0.1. Default: off.",
)
@click.option(
    "--log-format", type=click.Choice(logs.FORMATS), help="How to log. Default: as the configuration says."
)
@click.option("--exit-with-stdin", is_flag=True, help="Stop at the end of standard input.")
@click.option("--json", "as_json", is_flag=True, help="Print the line of JSON on a terminal too.")
def command(
    loaded: ControlConfiguration,
    state: Path,
    host: str,
    port: int,
    database: str,
    cloud: str,
    images: Path | None,
    instance_ports: str,
    grace: float,
    limits: tuple[str, ...],
    tls: str,
    metrics: str,
    log_format: str | None,
    exit_with_stdin: bool,
    as_json: bool,
) -> None:
    """Run the control plane: it keeps sources and jobs, and moves the jobs.

    When it is ready, it prints the addresses of the public API (url) and of the console (console): one line of JSON, or
    a line for each on a terminal. Log in to the console with an access key: connector control key create.

    \b
    connector control run --state /var/lib/connector/control --images /srv/images --host 0.0.0.0 --port 8443
    """
    (loaded.log or LogSection(level="warning")).apply("control", log_format)
    manager, quotas = ServiceManager.found(), Quotas.of(limits)
    options = Options(
        state,
        host,
        port,
        database,
        exit_with_stdin,
        grace,
        limits=quotas,
        tls=tls,
        metrics=metrics,
        as_json=as_json,
        recipients=loaded.notifications.recipients,
    )
    maker = factory.choose(cloud, images, loaded.alibaba, "--config", options.state, instance_ports)
    if cloud == "local" and not instance_ports and not is_loopback(host):
        _LOG.warning(
            "instances listen on loopback addresses: appliances on other computers need --instance-ports"
        )
    run(options, maker, manager=manager)


usage.show_variables(command, prefixed=True)


def main() -> int:
    """The process's exit code."""
    environment.hide()
    awaited = child.awaited()
    logs.to_stderr(logging.WARNING)
    try:
        command(standalone_mode=False)
    except click.ClickException as refused:
        return _tell(usage.refusal(refused, "connector control run"), awaited)
    except click.Abort:
        return 130
    except ConnectorError as failed:
        return _tell(failed, awaited)
    return 0


def _tell(failed: ConnectorError, awaited: bool) -> int:
    """Report a failure to a person, and as JSON to a program that awaits our first line."""
    if awaited:
        child.report_failure(failed)
    click.echo(f"connector control: {failed}", err=True)
    return failed.exit_code


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    logging.shutdown()  # what waits for a syslog server is sent
    os._exit(code)  # a step under way resumes at the next start, so nothing waits for it
