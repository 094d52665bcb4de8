"""A running instance is a process with addresses; the security group decides who reaches it."""

from __future__ import annotations

import base64
import json
import socket
import sys
import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.ecs.account import Account, read, settled
from tests.ecs.conftest import Open
from tests.processes import children, command_line
from tests.waiting import eventually

#: Says on both ports what it was given, writes to its first data disk, and counts its starts on the system disk.
GUEST = """
    import json, pathlib, socket, sys, threading
    machine = json.loads(pathlib.Path(sys.argv[1]).read_text())
    root = pathlib.Path(machine["directory"])
    with (root / "starts").open("a") as file:
        file.write("x")
    devices = pathlib.Path(machine["devices"])
    if (devices / "vdb").exists():
        with (devices / "vdb").open("r+b") as disk:
            disk.write(b"written by the guest")
    told = {
        "starts": len((root / "starts").read_text()),
        "user_data": pathlib.Path(machine["user_data"]).read_text(),
        "serials": sorted(link.name for link in (devices / "disk" / "by-id").iterdir()),
    }
    def serve(port):
        with socket.create_server((machine["address"], port)) as door:
            while True:
                caller, _ = door.accept()
                caller.sendall(json.dumps(told).encode())
                caller.close()
    threading.Thread(target=serve, args=(8703,), daemon=True).start()
    serve(8080)
"""


@pytest.fixture
def guest(tmp_path: Path) -> str:
    program = tmp_path / "guest.py"
    program.write_text(textwrap.dedent(GUEST))
    return f"{sys.executable} -S -E {program} {{machine}}"


def hear(address: str, port: int = 8080) -> dict[str, Any] | None:
    """What is said there; None when nothing is."""
    try:
        with socket.create_connection((address, port), 2) as line:
            said = b"".join(iter(lambda: line.recv(4096), b""))
    except OSError:
        return None
    return json.loads(said) if said else None


def heard(address: str, port: int = 8080) -> dict[str, Any]:
    return eventually(lambda: hear(address, port), f"{address} answers")


def let_in(account: Account, source: str = "127.0.0.0/8", ports: str = "8080/8080") -> None:
    rule = {"IpProtocol": "tcp", "PortRange": ports, "SourceCidrIp": source}
    account.ecs("AuthorizeSecurityGroup", SecurityGroupId=account.group, Permissions=[rule])


def test_it_boots_with_its_disks_and_user_data_and_keeps_its_system_disk(
    open_region: Open, guest: str
) -> None:
    account = Account(open_region(guest))
    let_in(account)
    instance = account.run(
        UserData=base64.b64encode(b"hello").decode(), DataDisk=[{"Category": "cloud_essd", "Size": 20}]
    )
    row = account.instance(instance)
    assert row is not None
    private = row["VpcAttributes"]["PrivateIpAddress"]["IpAddress"][0]
    told = heard(private)
    disks = account.disks(instance)
    assert told["user_data"] == "hello"
    assert told["serials"] == sorted(f"virtio-{disk['SerialNumber'][:20]}" for disk in disks)
    assert read(account.region.disks.get(disks[1]["DiskId"]).path, 0, 20) == b"written by the guest"
    account.ecs("StopInstance", InstanceId=instance)
    account.until(instance, "Stopped")
    assert hear(private) is None
    account.ecs("StartInstance", InstanceId=instance)
    account.until(instance, "Running")
    assert heard(private)["starts"] == 2


def test_only_what_the_security_group_lets_in_comes_in(open_region: Open, guest: str) -> None:
    account = Account(open_region(guest))
    row = account.instance(account.run())
    assert row is not None
    private = row["VpcAttributes"]["PrivateIpAddress"]["IpAddress"][0]
    assert hear(private) is None
    let_in(account, "10.0.0.0/8")
    assert hear(private) is None
    let_in(account, "127.0.0.1/32")
    assert heard(private)
    assert hear(private, 8703) is None
    let_in(account, "127.0.0.1/32", "8703/8703")
    assert heard(private, 8703)


def test_public_addresses_and_eips_come_and_go(open_region: Open, guest: str) -> None:
    account = Account(open_region(guest))
    let_in(account)
    plain, public = account.run(), account.run(InternetMaxBandwidthOut=10)
    assert account.instance(plain)["PublicIpAddress"]["IpAddress"] == []  # type: ignore[index]
    (address,) = account.instance(public)["PublicIpAddress"]["IpAddress"]  # type: ignore[index]
    assert heard(address)
    account.ecs("ConvertNatPublicIpToEip", InstanceId=public)
    row = account.instance(public)
    assert row is not None
    assert (row["EipAddress"]["IpAddress"], row["PublicIpAddress"]["IpAddress"]) == (address, [])
    eip = row["EipAddress"]["AllocationId"]
    settled(
        lambda: account.vpc("DescribeEipAddresses", AllocationId=eip)["EipAddresses"]["EipAddress"], "InUse"
    )
    account.vpc("UnassociateEipAddress", AllocationId=eip)
    assert hear(address) is None
    made = account.vpc("AllocateEipAddress")
    wanted = {"AllocationId": made["AllocationId"]}
    settled(lambda: account.vpc("DescribeEipAddresses", **wanted)["EipAddresses"]["EipAddress"], "Available")
    account.vpc("AssociateEipAddress", AllocationId=made["AllocationId"], InstanceId=public)
    assert heard(made["EipAddress"])


def test_economical_mode_gives_the_address_back_and_may_find_no_stock(open_region: Open) -> None:
    account = Account(open_region())
    instance = account.run(InternetMaxBandwidthOut=10)
    (before,) = account.instance(instance)["PublicIpAddress"]["IpAddress"]  # type: ignore[index]
    account.ecs("StopInstance", InstanceId=instance, StoppedMode="StopCharging")
    row = account.until(instance, "Stopped")
    assert (row["StoppedMode"], row["PublicIpAddress"]["IpAddress"]) == ("StopCharging", [])
    account.region.stock.sell_out("ecs.t6-*")
    with pytest.raises(Exception, match="NoStock"):
        account.ecs("StartInstance", InstanceId=instance)
    account.region.stock.refill()
    account.ecs("StartInstance", InstanceId=instance)
    (after,) = account.until(instance, "Running")["PublicIpAddress"]["IpAddress"]
    assert after != before


def test_nothing_runs_when_the_region_is_gone(open_region: Open, guest: str, tmp_path: Path) -> None:
    account = Account(open_region(guest))
    first, second = account.run(), account.run()
    running = {instance.id: instance.process for instance in account.region.instances}
    account.ecs("DeleteInstance", InstanceId=first, Force=True)
    assert not psutil.pid_exists(running[first].pid)  # type: ignore[union-attr]
    assert running[second].poll() is None  # type: ignore[union-attr]
    account.region.close()
    assert running[second].poll() is not None  # type: ignore[union-attr]
    assert str(tmp_path) not in str([command_line(one) for one in children()])
