"""The limits of the formats are those of the real qemu-img, and the page says what the table says."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from connector.errors import BadInput
from connector.specification.image_formats import (
    BY_NAME,
    DEFAULT,
    FORMATS,
    RAW,
    ImageFormat,
    alternatives,
    named,
)
from tools.docs.image_formats import document

PAGE = Path(__file__).parents[2] / "docs" / "user-guide" / "image-formats.md"
NEEDS_QEMU = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="needs qemu-img (Debian package qemu-utils)"
)
MIB = 1 << 20
EVERY = pytest.mark.parametrize(
    "form", [form for form in FORMATS if form is not RAW], ids=lambda form: form.name
)
LIMITED = pytest.mark.parametrize(
    "form", [BY_NAME[name] for name in ("vmdk", "vhd", "vhdx")], ids=lambda f: f.name
)


@pytest.mark.generated
def test_the_page_is_current() -> None:
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(document())
    assert PAGE.read_text() == document()


def test_names_mean_one_format_each() -> None:
    assert len(BY_NAME) == len(FORMATS)
    assert [named(form.name) for form in FORMATS] == list(FORMATS)
    assert (DEFAULT.name, RAW.name) == ("qcow2", "raw")
    with pytest.raises(BadInput, match="'vdi' is not known; use qcow2, raw, "):
        named("vdi")


def test_what_a_format_cannot_hold_is_said_with_what_can() -> None:
    vhd = BY_NAME["vhd"]
    assert vhd.trouble(vhd.largest) == ""
    assert "at most 2040 GiB" in vhd.trouble(vhd.largest + 512)
    assert "whole sectors of 512 bytes" in vhd.trouble(1000)
    assert RAW.trouble(1000) == ""
    assert alternatives([512, vhd.largest + 512]) == ("qcow2", "raw", "qcow2-compressed", "vhdx")


def zeros(capacity: int) -> str:
    """A disk of any size without a file, as qemu-img names it."""
    file = {"driver": "null-co", "size": capacity, "read-zeroes": True}
    return "json:" + json.dumps({"driver": "raw", "file": file})


def convert(form: ImageFormat, source: str, path: Path) -> subprocess.CompletedProcess[str]:
    path.unlink(missing_ok=True)
    words = ["qemu-img", "convert", "-O", form.driver, *form.options, source, str(path)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def capacity_of(form: ImageFormat, path: Path) -> int:
    words = ["qemu-img", "info", "--output=json", "-f", form.driver, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout)["virtual-size"])


@NEEDS_QEMU
@EVERY
@pytest.mark.parametrize("capacity", [512, MIB - 512, 3 * MIB + 512, 16 * MIB + 512, 33 * MIB - 512])
def test_a_format_keeps_the_capacity_and_the_bytes_up_to_the_last(
    tmp_path: Path, form: ImageFormat, capacity: int
) -> None:
    raw, back = tmp_path / "disk.raw", tmp_path / "back.raw"
    content = bytearray(capacity)
    content[-512:] = random.Random(capacity).randbytes(512)
    raw.write_bytes(content)
    assert convert(form, str(raw), tmp_path / "disk").returncode == 0
    assert capacity_of(form, tmp_path / "disk") == capacity
    words = ["qemu-img", "convert", "-f", form.driver, "-O", "raw", str(tmp_path / "disk"), str(back)]
    subprocess.run(words, check=True)
    assert back.read_bytes() == content


@NEEDS_QEMU
@LIMITED
def test_the_largest_disk_of_a_format_is_held(tmp_path: Path, form: ImageFormat) -> None:
    assert convert(form, zeros(form.largest), tmp_path / "disk").returncode == 0
    assert capacity_of(form, tmp_path / "disk") == form.largest


@NEEDS_QEMU
@pytest.mark.parametrize("name", ["vhd", "vhdx"])
def test_one_sector_more_is_refused_by_qemu_img_too(tmp_path: Path, name: str) -> None:
    done = convert(BY_NAME[name], zeros(BY_NAME[name].largest + 512), tmp_path / "disk")
    assert done.returncode != 0 and "too large" in done.stderr
