"""A source that vCenter shows only in part keeps what was known of it, and is not available until it is whole again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from connector.control.store import Quotas
from connector.control.store.sources import PARTIAL_CODE
from connector.errors import Conflict
from connector.model import MachinePart, PowerState, Traits
from tests.control.conftest import VCENTER, machine
from tests.control.house import House

WHOLE = replace(machine("vm-web", "web"), addresses=("192.0.2.7",), traits=Traits(cluster="c1", tags=("t",)))
FINDING = {"check": "D16", "severity": "info", "subject": "web", "message": "m", "remedy": ""}
EMPTY: dict[str, Any] = {
    "instance_uuid": "",
    "bios_uuid": "",
    "firmware": "bios",
    "guest_id": "",
    "guest_name": "",
    "cpus": 0,
    "memory": 0,
    "hardware": "",
    "disks": (),
}


@pytest.fixture
def house(url: str, quick_folder: Path) -> Iterator[House]:
    made = House(url, quick_folder, Quotas())
    yield made
    made.store.close()


def _put(house: House, *findings: dict[str, str], **changes: Any) -> str:
    body = asdict(replace(WHOLE, **changes)) | {"findings": list(findings)}
    house.sources |= house.store.sources.put(VCENTER, [body], house.appliance)
    house.sources["web"] = house.sources["vm-web"]
    return house.sources["web"]


def test_what_was_known_stays_and_the_source_is_not_available(house: House) -> None:
    before = house.store.sources.get(_put(house, FINDING))
    _put(
        house,
        {**FINDING, "check": "V1"},
        **EMPTY,
        missing=(MachinePart.CONFIGURATION, MachinePart.HOST),
        host="",
        traits=Traits(),
    )
    now = house.store.sources.get(before.id)
    assert (now.state, now.error_code, now.reason) == (
        "Unavailable",
        PARTIAL_CODE,
        "vCenter does not show its configuration now; what was known before is kept",
    )
    same = ("disks", "findings", "instance_uuid", "machine", "name", "last_job")
    assert {name: getattr(now, name) for name in same} == {name: getattr(before, name) for name in same}
    for name in ("bios_uuid", "firmware", "guest_id", "cpus", "memory", "hardware", "host"):
        assert now.facts[name] == before.facts[name]
    assert now.facts["traits"]["cluster"] == "c1"
    house.store.sources.set_online({VCENTER})
    with pytest.raises(Conflict, match="while it is Unavailable"):
        house.job("web")
    _put(house, FINDING)
    back = house.store.sources.get(before.id)
    assert replace(back, seen=before.seen) == replace(before, seen=before.seen)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        (MachinePart.HARDWARE, {"disks": (), "cpus": 0}),
        (MachinePart.POWER, {"power": PowerState.OFF}),
    ],
)
def test_without_hardware_or_power_state_too(
    house: House, part: MachinePart, changes: dict[str, Any]
) -> None:
    before = house.store.sources.get(_put(house))
    _put(house, **changes, missing=(part,))
    now = house.store.sources.get(before.id)
    assert (now.state, now.disks, now.facts["power"], now.facts["cpus"]) == (
        "Unavailable",
        before.disks,
        "poweredOn",
        before.facts["cpus"],
    )


def test_parts_that_nothing_depends_on_leave_it_available(house: House) -> None:
    source = _put(house)
    _put(house, FINDING, addresses=(), host="", missing=(MachinePart.GUEST, MachinePart.HOST))
    now = house.store.sources.get(source)
    assert (now.state, now.facts["addresses"], now.facts["host"]) == ("Available", ["192.0.2.7"], "host-1")
    assert [one["check"] for one in now.findings] == ["D16"]


def test_one_that_was_never_seen_whole_waits_for_that(house: House) -> None:
    source = _put(house, FINDING, **EMPTY, missing=(MachinePart.CONFIGURATION,))
    now = house.store.sources.get(source)
    assert (now.state, now.disks, now.error_code) == ("Unavailable", (), PARTIAL_CODE)
    assert len(now.findings) == 1
    _put(house)
    whole = house.store.sources.get(source)
    assert (whole.state, len(whole.disks), whole.instance_uuid) == ("Available", 2, "uuid-vm-web")


def test_a_run_is_refused_and_one_under_way_keeps_its_disks(house: House) -> None:
    _put(house)
    job = house.incremental("web")
    house.service.start(job)
    house.turn()
    _put(house, **EMPTY, missing=(MachinePart.CONFIGURATION,))
    assert house.store.sources.get(house.sources["web"]).state == "InUse"
    assert house.run(job).status == "Waiting"
    (request,) = house.cloud.requests.values()
    assert len(request.disks) == 2
    with pytest.raises(
        Conflict, match="the source is not available: vCenter does not show its configuration"
    ):
        house.service.start(job)
    _put(house)
    house.service.start(job)
    assert house.run(job).status == "Waiting"


def test_a_job_never_gets_the_machine_that_has_its_moref_by_now(house: House) -> None:
    before = house.store.sources.get(_put(house))
    job = house.incremental("web")
    house.service.start(job)
    assert house.run(job).status == "Waiting"
    _put(house, instance_uuid="another", name="db", disks=())
    now = house.store.sources.get(before.id)
    assert (now.instance_uuid, now.machine, now.disks) == (before.instance_uuid, "web", before.disks)
    assert now.error_code == "SourceServer.Replaced" and "vm-web names another machine now (db)" in now.reason
    with pytest.raises(Conflict, match="names another machine now"):
        house.service.start(job)
    _put(house)
    house.service.start(job)
    assert house.run(job).status == "Waiting"


def test_a_moref_that_names_another_machine_inherits_nothing(house: House) -> None:
    source = _put(house)
    _put(house, instance_uuid="another", addresses=(), missing=(MachinePart.GUEST,))
    assert house.store.sources.get(source).facts["addresses"] == []
