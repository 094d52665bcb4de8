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
from connector.errors import BadInput, Conflict
from connector.metrics.samples import Samples

RECORD: Final = "last-backup.json"  # in the state directory
_NAME: Final = re.compile(r"control-\d{8}T\d{6}Z\.tar")
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
    with _alone(directory):
        target = directory / time.strftime("control-%Y%m%dT%H%M%SZ.tar", time.gmtime())
        written = backups.make(state, database, target)
        try:
            trial = rehearse(state, target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        kept = KeptBackup(
            str(target), written.made, target.stat().st_size, trial.jobs, _prune(directory, keep)
        )
        files.replace(state / RECORD, json.dumps(asdict(kept)).encode())
    return kept


def rehearse(state: Path, source: Path) -> Trial:
    """Put a backup back into a temporary directory, with the vault key of `state`. Raises BadInput for one that is damaged.

    A backup of PostgreSQL is checked and listed, and put back nowhere: that needs a server and an empty database.
    """
    with tempfile.TemporaryDirectory(prefix="connector-trial-") as folder:
        place = Path(folder)
        if not (state / backups.VAULT_KEY).is_file():
            raise BadInput("no control plane has run here", on=str(state), remedy="check --state")
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


def _prune(directory: Path, keep: int) -> tuple[str, ...]:
    """Remove all but the newest. Only files of our own name count, and the order is that of their names."""
    ours = sorted(path.name for path in directory.iterdir() if _NAME.fullmatch(path.name) and path.is_file())
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
