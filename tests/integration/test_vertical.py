"""From vCenter to an image in one command: every image is the machine at the instant of its snapshot, byte for byte."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.specification.image_formats import FORMATS, ImageFormat
from simulator.guest.workload import Workload
from tests.integration.conftest import Run
from tests.integration.house import MIB, House, Shape, equal, is_off
from tests.integration.witness import digest

SMALL = ((6 * MIB, 3 * MIB),)


def test_r99_r100_full_delta_and_cutover_each_equal_at_its_instant(web: House, run: Run) -> None:
    before = web.digests()
    assert run(web.migration("web-01", "--incremental")).code == 0
    equal(web, "web-01", "web-01_CYCLE_1", before)
    web.write()
    after = web.digests()
    second = run(web.migration("web-01", "--incremental"))
    assert second.code == 0
    equal(web, "web-01", "web-01_CYCLE_2", after)
    assert all(row["kind"] == "delta" and row["read"] < 6 * MIB for row in second.disks())
    web.write()
    last = run(web.migration("web-01", "--cutover"))
    assert last.code == 0
    assert last.result()["status"] == "Finished"
    assert is_off(web.machine())
    equal(web, "web-01", "web-01")
    equal(web, "web-01", "web-01_CYCLE_1", before)
    equal(web, "web-01", "web-01_CYCLE_2", after)
    assert not web.snapshots()
    assert not list((web.root / "tmp").iterdir())
    key = web.out / ".connector" / "appliance" / "evidence-key.pub"
    proved = run(
        ["verify", str(web.out / "images" / "web-01" / "evidence.json"), "--key", str(key), "--json"]
    )
    assert proved.code == 0, proved.stderr
    assert [disk["exact"] for disk in proved.events[0]["disks"]] == [True, True]


@pytest.mark.slow
def test_invariant_10_a_machine_that_writes_all_the_time_is_caught_at_the_instant_of_its_snapshot(
    make_house: Callable[..., House], run: Run
) -> None:
    house = make_house(Shape("busy", SMALL, scratch=True))
    house.reader(bandwidth=2 * MIB)
    guest = Workload(house.estate, house.machine("busy").moref, seed=3, rate=1 << 20)
    guest.start()
    try:
        assert run(house.migration("busy", "--incremental")).code == 0
        assert run(house.migration("busy", "--incremental")).code == 0
        assert run(house.migration("busy", "--cutover")).code == 0
    finally:
        guest.stop()
    shown = house.witness.shown
    assert len(shown) == 3
    assert len({str(sorted(one.digests.items())) for one in shown}) == 3
    for one, image in zip(shown, ("busy_CYCLE_1", "busy_CYCLE_2", "busy"), strict=True):
        equal(house, "busy", image, one.digests)
    equal(house, "busy", "busy")


@pytest.mark.slow
def test_two_machines_of_different_firmware_side_by_side_and_run_again(
    make_house: Callable[..., House], run: Run
) -> None:
    house = make_house(
        Shape("old", SMALL), Shape("new", ((5 * MIB + 512, MIB), (MIB, 0), (2 * MIB, 2 * MIB)), "efi")
    )
    done = run(house.migration("old", "new"))
    assert done.code == 0
    for name in ("old", "new"):
        assert done.result(name)["status"] == "Finished"
        equal(house, name, name)
        assert not is_off(house.machine(name))
    house.write("old")
    again = run(house.migration("old"))
    assert again.code == 0
    (image,) = house.images() - {"old", "new"}
    equal(house, "old", image)
    assert not house.snapshots()


@pytest.mark.slow
def test_an_empty_disk_and_a_machine_that_is_off(make_house: Callable[..., House], run: Run) -> None:
    house = make_house(Shape("cold", ((3 * MIB, 0), (MIB, MIB // 2)), on=False))
    assert run(house.migration("cold", "--cutover")).code == 0
    equal(house, "cold", "cold")
    assert not house.snapshots()


def test_every_line_is_json_and_names_its_event(make_house: Callable[..., House], run: Run) -> None:
    house = make_house(Shape("web/01", SMALL))  # vCenter shows it as web%2f01
    house.reader(bandwidth=2 * MIB)
    done = run(house.migration("web%2f01"))
    assert done.code == 0
    assert len(done.events) == len(done.stdout.splitlines())
    assert {event["event"] for event in done.events} == {"message", "phase", "disk", "result"} - (
        {"message"} if not any(e["event"] == "message" for e in done.events) else set()
    )
    assert done.stderr == ""
    row = done.result("web/01")["disks"][0]
    assert row["capacity"] == 6 * MIB
    assert 3 * MIB - 4096 <= row["read"] <= row["planned"] <= 6 * MIB
    assert row["digest"]


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-utils")
@pytest.mark.parametrize("form", [form for form in FORMATS if form.name != "raw"], ids=lambda form: form.name)
def test_every_format_holds_the_same_bytes(
    make_house: Callable[..., House], run: Run, tmp_path: Path, form: ImageFormat
) -> None:
    """Also of a disk that ends in the middle of a MiB; and what was proved of the source is true of the file."""
    house = make_house(Shape("web-01", ((3 * MIB + 512, MIB),)))
    words = house.migration("web-01")
    words[words.index("raw")] = form.name
    assert run(words).code == 0
    directory = house.out / "images" / "web-01"
    (image,) = directory.glob(f"*.{form.suffix}")
    raw = tmp_path / "raw"
    subprocess.run(["qemu-img", "convert", "-f", form.driver, "-O", "raw", image, raw], check=True)
    assert {int(image.stem): digest(raw.read_bytes())} == house.digests()
    assert run(["verify", str(directory / "evidence.json")]).code == 0


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-utils")
def test_the_format_of_a_migration_stays_until_another_one_is_asked_for(
    make_house: Callable[..., House], run: Run
) -> None:
    house = make_house(Shape("web-01", SMALL))
    words = house.migration("web-01", "--incremental")
    plain = words[: words.index("--format")]
    assert run([*plain, "--format", "vhdx"]).code == 0
    assert run(plain).code == 0
    assert run([*plain, "--format", "vhd"]).code == 0
    images = house.out / "images"
    kept = [[file.suffix for file in (images / f"web-01_CYCLE_{n}").glob("2000.vh*")] for n in (1, 2, 3)]
    assert kept == [[".vhdx"], [".vhdx"], [".vhd"]]


def test_what_is_there_and_what_stands_in_the_way(make_house: Callable[..., House], run: Run) -> None:
    house = make_house(Shape("web-01", SMALL), Shape("odd", SMALL, on=False))
    house.estate.change_vm(house.machine("odd").moref, template=True)
    listed = run(["vm", "list", *house.access(), "--json"])
    assert {event["name"]: event["power"] for event in listed.events} == {
        "web-01": "poweredOn",
        "odd": "poweredOff",
    }
    assert len(listed.events) == len(listed.stdout.splitlines())
    for name, code in (("web-01", 0), ("odd", 5)):
        checked = run(["vm", "check", name, *house.access(), "--json"])
        assert checked.code == code
        assert {event["machine"] for event in checked.events} == {name}
    table = run(["vm", "list", *house.access()])
    assert "web-01" in table.stdout
    with_note = run(["vm", "check", *house.access()])
    assert with_note.code == 5
    assert "odd" in with_note.stdout
    assert not house.witness.count("CreateSnapshot_Task")
    assert not house.witness.count("ReconfigVM_Task")


@pytest.mark.slow
def test_an_image_of_a_machine_is_never_overwritten(make_house: Callable[..., House], run: Run) -> None:
    house = make_house(Shape("web-01", SMALL))
    foreign = house.out / "images" / "web-01"
    foreign.mkdir(parents=True)
    (foreign / "2000.raw").write_bytes(b"precious")
    done = run(house.migration("web-01"))
    assert (foreign / "2000.raw").read_bytes() == b"precious"
    if done.code == 0:
        (made,) = house.images() - {"web-01"}
        equal(house, "web-01", made)


@pytest.mark.slow
def test_tracking_that_loses_writes_would_show_as_a_different_image(
    make_house: Callable[..., House], run: Run
) -> None:
    """The comparison of these tests has teeth: a write that CBT missed makes image and source differ."""
    house = make_house(Shape("web-01", SMALL))
    assert run(house.migration("web-01", "--incremental")).code == 0
    (disk,) = house.machine().disks
    house.estate.storage.disk(disk.storage).write(MIB, b"x" * 512, tracked=False)
    done = run(house.migration("web-01", "--cutover"))
    assert house.image("web-01") != house.digests()
    assert done.code == 0  # nobody who trusts CBT can know
