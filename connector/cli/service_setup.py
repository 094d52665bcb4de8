"""The appliance as systemd's service of this computer: its secrets where the unit loads them, its configuration, its start.

The rule: secrets are in files for root alone, in `/etc/credstore`, and systemd hands them to the service.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from connector import files, pasted, readable
from connector.cli.blank import Answers
from connector.errors import AuthenticationFailed, BadInput, ControlFailed

UNIT: Final = "connector-appliance.service"
STATE: Final = "/var/lib/connector/appliance"
PASSWORD: Final = "vcenter-password"  # noqa: S105 - the name of a credential
CODE: Final = "activation-code"
#: Where the service finds the activation code.
CODE_FILE: Final = f"/run/credentials/{UNIT}/{CODE}"
_LOGINS: Final = 3  # more would lock accounts
_LOG_LINES: Final = "15"


@dataclass(frozen=True, slots=True)
class ServiceSetup:
    """Files and unit of the service. `root` is `/`, except in tests."""

    root: Path = Path("/")

    @property
    def configuration(self) -> Path:
        return self.root / "etc/connector/appliance.yaml"

    @property
    def begun(self) -> Path:
        """It exists while a first boot writes the configuration and starts the service; the first boot's unit looks for it."""
        return self.root / "etc/connector/first-boot-begun"

    @property
    def is_configured(self) -> bool:
        """Whether there is a configuration whose service has started."""
        return self.configuration.exists() and not self.begun.exists()

    def secret(self, name: str) -> Path:
        """The file of a secret."""
        return self.root / "etc/credstore" / name

    def check(self) -> None:
        """Raises BadInput unless root calls, on a computer with systemd and the package."""
        if os.geteuid():
            raise BadInput("a service is set up by root", on="--service", remedy="use sudo")
        if not (self.root / "run/systemd/system").is_dir():
            raise BadInput("systemd does not run here", on="--service", remedy="leave --service out")
        if not _unit_exists():
            raise BadInput(
                "this computer has no such unit",
                on=UNIT,
                remedy="install the Debian package, docs/install.md",
            )

    def keep(self, name: str, content: str) -> None:
        """Keep a secret for the service. Raises BadInput."""
        try:
            self.secret(name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.replace(self.secret(name), f"{content}\n".encode())
        except OSError as failed:
            raise BadInput(f"cannot be written: {failed.strerror}", on=str(self.secret(name))) from None

    def take(self, name: str, file: str | None, question: str, ask: Callable[[str], str]) -> None:
        """Keep the secret of `file`; without one, leave what is kept, or `ask`. Raises BadInput."""
        if file:
            try:
                content = readable.content(Path(file).expanduser())
            except OSError as failed:
                raise BadInput(f"cannot be read: {failed.strerror}", on=file) from None
            self.keep(name, pasted.password(content, name, file))
        elif not self.secret(name).exists():
            self.keep(name, pasted.password(ask(question), name, "the terminal"))

    def start(self) -> str:
        """Enable and start the unit, and answer what it says it does. It is ready before this returns. Raises ControlFailed."""
        started = _systemctl("enable", "--now", UNIT)
        if started.returncode:
            raise ControlFailed(
                "the service did not start",
                on=UNIT,
                remedy=f"read the lines above, correct {self.configuration}, then systemctl restart {UNIT}",
            )
        return _systemctl("show", UNIT, "--property=StatusText", "--value").stdout.strip()

    def discard(self) -> None:
        """End a service that does not start, and remove its configuration and activation code."""
        _systemctl("disable", "--now", UNIT)
        self.configuration.unlink(missing_ok=True)
        self.secret(CODE).unlink(missing_ok=True)

    def log_lines(self) -> str:
        """The last lines that the service logged."""
        command = ["journalctl", "--unit", UNIT, "--no-pager", "--output=cat", "--lines", _LOG_LINES]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def try_login(
    setup: ServiceSetup, answers: Answers, log_in: Callable[[Path], int], ask: Callable[[str], str] | None
) -> int:
    """How many machines the user sees. A refused password is asked for again, three times at most. Raises ConnectorError."""
    attempts_left = _LOGINS if ask is not None else 1
    while True:
        attempts_left -= 1
        try:
            return log_in(setup.secret(PASSWORD))
        except AuthenticationFailed as refused:
            if ask is None:  # what somebody has put there stays
                raise
            setup.secret(PASSWORD).unlink(missing_ok=True)
            if not attempts_left:
                raise
            click.echo(f"connector: {refused}", err=True)
        setup.take(PASSWORD, None, f"Password of {answers.user}", ask)


def _unit_exists() -> bool:
    return _systemctl("cat", UNIT).returncode == 0


def _systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    except OSError as failed:
        raise BadInput(f"systemctl cannot be run: {failed.strerror}", on="--service") from None
