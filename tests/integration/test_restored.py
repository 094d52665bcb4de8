"""State that was put back, lost or changed between two runs is never taken for what the last run left: three attacks.

All that is put back, lost or damaged stands in the restore matrix (docs/restore-matrix.md); these are in every run of the suite.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from tests.integration.conftest import Run
from tests.integration.house import MIB, House, Shape, equal

TWINS = ((2 * MIB, MIB), (2 * MIB, MIB))
CELL = 64 << 10
UNAUDITED = ("--audit", "0")


@pytest.fixture
def twins(make_house: Callable[..., House]) -> House:
    """A machine with two disks of one size."""
    return make_house(Shape("web-01", TWINS))


def test_a_database_that_was_put_back_makes_no_image_of_the_run_that_it_does_not_know(
    twins: House, run: Run, tmp_path: Path
) -> None:
    control = twins.out / ".connector" / "control"
    assert run(twins.migration("web-01", "--incremental", *UNAUDITED)).code == 0
    shutil.copytree(control, tmp_path / "older")
    twins.write()
    assert run(twins.migration("web-01", "--incremental", *UNAUDITED)).code == 0
    shutil.rmtree(control)
    shutil.copytree(tmp_path / "older", control)
    twins.write()
    done = run(twins.migration("web-01", "--cutover", *UNAUDITED))
    assert done.code == 0, done.stderr
    equal(twins, "web-01", "web-01")


def _older(home: Path, older: Path, _other: Path) -> None:
    for name in ("disk.raw", "digests"):
        shutil.copy(older / name, home / name)


def _lost(home: Path, _older: Path, _other: Path) -> None:
    for name in ("disk.raw", "digests"):
        (home / name).unlink()


def _zeroed(home: Path, _older: Path, _other: Path) -> None:
    for name in ("disk.raw", "digests"):
        (home / name).write_bytes(bytes((home / name).stat().st_size))


def _swapped(home: Path, _older: Path, other: Path) -> None:
    for name in ("disk.raw", "digests"):
        mine = (home / name).read_bytes()
        shutil.copy(other / name, home / name)
        (other / name).write_bytes(mine)


Harm = Callable[[Path, Path, Path], None]


@pytest.mark.parametrize(
    "harm", [_older, *(pytest.param(h, marks=pytest.mark.slow) for h in (_lost, _zeroed, _swapped))]
)
def test_a_target_and_its_digests_together_are_no_proof_of_each_other(
    twins: House, run: Run, tmp_path: Path, harm: Harm
) -> None:
    assert run(twins.migration("web-01", "--incremental", *UNAUDITED)).code == 0
    home, other = sorted(twins.out.glob("instances/*/data/disks/*"))
    shutil.copytree(home, tmp_path / "older")
    twins.write()
    assert run(twins.migration("web-01", "--incremental", *UNAUDITED)).code == 0
    harm(home, tmp_path / "older", other)
    twins.write(count=2)
    done = run(twins.migration("web-01", "--cutover", *UNAUDITED))
    assert done.code == 0, done.stderr
    equal(twins, "web-01", "web-01")


def test_one_cell_and_its_entry_that_were_changed_between_two_passes_are_not_signed(
    twins: House, run: Run
) -> None:
    """By somebody who can write there and knows the format."""
    assert run(twins.migration("web-01", "--incremental", *UNAUDITED)).code == 0
    (home, _) = sorted(twins.out.glob("instances/*/data/disks/*"))
    forged = b"forged".ljust(CELL, b"\1")
    with (home / "disk.raw").open("r+b") as target, (home / "digests").open("r+b") as table:
        target.seek(3 * CELL)
        target.write(forged)
        table.seek(3 * 32)
        table.write(blake3(forged).digest())
    done = run(twins.migration("web-01", "--cutover", *UNAUDITED))
    assert done.code == 0, done.stderr
    equal(twins, "web-01", "web-01")
