"""Backups that are made again and again: each has a name by its time, is put back for a trial, and only then replaces an old one.

The rule: nothing is removed unless a newer backup was proved. A backup that nobody has put back is a hope.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from connector import files, private
from connector.control.state import backup as backups
from connector.control.store import Store
from connector.errors import BadInput, Conflict, ControlFailed
from connector.metrics.samples import Samples

RECORD: Final = "last-backup.json"  # in the state directory
_NAME: Final = re.compile(r"control-\d{8}T\d{6}Z\.tar")
_MAKING: Final = ".making"  # in the directory of the backups
_METRIC: Final = "connector_control_backup_"


@dataclass(frozen=True, slots=True)
class Trial:
    """What was found in a backup that was put back for a trial. `jobs`: None where the trial reads its contents only."""

    database: str
    made: float
    jobs: int | None


@dataclass(frozen=True, slots=True)
class KeptBackup:
    """A backup of the schedule. `removed`: names of older ones that it replaced. `size` in bytes."""

    file: str
    made: float
    size: int
    jobs: int | None
    removed: tuple[str, ...]


def make(state: Path, database: str, directory: Path, keep: int) -> KeptBackup:
    """Add a backup to `directory`, try it, and keep the newest `keep`. Raises ConnectorError; nothing is removed then."""
    private.directory(directory)
    try:
        with _alone(directory), _place(directory) as place:
            target = directory / time.strftime("control-%Y%m%dT%H%M%SZ.tar", time.gmtime())
            if target.exists():
                raise BadInput("this file exists", on=str(target), remedy="wait a second")
            written = backups.make(state, database, place / target.name)
            trial = rehearse(state, place / target.name)
            files.move(place / target.name, target)
            size, removed = target.stat().st_size, _prune(directory, target.name, keep)
            kept = KeptBackup(str(target), written.made, size, trial.jobs, removed)
            files.replace(state / RECORD, json.dumps(asdict(kept)).encode())
    except OSError as failed:
        raise ControlFailed(
            f"a backup cannot be kept: {failed.strerror}",
            on=str(failed.filename or directory),
            remedy="check that there is room and that this user may write there",
        ) from failed
    return kept


@contextmanager
def _place(directory: Path) -> Iterator[Path]:
    """Where a backup is until it was tried. What a killed process left there goes."""
    place = directory / _MAKING
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(mode=0o700)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def rehearse(state: Path, source: Path) -> Trial:
    """Put a backup back into a temporary directory, with the vault key of `state`. Raises BadInput for one that is damaged.

    A backup of PostgreSQL is checked and listed, and put back nowhere: that needs a server and an empty database.
    """
    if not (state / backups.VAULT_KEY).is_file():
        raise BadInput("no control plane has run here", on=str(state), remedy="check --state")
    try:
        with tempfile.TemporaryDirectory(prefix="connector-trial-") as folder:
            return _rehearse(state, source, Path(folder))
    except OSError as failed:
        raise ControlFailed(
            f"cannot be used for the trial: {failed.strerror}",
            on=str(failed.filename or tempfile.gettempdir()),
            remedy="let TMPDIR name a directory with room for the database twice",
        ) from failed


def _rehearse(state: Path, source: Path, place: Path) -> Trial:
    shutil.copyfile(state / backups.VAULT_KEY, place / backups.VAULT_KEY)
    (place / backups.VAULT_KEY).chmod(0o600)
    about = backups.inspect(place, source)
    if about.database != "sqlite":
        return Trial(about.database, about.made, None)
    restored = backups.restore(place, "", source, is_trial=True)
    with closing(Store(f"sqlite:///{place / backups.DATABASE}")) as store:
        return Trial(restored.database, restored.made, sum(store.overview.job_counts().values()))


class BackupMetrics:
    """The figures of the last backup of a state directory. Thread-safe."""

    def __init__(self, state: Path) -> None:
        self._record = state / RECORD

    def collect(self, samples: Samples) -> None:
        """See `Source`. Without a backup there is no figure."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(self._record.read_bytes())
            made, size = float(record["made"]), float(record["size"])
            samples.set(f"{_METRIC}last_success_timestamp_seconds", made)
            samples.set(f"{_METRIC}size_bytes", size)


def _prune(directory: Path, newest: str, keep: int) -> tuple[str, ...]:
    """Remove all but the newest. Only files of our own name count, and the order is that of their names.

    A name later than `newest` was made by a clock that was wrong: it counts as older than all others.
    """
    found = [path.name for path in directory.iterdir() if _NAME.fullmatch(path.name) and path.is_file()]
    ours = sorted(found, key=lambda name: (name <= newest, name))
    removed = ours[:-keep]
    for name in removed:
        (directory / name).unlink(missing_ok=True)
    return tuple(removed)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One backup at a time. Raises Conflict."""
    lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(
            "another backup is being made", on=str(directory), remedy="wait until it has ended"
        ) from None
    else:
        yield
    finally:
        os.close(lock)
