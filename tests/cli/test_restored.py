"""`connector control` where the state was restored: what it says, and the way out of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from connector.cli.control import control
from connector.cli.stack import CONFIRMED, Stack, StackLocation
from connector.clients.smc import Access, SmcClient
from connector.control.state import identity
from connector.control.state.vault import Vault
from connector.control.store import Store
from connector.errors import BadInput, StateRestored
from connector.settings import VCenterSettings
from tests.cli.conftest import Speaker


def _run(*words: str) -> str:
    done = CliRunner().invoke(control, list(words))
    assert done.exit_code == 0, done.output
    return done.output


def _json(*words: str) -> Any:
    return json.loads(_run(*words, "--json").strip().splitlines()[-1])


def test_a_backup_is_put_back_said_confirmed_and_approved(tmp_path: Path) -> None:
    state, new, file = tmp_path / "state", tmp_path / "new", tmp_path / "x.tar"
    state.mkdir(mode=0o700)
    Vault(state / "vault-key")
    identity.load(state, "127.0.0.1")
    Store(f"sqlite:///{state / 'control.sqlite'}").close()
    key = _json("key", "create", "--state", str(state), "--name", "night shift")["access_key_id"]
    assert "in order" in _run("status", "--state", str(state))
    assert "vault key is not in it" in _run("backup", "--state", str(state), "--to", str(file))
    new.mkdir(mode=0o700)
    shutil.copy2(state / "vault-key", new / "vault-key")
    assert "confirm" in _run("restore", "--state", str(new), "--from", str(file))
    said = _run("status", "--state", str(new))
    assert "RESTORED" in said
    assert "connector control confirm" in said
    before = _json("status", "--state", str(new))
    after = _json("confirm", "--state", str(new))
    assert (after["number"], after["restored"]) == (before["number"] + 1, "")
    assert "unapproved" in _run("key", "list", "--state", str(new))
    assert _json("approve", key, "--state", str(new)) == {"approved": [key]}
    assert "active" in _run("key", "list", "--state", str(new))
    assert "in order" in _run("status", "--state", str(new))


def test_a_database_alone_that_was_put_back_is_said_by_the_status(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    Vault(state / "vault-key")
    database = state / "control.sqlite"
    Store(f"sqlite:///{database}").close()
    _json("key", "create", "--state", str(state), "--name", "a")
    kept = database.read_bytes()
    _json("key", "create", "--state", str(state), "--name", "b")
    _run("status", "--state", str(state))  # remembers how far it was
    for file in state.glob("control.sqlite*"):
        file.unlink()
    database.write_bytes(kept)
    said = _run("status", "--state", str(state))
    assert "RESTORED" in said
    assert "the state directory knows of write number 2" in said


COMMANDS = [
    ["status"],
    ["confirm"],
    ["approve", "--all"],
    ["key", "list"],
    ["key", "create", "--name", "me"],
    ["key", "disable", "AK1"],
    ["backup", "--to", "x.tar"],
    ["audit", "export", "x.jsonl"],
    ["audit", "verify"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_makes_a_database_where_none_is(words: list[str], tmp_path: Path) -> None:
    """The control plane's database is elsewhere, or the directory is another one."""
    Vault(tmp_path / "vault-key")
    refused = CliRunner().invoke(control, [*words, "--state", str(tmp_path)])
    assert isinstance(refused.exception, BadInput)
    assert "no database of a control plane" in str(refused.exception)
    assert "--config" in refused.exception.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["vault-key"]


def test_the_configuration_names_directory_and_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, elsewhere = tmp_path / "state", f"sqlite:///{tmp_path / 'elsewhere.sqlite'}"
    state.mkdir(mode=0o700)
    identity.load(state, "127.0.0.1")
    Store(elsewhere).close()
    config = tmp_path / "control-plane.yaml"
    config.write_text(f"state: {state}\ndatabase: {elsewhere}\nlimits: {{passes: 3}}\n")
    key = _json("key", "create", "--config", str(config), "--name", "me")["access_key_id"]
    monkeypatch.setenv("CONNECTOR_CONTROL_CONFIG", str(config))
    assert key in _run("key", "list")
    assert "in order" in _run("status")
    assert "sqlite" in _run("backup", "--to", str(tmp_path / "x.tar"))
    assert not (state / "control.sqlite").exists()
    other = f"sqlite:///{tmp_path / 'other.sqlite'}"
    Store(other).close()
    assert key not in _run("key", "list", "--database", other)


def _held() -> dict[str, str]:
    return {"Code": "ControlPlane.StateRestored", "Message": "the state was restored", "RequestId": "r"}


def _stack(folder: Path, speaker: Speaker, say: Callable[[str], None]) -> Stack:
    made = Stack(StackLocation(VCenterSettings(url="https://vc.example"), folder, folder), say)
    made.client = SmcClient(Access.of(speaker.url, "key", "secret", speaker.thumbprint, None))
    return made


def test_a_state_that_is_held_for_ever_is_not_confirmed_for_ever(tmp_path: Path, speaker: Speaker) -> None:
    warned: list[str] = []
    house = _stack(tmp_path, speaker, warned.append)
    for _ in range(CONFIRMED + 1):
        speaker.say(409, _held())  # the work itself
        speaker.say(200, {"Restored": "an appliance knows more"})
        speaker.say(200, {"Restored": ""})  # the confirmation
    with pytest.raises(
        StateRestored, match=f"confirmed {CONFIRMED} times and is held again: an appliance knows more"
    ):
        house.patiently(lambda: house.client.call("DescribeReplicationJobs"))


def test_a_state_that_is_held_anew_while_it_is_confirmed_is_confirmed_again(
    tmp_path: Path, speaker: Speaker
) -> None:
    held = _held()
    warned: list[str] = []
    house = _stack(tmp_path, speaker, warned.append)
    speaker.say(409, held)  # the work itself
    other = held | {"Code": "ControlPlane.NotRestored", "Message": "nothing was restored"}
    for why, answer in (("the database went back", held), ("an appliance knows more", other)):
        speaker.say(200, {"Restored": why})
        speaker.say(409, answer)
        speaker.say(409, held)
    speaker.say(200, {"Restored": ""})
    with pytest.raises(StateRestored):
        house.patiently(lambda: house.client.call("DescribeReplicationJobs"))
    assert [why in line for line, why in zip(warned, ("went back", "knows more"), strict=True)] == [
        True,
        True,
    ]


def test_a_backup_of_the_schedule_is_tried_and_checked_by_hand(tmp_path: Path) -> None:
    state, place = tmp_path / "state", tmp_path / "kept"
    state.mkdir(mode=0o700)
    Vault(state / "vault-key")
    identity.load(state, "127.0.0.1")
    Store(f"sqlite:///{state / 'control.sqlite'}").close()
    where = ["--state", str(state)]
    said = _run("backup", *where, "--into", str(place), "--keep", "2")
    (file,) = place.iterdir()
    assert said.startswith(f"{file}: ") and "put back for a trial: 0 jobs" in said
    assert "sound, put back for a trial: 0 jobs" in _run("check-backup", *where, "--from", str(file))
    assert json.loads(_run("check-backup", *where, "--from", str(file), "--json"))["jobs"] == 0
    for words in ([], ["--to", str(tmp_path / "x"), "--into", str(place)]):
        refused = CliRunner().invoke(control, ["backup", *where, *words])
        assert isinstance(refused.exception, BadInput) and "exactly one of --to and --into" in str(
            refused.exception
        )
