"""Passwords come from a prompt, an environment variable or a file, never from an argument."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import click

from connector.errors import BadInput

VARIABLE = "CONNECTOR_VCENTER_PASSWORD"


def vcenter_password(file: Path | None, user: str) -> str:
    """The password from `file`, else from the environment, else asked for on the terminal.

    One trailing newline of the file is not part of the password. A file that others may read is refused.
    """
    if file is not None:
        return _from_file(file)
    if (given := os.environ.get(VARIABLE)) is not None:
        return given
    if sys.stdin.isatty():
        return str(click.prompt(f"Password of {user}", hide_input=True, err=True))
    raise BadInput(
        "no password given", on=user, remedy=f"set {VARIABLE}, or name a file with --password-file"
    )


def _from_file(file: Path) -> str:
    try:
        mode = file.stat().st_mode
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as failed:
        raise BadInput(f"cannot read the password file: {failed}", on=str(file)) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO) and file.is_file():
        raise BadInput("others can read the password file", on=str(file), remedy=f"chmod 600 {file}")
    return text.removesuffix("\n").removesuffix("\r")
