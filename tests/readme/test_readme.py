"""The README's lab as it stands: a person copies the blocks into four terminals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
HEADING = "## How do I try a whole night, without VMware?"
MACHINES = ("db-01", "mail-01", "web-01", "app-01")


def blocks() -> list[str]:
    """The shell blocks below the heading."""
    section = (ROOT / "README.md").read_text().split(HEADING)[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A directory with what the blocks use of a clone."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "config").symlink_to(ROOT / "config")
    return tmp_path


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
    return kept | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}


@contextmanager
def terminal(block: str, clone: Path, name: str, ready: str) -> Iterator[None]:
    """A terminal in which a block keeps running; entered when it has printed `ready`, left by Ctrl-C."""
    output = clone / f"{name}.log"
    with output.open("w") as log:
        shell = subprocess.Popen(
            ["bash", "-c", f"set -e\n{block}"],
            cwd=clone,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 600
            while not re.search(ready, output.read_text()):
                assert shell.poll() is None, output.read_text()
                assert time.monotonic() < deadline, output.read_text()
                time.sleep(0.2)
            yield
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGINT)
            try:
                shell.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(shell.pid, signal.SIGKILL)
                raise


@pytest.mark.timeout(1800)
def test_the_lab_of_the_readme_comes_to_a_finished_wave(clone: Path) -> None:
    simulator, control, appliance, night = blocks()
    with ExitStack() as terminals:
        for block, name, ready in (
            (simulator, "simulator", '"url"'),
            (control, "control", '"url"'),
            (appliance, "appliance", '"machines": 4'),
        ):
            terminals.enter_context(terminal(block, clone, name, ready))
        done = subprocess.run(
            ["bash", "-c", f"set -e\n{night}"],
            cwd=clone,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1500,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "lab: 4 of 4 finished, 0 failed" in done.stdout
        assert "finished: group data, group front" in done.stdout
        images = " ".join(entry.name for entry in (clone / "images" / "images").iterdir())
        assert all(machine in images for machine in MACHINES), images
        assert "app-01 (vm-" in done.stdout and "as proved" in done.stdout, (
            "the proof of an image is compared"
        )
        assert done.stderr == "", done.stderr
    for name in ("simulator", "control", "appliance"):
        assert "Traceback" not in (clone / f"{name}.log").read_text()


def test_git_ignores_what_the_lab_makes() -> None:
    """Keys and passwords are among it."""
    names = set(re.findall(r"--(?:directory|state|images) (\w+)", "\n".join(blocks())))
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert names == {"lab", "control", "images", "appliance"}
    assert {f"/{name}/" for name in names} | {"/appliance.yaml"} <= set(ignored)
