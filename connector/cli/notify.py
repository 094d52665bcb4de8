"""`connector control notify` tries the recipients of notifications, and shows what became of the newest ones."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.cli.control_state import database_option, opened_store, state_option
from connector.cli.options import JSON
from connector.errors import BadInput, ControlFailed

if TYPE_CHECKING:  # they import a database library, which no other command needs
    from connector.control.notifications.settings import AnyRecipient


@click.group()
def notify() -> None:
    """Notifications: try their recipients, and see what was delivered."""


@notify.command()
@click.option(
    "--config",
    "file",
    required=True,
    envvar="CONNECTOR_CONTROL_CONFIG",
    type=click.Path(path_type=Path),
    help="The control plane's configuration, with the section `notifications`.",
)
@click.argument("names", nargs=-1)
@JSON
def test(file: Path, names: tuple[str, ...], as_json: bool) -> None:
    """Send a test to each recipient, or to those that are named, and say how it went. Nothing is tried again.

    \b
    connector control notify test --config /etc/connector/control-plane.yaml
    """
    from connector.control import configuration

    recipients = configuration.load(file).notifications.recipients
    if not recipients:
        raise BadInput(
            "names no recipients", on=str(file), remedy="add a section notifications: docs/notifications.md"
        )
    if unknown := set(names) - {one.name for one in recipients}:
        raise BadInput(
            "no such recipient in the configuration", on=min(unknown), remedy="see its section notifications"
        )
    failed = 0
    for one in recipients:
        if names and one.name not in names:
            continue
        trouble = _try(one)
        failed += bool(trouble)
        if as_json:
            click.echo(json.dumps({"recipient": one.name, "taken": not trouble, "trouble": trouble}))
        else:
            click.echo(f"{one.name}: {f'FAILED: {trouble}' if trouble else 'taken'}")
    if failed:
        raise ControlFailed(
            f"{failed} of {len(names) or len(recipients)} did not take it",
            on="notifications",
            remedy="see above",
        )


@notify.command("list")
@state_option()
@database_option
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many, at most."
)
@JSON
def list_(state: Path, database: str, limit: int, as_json: bool) -> None:
    """List the newest notifications for each recipient, with their states, the newest first.

    \b
    connector control notify list --state /var/lib/connector/control
    """
    from connector.cli.tables import listed

    with opened_store(state, database) as store:
        deliveries = store.notifications.recent(limit)
    rows = [
        {
            "id": one.notification_id,
            "created": one.created,
            "recipient": one.recipient,
            "event": one.event,
            "phase": str(one.phase),
            "subject": one.subject,
            "state": str(one.state),
            "attempts": one.attempts,
            "trouble": one.trouble,
        }
        for one in deliveries
    ]
    columns = [
        ("created", lambda row: time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(row["created"]))),
        *((name, lambda row, name=name: row[name]) for name in ("recipient", "event", "phase", "subject")),
        *((name, lambda row, name=name: row[name]) for name in ("state", "attempts", "trouble")),
    ]
    listed(rows, columns, as_json, "no notifications")


def _try(section: AnyRecipient) -> str:
    """Why a test was not taken; empty when it was."""
    from connector.control.domain.notification_text import document_of_test
    from connector.control.domain.notifying import MessagePhase
    from connector.control.notifications.sender import courier
    from connector.control.store.notifications import Delivery, DeliveryState

    number, now = f"n-test-{secrets.token_hex(8)}", time.time()
    text = document_of_test(number, now)
    pending, raised = DeliveryState.PENDING, MessagePhase.RAISED
    return (
        courier(section)
        .deliver(
            Delivery(
                number, section.name, "test", "control-plane", raised, pending, now, 1, now, "", None, text
            )
        )
        .trouble
    )
