"""An estate without file systems (no program needed), a server on a real TLS socket, and pyVmomi clients."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim, vmodl

from simulator.estate.build import SCSI, Layout, build_estate
from simulator.estate.estate import Estate, Policy, Timing
from simulator.faults import Faults
from simulator.vcenter import Options, Server, serve
from tests.waiting import PATIENCE

MIB = 1 << 20
USER, PASSWORD = "administrator@vsphere.local", 'correct & <horse> "battery"'
ACCOUNTS = {USER: PASSWORD, "viewer@vsphere.local": "look-only"}
PC: Any = vmodl.query.PropertyCollector


@contextmanager
def opened_estate(directory: Path, machines: int = 3, policy: Policy | None = None) -> Iterator[Estate]:
    """The first two machines have disks of 64 and 32 MiB and are powered on, the others have no disks."""
    timing = Timing(snapshot_stun=0.0, switch_stun=0.0, guest_shutdown=0.05)
    estate = build_estate(
        directory, Layout(vms=0, fillers=machines), timing=timing, policy=policy, faults=Faults()
    )
    try:
        for moref in list(estate.inventory.vms)[:2]:
            estate.hardware.add_disk(moref, SCSI, 0, 64 * MIB)
            estate.hardware.add_disk(moref, SCSI, 1, 32 * MIB)
            estate.power.on(moref)
        yield estate
    finally:
        estate.close()


@pytest.fixture
def estate(tmp_path: Path) -> Iterator[Estate]:
    with opened_estate(tmp_path / "estate") as made:
        yield made


@pytest.fixture
def server(estate: Estate) -> Iterator[Server]:
    with serve(estate, accounts=ACCOUNTS, options=Options(cbt_page=7)) as running:
        yield running


def connect(server: Server, user: str = USER, password: str = PASSWORD) -> Any:
    """A verified TLS connection and a login."""
    context = ssl.create_default_context(cafile=str(server.certificate))
    return SmartConnect(host=server.host, port=server.port, user=user, pwd=password, sslContext=context)


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with ExitStack() as stack:
        instance = connect(server)
        stack.callback(Disconnect, instance)
        yield instance


def machine(instance: Any, name: str = "idle-00001") -> Any:
    """A machine by name."""
    found = instance.content.searchIndex.FindByInventoryPath(f"DC0/vm/{name}")
    assert isinstance(found, vim.VirtualMachine)
    return found


def finished(task: Any, seconds: float = PATIENCE) -> Any:
    """Wait for a task by property filter; its result. Raises its fault."""
    collector = task._stub and vim.ServiceInstance("ServiceInstance", task._stub).content.propertyCollector
    own = collector.CreatePropertyCollector()
    try:
        spec = PC.FilterSpec(
            objectSet=[PC.ObjectSpec(obj=task)], propSet=[PC.PropertySpec(type=vim.Task, pathSet=["info"])]
        )
        own.CreateFilter(spec, False)
        version, deadline = "", time.monotonic() + seconds
        while time.monotonic() < deadline:
            update = own.WaitForUpdatesEx(version, PC.WaitOptions(maxWaitSeconds=2))
            if update is None:
                continue
            version = update.version
            info = update.filterSet[0].objectSet[0].changeSet[-1].val
            if info.state == "success":
                return info.result
            if info.state == "error":
                raise info.error
        raise AssertionError(f"{task} did not finish in {seconds} s")
    finally:
        own.DestroyPropertyCollector()


def eventually(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Poll something that no event tells of."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def sweep_spec(container: Any, kind: Any, paths: list[str]) -> Any:
    """A filter spec over everything in a container view."""
    traversal = PC.TraversalSpec(name="view", path="view", skip=False, type=vim.view.ContainerView)
    return PC.FilterSpec(
        objectSet=[PC.ObjectSpec(obj=container, skip=True, selectSet=[traversal])],
        propSet=[PC.PropertySpec(type=kind, pathSet=paths)],
    )


def all_machines(instance: Any) -> Any:
    """A container view of every machine."""
    content = instance.content
    return content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
