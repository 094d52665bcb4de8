"""The role suffices: made by the very commands that the doctor prints, by govc, which was not written for this."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from connector.vcenter import role
from connector.vcenter.client import VCenter
from connector.vcenter.role import On
from simulator.vcenter.server import serve
from tests.vcenter.imaginary import PASSWORD, USER, World, world
from tests.vcenter.ledger import Memory
from tests.waiting import PATIENCE

HOME = Path.home() / "go" / "bin" / "govc"
GOVC = shutil.which("govc") or (str(HOME) if HOME.exists() else None)
pytestmark = pytest.mark.skipif(
    GOVC is None, reason="needs govc (go install github.com/vmware/govmomi/govc@v0.46.3)"
)
OURS = "connector@vsphere.local"


@pytest.fixture
def home() -> Iterator[World]:
    """Two accounts; both may everything until a role is given to one."""
    with (
        world() as made,
        serve(made.estate, accounts={USER: PASSWORD, OURS: PASSWORD}) as server,
    ):
        yield World(made.estate, server)


def administrator(home: World, folder: Path, line: str) -> None:
    access = {
        "GOVC_URL": home.server.url,
        "GOVC_USERNAME": USER,
        "GOVC_PASSWORD": PASSWORD,
        "GOVC_TLS_CA_CERTS": str(home.server.certificate),
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
    }
    words = shlex.split(line)
    assert GOVC is not None and words[0] == "govc"
    done = subprocess.run(
        [GOVC, *words[1:]], env=access, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr


def ours(home: World) -> VCenter:
    access = home.settings(user=OURS, password=SecretStr(PASSWORD))
    return VCenter(access, owner="c0123456789abcdef", ledger=Memory())


def test_the_role_that_the_doctor_prints_suffices(home: World, tmp_path: Path) -> None:
    for line in role.commands(OURS):
        administrator(home, tmp_path, line)
    with ours(home) as vcenter:
        assert not [one for one in vcenter.facts().grants if one.missing]
        machine = vcenter.find(home.vm)
        before = vcenter.ensure_tracking(home.vm, "p-1")
        with vcenter.snapshot(home.vm, "p-2") as snapshot:
            for disk in snapshot.disks:
                vcenter.changed(home.vm, snapshot, disk, None)
        vcenter.restore_tracking(before)
        vcenter.shut_down(home.vm, within=PATIENCE, force=True)
        vcenter.power_on(home.vm)
        assert machine.moref == home.vm and home.snapshots() == []


def test_each_needed_privilege_is_missed_when_the_role_lacks_it(home: World, tmp_path: Path) -> None:
    for line in role.commands(OURS):
        administrator(home, tmp_path, line)
    for one in role.PRIVILEGES:
        if one.id.startswith("System.") or one.on is On.ENCRYPTED:
            continue
        home.server.center.authority.deny(one.id)
        with ours(home) as vcenter:
            lacking = [grant for grant in vcenter.facts().grants if grant.missing]
        home.server.center.authority.allow(one.id)
        assert lacking and all(grant.missing == (one.id,) and grant.on is one.on for grant in lacking)
