"""Between a proof and an image the storage has time to rot, the process to be stopped, and defects to show."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from connector.errors import BadInput, ProofFailed, TargetFailed, TransferFailed
from connector.instance.disk import Disk
from connector.instance.evidence import Evidence
from connector.instance.images import ImageBuilder
from connector.instance.proofs import Proofs
from connector.instance.records import PassBegin
from connector.instance.store import DiskStore
from connector.kinds import PassKind
from connector.specification import image_formats
from connector.transfer.disk_pass import DiskPass, copy_disk
from connector.transfer.image import open_image
from connector.transfer.reasons import Piece
from connector.transfer.source import FileSource
from tests.transfer.conftest import CELL, MIB, Instance

QEMU_IMG = shutil.which("qemu-img")
NEEDS_QEMU = pytest.mark.skipif(QEMU_IMG is None, reason="needs qemu-img (Debian package qemu-utils)")
FORMATS = [pytest.param(name, marks=() if name == "raw" else NEEDS_QEMU) for name in image_formats.NAMES]


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        (was,) = os.pread(file.fileno(), 1, at)
        os.pwrite(file.fileno(), bytes([was ^ 1]), at)


@pytest.mark.parametrize("where", [os.SEEK_DATA, os.SEEK_HOLE], ids=["data", "hole"])
@pytest.mark.parametrize("form", FORMATS)
def test_invariant_10_what_rots_between_proof_and_image_makes_no_image(
    instance: Instance, disk: Path, form: str, where: int
) -> None:
    order = DiskPass(
        "2000", "pass-1", disk.stat().st_size, PassKind.FULL, "snapshot-1", "id/1", label="Hard disk 1"
    )
    copy_disk(FileSource(disk), instance.endpoint, order, prove=True)
    target, images = instance.disk("2000"), instance.directory / "images"
    with target.open("rb") as file:
        at = os.lseek(file.fileno(), 0, where) + 5
    flip(target, at)
    with pytest.raises(ProofFailed, match=f"{CELL} bytes of the image differ .* first at {at - at % CELL};"):
        instance.endpoint.make_image("web-01", form, "run-1")
    assert list(images.iterdir()) == []
    flip(target, at)
    assert instance.endpoint.make_image("web-01", form, "run-1")["state"] == "ready"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    made = DiskStore(tmp_path / "instance")
    yield made
    made.close()


@pytest.fixture
def settled(store: DiskStore) -> Disk:
    """An empty disk that shows the end of a pass."""
    disk = store.put("2000", MIB, "Hard disk 1")
    disk.begin(PassBegin("pass-1", "full", "snapshot-1", "id/1", "", ""))
    assert disk.finish("pass-1", [], []) == []
    return disk


def test_a_proof_that_is_stopped_proves_nothing(settled: Disk) -> None:
    proofs = Proofs()
    proofs.close()
    with pytest.raises(TransferFailed, match="its proof was ended early") as stopped:
        proofs.ask(settled, 20.0, fresh=False)
    assert stopped.value.retryable


class Odd(Disk):
    """Fails in a way that nobody foresaw."""

    def account(self) -> list[Piece]:
        raise LookupError(self.key)


def test_a_proof_that_fails_by_a_defect_says_so_and_lets_go_of_the_disk(tmp_path: Path) -> None:
    disk, proofs = Odd(tmp_path, "2000", MIB), Proofs()
    disk.begin(PassBegin("pass-1", "full", "snapshot-1", "id/1", "", ""))
    disk.finish("pass-1", [], [])
    with pytest.raises(TargetFailed, match="LookupError"):
        proofs.ask(disk, 20.0, fresh=False)
    disk.retire()


class Defective(Evidence):
    """Fails in a way that nobody foresaw."""

    def of(self, readings: set[str]) -> bytes | None:
        raise LookupError(readings)


def test_an_image_that_fails_by_a_defect_is_failed_and_not_still_being_made(
    store: DiskStore, settled: Disk, tmp_path: Path
) -> None:
    images = ImageBuilder(store, Defective(tmp_path / "instance"))
    image = images.start("web-01", "raw", "run-1")
    images.close()
    assert image.state == "failed" and "LookupError" in str(image.error)
    assert list((tmp_path / "instance" / "images").iterdir()) == []
    settled.retire()


ODD = 3 * MIB + 512


@pytest.fixture
def odd(store: DiskStore) -> Disk:
    """A disk that ends in the middle of everything: grain, block, cylinder."""
    made = store.put("2016", ODD, "Hard disk 2")
    made.begin(PassBegin("pass-1", "full", "snapshot-1", "id/1", "", ""))
    assert made.finish("pass-1", [], []) == []
    return made


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.usefixtures("odd")
def test_no_format_changes_the_capacity_of_a_disk(store: DiskStore, tmp_path: Path, form: str) -> None:
    images = ImageBuilder(store, Evidence(tmp_path / "instance"))
    image = images.start("web-01", form, "run-1")
    images.close()
    assert (image.state, image.error, image.format) == ("ready", None, form)
    (row,) = image.files
    kind = image_formats.named(form)
    assert (row["file"], row["capacity"]) == (f"2016.{kind.suffix}", ODD)
    with closing(open_image(Path(str(row["path"])))) as opened:
        assert (opened.form, opened.capacity) == (kind.driver, ODD)


WITHOUT_FORCE_SIZE = """#!/bin/bash
exec {real} "${{@/,force_size=on/}}"
"""


@NEEDS_QEMU
@pytest.mark.usefixtures("odd")
def test_a_capacity_that_was_rounded_makes_no_image(
    store: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A VHD that goes by its geometry has more bytes than the disk."""
    folder = tmp_path / "bin"
    folder.mkdir()
    wrapper = folder / "qemu-img"
    wrapper.write_text(WITHOUT_FORCE_SIZE.format(real=QEMU_IMG))
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    images = ImageBuilder(store, Evidence(tmp_path / "instance"))
    image = images.start("web-01", "vhd", "run-1")
    images.close()
    assert image.state == "failed" and image.error is not None
    assert str(image.error["what"]).startswith("qemu-img made vhd of 3168256 bytes, and the disk has 3146240")
    assert list((tmp_path / "instance" / "images").iterdir()) == []


@NEEDS_QEMU
def test_a_disk_that_is_too_large_is_refused_before_anything_is_written(
    store: DiskStore, tmp_path: Path
) -> None:
    large = store.put("2000", image_formats.named("vhd").largest + 512, "Hard disk 1")
    large.begin(PassBegin("pass-1", "full", "snapshot-1", "id/1", "", ""))
    assert large.finish("pass-1", [], []) == []
    images = ImageBuilder(store, Evidence(tmp_path / "instance"))
    image = images.start("web-01", "vhd", "run-1")
    images.close()
    assert image.error is not None and "vhd holds at most 2040 GiB" in str(image.error["what"])


def test_without_qemu_img_an_image_is_raw_and_says_so(
    store: DiskStore, settled: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    images = ImageBuilder(store, Evidence(tmp_path / "instance"))
    image = images.start("web-01", "vhdx", "run-1")
    images.close()
    assert (image.state, image.format) == ("ready", "raw")
    assert image.note == "qemu-img is not installed on the instance: raw instead of vhdx"
    assert [row["file"] for row in image.files] == [f"{settled.key}.raw"]


def test_an_unknown_format_names_those_that_are_known(store: DiskStore, tmp_path: Path) -> None:
    images = ImageBuilder(store, Evidence(tmp_path / "instance"))
    with pytest.raises(BadInput, match=r"'vdi' is not known; use qcow2, raw, .* or vhdx"):
        images.start("web-01", "vdi", "run-1")
