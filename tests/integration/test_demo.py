"""`connector demo` proves what it claims, and says so when it is not true."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.integration.conftest import Run
from tests.integration.house import MIB
from tests.integration.witness import digest

# It goes by what is asked for, an output that is raw, and not by the order of the words.
WRAPPER = """#!/bin/sh
{real} "$@" || exit
case "$1 $*" in
"convert "*" -O raw "*)
    for last; do :; done
    printf X | dd of="$last" bs=1 seek=1234567 conv=notrunc 2>/dev/null ;;
esac
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A disk of 3 MiB and one sector."""
    file = tmp_path / "debian.raw"
    file.write_bytes(random.Random(5).randbytes(3 * MIB + 512))
    return file


def demo(image: Path, *more: str) -> list[str]:
    return ["demo", "--disk", str(image), "--directory", str(image.parent / "home"), "--json", *more]


def test_a_disk_of_ones_own_comes_out_as_it_went_in(image: Path, run: Run) -> None:
    done = run(demo(image, "--format", "raw"))
    assert done.code == 0, done.stderr
    assert len(done.events) == len(done.stdout.splitlines())
    (compared,) = (event for event in done.events if event["event"] == "compared")
    assert compared["equal"]
    assert compared["digest"] == digest(image.read_bytes())
    (made,) = (image.parent / "home" / "target" / "images" / "debian").glob("*.raw")
    assert made.read_bytes() == image.read_bytes()


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-utils")
def test_one_byte_that_differs_is_exit_code_10(image: Path, run: Run, tmp_path: Path) -> None:
    """The program that unpacks the finished image for the comparison changes a byte of it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    wrapper = folder / "qemu-img"
    wrapper.write_text(WRAPPER.format(real=shutil.which("qemu-img")))
    wrapper.chmod(0o755)
    done = run(demo(image, "--format", "qcow2"), PATH=f"{folder}:/usr/bin:/bin")
    assert done.code == 10, done.stderr
    assert "1234567" in done.complaint
    assert "debian" in done.complaint
    (compared,) = (event for event in done.events if event.get("event") == "compared")
    assert compared["first_difference"] == 1234567


@pytest.mark.parametrize(
    "content",
    [
        b"",
        pytest.param(
            b"QFI\xfb and then nothing that qemu knows",
            marks=pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-utils"),
        ),
    ],
)
def test_a_file_that_is_no_disk(run: Run, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "odd.qcow2"
    file.write_bytes(content)
    done = run(demo(file))
    assert done.code == 2, done.stderr
    assert "odd.qcow2" in done.complaint
    assert len(done.stderr.splitlines()) == 1


def test_a_disk_that_is_not_there(run: Run, tmp_path: Path) -> None:
    done = run(demo(tmp_path / "missing.raw"))
    assert done.code == 2
    assert "missing.raw" in done.complaint
    assert not (tmp_path / "home").exists()
