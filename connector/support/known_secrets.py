"""Finds the secrets of an installation, so that they can be looked for in everything that goes into the bundle.

They are only handed to `SecretRemoval.know`. Nothing here raises. A file that cannot be read is in `unreadable`: its secret
is not looked for, and whoever makes the bundle must be told.
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
from connector.support.secret_removal import PIECE, is_secret_field

_LARGEST: Final = 64 << 10  # bytes of a file with secrets
_FILES: Final = 200  # in one directory
_STATES: Final = (Path("/var/lib/connector/appliance"), Path("/var/lib/connector/control"))
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


class SecretSearch:
    """Reads the files of one installation that have secrets."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.unreadable: dict[Path, str] = {}  # complete when `found` has ended

    def found(self) -> Iterator[str]:
        """Every secret that can be read."""
        installation = self._installation
        for name, value in os.environ.items():
            if environment.is_secret(name, value):
                yield value
                yield from of_text(value)
        for file in installation.configurations:
            yield from self._file(file)
            yield from self._named_files(file)
        for place in (installation.appliance_state, installation.control_state, *_STATES):
            yield from self._directory(place)
        for place in (*_PLACES, *_credentials()):
            yield from self._directory(place, whole=True)
        home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        yield from self._file(home / "connector" / "control.toml")
        yield from of_text(installation.control_database)

    def _named_files(self, configuration: Path) -> Iterator[str]:
        """The secrets in files that a configuration names, and in its own values by their fields."""
        for name, value in _named(configuration):
            if name.endswith("_file"):
                path = Path(value)
                yield from self._file(path if path.is_absolute() else configuration.parent / path, whole=True)
            elif is_secret_field(name):
                yield value
            elif name == "url":  # what follows the host of a webhook may be its secret
                with suppress(ValueError):
                    parts = urlsplit(value)
                    yield from (part for part in (parts.query, *parts.path.split("/")) if len(part) >= PIECE)

    def _directory(self, place: Path | None, *, whole: bool = False) -> Iterator[str]:
        try:
            if place is None or not place.is_dir():
                return
            if not os.access(place, os.R_OK | os.X_OK):
                self.unreadable[place] = "Permission denied"
                return
            files = sorted(file for file in place.rglob("*") if file.suffix not in _PUBLIC)[:_FILES]
            for file in files:
                yield from self._file(file, whole=whole or file.name in _WHOLE)
        except OSError as failed:
            self.unreadable[place or Path()] = failed.strerror or str(failed)

    def _file(self, file: Path, *, whole: bool = False) -> Iterator[str]:
        try:
            if not file.is_file():
                return
            text = readable.text(file, _LARGEST)
        except (OSError, UnicodeDecodeError) as failed:
            why = (failed.strerror or str(failed)) if isinstance(failed, OSError) else "it is not UTF-8"
            if whole or isinstance(failed, PermissionError):
                self.unreadable[file] = why
            return
        found = list(of_text(text))
        yield from found
        if (whole or file.name in _WHOLE) and not found:
            yield text.strip()


def _named(configuration: Path) -> Iterator[tuple[str, str]]:
    """The fields of a configuration with their values; if it is no YAML, as far as its lines tell them."""
    try:
        text = readable.text(configuration, _LARGEST)
    except (OSError, ValueError):
        return
    try:
        yield from _fields(yaml.safe_load(text))
    except (yaml.YAMLError, RecursionError):
        for name, *values in _PAIR.findall(text):
            yield from ((name, value) for value in values if value)


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
