"""Flags before environment before a settings file; no secret in sight."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.control.domain.access import Role
from tests.cli.conftest import Connector
from tests.smc.conftest import Cloud


def settings(cloud: Cloud, file: Path, *lines: str) -> Path:
    key, _ = cloud.keys[Role.READER]
    about = {"url": cloud.plane.url, "thumbprint": cloud.plane.thumbprint, "access_key_id": key}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*(f'{name} = "{value}"' for name, value in about.items()), *lines]))
    file.chmod(0o600)
    return file


def secret_in(folder: Path, secret: str, mode: int = 0o600) -> Path:
    file = folder / "key.secret"
    file.write_text(secret + "\n")
    file.chmod(mode)
    return file


def test_a_settings_file_at_its_usual_place(cloud: Cloud, run: Connector, tmp_path: Path) -> None:
    file = tmp_path / "config" / "connector" / "control.toml"
    settings(cloud, file, 'access_key_secret_file = "key.secret"')
    secret_in(file.parent, cloud.keys[Role.READER][1])
    run("source", "list")


def test_a_settings_file_that_was_named_with_the_secret_in_it(
    cloud: Cloud, run: Connector, tmp_path: Path
) -> None:
    file = settings(cloud, tmp_path / "mine.toml", f'access_key_secret = "{cloud.keys[Role.READER][1]}"')
    run("source", "list", "--settings", str(file))
    file.chmod(0o640)
    said = run("source", "list", "--settings", str(file), code=2).err
    assert "others can read the secret in it" in said
    assert cloud.keys[Role.READER][1] not in said


def test_environment_beats_file_and_flags_beat_both(
    cloud: Cloud, run: Connector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = settings(cloud, tmp_path / "mine.toml", 'access_key_secret = "wrong"')
    monkeypatch.setenv("CONNECTOR_CONTROL_SETTINGS", str(file))
    assert "SignatureDoesNotMatch" in run("source", "list", code=4).err
    monkeypatch.setenv("CONNECTOR_ACCESS_KEY_SECRET", cloud.keys[Role.READER][1])
    run("source", "list")
    operator = secret_in(tmp_path, cloud.keys[Role.OPERATOR][1])
    key = cloud.keys[Role.OPERATOR][0]
    run("source", "list", "--access-key-id", key, "--access-key-secret-file", str(operator))
    monkeypatch.setenv("CONNECTOR_CONTROL_URL", "https://127.0.0.1:1")
    assert run("source", "list", code=12).err
    run("source", "list", "--endpoint", cloud.plane.url)


def test_an_authority_from_a_flag_replaces_the_thumbprint_of_the_file(
    cloud: Cloud, run: Connector, tmp_path: Path
) -> None:
    file = settings(cloud, tmp_path / "mine.toml", f'access_key_secret = "{cloud.keys[Role.READER][1]}"')
    run("source", "list", "--settings", str(file), "--ca", str(cloud.certificate))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('url = "https://host"\ncolour = "red"', "colour"),
        ("access_key_secret = hunter2", "it is not TOML"),
        ("url = 7", "url"),
    ],
)
def test_a_settings_file_that_is_wrong(run: Connector, tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    said = run("job", "list", "--settings", str(file), code=2).err
    assert says in said
    assert "hunter2" not in said
    assert len(said.splitlines()) == 1


def test_what_is_missing_is_named(run: Connector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", (tmp_path / "empty").open("w+"))
    assert "CONNECTOR_CONTROL_URL" in run("job", "list", code=2).err
    assert "CONNECTOR_ACCESS_KEY_ID" in run("job", "list", "--endpoint", "https://host", code=2).err
    words = ("job", "list", "--endpoint", "https://host", "--access-key-id", "AK")
    assert "CONNECTOR_ACCESS_KEY_SECRET" in run(*words, code=2).err
    said = run(*words, "--access-key-secret-file", str(tmp_path / "none"), code=2).err
    assert "cannot read the secret file" in said
    others = secret_in(tmp_path, "hunter2", 0o644)
    said = run(*words, "--access-key-secret-file", str(others), code=2).err
    assert "chmod 600" in said
    assert "hunter2" not in said
    assert run(*words, "--settings", str(tmp_path / "none.toml"), code=2).err.count("\n") == 1
