"""A machine is read by VDDK, over NFC, or by one after the other: the image is right, and the evidence says who read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.integration.conftest import Run, Start
from tests.integration.house import MIB, House, Shape, equal
from tests.integration.test_demo import demo, image
from tests.integration.witness import digest

__all__ = ["image"]

DISKS = ((24 * MIB, 20 * MIB), (3 * MIB + 512, MIB))
FIRST = "Hard disk 1"


def evidence(house: House, name: str = "web-01") -> dict[str, Any]:
    """The sections that the appliance signed."""
    file = house.out / "images" / name / "evidence.json"
    sections: dict[str, Any] = json.loads(file.read_text())["stages"][0]["sections"]
    return sections


def readers(house: House, name: str = "web-01") -> dict[str, list[str]]:
    return {disk["label"]: disk["readers"] for disk in evidence(house, name)["disks"].values()}


def without_vddk(words: list[str]) -> list[str]:
    at = words.index("--vddk")
    return words[:at] + words[at + 2 :]


def test_without_vddk_everything_goes_over_nfc(web: House, run: Run) -> None:
    before = web.digests()
    assert run(without_vddk(web.migration("web-01", "--incremental"))).code == 0
    equal(web, "web-01", "web-01_CYCLE_1", before)
    web.write()
    last = run(without_vddk(web.migration("web-01", "--cutover")))
    assert last.code == 0, last.stderr
    equal(web, "web-01", "web-01")
    assert {row["readers"] for row in last.disks()} == {"nfc"}
    assert all(row["kind"] == "final" and row["read"] < 6 * MIB for row in last.disks())
    assert set(map(tuple, readers(web).values())) == {("nfc",)}
    assert set(evidence(web)["versions"]) == {"connector", "vcenter", "nfc"}
    assert not web.snapshots()
    assert not web.nfc.connections


def test_a_reader_that_cannot_go_on_is_followed_by_another(
    make_house: Callable[..., House], run: Run
) -> None:
    """VDDK fails for good in the middle of the first disk."""
    house = make_house(Shape("web-01", DISKS))
    house.reader(faults="error on=read at=8 times=0 code=16000", high_bits=1)
    done = run(house.migration("web-01"))
    assert done.code == 0, done.stderr
    equal(house, "web-01", "web-01")
    used = readers(house)
    assert used[FIRST] == ["vddk", "nfc"]
    assert set(evidence(house)["versions"]) == {"connector", "vcenter", "vddk", "nfc"}
    (row,) = [row for row in done.disks() if row["disk"] == FIRST]
    assert row["readers"] == "vddk, nfc"
    assert "vddk could not go on" in row["note"] and "nfc did" in row["note"]


def test_the_reader_that_a_job_names_is_the_only_one(make_house: Callable[..., House], run: Run) -> None:
    house = make_house(Shape("web-01", DISKS))
    house.reader(faults="error on=read at=8 times=0 code=16000", high_bits=1)
    done = run(house.migration("web-01", "--reader", "vddk"))
    assert done.code != 0
    house.reader()
    again = run(house.migration("web-01", "--reader", "nfc"))
    assert again.code == 0, again.stderr
    equal(house, "web-01", "web-01")
    assert not house.snapshots()


def test_a_killed_pass_of_one_reader_is_finished_by_another(
    make_house: Callable[..., House], start: Start
) -> None:
    house = make_house(Shape("web-01", DISKS))
    house.reader(bandwidth=7 * MIB)
    window = {"CONNECTOR_TRANSFER_IN_FLIGHT": str(4 * MIB)}
    first = start(house.migration("web-01"), **window)
    first.copied(0.3)
    first.kill("appliance")
    assert first.wait().code == 12
    first.gone()
    second = start(without_vddk(house.migration("web-01")), **window)
    done = second.wait()
    assert done.code == 0, done.stderr
    equal(house, "web-01", "web-01")
    rows = {row["disk"]: row for row in done.disks()}
    assert rows[FIRST]["readers"] == "vddk, nfc"
    assert rows[FIRST]["read"] < 20 * MIB
    assert readers(house)[FIRST] == ["vddk", "nfc"]
    assert evidence(house)["versions"]["vddk"] == "unknown"


def test_the_demo_needs_no_compiler(image: Path, run: Run) -> None:
    done = run(demo(image, "--format", "raw", "--reader", "nfc"), CC="/no/compiler")
    assert done.code == 0, done.stderr
    (compared,) = (event for event in done.events if event["event"] == "compared")
    assert compared["equal"] and compared["digest"] == digest(image.read_bytes())


def test_files_over_https_are_the_last_resort(web: House, run: Run) -> None:
    """The hosts' ports are closed to NFC, and there is no VDDK."""
    hosts = web.nfc
    hosts.switches = replace(hosts.switches, banner="HTTP/1.1 400 Bad Request")
    done = run(without_vddk(web.migration("web-01")))
    assert done.code == 0, done.stderr
    equal(web, "web-01", "web-01")
    assert {row["readers"] for row in done.disks()} == {"https"}
    assert not web.snapshots()


def test_the_demo_over_https(image: Path, run: Run) -> None:
    done = run(demo(image, "--format", "raw", "--reader", "https"), CC="/no/compiler")
    assert done.code == 0, done.stderr
    (compared,) = (event for event in done.events if event["event"] == "compared")
    assert compared["equal"] and compared["digest"] == digest(image.read_bytes())
