"""`connector job drill` and `conversion`: which image they take, and what they say of a drill that the control plane does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from connector.control.domain.access import Role
from tests.cli.conftest import Connector, process
from tests.control.conftest import machine
from tests.control.fake_conversion import SECRET
from tests.smc.conftest import Cloud, fresh
from tests.waiting import PATIENCE, eventually


@pytest.fixture
def name(cloud: Cloud) -> str:
    """A job that waits, with one image."""
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name, 1))
    with robot:
        cloud.plane.jobs.create(ids[name], name, run_once=False)
        cloud.plane.jobs.start(name)
        cloud.plane.reach(name, "Waiting")
    return name


def _behave(cloud: Cloud, name: str, word: str) -> Path:
    file = cloud.plane.gates / f"drill-{name}_CYCLE_1"
    file.write_text(word)
    return file


def test_a_job_without_an_image_has_nothing_to_try(cloud: Cloud, connector: Connector) -> None:
    name = fresh("vm")
    _, ids = cloud.sources(machine("vm-1", name, 1))
    cloud.plane.jobs.create(ids[name], name)
    for words in (["drill", name], ["drill", name, "--remote"], ["conversion", name, "--new"]):
        ended = connector("job", *words, code=3)
        assert "has no image yet" in ended.err
        assert "let its first run finish" in ended.err
    assert "no conversion was planned so far; say --new" in connector("job", "conversion", name, code=3).err


def test_the_control_plane_drills_and_the_result_stays(
    name: str, connector: Connector, tmp_path: Path
) -> None:
    ended = connector("job", "drill", name, "--remote", "--report", str(tmp_path / "report"))
    assert "boots: login prompt after 31 s (tcg)" in ended.out
    assert "/etc/fstab: names /dev/sda2" in ended.out
    assert "note: the job does not convert its images" in ended.out
    assert (tmp_path / "report" / "console.log").read_text() == SECRET
    assert {file.name for file in (tmp_path / "report").iterdir()} == {
        "console.log",
        "screen.png",
        "report.json",
    }
    assert all(file.stat().st_mode & 0o077 == 0 for file in (tmp_path / "report").iterdir())
    assert json.loads((tmp_path / "report" / "report.json").read_text())["boot"]["boots"] is True
    assert "boots: login prompt" in connector("job", "show", name).out.partition("\ndrills\n")[2]
    (row,) = connector("job", "show", name, "--json").json["Drills"]["Drill"]
    assert row["Verdict"] == "boots"
    plan = connector("job", "conversion", name)
    assert "debian 12.15" in plan.out
    assert "note: cloud-init is installed" in plan.out
    assert connector("job", "conversion", name, "--json").json["system"] == "debian 12.15"


def test_a_machine_that_does_not_boot_ends_with_13(cloud: Cloud, name: str, connector: Connector) -> None:
    _behave(cloud, name, "panic")
    ended = connector("job", "drill", name, "--remote", "--json", code=13)
    report, error = ended.lines
    assert report["boot"]["outcome"] == "kernel panic"
    assert error["what"] == "does not boot: kernel panic (VFS: Unable to mount root fs)"
    assert error["remedy"].startswith("say --report DIR")


def test_a_drill_that_fails_ends_with_the_code_of_its_error(
    cloud: Cloud, name: str, connector: Connector
) -> None:
    _behave(cloud, name, "full")
    ended = connector("job", "drill", name, "--remote", code=9)
    assert "/srv: the drill failed: 64 MiB are needed, and 1 MiB are free; make room" in ended.err


def test_a_plan_is_made_without_a_start(name: str, connector: Connector) -> None:
    ended = connector("job", "conversion", name, "--new", "--network", "keep")
    assert f"image {name}_CYCLE_1 of run 1, network keep" in ended.out
    assert "/etc/fstab: names /dev/sda2" in ended.out


def test_an_image_that_is_not_here_is_tried_by_the_control_plane(
    cloud: Cloud, name: str, connector: Connector
) -> None:
    image = cloud.plane.root / "store" / "images" / f"{name}_CYCLE_1"
    image.rename(image.with_name(".elsewhere"))
    try:
        ended = connector("job", "drill", name, code=3)
    finally:
        image.with_name(".elsewhere").rename(image)
    assert "the image is not on this computer: the control plane tries it" in ended.err
    assert "the image is not here any more" in ended.err


def test_options_are_refused_in_the_words_that_were_typed(name: str, connector: Connector) -> None:
    assert (
        "--marker: is no regular expression" in connector("job", "drill", name, "--marker", "(", code=2).err
    )


def test_a_drill_is_left_and_stopped(cloud: Cloud, name: str, connector: Connector) -> None:
    held = _behave(cloud, name, "hang")
    watching = process(cloud, "job", "drill", name, "--remote", role=Role.OPERATOR, stderr=subprocess.PIPE)
    started = cloud.plane.gates / f"started-{name}_CYCLE_1"
    eventually(lambda: started.exists(), "the drill runs")
    os.kill(watching.pid, signal.SIGINT)
    _, said = watching.communicate(timeout=PATIENCE)
    assert watching.returncode == 130
    assert "stopped watching; the drill goes on" in said
    assert (
        "a drill of this job waits or runs already"
        in connector("job", "drill", name, "--remote", code=11).err
    )
    assert "the drill is being stopped" in connector("job", "drill", name, "--stop").out

    def stopped() -> bool:
        (row,) = connector("job", "show", name, "--json").json["Drills"]["Drill"]
        return bool(row["State"] == "Stopped")

    eventually(stopped, "the drill has stopped")
    held.unlink()
    assert "no drill of this job waits or runs" in connector("job", "drill", name, "--stop", code=11).err
