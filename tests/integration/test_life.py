"""Names, numbers, places and accidents of every kind, each through the whole house."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.faults import Rule
from tests.integration.conftest import Run, Start
from tests.integration.house import MIB, House, Shape, equal
from tests.integration.witness import digest

TINY = ((2 * MIB, MIB),)
SMALL = ((6 * MIB, 3 * MIB),)


def test_r107_names_that_become_the_same_and_four_machines_two_at_a_time(
    make_house: Callable[..., House], run: Run
) -> None:
    names = ("web 01", "web-01", "Büro:1/2", "x" * 80)
    house = make_house(*(Shape(name, TINY) for name in names))
    done = run(house.migration(*names))
    assert done.code == 0, done.stderr
    truth = [house.digests(name) for name in names]
    found = [house.image(image) for image in house.images()]
    assert sorted(map(str, truth)) == sorted(map(str, found))
    for name in names:
        (image,) = done.result(name)["images"]
        assert house.image(Path(image["details"]["location"]).name) == house.digests(name)


@pytest.mark.slow
def test_one_machine_by_two_names_is_one_machine(make_house: Callable[..., House], run: Run) -> None:
    house = make_house(Shape("web-01", TINY))
    vm = house.machine()
    done = run(house.migration("web-01", vm.moref, "/DC0/vm/web-01", vm.instance_uuid))
    assert done.code == 0, done.stderr
    assert len([event for event in done.events if event["event"] == "result"]) == 1
    assert house.images() == {"web-01"}


def test_one_that_fails_does_not_stop_the_other(make_house: Callable[..., House], run: Run) -> None:
    house = make_house(Shape("bad", TINY), Shape("good", TINY))
    rule = Rule(
        "CreateSnapshot_Task", "fault", object=house.machine("bad").moref, fault="NoDiskSpace", times=None
    )
    house.witness.add(rule)
    done = run(house.migration("bad", "good"))
    assert done.code == 6, done.stderr
    assert "bad" in done.complaint
    equal(house, "good", "good")
    assert house.images() == {"good"}
    house.witness.replace([])
    again = run(house.migration("bad"))
    assert again.code == 0, again.stderr
    equal(house, "bad", "bad")


@pytest.mark.slow
def test_a_target_with_blanks_and_umlauts_named_relatively(
    make_house: Callable[..., House], run: Run, tmp_path: Path
) -> None:
    house = make_house(Shape("web-01", TINY))
    words = house.migration("web-01")
    words[words.index("--to") + 1] = "Große Disks/näc hste"
    assert run(words).code == 0
    house.out = tmp_path / "Große Disks" / "näc hste"
    equal(house, "web-01", "web-01")


def test_everything_from_the_environment(make_house: Callable[..., House], run: Run) -> None:
    house = make_house(Shape("web-01", TINY))
    settings = {
        "CONNECTOR_VCENTER_URL": house.server.url,
        "CONNECTOR_VCENTER_THUMBPRINT": house.server.thumbprint_sha256,
        "CONNECTOR_VCENTER_PASSWORD": house.password,
        "CONNECTOR_VDDK": str(house.vddk),
    }
    done = run(["migrate", "web-01", "--to", str(house.out), "--format", "raw"], **settings)
    assert done.code == 0, done.stderr
    assert "web-01" in done.stdout
    assert house.password not in done.stdout + done.stderr
    equal(house, "web-01", "web-01")


@pytest.mark.slow
def test_a_state_that_was_deleted_costs_a_new_job_and_no_image(
    make_house: Callable[..., House], run: Run
) -> None:
    house = make_house(Shape("web-01", TINY))
    before = house.digests()
    assert run(house.migration("web-01")).code == 0
    shutil.rmtree(house.out / ".connector")
    house.write()
    assert run(house.migration("web-01")).code == 0
    assert house.image("web-01") == before
    equal(house, "web-01", "web-01-2")


@pytest.mark.parametrize(
    "name",
    ["membership.json", *(pytest.param(n, marks=pytest.mark.slow) for n in ("control.sqlite", "vault-key"))],
)
def test_a_damaged_file_of_ours_is_told_in_one_line(
    make_house: Callable[..., House], run: Run, name: str
) -> None:
    house = make_house(Shape("web-01", TINY))
    assert run(house.migration("web-01", "--incremental")).code == 0
    (file,) = (house.out / ".connector").rglob(name)
    file.write_bytes(b"not what it was")
    done = run(house.migration("web-01", "--incremental"))
    assert done.code not in (0, 1), done.stdout
    assert "unforeseen" not in done.complaint
    assert "Traceback" not in done.stderr
    assert not house.snapshots()


def test_a_byte_of_the_target_that_rotted_is_found_and_read_again_before_an_image_is_made(
    make_house: Callable[..., House], run: Run
) -> None:
    house = make_house(Shape("web-01", SMALL))
    assert run(house.migration("web-01", "--incremental")).code == 0
    (disk,) = house.out.glob("instances/*/data/disks/*/disk.raw")
    with disk.open("r+b") as file:
        file.seek(MIB // 2)
        was = file.read(1)
        file.seek(MIB // 2)
        file.write(bytes([was[0] ^ 1]))
    done = run(house.migration("web-01", "--cutover"))
    assert done.code == 0, done.stdout + done.stderr
    (row,) = done.disks()
    assert "the proof found 65536 bytes wrong (cells: 1 in its data)" in row["note"]
    equal(house, "web-01", "web-01")
    assert not house.snapshots()


ACCIDENTS = {
    "a worker that crashes": "segv on=read at=3 times=1 latch={latch}",
    "a worker that exits": "exit on=read at=3 times=1 latch={latch}",
    "a panic": "panic on=read at=3 times=1 latch={latch}",
    "a host that is busy": "error on=read at=2 times=1 code=2 latch={latch}",
    "a host that is busy at first": "error on=open at=1 times=1 code=2 latch={latch}",
}


@pytest.mark.parametrize(
    "accident",
    [
        "a worker that crashes",
        "a host that is busy",
        *(
            pytest.param(accident, marks=pytest.mark.slow)
            for accident in ("a worker that exits", "a panic", "a host that is busy at first")
        ),
    ],
)
def test_what_happens_in_the_foreign_library_costs_a_retry(
    make_house: Callable[..., House], run: Run, tmp_path: Path, accident: str
) -> None:
    house = make_house(Shape("web-01", SMALL))
    house.reader(faults=ACCIDENTS[accident].format(latch=tmp_path / "latch"))
    done = run(house.migration("web-01"))
    assert (tmp_path / "latch").exists()
    assert done.code == 0, done.stderr
    (row,) = done.disks()
    assert row["read"] <= row["planned"]
    equal(house, "web-01", "web-01")
    assert not house.snapshots()


def test_what_a_retry_cannot_help_ends_the_pass_and_can_be_resumed(
    make_house: Callable[..., House], run: Run, tmp_path: Path
) -> None:
    house = make_house(Shape("web-01", SMALL))
    house.reader(faults=f"error on=read at=3 times=1 code=13 latch={tmp_path / 'latch'}")
    done = run(house.migration("web-01", "--reader", "vddk"))
    assert done.code == 4, done.stderr
    assert house.machine().disks[0].path in done.complaint
    assert "DiskRandomRead" in done.complaint
    assert not house.snapshots()
    assert run(house.migration("web-01")).code == 0
    equal(house, "web-01", "web-01")


def test_a_read_that_always_fails_is_told_with_its_disk(make_house: Callable[..., House], run: Run) -> None:
    house = make_house(Shape("web-01", SMALL))
    house.reader(faults="error on=read at=1 times=1000 code=1")
    done = run(house.migration("web-01", "--reader", "vddk"))
    assert done.code == 7, done.stderr
    assert (
        house.machine().disks[0].path.split("]")[1].strip().split(".")[0].split("-0000")[0] in done.complaint
    )
    assert not house.snapshots()
    assert not house.images()


@pytest.mark.slow
def test_a_machine_that_went_away_between_two_runs(make_house: Callable[..., House], run: Run) -> None:
    house = make_house(Shape("web-01", TINY), Shape("web-02", TINY))
    assert run(house.migration("web-01", "--incremental")).code == 0
    moref = house.machine("web-01").moref
    house.estate.power.off(moref)
    house.estate.change(lambda old: old.__class__(**{**_fields(old), "vms": _without(old.vms, moref)}))
    assert run(house.migration("web-01", "--incremental")).code == 3
    assert run(house.migration("web-02")).code == 0
    equal(house, "web-02", "web-02")


def _fields(value: object) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}  # type: ignore[attr-defined]


def _without(machines: dict[str, object], moref: str) -> dict[str, object]:
    return {key: value for key, value in machines.items() if key != moref}


@pytest.mark.slow
def test_a_single_run_does_not_turn_into_a_cutover_on_its_way(
    make_house: Callable[..., House], run: Run, start: Start
) -> None:
    house = make_house(Shape("web-01", SMALL))
    house.reader(bandwidth=MIB // 3)
    command = start(house.migration("web-01"))
    command.copied(0.1)
    command.interrupt()
    assert command.wait().code == 130
    house.reader()
    other = run(house.migration("web-01", "--cutover"))
    assert other.code == 11, other.stderr
    assert "web-01" in other.complaint
    assert house.machine().power_state == "poweredOn"
    assert run(house.migration("web-01")).code == 0
    equal(house, "web-01", "web-01")
    assert run(house.migration("web-01", "--cutover")).code == 0
    assert house.machine().power_state == "poweredOff"


@pytest.mark.slow
def test_a_cutover_that_is_asked_for_twice_changes_nothing(
    make_house: Callable[..., House], run: Run
) -> None:
    house = make_house(Shape("web-01", TINY))
    assert run(house.migration("web-01", "--cutover")).code == 0
    first = house.image("web-01")
    again = run(house.migration("web-01", "--cutover"))
    assert again.code == 0, again.stderr
    assert house.image("web-01") == first
    for image in house.images():
        if "_CYCLE_" not in image:
            equal(house, "web-01", image)


@pytest.mark.slow
def test_the_appliances_log_tells_the_story_without_secrets_or_traces(
    make_house: Callable[..., House], start: Start
) -> None:
    house = make_house(Shape("web-01", TINY))
    command = start(house.migration("web-01"))
    assert command.wait().code == 0
    for log in (house.out / ".connector").glob("*.log"):
        assert "Traceback" not in log.read_text(), log


@pytest.mark.slow
def test_what_the_result_claims_is_what_the_image_is(make_house: Callable[..., House], run: Run) -> None:
    house = make_house(Shape("web-01", SMALL))
    done = run(house.migration("web-01"))
    (image,) = done.result()["images"]
    disks = [path for path in map(Path, image["details"]["files"]) if path.suffix == ".raw"]
    assert len(disks) == len(house.digests())
    for path in disks:
        assert digest(path.read_bytes()) == house.digests()[int(path.stem)]
    assert image["ready"]
    assert json.dumps(done.result())
