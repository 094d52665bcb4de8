"""Between a proof and an image the storage has time to rot, the process to be stopped, and defects to show."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.errors import ProofFailed, TargetFailed, TransferFailed
from connector.instance.disk import Disk
from connector.instance.evidence import Evidence
from connector.instance.images import ImageBuilder
from connector.instance.proofs import Proofs
from connector.instance.records import PassBegin
from connector.instance.store import DiskStore
from connector.kinds import PassKind
from connector.transfer.disk_pass import DiskPass, copy_disk
from connector.transfer.reasons import Piece
from connector.transfer.source import FileSource
from tests.transfer.conftest import CELL, MIB, Instance

FORMATS = [
    "raw",
    pytest.param(
        "qcow2",
        marks=pytest.mark.skipif(
            shutil.which("qemu-img") is None, reason="needs qemu-img (Debian package qemu-utils)"
        ),
    ),
]


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
