"""Backups that are made again and again: each is put back for a trial, and none goes before a newer one was proved."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import tarfile
import tempfile
from pathlib import Path

import pytest

from connector.control.state import backup, backup_schedule, identity
from connector.control.state.backup_schedule import RECORD, BackupMetrics
from connector.control.state.vault import Vault
from connector.control.store import Store
from connector.errors import BadInput, Conflict, ConnectorError, ControlFailed
from connector.metrics.samples import Samples
from connector.metrics.tables import CONTROL
from tests.control.house import House

OLD = ("control-20250101T000000Z.tar", "control-20250102T000000Z.tar")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory as a control plane on SQLite leaves it."""
    made = tmp_path / "state"
    made.mkdir()
    Vault(made / backup.VAULT_KEY)
    identity.load(made, "127.0.0.1")
    Store(f"sqlite:///{made / backup.DATABASE}").close()
    return made


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A directory with two older backups, and with files of somebody else."""
    made = tmp_path / "kept"
    made.mkdir(mode=0o700)
    for name in (*OLD, "control-of-mine.tar", "control-20250101T000000Z.tar.asc"):
        (made / name).write_text(name)
    return made


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_backup_is_put_back_for_a_trial_and_replaces_the_oldest(state: Path, kept: Path) -> None:
    others = names(kept) - set(OLD)
    done = backup_schedule.make(state, "", kept, 2)
    new = Path(done.file)
    assert done.removed == OLD[:1] and done.jobs == 0
    assert names(kept) == others | {OLD[1], new.name}
    assert new.stat().st_mode & 0o777 == 0o600
    assert json.loads((state / RECORD).read_text())["file"] == str(new)
    assert backup_schedule.rehearse(state, new).jobs == 0


def test_what_is_in_it_is_counted_and_nobody_is_told_that_it_was_restored(
    url: str, quick_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A backup of PostgreSQL is read to its end, and put back nowhere."""
    state = quick_folder / "of"
    state.mkdir()
    Vault(state / backup.VAULT_KEY)
    identity.load(state, "127.0.0.1")
    is_file = url.startswith("sqlite")
    house = House(f"sqlite:///{state / backup.DATABASE}" if is_file else url, quick_folder)
    house.job()
    done = backup_schedule.make(state, "" if is_file else url, quick_folder / "kept", 3)
    house.store.close()
    assert done.jobs == (1 if is_file else None)
    assert backup_schedule.rehearse(state, Path(done.file)).jobs == done.jobs
    assert "restored" not in caplog.text


def test_a_backup_that_cannot_be_put_back_removes_nothing(
    state: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that loses bytes after they were written."""
    whole = backup.make

    def losing(of: Path, database: str, target: Path) -> backup.Backup:
        made = whole(of, database, target)
        os.truncate(target, target.stat().st_size // 2)
        return made

    monkeypatch.setattr(backup, "make", losing)
    before = names(kept)
    with pytest.raises(BadInput, match="the backup is damaged"):
        backup_schedule.make(state, "", kept, 1)
    assert names(kept) == before
    assert not (state / RECORD).exists()


@pytest.mark.parametrize("keep", [1, 2])
def test_after_the_clock_was_set_back_the_new_backup_stays(state: Path, kept: Path, keep: int) -> None:
    """The names of the older ones are later then. They are older all the same."""
    for name in OLD:
        (kept / name).rename(kept / name.replace("2025", "9025"))
    done = backup_schedule.make(state, "", kept, keep)
    assert Path(done.file).is_file()
    left = {name for name in names(kept) if name.startswith("control-9025")}
    assert left == {"control-90250102T000000Z.tar"} if keep == 2 else left == set()


def test_what_a_killed_one_left_goes_and_was_never_a_backup(
    state: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each holds as many bytes as the database."""
    before = names(kept)
    with monkeypatch.context() as patched:
        patched.setattr(backup_schedule, "rehearse", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        if not (child := os.fork()):
            backup_schedule.make(state, "", kept, 5)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not {name for name in names(kept) - before if name.startswith("control-")}
    done = backup_schedule.make(state, "", kept, 5)
    assert names(kept) == before | {Path(done.file).name}


def test_a_trial_without_room_is_one_line_and_removes_nothing(
    state: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, file = names(kept), tmp_path / "one.tar"
    backup.make(state, "", file)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no"))
    with pytest.raises(ControlFailed, match=r"cannot be used for the trial: .*TMPDIR"):
        backup_schedule.make(state, "", kept, 1)
    with pytest.raises(ControlFailed, match="cannot be used for the trial"):
        backup_schedule.rehearse(state, file)
    assert names(kept) == before


def test_two_at_once_are_one(state: Path, kept: Path) -> None:
    lock = os.open(kept, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="another backup is being made"):
            backup_schedule.make(state, "", kept, 1)
    finally:
        os.close(lock)


@pytest.mark.parametrize("part", ["control.sqlite", "control.pem"])
def test_one_changed_byte_of_a_backup_is_noticed(state: Path, kept: Path, part: str) -> None:
    made = Path(backup_schedule.make(state, "", kept, 5).file)
    with tarfile.open(made) as archive:
        place = archive.getmember(part).offset_data
    with made.open("r+b") as file:
        file.seek(place + 120)
        byte = file.read(1)
        file.seek(place + 120)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(ConnectorError):
        backup_schedule.rehearse(state, made)


def test_another_vault_key_is_said(state: Path, kept: Path, tmp_path: Path) -> None:
    made = Path(backup_schedule.make(state, "", kept, 5).file)
    other = tmp_path / "other"
    other.mkdir()
    Vault(other / backup.VAULT_KEY)
    with pytest.raises(BadInput, match="this vault key is not the one of the backup"):
        backup_schedule.rehearse(other, made)
    with pytest.raises(BadInput, match="no control plane has run here"):
        backup_schedule.rehearse(tmp_path, made)


def test_the_state_is_left_alone_by_a_trial(state: Path, kept: Path) -> None:
    made = Path(backup_schedule.make(state, "", kept, 5).file)
    before = {path.name: path.read_bytes() for path in state.iterdir() if path.is_file()}
    backup_schedule.rehearse(state, made)
    assert {path.name: path.read_bytes() for path in state.iterdir() if path.is_file()} == before


def test_the_metrics_say_when_the_last_one_was_made(state: Path, kept: Path) -> None:
    def figures() -> dict[str, float]:
        samples = Samples({row.name: row for row in CONTROL})
        BackupMetrics(state).collect(samples)
        return {name: value for name, values in samples.values.items() for value in values.values()}

    assert figures() == {}
    done = backup_schedule.make(state, "", kept, 5)
    assert figures() == {
        "connector_control_backup_last_success_timestamp_seconds": done.made,
        "connector_control_backup_size_bytes": done.size,
    }
    (state / RECORD).write_text("{")
    assert figures() == {}
