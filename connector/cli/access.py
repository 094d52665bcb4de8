"""Address, key and trust come from options, then the environment, then a settings file; the secret never from an option."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from connector.cli.secret import access_key_secret
from connector.cli.typed import as_given, as_typed
from connector.clients.smc import Access, SmcClient
from connector.errors import BadInput

#: The settings file that is read if nothing else names one.
DEFAULT_SETTINGS: Final = Path("connector") / "control.toml"

_OPTIONS: Final = (
    click.option(
        "--endpoint",
        "url",
        envvar="CONNECTOR_CONTROL_URL",
        metavar="URL",
        help="The control plane: https://HOST[:PORT].",
    ),
    click.option(
        "--access-key-id",
        "key_id",
        envvar="CONNECTOR_ACCESS_KEY_ID",
        metavar="ID",
        help="Id of the access key that signs.",
    ),
    click.option(
        "--access-key-secret-file",
        "secret_file",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="CONNECTOR_ACCESS_KEY_SECRET_FILE",
        help="File with the key's secret, mode 0600; else $CONNECTOR_ACCESS_KEY_SECRET, else a prompt.",
    ),
    click.option(
        "--thumbprint",
        envvar="CONNECTOR_CONTROL_THUMBPRINT",
        metavar="AA:BB:..",
        help="SHA-256 of the control plane's certificate; only this certificate is trusted.",
    ),
    click.option(
        "--ca",
        "authority",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="CONNECTOR_CONTROL_CA",
        help="PEM file with the authority to trust. Default: the public authorities.",
    ),
    click.option(
        "--settings",
        "settings",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="CONNECTOR_CONTROL_SETTINGS",
        help="TOML file with these settings. Default: ~/.config/connector/control.toml, if it exists.",
    ),
)

_VARIABLES: Final = (
    "CONTROL_URL",
    "CONTROL_THUMBPRINT",
    "CONTROL_CA",
    "CONTROL_SETTINGS",
    "ACCESS_KEY_ID",
    "ACCESS_KEY_SECRET_FILE",
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a settings file."""

    url: str = ""
    access_key_id: str = ""
    access_key_secret: str = field(default="", repr=False)
    access_key_secret_file: Path | None = None
    thumbprint: str = ""
    ca: Path | None = None


def with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options, and give `command` a client as its first argument. Refusals name the options that were typed."""

    @functools.wraps(command)
    def run(
        url: str | None,
        key_id: str | None,
        secret_file: Path | None,
        thumbprint: str | None,
        authority: Path | None,
        settings: Path | None,
        **given: Any,
    ) -> Any:
        with as_given():
            access = _access(url, key_id, secret_file, thumbprint, authority, _settings(settings))
        with closing(SmcClient(access)) as client, as_typed():
            return command(client, **given)

    decorated: Callable[..., Any] = run
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def of_directory(url: str, thumbprint: str, file: Path) -> Access:
    """Access with the owner's key of a state directory, which is in `file`. Raises BadInput."""
    settings = _settings(file)
    return Access.of(url, settings.access_key_id, settings.access_key_secret, thumbprint, None)


def configured() -> Access | None:
    """Access to the control plane that the environment or the settings file names; None if none is named.

    Raises BadInput if it is named and another setting is missing.
    """
    words = {name: os.environ.get(f"CONNECTOR_{name}") for name in _VARIABLES}
    file = words["CONTROL_SETTINGS"]
    settings = _settings(Path(file) if file else None)
    if not (words["CONTROL_URL"] or settings.url):
        return None
    secret, authority = words["ACCESS_KEY_SECRET_FILE"], words["CONTROL_CA"]
    return _access(
        words["CONTROL_URL"],
        words["ACCESS_KEY_ID"],
        Path(secret) if secret else None,
        words["CONTROL_THUMBPRINT"],
        Path(authority) if authority else None,
        settings,
    )


def _access(
    url: str | None,
    key_id: str | None,
    secret_file: Path | None,
    thumbprint: str | None,
    authority: Path | None,
    settings: Settings,
) -> Access:
    url, key_id = url or settings.url, key_id or settings.access_key_id
    if not url:
        raise BadInput("no control plane given", remedy="set CONNECTOR_CONTROL_URL, or give --endpoint URL")
    if not key_id:
        raise BadInput(
            "no access key given",
            remedy="set CONNECTOR_ACCESS_KEY_ID; `connector control key create --state DIR` makes a key",
        )
    if not (thumbprint or authority):
        thumbprint, authority = settings.thumbprint, settings.ca
    secret = access_key_secret(
        key_id,
        secret_file,
        settings.access_key_secret,
        settings.access_key_secret_file,
    )
    return Access.of(url, key_id, secret, thumbprint or "", authority)


def _settings(file: Path | None) -> Settings:
    """The settings of the file; none if it was not named and does not exist."""
    if file is None:
        home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        if not (file := home / DEFAULT_SETTINGS).is_file():
            return Settings()
    from connector.cli.settings_file import read

    return Settings(**read(file))
