"""`connector appliance first-boot` configures an appliance's image on its console, before anybody can log in.

What was typed in vCenter when the image was deployed comes first (OVF properties on a CD). What fails, or was not typed, is asked
on the console, as often as it takes. Each console runs this program; whoever answers first holds the lock.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import click

from connector import __version__, files, pasted, readable
from connector.cli import ovf_properties
from connector.cli.network_setup import DEFAULT_NAME, NetworkSettings
from connector.cli.service_setup import CODE, PASSWORD, ServiceSetup
from connector.errors import BadInput, ConnectorError, ControlFailed

_LOCK: Final = Path("/run/connector-first-boot.lock")
_ONLINE: Final = ("/usr/lib/systemd/systemd-networkd-wait-online", "--any", "--timeout=60")
#: Options of `connector init` with the same keys as properties.
_OPTIONS: Final = ("name", "vcenter", "thumbprint", "user", "control", "control_thumbprint")
_NEEDED: Final = (
    "vcenter",
    "thumbprint",
    "user",
    "vcenter_password",
    "control",
    "control_thumbprint",
    "activation_code",
)


@click.command("first-boot")
@click.option(
    "--environment",
    "document",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="The file ovf-env.xml, in place of the one on a CD.",
)
def first_boot(document: Path | None) -> None:
    """Configure an appliance's image on its console: network, vCenter, control plane, password of root; then start it.

    The image starts this command by itself until the appliance is configured.

    \b
    connector appliance first-boot
    """
    setup = ServiceSetup()
    with _locked(wait=True):
        _discard_unfinished(setup)
        if not setup.is_configured:
            _unattended(setup, document)
    _ask_until_configured(setup)
    click.echo(f"configured: {setup.configuration}; systemctl status connector-appliance says how it is")


def _discard_unfinished(setup: ServiceSetup) -> None:
    """Begin again when the power failed between the configuration and the end of the service's start."""
    if setup.begun.exists():
        setup.discard()


def _ask_until_configured(setup: ServiceSetup) -> None:
    """Raises BadInput without a terminal, also when it is gone meanwhile: its input would end again and again."""
    signal.signal(
        signal.SIGQUIT, signal.SIG_IGN
    )  # Ctrl-backslash would leave a machine that nobody can configure
    while not setup.is_configured:
        if not sys.stdin.isatty():
            raise BadInput(
                "there is no terminal to ask on", on="first boot", remedy="use the machine's console"
            )
        _attended(setup)


def _unattended(setup: ServiceSetup, document: Path | None) -> None:
    """Take what was typed in vCenter. A failure is shown, and the console asks."""
    try:
        typed = ovf_properties.answers(readable.content(document)) if document else _from_cd()
        if not typed:
            return
        _set_network(NetworkSettings.of(typed))
        _set_console_password(typed.get("console_password", ""))
        missing = [key for key in _NEEDED if key not in typed]
        if missing:
            raise BadInput("these were left empty", on=", ".join(missing), remedy="answer them here")
        _configure(setup, typed)
    except (ConnectorError, OSError) as failed:  # a CD or a disk that fails, too
        click.echo(f"connector: what was typed in vCenter does not do: {failed}", err=True)
    except (click.Abort, KeyboardInterrupt):
        _raise_at_shutdown()


def _attended(setup: ServiceSetup) -> None:
    """Ask a person once. A failure is shown, and the caller asks again."""
    try:
        click.echo(f"\nThis migration appliance ({__version__}) is not configured.")
        click.prompt("Press Enter to configure it here", default="", show_default=False)
        with _locked(wait=False):
            if setup.is_configured:
                return
            _set_network(NetworkSettings.of(_ask_network()))
            password = str(
                click.prompt(
                    "Password of root here (Enter: nobody logs in)", "", hide_input=True, show_default=False
                )
            )
            _set_console_password(password)
            _configure(setup, {})
    except (ConnectorError, OSError) as failed:
        with suppress(OSError):  # the console is gone: the caller sees it
            click.echo(f"connector: {failed}", err=True)
    except (click.Abort, KeyboardInterrupt):  # Ctrl-C or Ctrl-D: begin again
        _raise_at_shutdown()
        with suppress(OSError):
            click.echo()


def _raise_at_shutdown() -> None:
    """Raise what is being handled if a SIGTERM is its cause: `connector` ignores the next one."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        raise  # noqa: PLE0704 - called where an exception is handled


def _ask_network() -> Mapping[str, str]:
    typed = {"address": _ask("Address with prefix length, as 192.0.2.10/24, or dhcp", "dhcp")}
    if typed["address"].strip().lower() not in ("", "dhcp"):
        typed["gateway"] = _ask("Gateway")
        typed["name_servers"] = _ask("Name servers, with blanks between")
    typed["time_servers"] = _ask("Time servers (Enter: those of DHCP, else Debian's)")
    typed["host_name"] = _ask("Host name", DEFAULT_NAME)
    return typed


def _ask(question: str, default: str = "") -> str:
    return str(click.prompt(question, default=default, show_default=bool(default)))


def _set_network(settings: NetworkSettings) -> None:
    """Write the settings, use them, and wait a minute for an address. Raises ControlFailed without one."""
    settings.write()
    for command in (
        ["hostname", settings.host_name],
        ["networkctl", "reload"],
        ["systemctl", "restart", "systemd-timesyncd"],
    ):
        subprocess.run(command, check=False, capture_output=True)
    for card in sorted(path.name for path in Path("/sys/class/net").iterdir() if path.name != "lo"):
        subprocess.run(["networkctl", "reconfigure", card], check=False, capture_output=True)
    if subprocess.run(_ONLINE, check=False, capture_output=True).returncode:
        raise ControlFailed(
            "no card has an address after a minute",
            on="network",
            remedy="check the port group, the address and DHCP",
        )
    shown = subprocess.run(
        ["ip", "-brief", "address", "show", "scope", "global"], check=False, capture_output=True, text=True
    )
    click.echo(shown.stdout.strip())


def _set_console_password(password: str) -> None:
    """Without one, root is locked, whatever an earlier attempt set: nobody logs in on the console."""
    if not password:
        subprocess.run(["passwd", "--quiet", "--lock", "root"], check=False, capture_output=True)
        return
    line = f"root:{pasted.password(password, 'password of root', 'console')}\n"  # one line: each is a user
    done = subprocess.run(["chpasswd"], input=line, text=True, check=False, capture_output=True)
    if done.returncode:
        raise BadInput(
            "the password of root was not accepted", on="console", remedy="use a longer one, of one line"
        )


def _configure(setup: ServiceSetup, typed: Mapping[str, str]) -> None:
    """Run `connector init --service`; it asks for what was not typed. A service that does not start is not configured."""
    for name, key in ((PASSWORD, "vcenter_password"), (CODE, "activation_code")):
        if typed.get(key):
            setup.keep(name, pasted.password(typed[key], name, "first boot"))
    words = [
        word for key in _OPTIONS if typed.get(key) for word in (f"--{key.replace('_', '-')}", typed[key])
    ]
    if typed and "name" not in typed:
        words += ["--name", os.uname().nodename]
    from connector.cli.init import init

    try:
        with _discarded_unless_started(setup):
            init.main(["--service", *words], prog_name="connector init", standalone_mode=False)
    except click.ClickException as wrong:
        raise BadInput(wrong.format_message(), on="first boot") from None


@contextmanager
def _discarded_unless_started(setup: ServiceSetup) -> Iterator[None]:
    """Whatever ends the start, Ctrl-C too, leaves no configuration: it would end the questions.

    A power failure leaves a file that tells the next boot to begin again.
    """
    files.replace(setup.begun, b"")
    try:
        yield
    except BaseException:
        if setup.configuration.exists():
            setup.discard()
        raise
    setup.begun.unlink(missing_ok=True)


def _from_cd() -> Mapping[str, str]:
    """The answers on the first CD that has some; none without a CD. Raises BadInput."""
    for drive in sorted(Path("/dev").glob("sr[0-9]*")):
        with tempfile.TemporaryDirectory(prefix="connector-cd-") as place:
            options = ["-t", "iso9660", "-o", "ro,nosuid,nodev,noexec"]
            if subprocess.run(
                ["mount", *options, str(drive), place], check=False, capture_output=True
            ).returncode:
                continue
            try:
                for file in Path(place).iterdir():
                    if file.name.lower() == ovf_properties.FILE:
                        return ovf_properties.answers(readable.content(file))
            finally:
                subprocess.run(["umount", place], check=False, capture_output=True)
    return {}


@contextmanager
def _locked(*, wait: bool) -> Iterator[None]:
    """One console at a time. Raises BadInput when another has it and this one does not `wait`."""
    with open(_LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise BadInput(
                "it is being configured on another console", on="first boot", remedy="go on there"
            ) from None
        yield
