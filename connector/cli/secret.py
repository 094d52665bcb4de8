"""A password or secret comes from a prompt, the environment, a file, systemd or a keyring, never from an argument."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from connector import pasted, private, readable
from connector.errors import BadInput

KEYRING = (
    "connector"  # the service's name in a keyring, before the host's: `keyring set "connector HOST" USER`
)
VARIABLE = "CONNECTOR_VCENTER_PASSWORD"
SECRET_VARIABLE = "CONNECTOR_ACCESS_KEY_SECRET"  # noqa: S105 - the name of a variable


def vcenter_password(file: Path | None, user: str, url: str = "") -> str:
    """The password from `file`, else from the environment, a systemd credential, the keyring, or a prompt.

    The line's end and a byte order mark are not part of the password. Invisible characters are refused before they are
    sent. A file that others may read is refused.
    """
    if file is not None:
        return pasted.password(_from_file(file, "password"), "password", str(file))
    if (from_environment := os.environ.get(VARIABLE)) is not None:
        return pasted.password(from_environment, "password", f"${VARIABLE}")
    from connector.settings import credential_file

    if (credential := credential_file()) is not None:
        return pasted.password(_content(credential, "credential"), "password", str(credential))
    if (from_keyring := _from_keyring(url, user)) is not None:
        return from_keyring
    if sys.stdin.isatty():
        typed = str(click.prompt(f"Password of {user}", hide_input=True, err=True))
        return pasted.password(typed, "password", user)
    raise BadInput(
        "no password given", on=user, remedy=f"set {VARIABLE}, or name a file with --password-file"
    )


def access_key_secret(key_id: str, file: Path | None, settled: str, settled_file: Path | None) -> str:
    """The secret of an access key from `file`, else from the environment, the settings file, or a prompt."""
    if file is not None:
        return pasted.token(_from_file(file, "secret"), "secret", str(file))
    if from_environment := os.environ.get(SECRET_VARIABLE):
        return pasted.token(from_environment, "secret", f"${SECRET_VARIABLE}")
    if settled:
        return pasted.token(settled, "secret", key_id)
    if settled_file is not None:
        return pasted.token(_from_file(settled_file, "secret"), "secret", str(settled_file))
    if sys.stdin.isatty():
        return pasted.token(
            str(click.prompt(f"Secret of {key_id}", hide_input=True, err=True)), "secret", key_id
        )
    raise BadInput(
        "no secret given",
        on=key_id,
        remedy=f"set {SECRET_VARIABLE}, or name a file with --access-key-secret-file",
    )


@contextmanager
def new_secret_file(file: Path | None) -> Iterator[Callable[[str], None]]:
    """A new file that only its owner may read. It is made before the secret, so that no secret is made in vain.

    It gives the function that writes the secret; without a file, that writes nothing. A failure leaves no file. Raises
    BadInput if the file exists or cannot be made.
    """
    if file is None:
        yield lambda _secret: None
        return
    try:
        created = open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")  # noqa: SIM115
    except OSError as failed:
        raise BadInput(f"cannot make the file: {failed.strerror}", on=str(file)) from None
    try:
        with created:
            yield lambda secret: print(secret, file=created, flush=True)
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _from_file(file: Path, kind: str) -> bytes:
    content = _content(file, kind)
    private.refuse_open(file, kind)
    return content


def _content(file: Path, kind: str) -> bytes:
    try:
        return readable.content(file)
    except OSError as failed:
        raise BadInput(f"cannot read the {kind} file: {failed}", on=str(file)) from None


def _from_keyring(url: str, user: str) -> str | None:
    """The password from the desktop's or the system's keyring; None without an entry or without the `keyring` extra."""
    if not url:
        return None
    from connector.vcenter.endpoint import VCenterAddress

    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return None
    with suppress(KeyringError):  # no keyring, or a locked one: the prompt follows
        return keyring.get_password(f"{KEYRING} {VCenterAddress.parse(url).host}", user)
    return None
