"""A drill of the local provider, with a program that stands in for the one that converts: what is kept, and every way out."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from connector.cloud import machine_files
from connector.cloud.drill_child import LocalDrills
from connector.cloud.machine_files import ImageDisk, MachineDescription
from connector.cloud.provider import DrillOutcome, DrillRequest
from connector.errors import BadInput, Interrupted, NotFound, TargetFailed, TargetFull
from tests.waiting import eventually

STAND_IN = "tests.control.fake_conversion"
NAME = "web"


@dataclass
class Place:
    """An image below a provider's root."""

    root: Path
    gates: Path
    halt: threading.Event = field(default_factory=threading.Event)
    said: list[str] = field(default_factory=list)

    @property
    def image(self) -> Path:
        return self.root / "images" / NAME

    def behave(self, word: str) -> None:
        (self.gates / f"drill-{NAME}").write_text(word)

    def run(self, **more: object) -> DrillOutcome:
        request = DrillRequest("d-1", str(self.image), "dhcp", **more)  # type: ignore[arg-type]
        return LocalDrills(self.root, STAND_IN).run(request, self.halt, self.said.append)

    def pids(self) -> list[int]:
        file = self.gates / f"started-{NAME}"
        words = eventually(lambda: file.exists() and file.read_text().split(), "the program has started")
        return [int(word) for word in words]

    def nothing_is_left(self) -> None:
        assert not (self.root / "drills").exists()
        if (file := self.gates / f"started-{NAME}").exists():
            for pid in file.read_text().split():
                eventually(lambda pid=pid: not runs(int(pid)), f"process {pid} is gone")


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    (tmp_path / "gates").mkdir()
    monkeypatch.setenv("FAKE_GATES", str(tmp_path / "gates"))
    made = Place(tmp_path / "cloud", tmp_path / "gates")
    made.image.mkdir(parents=True)
    disk = ImageDisk("web.qcow2", "qcow2", 1 << 20)
    (made.image / disk.file).write_bytes(b"the image")
    for name, content in machine_files.files(MachineDescription(NAME, (disk,)), made.image).items():
        (made.image / name).write_bytes(content)
    before = {file.name: file.read_bytes() for file in made.image.iterdir() if file.is_file()}
    yield made
    assert {file.name: file.read_bytes() for file in made.image.iterdir() if file.is_file()} == before
    made.nothing_is_left()


def test_a_drill_reports_and_keeps_what_it_saw_beside_the_image(place: Place) -> None:
    outcome = place.run(new_macs=True, timeout=90.0, marker="^UP$")
    assert outcome.report["conversion"]["changes"][0]["path"] == "/etc/fstab"
    assert (outcome.report["boot"]["boots"], outcome.report["conversion_seconds"]) == (True, 12.5)
    assert outcome.report["boot"]["console"] == str(place.image / "drill" / "console.log")
    assert set(outcome.kept) == {"console.log", "screen.png"}
    assert {file.name for file in (place.image / "drill").iterdir()} == {*outcome.kept, "drill.json"}
    summary = json.loads((place.image / "drill" / "drill.json").read_text())
    assert (summary["boots"], summary["outcome"], summary["files"]) == (True, "login prompt", outcome.kept)
    assert (place.image / "drill").stat().st_mode & 0o077 == 0
    assert place.said == ["converting a copy", "starting the copy"]
    order = json.loads((place.gates / f"order-{NAME}").read_text())
    assert [order[key] for key in ("network", "new_macs", "timeout", "marker")] == [
        "dhcp",
        True,
        90.0,
        "^UP$",
    ]
    drills = LocalDrills(place.root, STAND_IN)
    assert b"hunter2" in (drills.file(str(place.image), "console.log") or b"")
    assert drills.file(str(place.image), "../web.qcow2") is None


def test_a_machine_that_does_not_boot_is_a_result(place: Place) -> None:
    place.behave("panic")
    assert place.run().report["boot"]["reason"] == "VFS: Unable to mount root fs"


def test_the_next_drill_replaces_what_was_kept(place: Place) -> None:
    place.run()
    (place.image / "drill" / "console.log").write_text("earlier")
    place.run()
    assert "hunter2" in (place.image / "drill" / "console.log").read_text()
    assert not list(place.image.glob(".drill*"))


def test_a_plan_starts_nothing_and_leaves_what_was_kept(place: Place) -> None:
    place.run()
    outcome = place.run(plan_only=True)
    assert (outcome.report["boot"], outcome.kept) == (None, {})
    assert (place.image / "drill" / "console.log").exists()


@pytest.mark.parametrize(
    ("word", "error", "text"),
    [
        ("dies", TargetFailed, "has ended without a result"),
        ("garbage", TargetFailed, "wrote what is no message"),
        ("infinite", TargetFailed, "wrote what is no message"),
        ("no report", TargetFailed, "answered what is no report"),
        ("full", TargetFull, "64 MiB are needed"),
    ],
)
def test_a_program_that_fails_is_one_line(
    place: Place, word: str, error: type[TargetFailed], text: str
) -> None:
    place.behave(word)
    with pytest.raises(error, match=text) as failed:
        place.run()
    assert failed.value.remedy
    assert not (place.image / "drill").exists()


def test_what_no_database_takes_is_left_out_of_the_report(place: Place) -> None:
    place.behave("odd")
    assert place.run().report["conversion"]["notes"] == ["ab?"]


@pytest.mark.parametrize("word", ["hang", "deaf"])
def test_a_drill_is_stopped_also_when_the_program_does_not_listen(place: Place, word: str) -> None:
    place.behave(word)
    ended: list[BaseException] = []

    def work() -> None:
        try:
            place.run()
        except Interrupted as interrupted:
            ended.append(interrupted)

    thread = threading.Thread(target=work)
    thread.start()
    assert all(runs(pid) for pid in place.pids())
    place.halt.set()
    thread.join()
    assert len(ended) == 1


def test_what_a_killed_process_left_goes_with_the_next_start(place: Place) -> None:
    left = place.root / "drills" / "d-0"
    left.mkdir(parents=True)
    (left / "overlay.qcow2").write_bytes(b"x")
    LocalDrills(place.root, STAND_IN)
    assert not left.exists()


def test_only_images_of_this_place_are_tried(place: Place, tmp_path: Path) -> None:
    drills = LocalDrills(place.root, STAND_IN)
    for location in (str(tmp_path), str(place.root / "images" / "gone"), f"{place.image}/..", "m-123"):
        with pytest.raises(NotFound, match="not here any more"):
            drills.run(DrillRequest("d-1", location, "none"), place.halt, place.said.append)
    (place.root / "images" / "other").mkdir()
    with pytest.raises(BadInput, match=r"has no machine\.json"):
        drills.run(DrillRequest("d-1", str(place.root / "images" / "other"), "none"), place.halt, print)


def test_the_real_program_says_what_it_lacks(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(place.gates))
    assert os.environ["PATH"]
    with pytest.raises(BadInput, match="qemu"):
        LocalDrills(place.root, "connector.conversion").run(
            DrillRequest("d-1", str(place.image), "none"), place.halt, print
        )
