"""Options that several commands share are defined once, here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object per line instead of text.")

_URL: dict[str, Any] = {"envvar": "CONNECTOR_VCENTER_URL", "metavar": "URL", "help": "https://HOST[:PORT]"}


_VCENTER = (
    click.option(
        "--user",
        default="administrator@vsphere.local",
        envvar="CONNECTOR_VCENTER_USER",
        show_default=True,
        help="vCenter user.",
    ),
    click.option(
        "--password-file",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="CONNECTOR_VCENTER_PASSWORD_FILE",
        help="File with the password; else $CONNECTOR_VCENTER_PASSWORD, a systemd credential, a keyring, a prompt.",
    ),
    click.option(
        "--thumbprint",
        default="",
        envvar="CONNECTOR_VCENTER_THUMBPRINT",
        metavar="AA:BB:..",
        help="SHA-1 or SHA-256 of vCenter's certificate; only this certificate is trusted.",
    ),
    click.option(
        "--ca",
        "authority",
        type=click.Path(dir_okay=False, exists=True, path_type=Path),
        envvar="CONNECTOR_VCENTER_CA",
        help="PEM file with the authority that signed vCenter's certificate.",
    ),
)


def vcenter_options(command: F) -> F:
    """The options for vCenter's address, our user, and trust."""
    return _login(click.option("--vcenter", "url", required=True, **_URL), command)


def optional_vcenter_options(command: F) -> F:
    """The same, but vCenter's address is optional; without it `url` is empty."""
    return _login(click.option("--vcenter", "url", default="", **_URL), command)


def _login(url: Callable[[F], F], command: F) -> F:
    for option in reversed((url, *_VCENTER)):
        command = option(command)
    return command
