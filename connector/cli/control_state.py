"""How commands are told which control plane's state they work on, and how they open it."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from connector.errors import BadInput

if TYPE_CHECKING:  # the store imports a database library, which no other command needs
    from contextlib import AbstractContextManager

    from connector.control.store import Store
    from connector.control.store.audit_chain import Announcement

_NAMED = ("state", "database")  # what these commands take from the control plane's configuration


def state_option(*, required: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option that names the state directory."""
    return click.option(
        "--state",
        required=required,
        envvar="CONNECTOR_CONTROL_STATE",
        type=click.Path(path_type=Path),
        help="The control plane's state directory.",
    )


def _from_file(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Make the configuration's state directory and database the defaults of the other options."""
    if path is None:
        return
    from connector.control import configuration

    named = {name: value for name, value in configuration.load(path).options().items() if name in _NAMED}
    context.default_map = {**(context.default_map or {}), **named}


def database_option(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which database: the one that the control plane itself is started with."""
    config = click.option(
        "--config",
        envvar="CONNECTOR_CONTROL_CONFIG",
        is_eager=True,
        expose_value=False,
        callback=_from_file,
        type=click.Path(path_type=Path),
        help="The control plane's configuration, which names both. An option overrides it.",
    )
    database = click.option(
        "--database",
        default="",
        envvar="CONNECTOR_CONTROL_DATABASE",
        help="postgresql://USER@ADDRESS/NAME. Default: the SQLite file in the state directory.",
    )
    return config(database(command))


@contextmanager
def opened_store(state: Path, database: str) -> Iterator[Store]:
    """The store of a control plane, which may be running."""
    if not state.is_dir():
        raise BadInput(
            "no such state directory", on=str(state), remedy="run the control plane once, or check the path"
        )
    from connector.control.state import location
    from connector.control.store import Store

    store = Store(location.existing(state, database))
    try:
        yield store
    finally:
        store.close()


def announced(
    store: Store, action: str, subject: str = "", details: dict[str, Any] | None = None
) -> AbstractContextManager[Announcement]:
    """The line of the audit log for what the user of this machine changes in the block."""
    return store.audit.announced(
        f"local user {getpass.getuser()}", "this machine", action, subject, details, idle=False
    )
