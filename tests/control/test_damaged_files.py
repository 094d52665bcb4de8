"""A file of the control plane's own that was overwritten or cut is named, with what to do; it is neither used nor made anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.control.engine import rows
from connector.control.state import identity
from connector.control.state.vault import Vault
from connector.errors import BadInput, ControlFailed

HOST = "127.0.0.1"


def _start(state: Path) -> None:
    identity.load(state, HOST)
    Vault(state / "vault-key")


def _zeros(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def _half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _noise(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00" * 20)


def _nothing(file: Path) -> None:
    file.write_bytes(b"")


HARMS = (_zeros, _half, _noise, _nothing)
CASES = [
    *((name, harm) for name in ("control.pem", "access-key.toml", "vault-key") for harm in HARMS),
    *(("activation-code", harm) for harm in HARMS if harm is not _half),
]


@pytest.mark.parametrize(("name", "harm"), CASES)
def test_a_damaged_file_is_named_and_left_as_it_is(
    tmp_path: Path, name: str, harm: Callable[[Path], None]
) -> None:
    _start(tmp_path)
    file = tmp_path / name
    harm(file)
    damaged = file.read_bytes()
    with pytest.raises(BadInput) as refused:
        _start(tmp_path)
    assert (refused.value.what, refused.value.on) == ("is damaged", str(file))
    assert "restore it" in refused.value.remedy
    assert file.read_bytes() == damaged


@pytest.mark.parametrize("harm", [_zeros, _half, _noise])
def test_a_damaged_database_of_the_engine_is_named(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    file = tmp_path / "engine.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE notifications (destination_uuid TEXT, serialization TEXT)")
        connection.executemany(
            "INSERT INTO notifications VALUES (?, 'portable_json')",
            [(f"{number:0900}",) for number in range(99)],
        )
    connection.close()
    url = f"sqlite:///{file}"
    rows.drop_foreign(url)
    harm(file)
    with pytest.raises(ControlFailed) as refused:
        rows.drop_foreign(url)
    assert (refused.value.what, refused.value.on) == ("the engine's database is damaged", str(file))
    assert "remove it" in refused.value.remedy


@pytest.mark.parametrize("harm", HARMS)
def test_the_certificate_for_clients_is_a_copy_and_written_again(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    _start(tmp_path)
    file = tmp_path / "control.crt"
    whole = file.read_text()
    harm(file)
    _start(tmp_path)
    assert file.read_text() == whole
