"""The first disk by boot order and controllers is the system disk of the image, whatever the device keys say."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.conftest import Run
from tests.integration.house import MIB, House, Shape, equal

ONE = ((2 * MIB, MIB),)
IDE = 200


def test_the_image_has_the_disk_that_the_firmware_starts_from_as_its_system_disk(
    make_house: Callable[..., House], run: Run
) -> None:
    house = make_house(Shape("mix-01", ONE), Shape("ord-01", ONE * 2))
    ide = house.estate.hardware.add_disk(house.machine("mix-01").moref, IDE, 0, 3 * MIB)
    house.estate.power.write(house.machine("mix-01").moref, ide.key, MIB, b"boot" * 1024)
    first, second = house.machine("ord-01").disks
    house.estate.hardware.edit(house.machine("ord-01").moref, boot_order=(f"disk:{second.key}",))
    (scsi,) = (disk for disk in house.machine("mix-01").disks if disk.key != ide.key)
    assert ide.key > scsi.key and second.key > first.key
    done = run(house.migration("mix-01", "ord-01"))
    assert done.code == 0, done.stderr
    for name, keys in (("mix-01", [ide.key, scsi.key]), ("ord-01", [second.key, first.key])):
        equal(house, name, name)
        (image,) = done.result(name)["images"]
        shown = [(row["disk"], row["type"]) for row in image["details"]["disks"]]
        assert shown == [(str(keys[0]), "system"), (str(keys[1]), "data")]
