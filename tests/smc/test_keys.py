"""Access keys from the command line, while the control plane runs."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from connector.cli.control import ROLES
from connector.control.domain.access import Role
from connector.control.store import Store
from tests.smc.conftest import Cloud
from tests.waiting import PATIENCE

CONNECTOR = f"{sys.executable} -m connector.cli.main"


def key(cloud: Cloud, *words: str) -> Any:
    command = [
        sys.executable,
        "-m",
        "connector.cli.main",
        "control",
        "key",
        words[0],
        "--state",
        str(cloud.state),
    ]
    return subprocess.run([*command, *words[1:]], capture_output=True, text=True, timeout=PATIENCE)


@pytest.fixture
def others(cloud: Cloud) -> Any:
    """Puts the keys of the shared control plane back."""
    kept = dict(cloud.keys)
    yield
    cloud.keys = kept


def test_a_key_made_on_the_command_line_works_until_it_is_disabled(cloud: Cloud, others: None) -> None:
    made = key(cloud, "create", "--name", "night shift", "--role", "read-only", "--json")
    body = json.loads(made.stdout)
    cloud.keys[Role.READER] = (body["access_key_id"], body["access_key_secret"])
    assert cloud.raw("DescribeSourceServers", {}, Role.READER).status_code == 200
    assert cloud.raw("DeleteSourceServer", {"SourceId": "s-1"}, Role.READER).status_code == 403
    listed = key(cloud, "list", "--json").stdout
    rows = [json.loads(line) for line in listed.splitlines()]
    assert next(r for r in rows if r["access_key_id"] == body["access_key_id"])["name"] == "night shift"
    assert body["access_key_secret"] not in listed
    assert key(cloud, "disable", body["access_key_id"]).returncode == 0
    answer = cloud.raw("DescribeSourceServers", {}, Role.READER).json()
    assert answer["Code"] == "InvalidAccessKeyId.Inactive"
    store = Store(cloud.database)
    entries = store.audit.page(subject=body["access_key_id"]).rows
    store.close()
    assert [entry.action for entry in entries] == ["DisableAccessKey", "CreateAccessKey"]


def test_a_new_key_says_how_to_use_it_and_the_secret_can_stay_in_a_file(cloud: Cloud, tmp_path: Path) -> None:
    file = tmp_path / "key secret"
    made = key(cloud, "create", "--name", "n", "--secret-file", str(file))
    secret = file.read_text().strip()
    assert secret not in made.stdout + made.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    exports = [line for line in made.stdout.splitlines() if line.startswith("export ")]
    script = "\n".join(
        [*exports, f"export CONNECTOR_CONTROL_URL={cloud.plane.url}", f"{CONNECTOR} source list"]
    )
    used = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, timeout=PATIENCE)
    assert used.returncode == 0, used.stderr
    shown = key(cloud, "create", "--name", "n")
    assert "CONNECTOR_ACCESS_KEY_SECRET_FILE=FILE" in shown.stdout
    again = key(cloud, "create", "--name", "n", "--secret-file", str(file))
    assert (again.returncode, again.stdout) == (2, "")


def test_secrets_are_sealed_in_the_database(cloud: Cloud) -> None:
    store = Store(cloud.database)
    for key_id, secret in cloud.keys.values():
        found = store.keys.find(key_id)
        assert found is not None
        assert secret not in found.sealed
        assert secret not in repr(found)
    store.close()


def test_the_roles_on_the_command_line_are_the_roles() -> None:
    assert set(ROLES) == set(Role)


def test_the_control_plane_runs_from_the_command_line() -> None:
    command = [sys.executable, "-m", "connector.cli.main", "control", "run", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0
    assert "Run the control plane" in done.stdout


def test_what_is_wrong_is_one_line(cloud: Cloud) -> None:
    for words in (("disable", "AKnobody"), ("create", "--name", ""), ("list", "--database", "mysql://x")):
        done = key(cloud, *words)
        assert done.returncode in (2, 3)
        assert done.stderr.startswith("connector: ")
        assert done.stderr.count("\n") == 1
