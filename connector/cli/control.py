"""`connector control` runs the control plane, and manages its state and its access keys."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector import amounts
from connector.cli.control_audit import audit
from connector.cli.control_state import announced, database_option, opened_store, state_option
from connector.cli.notify import notify
from connector.cli.options import JSON
from connector.cli.secret import new_secret_file
from connector.errors import BadInput

if TYPE_CHECKING:  # the store imports a database library, which no other command needs
    from connector.control.domain.access import AccessKey
    from connector.control.state.backup_schedule import KeptBackup

PORT = 8443  # the port of `connector control run` if none is given
ROLES = ("read-only", "operator", "admin")


@click.group()
def control() -> None:
    """The control plane: run it, and manage its state and access keys."""


control.add_command(audit)


@control.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Run the control plane in the foreground, by default on port 8443; see `connector control run --help`.

    \b
    connector control run --state /var/lib/connector/control --images /srv/images
    """
    sys.stdout.flush()
    has_port = any(word.partition("=")[0] in ("--port", "--config") for word in arguments)
    if not has_port and not os.environ.get("CONNECTOR_CONTROL_CONFIG"):
        os.environ.setdefault("CONNECTOR_CONTROL_PORT", str(PORT))
    # The control plane takes this process over, with its signals and its end.
    os.execv(sys.executable, [sys.executable, "-m", "connector.control", *arguments])  # noqa: S606


@control.command()
@state_option()
@click.option(
    "--endpoint",
    "url",
    default=f"https://127.0.0.1:{PORT}",
    show_default=True,
    help="The control plane's address.",
)
def environment(state: Path, url: str) -> None:
    """Print the variables that make commands call this control plane with the owner's key.

    \b
    eval "$(connector control environment --state /var/lib/connector/control)"
    """
    from connector.control.state import directory_key, identity

    certificate = state / "control.crt"
    if directory_key.find(state) is None or not certificate.is_file():
        raise BadInput("no control plane has been started here yet", on=str(state), remedy="start it first")
    variables = {
        "CONNECTOR_CONTROL_URL": url,
        "CONNECTOR_CONTROL_THUMBPRINT": identity.thumbprint(certificate.read_text()),
        "CONNECTOR_CONTROL_SETTINGS": str((state / directory_key.FILE).resolve()),
    }
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")


@control.command()
@state_option()
@database_option
@JSON
def status(state: Path, database: str, as_json: bool) -> None:
    """Show the epoch and the number of writes, and whether a restore waits for confirmation.

    \b
    connector control status --state /var/lib/connector/control
    """
    from connector.control.http.views import epoch
    from connector.control.state.epoch import FILE, RestoreDetector
    from connector.control.state.vault import Vault
    from connector.epoch import EpochMemory

    with opened_store(state, database) as store:
        RestoreDetector(store, Vault(state / "vault-key"), EpochMemory(state / FILE)).look()
        position = epoch(store.epochs.current())
    if as_json:
        click.echo(json.dumps(position))
        return
    click.echo(
        f"Epoch     {position['number']}, since {_time(position['began'])}\nWrites    {position['sequence']}"
    )
    if not position["restored"]:
        click.echo("State     in order")
        return
    click.echo(f"State     RESTORED, noticed {_time(position['restored_at'])}: {position['restored']}")
    click.echo(
        "Nothing is started, shut down, deleted or enrolled until you run: connector control confirm --state DIR"
    )


@control.command()
@state_option()
@database_option
@click.option(
    "--keep-credentials", is_flag=True, help="Approve all credentials: nothing was revoked since the backup."
)
@JSON
def confirm(state: Path, database: str, keep_credentials: bool, as_json: bool) -> None:
    """Confirm a restore, so that work goes on. The next pass of each job compares every disk with its target.

    Access keys, activation codes and appliances must be approved again.

    \b
    connector control confirm --state /var/lib/connector/control
    """
    from connector.control.http.views import epoch
    from connector.control.state.epoch import confirm as begin_epoch

    about = {"keep_credentials": keep_credentials}
    with opened_store(state, database) as store, announced(store, "ConfirmRestore", details=about):
        position = begin_epoch(store, keep_credentials=keep_credentials)
    if as_json:
        click.echo(json.dumps(epoch(position)))
        return
    click.echo(f"Epoch {position.number} begins. The next pass of each job compares every disk.")
    if not keep_credentials:
        click.echo(
            "Approve credentials again: connector control approve --state DIR ID, connector appliance approve ID"
        )


@control.command()
@state_option()
@database_option
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All access keys and activation codes.")
@JSON
def approve(state: Path, database: str, ids: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Approve access keys and activation codes that a restore has brought back.

    \b
    connector control approve AK0123456789 --state /var/lib/connector/control
    """
    if bool(ids) == everything:
        raise BadInput("name access keys or activation codes, or --all", on="ID")
    with opened_store(state, database) as store, announced(store, "Approve"):
        approved = store.epochs.approve(None if everything else ids)
    click.echo(
        json.dumps({"approved": approved}) if as_json else "\n".join(f"{i} is approved" for i in approved)
    )


@control.command()
@state_option()
@database_option
@click.option("--to", "target", type=click.Path(path_type=Path), help="The file to write; it must not exist.")
@click.option(
    "--into",
    "directory",
    type=click.Path(path_type=Path),
    help="In place of --to, a directory: the backup gets a name by its time and is put back for a trial, then old ones go.",
)
@click.option(
    "--keep",
    type=click.IntRange(1),
    default=14,
    show_default=True,
    help="With --into: how many backups stay, with the new one.",
)
@JSON
def backup(
    state: Path, database: str, target: Path | None, directory: Path | None, keep: int, as_json: bool
) -> None:
    """Copy everything that the control plane knows into one file, mode 0600. The control plane may run meanwhile.

    The vault key is not in the file: keep a copy of DIR/vault-key in another place.

    \b
    connector control backup --state /var/lib/connector/control --to /backup/control-2026-11-28.tar
    connector control backup --config /etc/connector/control-plane.yaml --into /backup --keep 14
    """
    from connector.control.state import backup as backups
    from connector.control.state import backup_schedule

    if directory is not None and target is None:
        _tell_kept(backup_schedule.make(state, database, directory, keep), as_json)
        return
    if target is None or directory is not None:
        raise BadInput("exactly one of --to and --into must be given", on="backup")
    written = backups.make(state, database, target)
    if as_json:
        click.echo(json.dumps({"file": str(target), "database": written.database, "made": written.made}))
        return
    click.echo(
        f"{target}: {written.database}, {', '.join(written.files)}\nThe vault key is not in it: {state / 'vault-key'}"
    )


def _tell_kept(kept: KeptBackup, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(kept)))
        return
    tried = "checked" if kept.jobs is None else f"put back for a trial: {amounts.plural(kept.jobs, 'job')}"
    older = f"; {amounts.plural(len(kept.removed), 'older backup')} removed" if kept.removed else ""
    click.echo(f"{kept.file}: {amounts.size(kept.size)}, {tried}{older}")


@control.command("check-backup")
@state_option()
@database_option
@click.option(
    "--from",
    "source",
    required=True,
    type=click.Path(path_type=Path),
    help="The file that `connector control backup` wrote.",
)
@JSON
def check_backup(state: Path, database: str, source: Path, as_json: bool) -> None:  # noqa: ARG001 - of the configuration
    """Put a backup back for a trial, into a temporary directory, and say what is in it. Nothing else is changed.

    It needs the vault key of DIR. A backup of PostgreSQL is checked and read to its end, and put back nowhere.

    \b
    connector control check-backup --state /var/lib/connector/control --from /backup/control-20261128T023000Z.tar
    """
    from connector.control.state import backup_schedule

    trial = backup_schedule.rehearse(state, source)
    if as_json:
        click.echo(json.dumps({"file": str(source), **asdict(trial)}))
        return
    content = (
        "sound" if trial.jobs is None else f"sound, put back for a trial: {amounts.plural(trial.jobs, 'job')}"
    )
    click.echo(f"{source}: {trial.database} of {_time(trial.made)}, {content}")


@control.command()
@state_option()
@database_option
@click.option(
    "--from",
    "source",
    required=True,
    type=click.Path(path_type=Path),
    help="The file that `connector control backup` wrote.",
)
@JSON
def restore(state: Path, database: str, source: Path, as_json: bool) -> None:
    """Make a state directory from a backup. DIR must hold only the vault key. Nothing begins until you confirm the restore.

    \b
    connector control restore --state /var/lib/connector/control --from /backup/control-2026-11-28.tar
    """
    from connector.control.state import backup as backups

    restored = backups.restore(state, database, source)
    if as_json:
        click.echo(json.dumps({"state": str(state), "database": restored.database, "made": restored.made}))
        return
    click.echo(
        f"{state}: as of {_time(restored.made)}. Start the control plane, then: connector control confirm --state DIR"
    )


control.add_command(notify)


@control.group()
def key() -> None:
    """Access keys, which sign calls of the public API."""


@key.command()
@state_option()
@database_option
@click.option("--name", required=True, help="Name of the person or program that uses the key.")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="operator",
    show_default=True,
    help="read-only: look. operator: also run migrations. admin: also manage activation codes.",
)
@click.option(
    "--workgroup",
    "workgroups",
    metavar="ID",
    multiple=True,
    help="A workgroup that the key sees. Repeatable. Default: it sees everything.",
)
@click.option("--days", type=click.IntRange(1, 3650), help="Days that the key is valid. Default: for ever.")
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
    """Make a key. Its secret is shown only once, or written to a file.

    \b
    connector control key create --state DIR --name "night shift" --secret-file key.secret
    """
    if not 0 < len(name) <= 128 or not name.isprintable():
        raise BadInput("a name has 1 to 128 printable characters", on="--name")
    from connector.control.domain.access import Role
    from connector.control.state.access_keys import AccessKeys
    from connector.control.state.vault import Vault

    with opened_store(state, database) as store, new_secret_file(secret_file) as keep:
        for group in workgroups:
            store.workgroups.get(group)
        until = None if days is None else store.now() + days * 86400.0
        keys = AccessKeys(store.keys, Vault(state / "vault-key"))
        about = {"name": name, "role": role, "workgroups": list(workgroups), "days": days}
        with announced(store, "CreateAccessKey", details=about):
            access_key, secret = keys.create(name, Role(role), list(workgroups) or None, until)
        keep(secret)
    if as_json:
        click.echo(json.dumps(_shown(access_key) | ({} if secret_file else {"access_key_secret": secret})))
        return
    shown_secret = secret if secret_file is None else f"in {secret_file}"
    click.echo(
        f"AccessKey ID      {access_key.id}\nAccessKey secret  {shown_secret}\nRole              {access_key.role}"
    )
    click.echo(_usage(state, access_key.id, secret_file))
    if secret_file is None:
        click.echo("The secret is not shown again.", err=True)


@key.command("list")
@state_option()
@database_option
@JSON
def list_(state: Path, database: str, as_json: bool) -> None:
    """List all keys without their secrets: first the owner's key, then the others, oldest first.

    \b
    connector control key list --state /var/lib/connector/control
    """
    from connector.control.state import directory_key

    with opened_store(state, database) as store:
        keys = store.keys.all()
    if (owners_key := directory_key.find(state)) is not None:
        keys.insert(0, owners_key.row())
    for row in keys:
        if as_json:
            click.echo(json.dumps(_shown(row)))
            continue
        created = time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(row.created))
        click.echo(f"{row.id}  {row.role:<9}  {created}  {_key_state(row):<10}  {row.name}")


@key.command()
@state_option()
@database_option
@click.argument("key_id")
@JSON
def disable(state: Path, database: str, key_id: str, as_json: bool) -> None:
    """Refuse everything signed with this key from now on.

    \b
    connector control key disable AK0123456789 --state /var/lib/connector/control
    """
    from connector.control.state import directory_key

    if (owners_key := directory_key.find(state)) is not None and owners_key.id == key_id:
        raise BadInput(
            "this key is valid as long as its file exists",
            on=key_id,
            remedy=f"remove {owners_key.file} and start the control plane again: it makes another",
        )
    with opened_store(state, database) as store, announced(store, "DisableAccessKey", key_id):
        store.keys.disable(key_id)
    click.echo(
        json.dumps({"access_key_id": key_id, "disabled": True}) if as_json else f"{key_id} is disabled"
    )


def _key_state(row: AccessKey) -> str:
    if row.disabled:
        return "disabled"
    if not row.approved:
        return "unapproved"
    return "expired" if row.until is not None and time.time() >= row.until else "active"


def _time(moment: object) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(float(str(moment or 0))))


def _usage(state: Path, key_id: str, secret_file: Path | None) -> str:
    """The lines for a shell, without the secret."""
    file = secret_file.resolve() if secret_file else "FILE"
    why = "" if secret_file else "    # with the secret in it, mode 0600"
    lines = [
        "export CONNECTOR_CONTROL_URL=https://HOST:PORT    # the address that it printed at its start",
        f"export CONNECTOR_ACCESS_KEY_ID={key_id}",
        f"export CONNECTOR_ACCESS_KEY_SECRET_FILE={shlex.quote(str(file))}{why}",
    ]
    certificate = state / "control.crt"
    if certificate.is_file():
        from connector.control.state.identity import thumbprint

        lines.append(f"export CONNECTOR_CONTROL_THUMBPRINT={thumbprint(certificate.read_text())}")
    return "\n".join(["", "# connector source list works with", *lines])


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
