"""Two programs that we did not write agree with our client about an estate: vcsim shows it, govc reads it too."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from connector.vcenter import inventory
from connector.vcenter.session import Session
from tests.vcenter.witness import PASSWORD, USER, Witness
from tests.waiting import PATIENCE

HOME = Path.home() / "go" / "bin" / "govc"
GOVC = shutil.which("govc") or (str(HOME) if HOME.exists() else None)
pytestmark = pytest.mark.skipif(
    GOVC is None, reason="needs govc (go install github.com/vmware/govmomi/govc@v0.46.3)"
)


def govc(place: Witness, home: Path, *words: str) -> str:
    """What govc prints about the same vCenter; it keeps no session of its own."""
    access = {
        "GOVC_URL": place.url,
        "GOVC_USERNAME": USER,
        "GOVC_PASSWORD": PASSWORD,
        "GOVC_TLS_CA_CERTS": str(place.identity.certificate),
        "GOVC_PERSIST_SESSION": "false",
        "HOME": str(home),
        "PATH": os.environ["PATH"],
    }
    assert GOVC is not None
    done = subprocess.run(
        [GOVC, *words], env=access, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_govc_sees_the_same_machines(session: Session, witness: Witness, tmp_path: Path) -> None:
    """Names, paths, identities, hardware, disks, places and custom attributes, by the other client."""
    govc(witness, tmp_path, "fields.add", "-type", "VirtualMachine", "owner")
    try:
        govc(witness, tmp_path, "fields.set", "owner", "Shop team", "/DC0/vm/DC0_H0_VM0")
        seen = inventory.whole(session)
        paths = govc(witness, tmp_path, "find", "/", "-type", "m").split()
        assert sorted(one.path for one in seen.machines if "/vm/" in one.path) == sorted(
            path for path in paths if "/vm/" in path
        )
        one = next(each for each in seen.machines if each.path == "/DC0/vm/DC0_H0_VM0")
        assert one.traits.attributes == (("owner", "Shop team"),)
        (told,) = json.loads(govc(witness, tmp_path, "vm.info", "-json", one.path))["virtualMachines"]
        assert (told["config"]["instanceUuid"], told["self"]["value"]) == (one.instance_uuid, one.moref)
        assert told["config"]["hardware"]["memoryMB"] << 20 == one.memory
        devices = json.loads(govc(witness, tmp_path, "device.info", "-json", "-vm", one.path))["devices"]
        disks = {each["key"]: each["capacityInBytes"] for each in devices if "capacityInBytes" in each}
        assert disks == {disk.key: disk.capacity for disk in one.disks}
        macs = {each["macAddress"] for each in devices if "macAddress" in each}
        assert macs == {nic.mac for nic in one.traits.nics}
        hosts = govc(witness, tmp_path, "find", "/", "-type", "h").split()
        assert sorted(path.rpartition("/")[2] for path in hosts) == sorted(host.name for host in seen.hosts)
    finally:
        govc(witness, tmp_path, "fields.rm", "owner")
