"""One session, two protocols: what the API's cookie and morefs open through the VDDK's ABI."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim

from simulator.estate.estate import Estate
from simulator.vcenter import Server
from simulator.vixdisklib import install
from tests.simulator.conftest import MIB, USER, eventually, finished, machine
from vddk.errors import VddkError
from vddk.spec import ConnectionSpec, DiskSpec, Installation, SessionCookie
from vddk.worker import open_in_worker

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs cc (gcc)")


def spec(server: Server, client: Any, vm: Any, snapshot: Any, device: Any) -> DiskSpec:
    """How a client describes a snapshot's disk with nothing but what the API told it."""
    cookie = client._stub.cookie.split('"')[1]
    connection = ConnectionSpec(
        server=server.host,
        thumbprint=server.thumbprint,
        credentials=SessionCookie(cookie, USER),
        vm_moref=vm._moId,
        snapshot_moref=snapshot._moId,
    )
    return DiskSpec(connection, device.backing.fileName)


def test_the_bytes_of_a_snapshot_and_the_end_of_its_session(
    server: Server, client: Any, estate: Estate, tmp_path: Path
) -> None:
    installation = Installation(install(tmp_path / "vddk", estate.export.root))
    vm, data = machine(client), random.Random(3).randbytes(MIB)
    estate.power.write(vm._moId, 2000, 5 * MIB, data)
    snapshot = finished(vm.CreateSnapshot_Task("one", "", False, False))
    estate.power.write(vm._moId, 2000, 5 * MIB, bytes(MIB))
    device = next(
        found for found in snapshot.config.hardware.device if isinstance(found, vim.vm.device.VirtualDisk)
    )
    disk_spec = spec(server, client, vm, snapshot, device)
    buffer = bytearray(MIB)
    with open_in_worker(installation, disk_spec) as disk:
        assert (disk.info.capacity, disk.info.uuid) == (64 * MIB, device.backing.uuid)
        disk.read_into(5 * MIB, buffer)
    assert bytes(buffer) == data, "the snapshot's instant"
    client.content.sessionManager.Logout()
    with pytest.raises(VddkError) as refused:
        open_in_worker(installation, disk_spec).close()
    assert "3047" in str(refused.value) or "session" in str(refused.value).lower()


def test_a_host_in_maintenance_serves_no_disks(
    server: Server, client: Any, estate: Estate, tmp_path: Path
) -> None:
    installation = Installation(install(tmp_path / "vddk", estate.export.root))
    vm = machine(client)
    snapshot = finished(vm.CreateSnapshot_Task("one", "", False, False))
    finished(vm.PowerOffVM_Task())
    host = vm.runtime.host
    finished(host.EnterMaintenanceMode_Task(0, False))
    assert host.runtime.inMaintenanceMode is True
    assert vm.runtime.host == host, "machines that are off stay"
    device = next(
        found for found in snapshot.config.hardware.device if isinstance(found, vim.vm.device.VirtualDisk)
    )
    with pytest.raises(VddkError):
        open_in_worker(installation, spec(server, client, vm, snapshot, device)).close()
    finished(host.ExitMaintenanceMode_Task(0))
    open_in_worker(installation, spec(server, client, vm, snapshot, device)).close()


def test_running_machines_leave_a_host_that_goes(client: Any, estate: Estate) -> None:
    vm = machine(client)
    host = vm.runtime.host
    finished(host.EnterMaintenanceMode_Task(0, False))
    assert vm.runtime.host != host
    finished(vm.runtime.host.DisconnectHost_Task())
    assert vm.runtime.connectionState == "disconnected"
    with pytest.raises(vim.fault.InvalidState):
        host.EnterMaintenanceMode_Task(0, False)
    finished(vm.runtime.host.ReconnectHost_Task(None, None))
    assert eventually(lambda: vm.runtime.connectionState == "connected")
    assert estate.inventory.hosts[host._moId].in_maintenance
