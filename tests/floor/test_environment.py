"""Which variables are secrets, and that /proc shows none of them once a program has hidden them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from connector import environment
from vddk import environment as of_vddk

SECRETS = {
    "CONNECTOR_VCENTER_PASSWORD": "x",
    "CONNECTOR_ACCESS_KEY_SECRET": "x",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "x",
    "ALIBABA_CLOUD_SECURITY_TOKEN": "x",
    "SIMULATOR_PASSWORD": "x",
    "PGPASSWORD": "x",
    "SSHPASS_PASSPHRASE": "x",
    "db_password": "x",
    "OPENAI_API_KEY": "x",
    "CONNECTOR_CONTROL_DATABASE": "postgresql://me:pw@db/x",
    "DATABASE": "postgresql://db/x?user=me&password=pw",
    "https_proxy": "http://me:pw@proxy:3128",
}
HARMLESS = {
    "PATH": "/bin:/usr/bin",
    "LD_LIBRARY_PATH": "/opt/vddk/lib64",
    "HOME": "/root",
    "PWD": "/",
    "LANG": "C.UTF-8",
    "CONNECTOR_VCENTER_URL": "https://vc.example:443",
    "CONNECTOR_ACCESS_KEY_SECRET_FILE": "/etc/connector/secret",
    "CONNECTOR_ACCESS_KEY_ID": "AK1",
    "PGPASSFILE": "/root/.pgpass",
    "https_proxy": "http://proxy:3128",
    "CONNECTOR_CONTROL_DATABASE": "postgresql://me@db/x",
}


@pytest.mark.parametrize(("name", "value"), SECRETS.items())
def test_a_secret_is_kept_from_children_and_workers(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert environment.is_secret(name, value)
    assert name not in environment.without_secrets()
    assert name not in of_vddk.of_worker("/opt/vddk")


@pytest.mark.parametrize(("name", "value"), HARMLESS.items())
def test_the_rest_is_inherited(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert environment.without_secrets()[name] == value


def test_a_name_can_be_called_secret() -> None:
    assert environment.without_secrets({"A": "1", "B": "2"}, {"A"}) == {"B": "2"}


def test_what_is_hidden_is_not_in_proc_and_not_inherited_but_still_known() -> None:
    program = (
        "import os, pathlib, subprocess\n"
        "from connector import environment\n"
        "environment.hide()\n"
        "block = pathlib.Path('/proc/self/environ').read_bytes()\n"
        "assert b'hush-hush' not in block, block\n"
        "assert b'PLAIN=plain' in block, block\n"
        "child = subprocess.run(['env'], capture_output=True).stdout\n"
        "assert b'hush-hush' not in child and b'PLAIN=plain' in child, child\n"
        "assert os.environ['A_PASSWORD'] == 'hush-hush'\n"
    )
    given = os.environ | {"A_PASSWORD": "hush-hush", "PLAIN": "plain"}
    done = subprocess.run([sys.executable, "-c", program], env=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
