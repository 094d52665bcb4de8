"""Finds the secrets of an installation, so that they can be looked for in everything that goes into the bundle.

They are only handed to `SecretRemoval.know`. A file that cannot be read has no secret to tell; nothing here raises.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import yaml

from connector import environment, readable
from connector.support.installation import Installation, field
from connector.support.secret_removal import is_secret_field

_LARGEST: Final = 64 << 10  # bytes of a file with secrets
_FILES: Final = 200  # in one directory
_PLACES: Final = (Path("/etc/credstore"), Path("/run/credentials"))
_PUBLIC: Final = {".pub", ".crt", ".log", ".sqlite", ".sqlite-wal", ".sqlite-shm", ".img", ".db"}
_PEM: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(.*?)-----END [A-Z0-9 ]*PRIVATE KEY-----", re.DOTALL
)
_PAIR: Final = re.compile(
    r"""(?<![\w.-])([\w.-]{1,60})["']?[ \t]*[:=][ \t]*(?:"([^"]*)"|'([^']*)'|([^\s,}]+))"""
)
_URL: Final = re.compile(r"\w{2,20}://[^\s\"'<>]{1,2000}@[^\s\"'<>]{1,500}")
#: Files whose whole content is a secret.
_WHOLE: Final = {"activation-code", "vault-key", "vcenter-password", "operator-token", "token", "password"}


def known(installation: Installation) -> Iterator[str]:
    """Every secret that can be found."""
    for name, value in os.environ.items():
        if environment.is_secret(name, value):
            yield value
            yield from of_text(value)
    for file in installation.configurations:
        yield from _of_file(file)
        yield from _named_files(file)
    for place in (installation.appliance_state, installation.control_state):
        yield from _of_directory(place)
    for place in (*_PLACES, *_credentials()):
        yield from _of_directory(place, whole=True)
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    yield from _of_file(home / "connector" / "control.toml")
    yield from of_text(installation.control_database)


def of_text(text: str) -> Iterator[str]:
    """The secrets in a configuration, a key file, or JSON."""
    for pem in _PEM.finditer(text.replace("\\n", "\n")):
        yield "".join(pem[1].split())
    for name, *values in _PAIR.findall(text):
        if is_secret_field(name):
            yield from (value for value in values if value)
    for url in _URL.findall(text):
        with suppress(ValueError):
            yield from (unquote(part) for part in (urlsplit(url).password or "",) if part)


def _named_files(configuration: Path) -> Iterator[str]:
    """The secrets in files that a configuration names, and in its own values by their fields."""
    try:
        document = yaml.safe_load(readable.text(configuration, _LARGEST))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return
    for name, value in _fields(document):
        if name.endswith("_file"):
            path = Path(value)
            yield from _of_file(path if path.is_absolute() else configuration.parent / path, whole=True)
        elif is_secret_field(name):
            yield value


def _fields(document: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    if depth > 20:
        return
    if isinstance(document, dict):
        for key, value in document.items():
            yield from _fields(value, str(key), depth + 1)
    elif isinstance(document, list):
        for value in document:
            yield from _fields(value, name, depth + 1)
    elif document is not None:
        yield name, str(document)


def _of_directory(place: Path | None, *, whole: bool = False) -> Iterator[str]:
    if place is None:
        return
    try:
        files = sorted(file for file in place.rglob("*") if file.suffix not in _PUBLIC)[:_FILES]
    except OSError:
        return
    for file in files:
        yield from _of_file(file, whole=whole or file.name in _WHOLE)


def _of_file(file: Path, *, whole: bool = False) -> Iterator[str]:
    with suppress(OSError, ValueError):
        if not file.is_file():
            return
        text = readable.text(file, _LARGEST)
        found = list(of_text(text))
        yield from found
        if (whole or file.name in _WHOLE) and not found:
            yield text.strip()


def _credentials() -> Iterator[Path]:
    if place := os.environ.get("CREDENTIALS_DIRECTORY"):
        yield Path(place)


def known_names(installation: Installation) -> Iterator[str]:
    """Names of this computer, its people and its peers, as far as files tell them."""
    import getpass
    import socket

    yield from (socket.gethostname(), socket.gethostname().partition(".")[0], Path.home().name)
    with suppress(OSError, KeyError):
        yield getpass.getuser()
    for file in installation.configurations:
        for section in ("vcenter", "control", "name", "nfc", "https", "database", "host"):
            for _, value in _fields(field(file, section)):
                yield from _hosts(value)
        for section in ("nfc", "https"):
            pins = (
                (field(file, section) or {}).get("pins") if isinstance(field(file, section), dict) else None
            )
            yield from pins if isinstance(pins, dict) else ()


def _hosts(value: str) -> Iterator[str]:
    """The words of a value that name something."""
    with suppress(ValueError):
        parts = urlsplit(value)
        if parts.hostname:
            yield from (parts.hostname, parts.hostname.partition(".")[0])
            yield from (parts.username or "", parts.path.strip("/"))
            return
    if len(value) < 100 and "/" not in value and not value.isdigit():
        yield value
        if "@" in value:
            yield from value.split("@", 1)
