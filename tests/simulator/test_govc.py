"""A client that was not written for this server: govc, as an administrator types it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simulator.vcenter import Server, serve
from tests.simulator.conftest import ACCOUNTS, PASSWORD, USER, opened_estate
from tests.waiting import PATIENCE

_HOMES = (Path.home() / "go" / "bin", Path("/usr/local/bin"))
GOVC = shutil.which("govc") or next((str(home / "govc") for home in _HOMES if (home / "govc").exists()), None)
pytestmark = pytest.mark.skipif(GOVC is None, reason="needs govc (go install github.com/vmware/govmomi/govc)")
Govc = Callable[..., str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with (
        opened_estate(tmp_path_factory.mktemp("govc")) as estate,
        serve(estate, accounts=ACCOUNTS) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def govc(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Govc:
    home = tmp_path_factory.mktemp("home")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GOVC_URL": server.url,
        "GOVC_USERNAME": USER,
        "GOVC_PASSWORD": PASSWORD,
        "GOVC_TLS_CA_CERTS": str(server.certificate),
    }

    def run(*arguments: str, fails: bool = False, **changed: str) -> str:
        assert GOVC is not None
        done = subprocess.run(
            [GOVC, *arguments],
            env=environment | changed,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stderr + done.stdout
        return done.stderr if fails else done.stdout

    return run


def read(govc: Govc, *arguments: str) -> Any:
    return json.loads(govc(arguments[0], "-json", *arguments[1:]))


def test_about(govc: Govc) -> None:
    about = read(govc, "about")["about"]
    assert (about["apiType"], about["apiVersion"]) == ("VirtualCenter", "8.0.3.0")


def test_find_and_list(govc: Govc) -> None:
    assert set(govc("find", "/", "-type", "m").split()) == {f"/DC0/vm/idle-0000{n}" for n in (1, 2, 3)}
    assert "/DC0/host/Cluster-1" in govc("find", "/")
    assert govc("find", "/", "-type", "m", "-runtime.powerState", "poweredOff").split() == [
        "/DC0/vm/idle-00003"
    ]
    assert "/DC0/datastore/datastore-1" in govc("ls", "/DC0/datastore")


def test_machine_and_devices(govc: Govc) -> None:
    (vm,) = read(govc, "vm.info", "idle-00001")["virtualMachines"]
    assert vm["config"]["guestId"] == "debian12_64Guest"
    assert "IP address" in govc("vm.info", "idle-00001")
    devices = read(govc, "device.info", "-vm", "idle-00001")["devices"]
    capacities = [device.get("capacityInBytes") for device in devices if device.get("capacityInBytes")]
    assert capacities == [64 << 20, 32 << 20]
    assert "ParaVirtualSCSIController" in govc("device.ls", "-vm", "idle-00001")
    got = govc("object.collect", "-s", "vm/idle-00001", "config.hardware.device[2000].backing.fileName")
    assert got.strip() == "[datastore-1] idle-00001/idle-00001.vmdk"


def test_snapshot_cycle(govc: Govc, server: Server) -> None:
    govc("vm.change", "-vm", "idle-00001", "-e", "migration.wave=1")
    govc("snapshot.create", "-vm", "idle-00001", "-m=false", "first")
    govc("snapshot.create", "-vm", "idle-00001", "second")
    tree = govc("snapshot.tree", "-vm", "idle-00001", "-D", "-i", "-s")
    assert "first" in tree
    assert "second" in tree
    govc("snapshot.revert", "-vm", "idle-00001", "second")
    govc("snapshot.remove", "-vm", "idle-00001", "first")
    govc("snapshot.remove", "-vm", "idle-00001", "*")
    vm = server.center.estate.inventory.vm("vm-101")
    assert (vm.snapshots, vm.extra["migration.wave"]) == ((), "1")
    assert "no snapshots" in govc("snapshot.remove", "-vm", "idle-00001", "first", fails=True)


def test_power(govc: Govc, server: Server) -> None:
    govc("vm.power", "-off", "idle-00002")
    assert server.center.estate.inventory.vm("vm-102").power_state == "poweredOff"
    assert "current state" in govc("vm.power", "-off", "idle-00002", fails=True)
    govc("vm.power", "-on", "idle-00002")
    govc("vm.power", "-s", "idle-00001")
    govc("vm.power", "-on", "-wait=true", "idle-00003")


def test_disk_change(govc: Govc, server: Server) -> None:
    govc("vm.disk.change", "-vm", "idle-00002", "-disk.name", "disk-1000-1", "-size", "64MB")
    assert server.center.estate.inventory.vm("vm-102").disks[1].capacity == 64 << 20


def test_places(govc: Govc) -> None:
    assert "Free:" in govc("datastore.info", "datastore-1")
    assert "VMware ESXi 8.0.3" in govc(
        "host.info", "-host", "/DC0/host/Cluster-1/esx-01.lab.example", "-json"
    )
    assert "Resources" in govc("pool.info", "/DC0/host/Cluster-1/Resources")
    assert "Virtual Machines:  3" in govc("datacenter.info", "DC0")


def test_files_of_a_datastore(govc: Govc) -> None:
    listed = govc("datastore.ls", "-ds", "datastore-1").split()
    assert {"idle-00001", "idle-00003"} <= set(listed)
    inside = govc("datastore.ls", "-ds", "datastore-1", "idle-00001").split()
    assert {"idle-00001.vmdk", "idle-00001.vmx", "vmware.log"} <= set(inside)
    (found,) = read(govc, "datastore.ls", "-l", "-ds", "datastore-1", "idle-00003/*.vmx")
    assert [one["path"] for one in found["file"]] == ["idle-00003.vmx"] and found["file"][0]["fileSize"] > 0
    everything = read(govc, "datastore.ls", "-R", "-ds", "datastore-1")
    assert {one["folderPath"] for one in everything} >= {"[datastore-1]", "[datastore-1] idle-00003/"}
    assert "not found" in govc("datastore.ls", "-ds", "datastore-1", "nothing", fails=True)


def test_logs(govc: Govc) -> None:
    assert "vpxd" in govc("logs.ls") and "/var/log/hostd.log" in govc(
        "logs.ls", "-host", "/DC0/host/Cluster-1/esx-01.lab.example"
    )
    govc("snapshot.create", "-vm", "idle-00003", "for the log")
    assert "CreateSnapshot_Task" in govc("logs", "-log", "vpxd")
    govc("snapshot.remove", "-vm", "idle-00003", "for the log")


def test_first_class_disks(govc: Govc) -> None:
    """There are none, which is no error."""
    assert govc("disk.ls", "-ds", "datastore-1").strip() == ""
    assert "e9b06a8b" in govc("disk.ls", "-ds", "datastore-1", "e9b06a8b", fails=True)


def test_tasks_events_and_sessions(govc: Govc) -> None:
    govc("snapshot.create", "-vm", "idle-00003", "one")
    assert "CreateSnapshot" in govc("tasks")
    assert "CreateSnapshot" in govc("events")
    assert USER in govc("session.ls")
    assert "Administrator" in govc("role.ls")
    assert "Admin" in govc("permissions.ls")


def test_a_wrong_password(govc: Govc, server: Server) -> None:
    url = server.url.replace("https://", "https://user:wrong@")
    said = govc("about", "-persist-session=false", "-u", url, fails=True, GOVC_USERNAME="", GOVC_PASSWORD="")
    assert "incorrect user name or password" in said
