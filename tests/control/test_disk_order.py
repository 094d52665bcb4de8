"""The order of a source's disks is its appliance's; a job keeps the one that it began with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from connector.cloud.provider import ImageRequest, StoredImage
from connector.control.smc import shapes
from connector.control.smc.extension_shapes import progress
from connector.control.store import Quotas
from connector.control.store.database import Database
from connector.errors import Conflict
from tests.control.conftest import VCENTER, machine
from tests.control.earlier import fill
from tests.control.house import Cloud, House

IDE, SCSI = 3000, 2000


def _seen(*keys: int) -> dict[str, Any]:
    """The machine as its appliance reports it, with disks in this order; each as large as its key says."""
    made = machine("vm-web", "web", disks=1)
    disks = [replace(made.disks[0], key=key, capacity=key << 20, label=f"disk {key}") for key in keys]
    return asdict(replace(made, disks=tuple(disks))) | {"findings": []}


class _Images(Cloud):
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[ImageRequest] = []

    def make_image(self, request: ImageRequest) -> StoredImage:
        self.asked.append(request)
        return super().make_image(request)


@pytest.fixture
def house(url: str, quick_folder: Path) -> Iterator[House]:
    made = House(url, quick_folder, Quotas())
    made.cloud = _Images()
    made.begin()
    yield made
    made.store.close()


def _register(house: House, *keys: int) -> str:
    house.sources |= house.store.sources.put(VCENTER, [_seen(*keys)], house.appliance)
    return house.sources["vm-web"]


def _images(house: House) -> list[list[int]]:
    assert isinstance(house.cloud, _Images)
    return [[disk.key for disk in request.disks] for request in house.cloud.asked]


def test_the_first_disk_is_the_system_disk_whatever_its_key(house: House) -> None:
    source = house.store.sources.get(_register(house, IDE, SCSI))
    assert [disk.key for disk in source.disks] == [IDE, SCSI]
    shown = shapes.source(source, (), "1", {})
    assert shown["SystemDiskSize"] == shapes.gib(IDE << 20)
    assert [disk["Index"] for disk in shown["DataDisks"]["DataDisk"]] == [1]
    house.sources["web"] = source.id
    job = house.job("web", definition={"DataDisk": [{"Index": 1, "Size": 9}]})
    house.service.start(job)
    assert house.run(job).status == "Finished"
    assert _images(house) == [[IDE, SCSI]]
    (request,) = house.cloud.requests.values()
    assert [(disk.key, disk.size >> 30) for disk in request.disks] == [(IDE, 0), (SCSI, 9)]


def test_a_job_that_runs_keeps_its_order_and_a_new_one_has_the_new_order(house: House) -> None:
    house.sources["web"] = _register(house, SCSI, IDE)
    job = house.incremental("web")
    assert house.get(job).disk_order == ()
    house.service.start(job)
    assert house.run(job).status == "Waiting"
    _register(house, IDE, SCSI, 2001)
    house.service.start(job)
    house.run(job)
    assert _images(house) == [[SCSI, IDE], [SCSI, IDE, 2001]]
    assert house.get(job).disk_order == (SCSI, IDE)
    assert [disk.key for disk in house.store.sources.of(house.get(job)).disks] == [SCSI, IDE, 2001]
    source = house.sources["web"]
    assert [disk.key for disk in house.store.sources.get(source).disks] == [SCSI, IDE, 2001]
    house.service.cutover(job, last_sync=False, changes={})
    assert house.run(job).status == "Finished"
    assert [disk.key for disk in house.store.sources.get(source).disks] == [IDE, SCSI, 2001]
    assert [disk.key for disk in house.store.sources.of(house.get(job)).disks] == [SCSI, IDE, 2001]


def test_what_a_pass_reports_is_shown_at_the_place_that_the_job_gave_it(house: House) -> None:
    house.sources["web"] = _register(house, SCSI, IDE)
    job = house.incremental("web")
    house.service.start(job)
    house.turn()
    found = house.take()
    assert found is not None
    _register(house, IDE, SCSI)
    told = {"label": "", "capacity": 8, "wanted": 8, "done": 1, "sent": 1, "wire": 1, "rate": 1.0}
    house.store.pass_ends.progress(
        found.id, house.appliance, "reading", [told | {"key": IDE}, told | {"key": SCSI}]
    )
    source = house.store.sources.get(house.sources["web"])
    (newest,) = house.store.passes.newest([job]).values()
    shown = progress(house.get(job), source, None, newest, {}, house.store.now())
    assert [disk["Index"] for disk in shown["Disks"]["Disk"]] == [1, 0]


def test_a_disk_that_became_the_system_disk_is_not_left_out(house: House) -> None:
    house.sources["web"] = _register(house, SCSI, IDE)
    job = house.job("web", definition={"LeftOutDisks": [IDE]})
    _register(house, IDE, SCSI)
    with pytest.raises(Conflict, match="disk 3000 is the system disk now"):
        house.service.start(job)
    assert house.status(job) == "Ready"


def test_jobs_of_the_release_before_that_have_run_keep_the_order_of_keys(
    empty_url: str, quick_folder: Path
) -> None:
    url = empty_url
    fill(url, "0007")
    database = Database(url)
    with database.write() as connection:
        connection.execute(sa.text("DELETE FROM evidence WHERE job_id = 'j-ready'"))
        for table in ("objects", "images", "passes", "runs"):
            connection.execute(sa.text(f"DELETE FROM {table} WHERE job_id = 'j-ready'"))
        for key, controller in ((2000, "scsi"), (2001, "ide")):
            connection.execute(
                sa.text("UPDATE source_disks SET facts = :facts WHERE key = :key").bindparams(
                    sa.bindparam("facts", type_=sa.JSON())
                ),
                {"key": key, "facts": {"controller": f"{controller}0", "bus": 0, "unit": 0}},
            )
    database.close()
    house = House(url, quick_folder, Quotas())
    try:
        for name, keys in (("waiting", [2000, 2001]), ("syncing", [2000, 2001]), ("ready", [2001, 2000])):
            job = house.get(f"j-{name}")
            assert [disk.key for disk in house.store.sources.of(job).disks] == keys
            assert job.disk_order == (() if name == "ready" else (2000, 2001))
    finally:
        house.store.close()
