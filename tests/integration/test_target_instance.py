"""A machine of vCenter goes onto a machine of the user, with every process: every byte, and the former disks back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from connector.cloud import machine_files
from connector.cloud.machine_files import ImageDisk, MachineDescription, NetworkCard
from connector.errors import BadInput
from tests.integration.house import MIB, House, Shape
from tests.integration.test_rollback import reach, stack
from tests.people import People
from tests.waiting import eventually

DISKS = ((2 * MIB, MIB), (3 * MIB, MIB))


def user_machine(house: House) -> Path:
    """A Linux with two disks, larger than those of the source and of another format."""
    directory = house.out / "machines" / "app"
    directory.mkdir(parents=True)
    disks = []
    for name, size in (("vda.raw", 4 * MIB), ("vdb.raw", 3 * MIB)):
        (directory / name).write_bytes(name.encode().ljust(size, b"\0"))
        disks.append(ImageDisk(name, "raw", size))
    machine = MachineDescription("app", tuple(disks), cards=(NetworkCard("52:54:00:00:00:07"),), cpus=3)
    for file, content in machine_files.files(machine, directory).items():
        (directory / file).write_bytes(content)
    return directory


def content(directory: Path) -> list[bytes]:
    machine = machine_files.read(directory)
    assert machine is not None
    return [(directory / disk.file).read_bytes() for disk in machine.disks]


@pytest.mark.parametrize("put_back", [True, False], ids=["put back", "let go"])
def test_r43_a_machine_becomes_another(make_house: Callable[..., House], put_back: bool) -> None:
    house = make_house(Shape("web-01", DISKS))
    directory = user_machine(house)
    before, described = content(directory), machine_files.read(directory)
    assert described is not None
    with stack(house) as running:
        jobs = People(client=running.client)
        jobs.create("web-01", "web", TargetType="TargetInstance", InstanceId="app")
        jobs.start("web")
        done = reach(running, "web", "Finished")
        for now, wanted in zip(content(directory), house.content().values(), strict=True):
            assert now[: len(wanted)] == wanted
            assert not any(now[len(wanted) :])
        assert machine_files.read(directory) == replace(described, guest_id=house.machine().guest_id)
        client, job = running.client, done["id"]

        def row() -> dict[str, object]:
            answer = client.call("DescribeFormerDisks", JobId=[job])
            return dict(answer["FormerDisks"]["FormerDisk"][0])

        (former,) = row()["Disks"]["Disk"]  # type: ignore[index]
        assert content(Path(former["Reference"])) == before
        client.call("PutBackFormerDisks" if put_back else "ReleaseFormerDisks", JobId=job)
        end = "PutBack" if put_back else "Released"
        eventually(lambda: row()["State"] == end, "it is done")
        assert row()["Disks"] == {"Disk": []}
        assert not Path(former["Reference"]).exists()
        assert (content(directory) == before) is put_back
        assert {path.name for path in directory.parent.iterdir()} == {"app"}


def test_a_machine_that_is_not_there_is_said_before_anything_is_read(
    make_house: Callable[..., House],
) -> None:
    house = make_house(Shape("web-01", DISKS))
    with stack(house) as running, pytest.raises(BadInput, match="app does not exist"):
        People(client=running.client).create("web-01", "web", TargetType="TargetInstance", InstanceId="app")
