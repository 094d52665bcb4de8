"""A backup is one file with everything that a control plane knows except its vault key. A restored state is held until confirmed.

The backup is made while the control plane runs. It has no owner's key and no activation code: the next start makes new ones.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from connector import __version__, child, environment, files
from connector.control.state import location
from connector.control.state.vault import Vault
from connector.control.store import Store
from connector.errors import BadInput, Conflict, ControlFailed

FORMAT: Final = "connector-control-backup"
VERSION: Final = 1
MANIFEST: Final = "MANIFEST.json"
VAULT_KEY: Final = "vault-key"
DATABASE: Final = location.SQLITE
_ENGINE: Final = "engine.sqlite"
_SQLITE: Final = (location.SQLITE, _ENGINE)
_DUMP: Final = "database.dump"  # of PostgreSQL, with the engine's schema
_IDENTITY: Final = ("control.pem",)
_CLIENTS: Final = "install the client programs of PostgreSQL, or run this command where they are installed"
_LARGEST_MANIFEST: Final = 1 << 20
_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup's manifest. `files`: size and SHA-256 by name. `vault`: a proof that tells which vault key belongs to it."""

    made: float
    release: str
    database: str  # "sqlite" or "postgresql"
    vault: str
    files: Mapping[str, Mapping[str, Any]]


def make(state: Path, database: str, target: Path) -> Backup:
    """Write a backup to `target`, which only its owner may read. The control plane may run. `BadInput` if the file exists."""
    if not (state / VAULT_KEY).is_file():
        raise BadInput("no control plane has run here", on=str(state), remedy="check --state")
    url = location.existing(state, database)
    if target.exists():
        raise BadInput("this file exists", on=str(target), remedy="choose another name for the backup")
    try:
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=target.absolute().parent) as folder:
            place = Path(folder)
            for name in _IDENTITY:
                _copy(state / name, place / name)
            if (database_file := location.sqlite_file(url)) is None:
                _dump(url, place / _DUMP)
            else:
                if (state / _ENGINE).exists():
                    _copy_sqlite(state / _ENGINE, place / _ENGINE)
                _copy_sqlite(
                    database_file, place / location.SQLITE
                )  # last: it must not be behind the engine's
            backup = _describe(state, url, place)
            _pack(place, backup, target)
    except OSError as failed:
        raise ControlFailed(
            f"cannot be written: {failed.strerror}", on=str(target), remedy="choose a place with enough room"
        ) from failed
    return backup


def restore(state: Path, database: str, source: Path, *, is_trial: bool = False) -> Backup:
    """Make the state directory `state` from a backup, and hold it. Nothing is changed unless the whole backup is sound.

    `is_trial`: it is looked at and thrown away; it is not held, because no control plane will run on it. Raises `Conflict` if
    the directory or database was used, `BadInput` for a damaged file or another vault key.
    """
    with _unpacked(source) as (backup, place):
        if backup.database == "postgresql" and not database:
            raise BadInput(
                "this is a backup of a PostgreSQL database", on="--database", remedy="name an empty database"
            )
        if backup.database == "sqlite" and database and not database.startswith("sqlite"):
            raise BadInput(
                "this is a backup of a SQLite database", on="--database", remedy="leave the option out"
            )
        url = location.database_url(state, database)
        database_file = location.sqlite_file(url)
        if not (place / (_DUMP if database_file is None else location.SQLITE)).is_file():
            raise _damaged(source, "it holds no database")
        lock = child.own_directory(state, "a control plane")
        try:
            _must_be_free(state, database_file)
            _must_be_its_key(state, backup)
            if database_file is None:
                _load(url, place / _DUMP)  # first: it may be refused, and nothing of it is left then
            else:
                _copy(place / location.SQLITE, database_file)
                _copy(place / _ENGINE, state / _ENGINE)
            for name in _IDENTITY:
                _copy(place / name, state / name)
            if not is_trial:
                _hold(url, backup)
        finally:
            os.close(lock)
    return backup


def inspect(state: Path, source: Path) -> Backup:
    """The manifest of a backup whose files are all sound, and which belongs to the vault key in `state`.

    A dump of PostgreSQL is listed by pg_restore. Raises BadInput, and ControlFailed without pg_restore.
    """
    with _unpacked(source) as (backup, place):
        _must_be_its_key(state, backup)
        if backup.database == "postgresql":
            _list(place / _DUMP, source)
    return backup


def _list(dump: Path, source: Path) -> None:
    """Raises BadInput for a dump that pg_restore cannot read to its end."""
    if (path := shutil.which("pg_restore")) is None:
        raise ControlFailed("pg_restore is not installed here", on="PATH", remedy=_CLIENTS, retryable=False)
    # As a script into nothing: a list reads the head only.
    done = subprocess.run(
        [path, "--file=/dev/null", str(dump)],
        capture_output=True,
        text=True,
        check=False,
        env=environment.without_secrets(),
    )
    if done.returncode:
        raise _damaged(source, (done.stderr.strip().splitlines() or ["pg_restore gave no reason"])[0])


def _describe(state: Path, url: str, place: Path) -> Backup:
    files = {
        path.name: {"size": path.stat().st_size, "sha256": _digest(path)} for path in sorted(place.iterdir())
    }
    kind = "sqlite" if url.startswith("sqlite") else "postgresql"
    return Backup(time.time(), __version__, kind, Vault(state / VAULT_KEY).proof(FORMAT), files)


def _hold(url: str, backup: Backup) -> None:
    store = Store(url)
    try:
        moment = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(backup.made))
        store.epochs.hold(f"a backup of {moment} was put back with `connector control restore`")
    finally:
        store.close()


def _must_be_free(state: Path, database_file: Path | None) -> None:
    places = [*(state / name for name in (*_SQLITE, *_IDENTITY)), *([database_file] if database_file else [])]
    if existing := [place.name for place in places if place.exists()]:
        raise Conflict(
            f"{existing[0]} exists: a control plane has used this directory",
            on=str(state),
            remedy="restore into a new directory that holds only the vault key",
        )


def _must_be_its_key(state: Path, backup: Backup) -> None:
    if not (state / VAULT_KEY).is_file():
        raise BadInput(
            "the vault key is missing; a backup does not contain it",
            on=str(state / VAULT_KEY),
            remedy="put this control plane's key there; docs/control.md says where it is kept",
        )
    if not Vault(state / VAULT_KEY).proves(FORMAT, backup.vault):
        raise BadInput(
            "this vault key is not the one of the backup",
            on=str(state / VAULT_KEY),
            remedy="put this control plane's key there",
        )


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        return
    with source.open("rb") as content, files.new(target) as out:
        shutil.copyfileobj(content, out, _PIECE)


def _copy_sqlite(source: Path, target: Path) -> None:
    """Copy the state of one moment, even if the database is written meanwhile."""
    with files.new(target):
        pass
    try:
        with closing(sqlite3.connect(source, timeout=30)) as of, closing(sqlite3.connect(target)) as to:
            of.backup(to)
            if (verdict := to.execute("PRAGMA quick_check").fetchone()) != ("ok",):
                raise ControlFailed(
                    f"the database is damaged: {verdict}", on=str(source), remedy="restore a backup"
                )
    except sqlite3.Error as failed:
        raise ControlFailed(
            f"the database cannot be read: {failed}",
            on=str(source),
            remedy="check its disk, or restore a backup",
        ) from failed


def _dump(url: str, target: Path) -> None:
    with files.new(target):
        pass
    _run("pg_dump", url, ["--format=custom", f"--file={target}"])


def _load(url: str, source: Path) -> None:
    if location.tables(url):
        raise Conflict(
            "the database is not empty",
            on="--database",
            remedy="make a new database with createdb, and name it",
        )
    _run("pg_restore", url, ["--exit-on-error", "--single-transaction", "--no-owner", str(source)])


def _run(program: str, url: str, arguments: list[str]) -> None:
    """Run a program of PostgreSQL. It gets the password in a file that only we may read."""
    if (path := shutil.which(program)) is None:
        raise ControlFailed(
            f"{program} is not installed here",
            on="PATH",
            remedy=_CLIENTS,
            retryable=False,
        )
    parsed = sa.make_url(url)
    plain = parsed.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    with tempfile.TemporaryDirectory(prefix="connector-") as folder:
        variables = dict(os.environ)
        variables.pop("PGPASSWORD", None)
        if parsed.password:
            secret = str(parsed.password).replace("\\", "\\\\").replace(":", "\\:")
            with files.new(Path(folder) / "pass") as file:
                file.write(f"*:*:*:*:{secret}\n".encode())
            variables["PGPASSFILE"] = str(Path(folder) / "pass")
        words = [path, f"--dbname={plain}", *arguments]
        process = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["it gave no reason"])[0]
        raise ControlFailed(
            f"{program} failed: {reason}",
            on="--database",
            remedy="check that its version is the server's, and check the rights of the user",
            retryable=False,
        )


def _pack(place: Path, backup: Backup, target: Path) -> None:
    about = {
        "format": FORMAT,
        "version": VERSION,
        "release": backup.release,
        "made": backup.made,
        "database": backup.database,
        "vault": backup.vault,
        "files": backup.files,
    }
    content = json.dumps(about, indent=1).encode()
    draft = place / ".draft"
    with files.new(draft) as out, tarfile.open(fileobj=out, mode="w") as archive:
        _add(archive, MANIFEST, io.BytesIO(content), len(content))
        for name, facts in backup.files.items():
            with (place / name).open("rb") as file:
                _add(archive, name, file, facts["size"])
    os.link(draft, target)  # it fails if the file has appeared meanwhile


def _add(archive: tarfile.TarFile, name: str, content: Any, size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    archive.addfile(entry, content)


@contextmanager
def _unpacked(source: Path) -> Iterator[tuple[Backup, Path]]:
    """A folder with the files of a backup, checked against its manifest."""
    try:
        with tempfile.TemporaryDirectory(prefix="connector-") as folder:
            with tarfile.open(source, mode="r:") as archive:
                backup = _manifest(archive, source)
                for name, facts in backup.files.items():
                    _extract(archive, name, facts, Path(folder) / name, source)
            yield backup, Path(folder)
    except tarfile.TarError:
        raise _damaged(source, "it is no backup, or it is truncated") from None
    except FileNotFoundError:
        raise BadInput("no such file", on=str(source)) from None


def _manifest(archive: tarfile.TarFile, source: Path) -> Backup:
    first = archive.next()
    file = archive.extractfile(first) if first is not None and first.name == MANIFEST else None
    if first is None or file is None or first.size > _LARGEST_MANIFEST:
        raise _damaged(source, "it has no manifest")
    try:
        about = json.loads(file.read())
        if about["format"] != FORMAT:
            raise ValueError
        if about["version"] != VERSION:
            raise BadInput(
                f"the backup has version {about['version']}; this release reads {VERSION}",
                on=str(source),
                remedy="use the release that made it, or a newer one",
            )
        names = set(about["files"])
        if not names <= {*_SQLITE, *_IDENTITY, _DUMP}:
            raise ValueError
        return Backup(
            float(about["made"]),
            str(about["release"]),
            str(about["database"]),
            str(about["vault"]),
            about["files"],
        )
    except (ValueError, KeyError, TypeError):
        raise _damaged(source, "its manifest cannot be read") from None


def _extract(
    archive: tarfile.TarFile, name: str, facts: Mapping[str, Any], target: Path, source: Path
) -> None:
    try:
        file = archive.extractfile(archive.getmember(name))
    except KeyError:
        file = None
    if file is None:
        raise _damaged(source, f"{name} is not in it")
    with files.new(target) as out:
        shutil.copyfileobj(file, out, _PIECE)
    if (target.stat().st_size, _digest(target)) != (facts.get("size"), facts.get("sha256")):
        raise _damaged(source, f"{name} differs from what was written")


def _damaged(source: Path, why: str) -> BadInput:
    return BadInput(f"the backup is damaged: {why}", on=str(source), remedy="use another backup")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
