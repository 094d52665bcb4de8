"""What blocks concerns one disk: a job that leaves this disk out is possible, another one is not."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from connector.control.domain.entities import LEFT_OUT
from connector.control.domain.findings import blocking, forbidding
from connector.errors import Ineligible
from connector.model import Finding, Severity
from tests.control.conftest import machine
from tests.control.house import House

INDEPENDENT = "the disk is independent_persistent: no snapshot covers it"


def _found(house: House, subject: str, severity: Severity = Severity.BLOCK) -> str:
    """A source with this finding; its id."""
    finding = Finding("D1", severity, subject, INDEPENDENT, "make it dependent while the machine is off")
    body: dict[str, Any] = asdict(machine("vm-7", "web-07")) | {"findings": [asdict(finding)]}
    house.sources |= house.store.sources.put(house.appliance.vcenter, [body], house.appliance)
    house.sources["web-07"] = house.sources["vm-7"]
    return house.sources["vm-7"]


def test_a_job_that_leaves_the_disk_out_is_possible(house: House) -> None:
    row = house.store.sources.get(_found(house, "web-07 Hard disk 2"))
    assert len(blocking(row)) == 1 and not forbidding(row)
    job = house.job("web-07")
    with pytest.raises(Ineligible, match="no snapshot covers it") as refused:
        house.service.start(job)
    assert refused.value.on == "web-07 Hard disk 2"
    assert "leave the disk out" in refused.value.remedy and "make it dependent" in refused.value.remedy
    assert str(house.get(job).state) == "Ready"
    house.store.jobs.modify(job, {LEFT_OUT: [2001]})
    house.service.start(job)
    assert str(house.get(job).state).startswith("Running")


@pytest.mark.parametrize(
    "subject", ["web-07", "web-07 Hard disk 1", "web-07 Network adapter 2", "clone of Hard disk 2"]
)
def test_what_no_job_can_leave_out_blocks_every_job(house: House, subject: str) -> None:
    source = _found(house, subject)
    assert forbidding(house.store.sources.get(source))
    with pytest.raises(Ineligible) as refused:
        house.job("web-07")
    assert "leave the disk out" not in refused.value.remedy


def test_a_scheduled_first_start_is_blocked_as_one_by_hand(house: House) -> None:
    _found(house, "web-07 Hard disk 2")
    job = house.job("web-07", scheduled_start=house.clock() + 3600)
    house.later(3601)
    assert house.status(job) == "Ready" and not house.cloud.instances
    assert house.get(job).waiting.startswith("its scheduled run waits: the disk is independent_persistent")
    house.store.jobs.modify(job, {LEFT_OUT: [2001]})
    house.turn()
    assert house.status(job).startswith("Running")


def test_the_first_start_of_an_application_is_blocked_as_that_of_one_job(house: House) -> None:
    _found(house, "web-07 Hard disk 2")
    job = house.incremental("web-07")
    house.applications.put("shop", {job: 1})
    with pytest.raises(Ineligible, match="no snapshot covers it"):
        house.applications.start("shop", {})
    assert house.status(job) == "Ready"
