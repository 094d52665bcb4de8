"""`connector init`: an appliance's configuration by asking. Nothing secret is asked, nothing that exists is overwritten."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
import yaml

from connector.cli import estate, tables
from connector.cli.blank import Answers, filled
from connector.cli.options import JSON
from connector.errors import BadInput, Conflict, TrustFailed
from connector.vcenter.endpoint import VCenterAddress
from connector.vcenter.trust import VCenterTrust, presented, thumbprint

FILE: Final = "appliance.yaml"
_BLANK: Final = Answers()


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=FILE)
@click.option("--name", help="How the control plane and people call this appliance.")
@click.option(
    "--vcenter", "vcenter", metavar="URL", envvar="CONNECTOR_VCENTER_URL", help="https://HOST[:PORT]"
)
@click.option("--user", envvar="CONNECTOR_VCENTER_USER", help="vCenter user.")
@click.option(
    "--password-file",
    envvar="CONNECTOR_VCENTER_PASSWORD_FILE",
    help='Where its password is, or will be; "" for the systemd credential vcenter-password.',
)
@click.option("--thumbprint", envvar="CONNECTOR_VCENTER_THUMBPRINT", help="Of vCenter's certificate.")
@click.option("--ca", "authority", envvar="CONNECTOR_VCENTER_CA", help="PEM file with vCenter's authority.")
@click.option("--control", metavar="URL", envvar="CONNECTOR_CONTROL_URL", help="The control plane.")
@click.option(
    "--control-thumbprint", envvar="CONNECTOR_CONTROL_THUMBPRINT", help="SHA-256 of its certificate."
)
@click.option("--activation-code-file", help="Where its activation code is, or will be.")
@click.option("--vddk", envvar="CONNECTOR_VDDK", help="The unpacked VDDK.")
@click.option("--state", help="Where the appliance keeps its identity.")
@click.option("--offline", is_flag=True, help="Ask nobody but you: certificates and the login are not tried.")
@JSON
def init(file: Path, offline: bool, as_json: bool, **given: str | None) -> None:
    """Write an appliance's configuration, with a comment for every key, by asking for what is not given.

    It shows the certificates that vCenter and the control plane present, for you to compare, as ssh does, and tries the login
    when the password is there already. Passwords are never asked for and never in the file. FILE is appliance.yaml
    by default; one that exists is left alone.

    \b
    connector init
    connector init /etc/connector/appliance.yaml --vcenter https://vc.example.com --control https://control.example.com:8443
    """
    if file.exists():
        raise Conflict("exists already", on=str(file), remedy="remove it, or name another file")
    answers = _asked(given, _Line(offline))
    _check(answers, file)
    seen = None if offline else _try(answers)
    _write(file, filled(answers))
    _tell(file, answers, seen, as_json)


class _Line:
    """Where answers come from: a terminal, else nowhere. Online, what a server presents is shown to be compared."""

    def __init__(self, offline: bool) -> None:
        self._offline = offline
        self._terminal = sys.stdin.isatty()

    def ask(self, option: str, question: str, example: str) -> str:
        self._must_answer(option)
        return str(click.prompt(question, default=example or None, err=True)).strip()

    def compare(self, option: str, url: str, whose: str) -> str:
        """The SHA-256 thumbprint that a person has compared."""
        if self._offline:
            return self.ask(option, f"SHA-256 thumbprint of the {whose}'s certificate", "")
        self._must_answer(option)
        found = thumbprint(presented(VCenterAddress.parse(url)), "sha256")
        click.echo(f"The {whose} presents a certificate with the SHA-256 thumbprint\n  {found}", err=True)
        if not click.confirm(f"Is this what the {whose} itself shows?", default=False, err=True):
            raise TrustFailed("its certificate was not accepted", on=url, remedy="find out who answers there")
        return found

    def _must_answer(self, option: str) -> None:
        if not self._terminal:
            raise BadInput("there is nobody to ask", on=option, remedy="give it, or run this on a terminal")


def _asked(given: dict[str, str | None], line: _Line) -> Answers:
    def say(key: str, question: str, example: str = "") -> str:
        told = given.get(key)
        return line.ask(f"--{key.replace('_', '-')}", question, example) if told is None else told

    answers = replace(_BLANK, thumbprint="", name=say("name", "Name of this appliance", os.uname().nodename))
    vcenter = str(VCenterAddress.parse(say("vcenter", "vCenter, as https://HOST")))
    authority, pin = given.get("authority") or "", given.get("thumbprint") or ""
    if not authority and not pin:
        pin = line.compare("--thumbprint", vcenter, "vCenter")
    VCenterTrust.of(pin, Path(authority) if authority else None)
    answers = replace(
        answers,
        vcenter=vcenter,
        thumbprint=pin,
        authority=authority,
        user=say("user", "vCenter user", _BLANK.user),
        password_file=say(
            "password_file", "File with its password (mode 0600, one line)", _BLANK.password_file
        ),
    )
    control = say("control", "Control plane, as https://HOST:PORT")
    VCenterAddress.parse(control)
    pin = given.get("control_thumbprint") or line.compare("--control-thumbprint", control, "control plane")
    return replace(
        answers,
        control=control,
        control_thumbprint=pin,
        activation_code_file=say(
            "activation_code_file", "File with the activation code", _BLANK.activation_code_file
        ),
        vddk=say("vddk", "Unpacked VDDK", _BLANK.vddk),
        state=say("state", "Directory for the appliance's identity", _BLANK.state),
    )


def _check(answers: Answers, file: Path) -> None:
    from connector.appliance.configuration import parse

    parse(yaml.safe_load(filled(answers)), str(file))


def _try(answers: Answers) -> int | None:
    """How many machines the user sees; None when the password is not there yet."""
    password = Path(answers.password_file) if answers.password_file else None
    if password is None or not password.exists():
        return None
    authority = Path(answers.authority) if answers.authority else None
    access = estate.settings(answers.vcenter, answers.user, password, answers.thumbprint, authority)
    with estate.look(access) as vcenter:
        return len(vcenter.machines())


def _write(file: Path, text: str) -> None:
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w") as out:
            out.write(text)
    except FileExistsError:
        raise Conflict("exists already", on=str(file), remedy="remove it, or name another file") from None
    except OSError as failed:
        raise BadInput(f"cannot be written: {failed.strerror}", on=str(file)) from None


def _tell(file: Path, answers: Answers, seen: int | None, as_json: bool) -> None:
    missing = [
        what
        for what in (answers.password_file, answers.activation_code_file, answers.vddk)
        if what and not Path(what).exists()
    ]
    if as_json:
        tables.document({"file": str(file), "machines": seen, "missing": missing})
        return
    click.echo(f"{file} is written" + ("" if seen is None else f"; {answers.user} sees {seen} machines"))
    for what in missing:
        click.echo(f"still missing: {what}")
    click.echo(f"next: connector doctor --config {file}; then connector appliance run --config {file}")
