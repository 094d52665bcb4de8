"""`connector init` asks for an appliance's configuration, and with `--service` it starts the appliance. It overwrites no file."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
import yaml

from connector import amounts, files
from connector.cli import asking, estate, tables
from connector.cli.blank import Answers, filled
from connector.cli.options import JSON
from connector.cli.service_setup import CODE, CODE_FILE, PASSWORD, STATE, ServiceSetup, try_login
from connector.errors import BadInput, Conflict, ControlFailed, TrustFailed
from connector.vcenter.endpoint import VCenterAddress
from connector.vcenter.trust import VCenterTrust, presented, thumbprint

FILE: Final = "appliance.yaml"
_BLANK: Final = Answers()


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option("--name", help="Name of this appliance.")
@click.option(
    "--vcenter", "vcenter", metavar="URL", envvar="CONNECTOR_VCENTER_URL", help="https://HOST[:PORT]"
)
@click.option("--user", envvar="CONNECTOR_VCENTER_USER", help="vCenter user.")
@click.option(
    "--password-file",
    envvar="CONNECTOR_VCENTER_PASSWORD_FILE",
    help='Where its password is, or will be; "" for the systemd credential vcenter-password.',
)
@click.option(
    "--thumbprint", envvar="CONNECTOR_VCENTER_THUMBPRINT", help="SHA-1 or SHA-256 of vCenter's certificate."
)
@click.option("--ca", "authority", envvar="CONNECTOR_VCENTER_CA", help="PEM file with vCenter's authority.")
@click.option("--control", metavar="URL", envvar="CONNECTOR_CONTROL_URL", help="The control plane.")
@click.option(
    "--control-thumbprint", envvar="CONNECTOR_CONTROL_THUMBPRINT", help="SHA-256 of its certificate."
)
@click.option("--activation-code-file", help="File with the activation code, now or later.")
@click.option(
    "--vddk", envvar="CONNECTOR_VDDK", help="The unpacked VDDK. Without it, disks are read over NFC."
)
@click.option("--state", help="Directory for the appliance's identity.")
@click.option("--offline", is_flag=True, help="Ask no server: certificates and the login are not tried.")
@click.option(
    "--service",
    is_flag=True,
    help="Set up the service of the Debian package, as root: secrets, /etc/connector/appliance.yaml, start. The two files with "
    "secrets are copied; without them the secrets are asked for.",
)
@JSON
def init(file: Path | None, offline: bool, service: bool, as_json: bool, **options: str | None) -> None:
    """Write an appliance's configuration with a comment for every key. It asks for values that are not given as options.

    Like ssh, it shows the certificates of vCenter and the control plane for you to compare. If the password file
    exists, it tries the login. Passwords are never in the file, and asked for with --service only. FILE is appliance.yaml by
    default; an existing file is never overwritten.

    \b
    connector init
    connector init /etc/connector/appliance.yaml --vcenter https://vc.example.com --control https://control.example.com:8443
    connector init --service
    """
    if service:
        _set_up(file, offline, as_json, options)
        return
    file = Path(FILE) if file is None else file
    _require_new(file)
    answers = _absolute(_asked(options, _Line(offline)))
    _check(answers, file)
    password = Path(answers.password_file) if answers.password_file else None
    is_tried = not offline and password is not None and password.exists()
    machines_seen = _log_in(answers, password) if is_tried else None
    _write(file, filled(answers))
    _tell(file, answers, machines_seen, as_json)


def _set_up(file: Path | None, offline: bool, as_json: bool, options: dict[str, str | None]) -> None:
    """Make the service of this computer: everything that is asked, then the secrets, a login, the file, the start."""
    setup, line = ServiceSetup(), _Line(offline)
    setup.check()
    if file is not None and file.absolute() != setup.configuration:
        raise BadInput(f"the service reads {setup.configuration}", on=str(file), remedy="leave FILE out")
    if offline:
        raise BadInput("a service that starts asks its servers", on="--offline", remedy="leave it out")
    _require_new(setup.configuration)
    password_file, code_file = options.get("password_file"), options.get("activation_code_file")
    answers = _service_answers(options, line)
    _check(answers, setup.configuration)
    setup.take(PASSWORD, password_file, f"Password of {answers.user}", line.ask_secret)
    setup.take(CODE, code_file, "Activation code", line.ask_secret)
    machines_seen = try_login(
        setup,
        answers,
        lambda password: _log_in(answers, password),
        line.ask_secret if line.is_terminal else None,
    )
    _write(setup.configuration, filled(answers))
    click.echo(
        f"{answers.user} sees {amounts.plural(machines_seen, 'machine')}; the service starts", err=True
    )
    try:
        status = setup.start()
    except ControlFailed:
        click.echo(setup.log_lines(), err=True)
        raise
    if as_json:
        tables.document({"file": str(setup.configuration), "machines": machines_seen, "status": status})
    else:
        click.echo(f"the appliance {status}")


def _service_answers(options: dict[str, str | None], line: _Line) -> Answers:
    fixed = {"password_file": "", "activation_code_file": CODE_FILE, "state": STATE}
    return _absolute(_asked({**options, **fixed}, line))


def _require_new(file: Path) -> None:
    if file.exists():
        raise Conflict("the file exists", on=str(file), remedy="remove it, or name another file")


class _Line:
    """Asks questions on a terminal. Unless it is offline, it shows servers' certificates for comparison."""

    def __init__(self, offline: bool) -> None:
        self._offline = offline
        self.is_terminal = sys.stdin.isatty()

    def ask(self, option: str, question: str, example: str) -> str:
        self._must_answer(option)
        return str(click.prompt(question, default=example or None, err=True)).strip()

    def ask_secret(self, question: str) -> str:
        """Something that is not shown while it is typed."""
        self._must_answer(question)
        return str(click.prompt(question, hide_input=True, err=True))

    def ask_file(self, option: str, question: str, example: str) -> str:
        """A file's path. One that does not exist is taken only if the person says so."""
        while True:
            path = self.ask(option, question, example)
            if not path or Path(path).expanduser().exists():
                return path
            if asking.agreed(f"{path} does not exist yet. Will you put it there?"):
                return path

    def compare(self, option: str, url: str, whose: str) -> str:
        """The SHA-256 thumbprint that a person has compared."""
        if self._offline:
            return self.ask(option, f"SHA-256 thumbprint of the {whose}'s certificate", "")
        self._must_answer(option)
        print_ = thumbprint(presented(VCenterAddress.parse(url)), "sha256")
        click.echo(f"The {whose} presents a certificate with the SHA-256 thumbprint\n  {print_}", err=True)
        if not asking.agreed(f"Is this what the {whose} itself shows?"):
            raise TrustFailed(
                "its certificate was not accepted", on=url, remedy="find out which server answers there"
            )
        return print_

    def _must_answer(self, option: str) -> None:
        if not self.is_terminal:
            raise BadInput(
                "there is no terminal to ask on", on=option, remedy="give the option, or use a terminal"
            )


def _asked(options: dict[str, str | None], line: _Line) -> Answers:
    def say(key: str, question: str, example: str = "") -> str:
        answer = options.get(key)
        return line.ask(f"--{key.replace('_', '-')}", question, example) if answer is None else answer

    def file(key: str, question: str, example: str) -> str:
        answer = options.get(key)
        return line.ask_file(f"--{key.replace('_', '-')}", question, example) if answer is None else answer

    answers = replace(_BLANK, thumbprint="", name=say("name", "Name of this appliance", os.uname().nodename))
    vcenter = str(VCenterAddress.parse(say("vcenter", "vCenter, as https://HOST")))
    authority, pin = options.get("authority") or "", options.get("thumbprint") or ""
    if not authority and not pin:
        pin = line.compare("--thumbprint", vcenter, "vCenter")
    VCenterTrust.of(pin, Path(authority) if authority else None)
    answers = replace(
        answers,
        vcenter=vcenter,
        thumbprint=pin,
        authority=authority,
        user=say("user", "vCenter user", _BLANK.user),
        password_file=file(
            "password_file", "File with its password (mode 0600, one line)", _BLANK.password_file
        ),
    )
    control = str(VCenterAddress.parse(say("control", "Control plane, as https://HOST:PORT")))
    pin = options.get("control_thumbprint") or line.compare("--control-thumbprint", control, "control plane")
    return replace(
        answers,
        control=control,
        control_thumbprint=pin,
        activation_code_file=file(
            "activation_code_file", "File with the activation code", _BLANK.activation_code_file
        ),
        vddk=options.get("vddk") or "",
        state=say("state", "Directory for the appliance's identity", _BLANK.state),
    )


def _absolute(answers: Answers) -> Answers:
    """The answers with absolute paths: a service is started elsewhere than the file was written."""

    def absolute(path: str) -> str:
        return str(Path(path).expanduser().absolute()) if path else ""

    return replace(
        answers,
        password_file=absolute(answers.password_file),
        authority=absolute(answers.authority),
        activation_code_file=absolute(answers.activation_code_file),
        vddk=absolute(answers.vddk),
        state=absolute(answers.state),
    )


def _check(answers: Answers, file: Path) -> None:
    from connector.appliance.configuration import parse

    parse(yaml.safe_load(filled(answers)), str(file))


def _log_in(answers: Answers, password: Path | None) -> int:
    """How many machines the user sees."""
    authority = Path(answers.authority) if answers.authority else None
    access = estate.settings(answers.vcenter, answers.user, password, answers.thumbprint, authority)
    with estate.session(access) as vcenter:
        return len(vcenter.machines())


def _write(file: Path, text: str) -> None:
    """All of the file or nothing, also after a power failure: whoever finds one takes it for finished."""
    try:
        with tempfile.TemporaryDirectory(prefix=".configuration-", dir=file.absolute().parent) as folder:
            draft = Path(folder) / file.name
            with files.new(draft) as out:
                out.write(text.encode())
                os.fchmod(out.fileno(), 0o644)
            os.link(draft, file)  # it fails if the file has appeared meanwhile
        files.sync(file.absolute().parent)
    except FileExistsError:
        raise Conflict("the file exists", on=str(file), remedy="remove it, or name another file") from None
    except OSError as failed:
        raise BadInput(f"cannot be written: {failed.strerror}", on=str(file)) from None


def _tell(file: Path, answers: Answers, machines: int | None, as_json: bool) -> None:
    missing = [
        path
        for path in (answers.password_file, answers.activation_code_file, answers.vddk)
        if path and not Path(path).exists()
    ]
    if as_json:
        tables.document({"file": str(file), "machines": machines, "missing": missing})
        return
    click.echo(
        f"{file} is written"
        + ("" if machines is None else f"; {answers.user} sees {amounts.plural(machines, 'machine')}")
    )
    for path in missing:
        click.echo(f"still missing: {path}")
    click.echo(
        f"next: connector doctor --config {file} says what is missing; connector appliance run --config {file} starts it, "
        "and enrols it at its first start"
    )
