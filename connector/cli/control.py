"""`connector control`: the control plane as a service, and the access keys of those who call it."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.cli.options import JSON
from connector.cli.secret import new_secret_file
from connector.errors import BadInput

if TYPE_CHECKING:  # the store brings a database library along, which no other command needs
    from connector.control.store import Store
    from connector.control.store.rows import AccessKey

ROLES = ("read-only", "operator", "admin")

_STATE = click.option(
    "--state",
    required=True,
    envvar="CONNECTOR_CONTROL_STATE",
    type=click.Path(path_type=Path),
    help="The control plane's own files.",
)
_DATABASE = click.option(
    "--database",
    default="",
    envvar="CONNECTOR_CONTROL_DATABASE",
    help="postgresql://USER@ADDRESS/NAME. Default: the file in the state directory.",
)


@click.group()
def control() -> None:
    """The control plane: run it, and decide who may call it."""


@control.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Run the control plane in the foreground; see `connector control run --help`.

    \b
    connector control run --state /var/lib/connector/control
    """
    sys.stdout.flush()
    # It takes this process over: its signals and its end are its own.
    os.execv(sys.executable, [sys.executable, "-m", "connector.control", *arguments])  # noqa: S606


@control.group()
def key() -> None:
    """Access keys: who may call the public API, and as what."""


@key.command()
@_STATE
@_DATABASE
@click.option("--name", required=True, help="Whose key it is.")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="operator",
    show_default=True,
    help="read-only: look; operator: run migrations; admin: activation codes too.",
)
@click.option(
    "--secret-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the secret to this new file, mode 0600, and do not print it.",
)
@JSON
def create(state: Path, database: str, name: str, role: str, secret_file: Path | None, as_json: bool) -> None:
    """Make a key. Its secret is shown this once, or written to a file of its own.

    \b
    connector control key create --state DIR --name "night shift" --secret-file key.secret
    """
    if not 0 < len(name) <= 128 or not name.isprintable():
        raise BadInput("a name has 1 to 128 printable characters", on="--name")
    from connector.control.keys import Keys
    from connector.control.store.rows import Role
    from connector.control.vault import Vault

    with _store(state, database) as store, new_secret_file(secret_file) as keep:
        made, secret = Keys(store.keys, Vault(state / "vault-key")).create(name, Role(role))
        keep(secret)
        _audit(store, "CreateAccessKey", made.id, {"name": name, "role": role})
    if as_json:
        click.echo(json.dumps(_shown(made) | ({} if secret_file else {"access_key_secret": secret})))
        return
    shown = secret if secret_file is None else f"in {secret_file}"
    click.echo(f"AccessKey ID      {made.id}\nAccessKey secret  {shown}\nRole              {made.role}")
    click.echo(_usage(state, made.id, secret_file))
    if secret_file is None:
        click.echo("The secret is not shown again.", err=True)


@key.command("list")
@_STATE
@_DATABASE
@JSON
def list_(state: Path, database: str, as_json: bool) -> None:
    """All keys, oldest first, without their secrets.

    \b
    connector control key list --state /var/lib/connector/control
    """
    with _store(state, database) as store:
        found = store.keys.all()
    for row in found:
        if as_json:
            click.echo(json.dumps(_shown(row)))
            continue
        made = time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(row.created))
        click.echo(
            f"{row.id}  {row.role:<9}  {made}  {'disabled' if row.disabled else 'active  '}  {row.name}"
        )


@key.command()
@_STATE
@_DATABASE
@click.argument("key_id")
@JSON
def disable(state: Path, database: str, key_id: str, as_json: bool) -> None:
    """Refuse everything signed with this key from now on.

    \b
    connector control key disable AK0123456789 --state /var/lib/connector/control
    """
    with _store(state, database) as store:
        store.keys.disable(key_id)
        _audit(store, "DisableAccessKey", key_id, {})
    click.echo(
        json.dumps({"access_key_id": key_id, "disabled": True}) if as_json else f"{key_id} is disabled"
    )


def _usage(state: Path, key_id: str, secret_file: Path | None) -> str:
    """Lines for a shell, without the secret."""
    file = secret_file.resolve() if secret_file else "FILE"
    why = "" if secret_file else "    # with the secret in it, mode 0600"
    lines = [
        "export CONNECTOR_CONTROL_URL=https://HOST:PORT    # as it printed at its start",
        f"export CONNECTOR_ACCESS_KEY_ID={key_id}",
        f"export CONNECTOR_ACCESS_KEY_SECRET_FILE={shlex.quote(str(file))}{why}",
    ]
    certificate = state / "control.crt"
    if certificate.is_file():
        from connector.control.identity import thumbprint

        lines.append(f"export CONNECTOR_CONTROL_THUMBPRINT={thumbprint(certificate.read_text())}")
    return "\n".join(["", "# connector source list works with", *lines])


@contextmanager
def _store(state: Path, database: str) -> Iterator[Store]:
    """What one control plane knows; it may be running."""
    if not state.is_dir():
        raise BadInput(
            "no such state directory", on=str(state), remedy="run the control plane once, or check the path"
        )
    from connector.control.store import Store

    store = Store(database or f"sqlite:///{state.resolve() / 'control.sqlite'}")
    try:
        yield store
    finally:
        store.close()


def _audit(store: Store, action: str, key_id: str, details: dict[str, object]) -> None:
    store.audit.add(f"local user {getpass.getuser()}", "this machine", action, key_id, details)


def _shown(row: AccessKey) -> dict[str, object]:
    return {
        "access_key_id": row.id,
        "name": row.name,
        "role": str(row.role),
        "created": row.created,
        "disabled": row.disabled,
    }
