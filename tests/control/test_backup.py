"""A backup is made while the control plane works, holds what belongs together, and is restored into a new place."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from connector.control.state import backup, identity
from connector.control.state.epoch import confirm
from connector.control.state.vault import Vault
from connector.control.store import Quotas, Store
from connector.errors import BadInput, Conflict, ConnectorError, ControlFailed, StateRestored
from tests.control import fresh
from tests.control.house import House


def _state(folder: Path) -> Path:
    """A state directory as a control plane leaves it, beside its database."""
    state = folder / "state"
    state.mkdir()
    Vault(state / backup.VAULT_KEY)
    identity.load(state, "127.0.0.1")
    return state


def _new(folder: Path, name: str, old: Path) -> Path:
    """Where to restore: a directory that holds the vault key, which was kept elsewhere."""
    made = folder / name
    made.mkdir()
    shutil.copy2(old / backup.VAULT_KEY, made / backup.VAULT_KEY)
    return made


@pytest.fixture
def empty(request: pytest.FixtureRequest, url: str) -> Iterator[str]:
    """The database to restore into, as an option."""
    if url.startswith("sqlite"):
        yield ""
        return
    name = url.rsplit("/", 1)[1] + "_new"
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    made = url.rsplit("/", 1)[0] + f"/{name}"
    yield made
    fresh.drop(made)


@contextmanager
def _busy(work: Callable[[int], Any]) -> Iterator[None]:
    """`work` is done again and again by a thread of its own."""
    end, failed = threading.Event(), []

    def loop() -> None:
        number = 0
        while not end.is_set():
            number += 1
            try:
                work(number)
            except ConnectorError as error:
                failed.append(error)
                return

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    assert not failed


def test_it_is_made_while_jobs_run_and_they_go_on_from_it(url: str, empty: str, quick_folder: Path) -> None:
    state = _state(quick_folder)
    if url.startswith("sqlite"):
        url = f"sqlite:///{state / 'control.sqlite'}"
    house = House(url, quick_folder, Quotas())
    jobs = [house.incremental(name) for name in "abc"]
    for job in jobs:
        house.service.start(job)
    house.turn()
    file = quick_folder / "x.tar"
    with _busy(lambda n: house.store.tokens.create(f"t{n}", "", count=1, days=1)):
        made = backup.make(state, "" if url.startswith("sqlite") else url, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for secret in (backup.VAULT_KEY, "access-key.toml", "activation-code"):
        assert (state / secret).read_bytes().strip() not in file.read_bytes()
    for job in jobs:
        house.run(job)
    house.store.close()

    place = _new(quick_folder, "new", state)
    found = backup.restore(place, empty, file)
    assert found == made
    assert (place / "control.pem").read_bytes() == (state / "control.pem").read_bytes()
    house.url = empty or f"sqlite:///{place / 'control.sqlite'}"
    house.begin()
    try:
        with pytest.raises(StateRestored, match="was put back"):
            house.service.stop(jobs[0])
        confirm(house.store, keep_credentials=True)
        assert {str(house.get(job).status) for job in jobs} == {"Running"}
        assert all(house.get(job).compare_reason for job in jobs)
        for job in jobs:
            house.run(job)
        assert {str(house.get(job).status) for job in jobs} == {"Waiting"}
        assert not any(house.get(job).compare_reason for job in jobs)
    finally:
        house.store.close()


def _made(folder: Path) -> tuple[Path, Path]:
    state = _state(folder)
    store = Store(f"sqlite:///{state / 'control.sqlite'}")
    store.tokens.create("t", "", count=1, days=1)
    store.close()
    backup.make(state, "", folder / "x.tar")
    return state, folder / "x.tar"


def test_a_damaged_file_touches_nothing(quick_folder: Path) -> None:
    state, file = _made(quick_folder)
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    wrong = {"cut": whole[: len(whole) // 2], "flipped": bytes(flipped), "empty": b"", "zeros": bytes(10240)}
    for name, content in wrong.items():
        place = _new(quick_folder, name, state)
        file.write_bytes(content)
        with pytest.raises(BadInput, match="damaged"):
            backup.restore(place, "", file)
        assert {path.name for path in place.iterdir()} <= {backup.VAULT_KEY}
    with pytest.raises(BadInput, match="no such file"):
        backup.restore(place, "", quick_folder / "none")


def test_it_needs_a_free_place_and_its_own_vault_key(quick_folder: Path) -> None:
    state, file = _made(quick_folder)
    with pytest.raises(Conflict, match="exists: a control plane"):
        backup.restore(state, "", file)
    without = quick_folder / "without"
    with pytest.raises(BadInput, match="a backup does not contain it"):
        backup.restore(without, "", file)
    other = quick_folder / "other"
    other.mkdir()
    Vault(other / backup.VAULT_KEY)
    with pytest.raises(BadInput, match="this vault key is not the one"):
        backup.restore(other, "", file)
    with pytest.raises(BadInput, match="exists"):
        backup.make(state, "", file)
    with pytest.raises(BadInput, match="no control plane"):
        backup.make(quick_folder / "nowhere", "", quick_folder / "y.tar")
    with pytest.raises(BadInput, match="SQLite"):
        backup.restore(_new(quick_folder, "pg", state), "postgresql://x@127.0.0.1/x", file)


def test_a_backup_without_a_database_is_an_error(quick_folder: Path, empty_postgres_url: str) -> None:
    """The control plane's database is PostgreSQL, and nobody named it; or the one that was named is another one."""
    state, file = _state(quick_folder), quick_folder / "x.tar"
    with pytest.raises(BadInput, match="no database of a control plane") as refused:
        backup.make(state, "", file)
    assert "--database or --config" in refused.value.remedy
    with pytest.raises(BadInput, match="no control plane has used this database"):
        backup.make(state, empty_postgres_url, file)
    assert not file.exists()
    assert not (state / "control.sqlite").exists()


def test_a_backup_of_an_earlier_version_that_holds_no_database_is_refused(quick_folder: Path) -> None:
    state = _state(quick_folder)
    parts = quick_folder / "parts"
    parts.mkdir()
    shutil.copy2(state / "control.pem", parts)
    facts = backup._describe(state, "sqlite:///none", parts)
    backup._pack(parts, facts, quick_folder / "x.tar")
    place = _new(quick_folder, "new", state)
    with pytest.raises(BadInput, match="it holds no database"):
        backup.restore(place, "", quick_folder / "x.tar")
    assert [path.name for path in place.iterdir()] == [backup.VAULT_KEY]


def test_a_sqlite_database_in_another_place_is_copied_from_there_and_put_there(quick_folder: Path) -> None:
    state, file = _state(quick_folder), quick_folder / "x.tar"
    elsewhere = quick_folder / "elsewhere.sqlite"
    store = Store(f"sqlite:///{elsewhere}")
    store.tokens.create("t", "", count=1, days=1)
    store.close()
    backup.make(state, f"sqlite:///{elsewhere}", file)
    place, again = _new(quick_folder, "new", state), quick_folder / "again.sqlite"
    with pytest.raises(Conflict, match=r"elsewhere\.sqlite exists"):
        backup.restore(place, f"sqlite:///{elsewhere}", file)
    backup.restore(place, f"sqlite:///{again}", file)
    assert not (place / "control.sqlite").exists()
    store = Store(f"sqlite:///{again}")
    assert [token.name for token in store.tokens.all()] == ["t"]
    assert store.epochs.current().restored
    store.close()


def test_a_database_that_is_not_empty_touches_nothing(quick_folder: Path, postgres_server: str) -> None:
    state, used = _state(quick_folder), fresh.postgres(postgres_server)
    backup.make(state, used, quick_folder / "x.tar")
    place = _new(quick_folder, "new", state)
    with pytest.raises(Conflict, match="not empty"):
        backup.restore(place, used, quick_folder / "x.tar")
    with pytest.raises(ControlFailed, match="does not answer"):
        backup.restore(place, "postgresql://x@127.0.0.1:1/x", quick_folder / "x.tar")
    assert "control.pem" not in {path.name for path in place.iterdir()}
    new = fresh.empty_postgres(postgres_server)
    backup.restore(place, new, quick_folder / "x.tar")  # the next attempt
    assert (place / "control.pem").is_file()
    fresh.drop(used)
    fresh.drop(new)


def test_a_damaged_database_is_not_called_a_backup(quick_folder: Path) -> None:
    state, _ = _made(quick_folder)
    (state / "control.sqlite").write_bytes(b"not what it was" * 1000)
    for beside in ("-wal", "-shm"):
        (state / f"control.sqlite{beside}").unlink(missing_ok=True)
    with pytest.raises(ControlFailed):
        backup.make(state, "", quick_folder / "y.tar")
    assert not (quick_folder / "y.tar").exists()


def test_what_is_restored_is_sound_and_readable_by_its_owner_alone(quick_folder: Path) -> None:
    state, file = _made(quick_folder)
    place = _new(quick_folder, "new", state)
    backup.restore(place, "", file)
    assert stat.S_IMODE((place / "control.sqlite").stat().st_mode) == 0o600
    with closing(sqlite3.connect(place / "control.sqlite")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
