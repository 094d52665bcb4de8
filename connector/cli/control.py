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
    from connector.control.domain.entities import AccessKey
    from connector.control.store import Store

PORT = 8443  # of `connector control run` when nothing is said
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
    """Run the control plane in the foreground; see `connector control run --help`. It listens on port 8443 unless told.

    \b
    connector control run --state /var/lib/connector/control --images /srv/images
    """
    sys.stdout.flush()
    told = any(word.partition("=")[0] in ("--port", "--config") for word in arguments)
    if not told and not os.environ.get("CONNECTOR_CONTROL_CONFIG"):
        os.environ.setdefault("CONNECTOR_CONTROL_PORT", str(PORT))
    # It takes this process over: its signals and its end are its own.
    os.execv(sys.executable, [sys.executable, "-m", "connector.control", *arguments])  # noqa: S606


@control.command()
@_STATE
@click.option(
    "--endpoint", "url", default=f"https://127.0.0.1:{PORT}", show_default=True, help="Where it listens."
)
def environment(state: Path, url: str) -> None:
    """Print what a shell must export so that commands call this control plane as the owner of its state directory.

    \b
    eval "$(connector control environment --state /var/lib/connector/control)"
    """
    from connector.control.state import directory_key, identity

    certificate = state / "control.crt"
    if directory_key.find(state) is None or not certificate.is_file():
        raise BadInput("no control plane has been started here yet", on=str(state), remedy="start it first")
    given = {
        "CONNECTOR_CONTROL_URL": url,
        "CONNECTOR_CONTROL_THUMBPRINT": identity.thumbprint(certificate.read_text()),
        "CONNECTOR_CONTROL_SETTINGS": str((state / directory_key.FILE).resolve()),
    }
    for name, value in given.items():
        click.echo(f"export {name}={shlex.quote(value)}")


@control.command()
@_STATE
@_DATABASE
@JSON
def status(state: Path, database: str, as_json: bool) -> None:
    """How far the database is, and whether its state was restored and waits for a confirmation.

    \b
    connector control status --state /var/lib/connector/control
    """
    from connector.control.http.views import epoch
    from connector.control.state.epoch import FILE, RestoreDetector
    from connector.control.state.vault import Vault
    from connector.epoch import EpochMemory

    with _store(state, database) as store:
        RestoreDetector(store, Vault(state / "vault-key"), EpochMemory(state / FILE)).look()
        found = epoch(store.epochs.current())
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"Epoch     {found['number']}, since {_time(found['began'])}\nWrites    {found['sequence']}")
    if not found["restored"]:
        click.echo("State     in order")
        return
    click.echo(f"State     RESTORED, noticed {_time(found['restored_at'])}: {found['restored']}")
    click.echo(
        "Nothing is started, shut down, deleted or enrolled until: connector control confirm --state DIR"
    )


@control.command()
@_STATE
@_DATABASE
@click.option(
    "--keep-credentials", is_flag=True, help="Nothing was revoked since the backup: approve all at once."
)
@JSON
def confirm(state: Path, database: str, keep_credentials: bool, as_json: bool) -> None:
    """Work goes on after a restore. What instances hold counts; the next pass of each job compares every disk.

    Access keys, activation codes and appliances must be approved again.

    \b
    connector control confirm --state /var/lib/connector/control
    """
    from connector.control.http.views import epoch
    from connector.control.state.epoch import confirm as begin_epoch

    with _store(state, database) as store:
        made = begin_epoch(store, keep_credentials=keep_credentials)
        _audit(store, "ConfirmRestore", made.epoch, {"keep_credentials": keep_credentials})
    if as_json:
        click.echo(json.dumps(epoch(made)))
        return
    click.echo(f"Epoch {made.number} begins. The next pass of each job compares every disk.")
    if not keep_credentials:
        click.echo(
            "Approve who may come in again: connector control approve --state DIR ID, connector appliance"
        )


@control.command()
@_STATE
@_DATABASE
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All access keys and activation codes.")
@JSON
def approve(state: Path, database: str, ids: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Access keys and activation codes count again that a restore has brought back.

    \b
    connector control approve AK0123456789 --state /var/lib/connector/control
    """
    if bool(ids) == everything:
        raise BadInput("name access keys or activation codes, or --all", on="ID")
    with _store(state, database) as store:
        approved = store.epochs.approve(None if everything else ids)
        for found in approved:
            _audit(store, "Approve", found, {})
    click.echo(
        json.dumps({"approved": approved}) if as_json else "\n".join(f"{i} is approved" for i in approved)
    )


@control.command()
@_STATE
@_DATABASE
@click.option(
    "--to", "target", required=True, type=click.Path(path_type=Path), help="The file to write; a new one."
)
@JSON
def backup(state: Path, database: str, target: Path, as_json: bool) -> None:
    """Copy everything that the control plane knows into one file, mode 0600. It may run meanwhile.

    The vault key is not in it: keep a copy of DIR/vault-key in another place.

    \b
    connector control backup --state /var/lib/connector/control --to /backup/control-2026-11-28.tar
    """
    from connector.control.state import backup as backups

    made = backups.make(state, database, target)
    if as_json:
        click.echo(json.dumps({"file": str(target), "database": made.database, "made": made.made}))
        return
    click.echo(
        f"{target}: {made.database}, {', '.join(made.files)}\nThe vault key is not in it: {state / 'vault-key'}"
    )


@control.command()
@_STATE
@_DATABASE
@click.option(
    "--from",
    "source",
    required=True,
    type=click.Path(path_type=Path),
    help="What `connector control backup` wrote.",
)
@JSON
def restore(state: Path, database: str, source: Path, as_json: bool) -> None:
    """Make a state directory from a backup: DIR holds the vault key alone. Then nothing is begun until it is confirmed.

    \b
    connector control restore --state /var/lib/connector/control --from /backup/control-2026-11-28.tar
    """
    from connector.control.state import backup as backups

    found = backups.restore(state, database, source)
    if as_json:
        click.echo(json.dumps({"state": str(state), "database": found.database, "made": found.made}))
        return
    click.echo(
        f"{state}: as of {_time(found.made)}. Start the control plane, then: connector control confirm --state DIR"
    )


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
    "--workgroup",
    "workgroups",
    metavar="ID",
    multiple=True,
    help="The only workgroup that it sees; may be given several times. Default: everything.",
)
@click.option("--days", type=click.IntRange(1, 3650), help="So long it is good for. Default: for ever.")
@click.option(
    "--secret-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the secret to this new file, mode 0600, and do not print it.",
)
@JSON
def create(
    state: Path,
    database: str,
    name: str,
    role: str,
    workgroups: tuple[str, ...],
    days: int | None,
    secret_file: Path | None,
    as_json: bool,
) -> None:
    """Make a key. Its secret is shown this once, or written to a file of its own.

    \b
    connector control key create --state DIR --name "night shift" --secret-file key.secret
    """
    if not 0 < len(name) <= 128 or not name.isprintable():
        raise BadInput("a name has 1 to 128 printable characters", on="--name")
    from connector.control.domain.entities import Role
    from connector.control.state.access_keys import AccessKeys
    from connector.control.state.vault import Vault

    with _store(state, database) as store, new_secret_file(secret_file) as keep:
        for group in workgroups:
            store.workgroups.get(group)
        until = None if days is None else store.now() + days * 86400.0
        keys = AccessKeys(store.keys, Vault(state / "vault-key"))
        made, secret = keys.create(name, Role(role), list(workgroups) or None, until)
        keep(secret)
        about: dict[str, object] = {"name": name, "role": role, "workgroups": list(workgroups), "days": days}
        _audit(store, "CreateAccessKey", made.id, about)
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
    """All keys, without their secrets: that of the state directory, then the others, oldest first.

    \b
    connector control key list --state /var/lib/connector/control
    """
    from connector.control.state import directory_key

    with _store(state, database) as store:
        found = store.keys.all()
    if (own := directory_key.find(state)) is not None:
        found.insert(0, own.row())
    for row in found:
        if as_json:
            click.echo(json.dumps(_shown(row)))
            continue
        made = time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(row.created))
        click.echo(f"{row.id}  {row.role:<9}  {made}  {_key_state(row):<10}  {row.name}")


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
    from connector.control.state import directory_key

    if (own := directory_key.find(state)) is not None and own.id == key_id:
        raise BadInput(
            "this key counts as long as its file is there",
            on=key_id,
            remedy=f"remove {own.file} and start the control plane again: it makes another",
        )
    with _store(state, database) as store:
        store.keys.disable(key_id)
        _audit(store, "DisableAccessKey", key_id, {})
    click.echo(
        json.dumps({"access_key_id": key_id, "disabled": True}) if as_json else f"{key_id} is disabled"
    )


def _key_state(row: AccessKey) -> str:
    if row.disabled:
        return "disabled"
    return "active" if row.approved else "unapproved"


def _time(moment: object) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(float(str(moment or 0))))


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
        from connector.control.state.identity import thumbprint

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
        "approved": row.approved,
        "workgroups": None if row.workgroups is None else list(row.workgroups),
        "until": row.until,
    }
