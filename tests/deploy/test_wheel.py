"""Two builds of the wheel are the same bytes, whatever place, umask, dates and leftovers they have."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

from tests.deploy.test_units import needed

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = (
    *("connector", "vddk", "nfc", "simulator", "deploy", "config", "docs"),
    *("pyproject.toml", "requirements.lock", "README.md", "CHANGELOG.md", "LICENSE"),
)
DATE: Final = "1795824000"


def copied(place: Path, umask: int) -> Path:
    """The sources at another place, by somebody with this umask: without git, with the modes and dates of that moment."""
    place.mkdir(parents=True)
    words = ["cp", "-r", "--no-preserve=mode", *(str(ROOT / name) for name in SOURCES), str(place)]
    subprocess.run(words, umask=umask, check=True)
    for junk in place.rglob("__pycache__"):
        shutil.rmtree(junk)
    return place


def built(module: str, root: Path, umask: int, *more: str, today: str = "") -> Path:
    """What a build in `root` makes. `today`: the date that the whole build sees."""
    clock = [needed("faketime", "faketime"), today] if today else []
    words = [*clock, sys.executable, "-m", module, "--to", str(root / "out"), *more]
    variables = os.environ | {
        "PYTHONPATH": str(root),
        "SOURCE_DATE_EPOCH": DATE,
        "TZ": "Asia/Tokyo" if today else "UTC",
    }
    done = subprocess.run(
        words, cwd=root, env=variables, umask=umask, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_two_builds_are_the_same_bytes(tmp_path: Path) -> None:
    one = built("deploy.wheel", copied(tmp_path / "a", 0o022), 0o022)
    other = copied(tmp_path / "somewhere else" / "b", 0o077)
    (other / "build" / "lib" / "connector").mkdir(parents=True)
    (other / "build" / "lib" / "connector" / "left_by_an_earlier_build.py").touch()
    again = built("deploy.wheel", other, 0o077, today="2031-05-05 05:05:05")
    assert (again.name, digest(again)) == (one.name, digest(one))
    names = zipfile.ZipFile(one).namelist()
    assert "connector/control/console/static/console.js" in names
    assert "simulator/vixdisklib/abi.h" in names
    assert not [
        name for name in names if name.startswith(("tests/", "tools/", "deploy/")) or "left_by" in name
    ]


def test_a_working_tree_gives_what_git_knows(tmp_path: Path) -> None:
    root = copied(tmp_path / "a", 0o022)
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    (root / "connector" / "notes_of_mine.py").touch()
    assert "connector/notes_of_mine.py" not in zipfile.ZipFile(built("deploy.wheel", root, 0o022)).namelist()
