"""The access key of the state directory's owner: it counts whatever became of the database, and nobody else's does instead."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from connector.cli.access import of_directory
from connector.cli.control import control
from connector.clients.smc import Access, Json, SmcClient
from connector.control.console.sessions import LoginThrottle, SessionAuthenticator
from connector.control.domain.access import Role
from connector.control.state import directory_key
from connector.control.state.access_keys import AccessKeys
from connector.control.state.epoch import FILE
from connector.control.state.vault import Vault
from connector.control.store import Store
from connector.epoch import EpochMemory
from connector.errors import AuthenticationFailed, Conflict, NotPermitted, StateRestored
from tests.control.conftest import Plane
from tests.control.house import House
from tests.waiting import eventually


def call(plane: Plane, action: str, access: Access | None = None, **parameters: object) -> Json:
    file = Path(plane.ready["access_key_file"])
    with closing(SmcClient(access or of_directory(plane.url, plane.thumbprint, file))) as client:
        return client.call(action, **parameters)


def new_key(plane: Plane) -> Access:
    """An administrator's, in the database."""
    state = plane.root / "state"
    store = Store(f"sqlite:///{state / 'control.sqlite'}")
    key, secret = AccessKeys(store.keys, Vault(state / "vault-key")).create("admin", Role.ADMIN)
    store.close()
    return Access.of(plane.url, key.id, secret, plane.thumbprint, None)


def entries(plane: Plane, action: str) -> list[str]:
    """Who did it, as the audit log says."""
    store = Store(f"sqlite:///{plane.root / 'state' / 'control.sqlite'}")
    found = [entry.who for entry in store.audit.page().rows if entry.action == action]
    store.close()
    return found


def remembered(state: Path) -> int:
    """The number of the last write that the state directory knows of."""
    mark = EpochMemory(state / FILE).mark
    return 0 if mark is None else mark.sequence


def test_it_is_an_administrators_and_lasts_as_long_as_its_file(make_plane: Callable[..., Plane]) -> None:
    plane = make_plane()
    file = Path(plane.ready["access_key_file"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    call(plane, "CreateAccessToken", Name="night")
    (who,) = entries(plane, "CreateAccessToken")
    assert who.startswith("state-directory-")
    before = of_directory(plane.url, plane.thumbprint, file)
    plane.restart()
    assert call(plane, "DescribeControlPlane")["Restored"] == ""
    assert of_directory(plane.url, plane.thumbprint, file).key_id == before.key_id
    file.unlink()
    plane.restart()
    assert call(plane, "DescribeControlPlane")["EpochNumber"] == 1
    old = Access.of(plane.url, before.key_id, before.secret, plane.thumbprint, None)
    with pytest.raises(AuthenticationFailed):
        call(plane, "DescribeControlPlane", old)


def test_it_alone_confirms_a_restore_and_is_not_doubted_then(make_plane: Callable[..., Plane]) -> None:
    plane = make_plane()
    state, kept = plane.root / "state", plane.root / "kept"
    admin = new_key(plane)
    with pytest.raises(Conflict, match="nothing was restored"):
        call(plane, "ConfirmRestore")
    plane.kill()
    shutil.copytree(state, kept, ignore=shutil.ignore_patterns("[!c]*", "*.crt", "*.pem"))
    plane.start()
    call(plane, "CreateWorkgroup", Name="forgotten")
    writes = call(plane, "DescribeControlPlane")["Writes"]
    eventually(lambda: remembered(state) >= writes, "the directory remembers how far it was")
    plane.kill()
    for file in state.glob("control.sqlite*"):
        file.unlink()
    shutil.copytree(kept, state, dirs_exist_ok=True)
    plane.start()

    admin = Access.of(plane.url, admin.key_id, admin.secret, plane.thumbprint, None)
    shown = call(plane, "DescribeControlPlane", admin)
    assert "the state directory knows of write number" in shown["Restored"]
    assert shown["RestoredTime"] and shown["Version"]
    with pytest.raises(StateRestored, match="connector control confirm"):
        call(plane, "CreateWorkgroup", Name="refused")
    with pytest.raises(NotPermitted, match="from the restored database"):
        call(plane, "ConfirmRestore", admin)
    made = call(plane, "ConfirmRestore")
    assert (made["EpochNumber"], made["Restored"]) == (shown["EpochNumber"] + 1, "")
    with pytest.raises(AuthenticationFailed, match="not approved again"):
        call(plane, "DescribeControlPlane", admin)
    call(plane, "CreateWorkgroup", Name="goes-on")
    assert entries(plane, "ConfirmRestore")[0].startswith("state-directory-")


def test_people_log_in_with_keys_of_their_own(house: House, tmp_path: Path) -> None:
    own = directory_key.load(tmp_path)
    keys = AccessKeys(house.store.keys, Vault(tmp_path / "vault-key"), own)
    with pytest.raises(AuthenticationFailed, match="connector control key create"):
        SessionAuthenticator(house.store, keys, LoginThrottle()).enter(own.id, own.secret, "192.0.2.1")


def test_it_is_listed_and_is_ended_by_its_file(tmp_path: Path) -> None:
    Store(f"sqlite:///{tmp_path / 'control.sqlite'}").close()
    run = CliRunner()
    words = ["--state", str(tmp_path), "--json"]
    assert run.invoke(control, ["key", "list", *words]).output == ""
    own = directory_key.load(tmp_path)
    listed = run.invoke(control, ["key", "list", *words]).output
    (row,) = [json.loads(line) for line in listed.splitlines()]
    assert (row["access_key_id"], row["role"], row["name"]) == (
        own.id,
        "admin",
        "owner of the state directory",
    )
    assert own.secret not in listed
    refused = run.invoke(control, ["key", "disable", own.id, *words])
    assert "remove" in str(refused.exception)


def test_an_expired_key_is_listed_as_such(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'control.sqlite'}")
    store.keys.add("AKold", "sealed", Role.READER, "old", until=1.0)
    store.keys.add("AKnew", "sealed", Role.READER, "new")
    store.close()
    shown = CliRunner().invoke(control, ["key", "list", "--state", str(tmp_path)]).output
    states = {line.split()[0]: line.split()[-2] for line in shown.splitlines()}
    assert (states["AKold"], states["AKnew"]) == ("expired", "active")
