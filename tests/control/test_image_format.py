"""A disk that the format of the image cannot hold is refused before anything is copied, and never while its source is down."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from connector.control.domain.entities import LEFT_OUT
from connector.control.domain.refusals import OutOfRange
from tests.control.conftest import machine
from tests.control.house import House

SMALL = 1 << 30
LARGEST = 2040 << 30
TOO_LARGE = LARGEST + 512


def _source(house: House, *capacities: int) -> str:
    """A source whose disks have these capacities; its name."""
    seen = machine("vm-7", "web-07")
    disk = seen.disks[0]
    disks = tuple(
        replace(disk, key=2000 + n, label=f"Hard disk {n + 1}", capacity=capacity, unit=n)
        for n, capacity in enumerate(capacities)
    )
    body = asdict(replace(seen, disks=disks)) | {"findings": []}
    house.sources |= house.store.sources.put(house.appliance.vcenter, [body], house.appliance)
    house.sources["web-07"] = house.sources["vm-7"]
    return "web-07"


def test_the_largest_disk_that_fits_makes_a_job(house: House) -> None:
    job = house.job(_source(house, LARGEST), image_format="vhd")
    house.service.start(job)
    assert str(house.get(job).state).startswith("Running")


def test_a_system_disk_that_is_too_large_makes_no_job_and_the_refusal_names_what_does(house: House) -> None:
    with pytest.raises(OutOfRange) as refused:
        house.job(_source(house, TOO_LARGE), image_format="vhd")
    assert refused.value.code == "InvalidParameter.ImageFormat"
    assert str(refused.value) == (
        "ImageFormat: web-07 Hard disk 1: it has 2190433321472 bytes, and vhd holds at most 2040 GiB (2190433320960 bytes);"
        " these formats hold it: qcow2, raw, qcow2-compressed, vhdx"
    )
    assert house.store.jobs.all() == []


def test_a_data_disk_that_is_too_large_may_be_left_out(house: House) -> None:
    job = house.job(_source(house, SMALL, TOO_LARGE), image_format="vhd")
    with pytest.raises(OutOfRange, match="web-07 Hard disk 2"):
        house.service.start(job)
    assert str(house.get(job).state) == "Ready"
    house.store.jobs.modify(job, {LEFT_OUT: [2001]})
    house.service.start(job)
    assert str(house.get(job).state).startswith("Running")


def test_a_format_that_does_not_fit_is_not_taken_later(house: House) -> None:
    job = house.job(_source(house, SMALL, TOO_LARGE))
    with pytest.raises(OutOfRange, match="vhd holds at most"):
        house.service.modify(job, {"image_format": "vhd"})
    assert house.get(job).image_format == "qcow2"


def test_a_disk_that_grew_stops_the_cutover_while_the_source_runs_and_another_format_goes_on(
    house: House,
) -> None:
    name = _source(house, SMALL)
    job = house.incremental(name, image_format="vhd")
    house.service.start(job)
    assert str(house.run(job).state) == "Waiting"
    _source(house, TOO_LARGE)
    with pytest.raises(OutOfRange, match="vhd holds at most"):
        house.service.cutover(job, last_sync=True, changes={})
    assert str(house.get(job).state) == "Waiting"
    house.service.modify(job, {"image_format": "vhdx"})
    house.service.cutover(job, last_sync=True, changes={})
    assert house.run(job).status == "Finished"


def test_a_disk_that_grew_after_the_start_stops_the_run_before_its_pass(house: House) -> None:
    name = _source(house, SMALL)
    job = house.job(name, image_format="vhd")
    house.service.start(job)
    _source(house, TOO_LARGE)
    house.turn()
    done = house.get(job)
    assert str(done.status) == "InError" and "vhd holds at most" in str(done.error)
    assert house.take() is None
    assert house.cloud.requests == {}
