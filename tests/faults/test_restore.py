"""Every cell of the restore matrix; see docs/restore-matrix.md for what it promises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import restore
from tests.faults.restore import BROKEN, FOREIGN, REFUSALS, Cell, Harm, Moment, each, known, page, rule
from tests.faults.world import World, world

CELLS = known()


@pytest.fixture(scope="session")
def life() -> Iterator[World]:
    with world() as made:
        yield made


def _cells() -> Iterator[object]:
    for cell in CELLS:
        broken = rule(BROKEN, cell)
        marks = [pytest.mark.xfail(strict=True, reason=broken.reason)] if broken else []
        yield pytest.param(cell, marks=marks, id=cell.id)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("cell", list(_cells()))
def test_cell(life: World, cell: Cell) -> None:
    run(life, cell)


def run(life: World, cell: Cell) -> None:
    life.put_back(cell.moment)
    life.harm(cell)
    with life.open() as house:
        for step in ("--incremental", "--cutover"):
            refused = life.step(house, step)
            if refused is not None:
                refused.check()
                assert rule(REFUSALS, cell), f"{step} is refused: {refused.error}"
                return
            if step == "--incremental":
                house.write(count=3)
        assert not house.snapshots() or cell.row in FOREIGN, "the snapshot of the run that was killed is left"


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_what_a_walk_finds_is_what_the_page_has(life: World) -> None:
    """A file that is new is tried here, at once, in all of its cells."""
    cells = set(restore.cells(life.walks()))
    wrong = list(each(sorted(cells - set(CELLS)), lambda cell: run(life, cell)))
    assert not wrong, "\n".join(wrong)
    assert cells == set(CELLS), "write the page anew: python -m tests.faults.restore"


def test_the_page_is_the_table() -> None:
    assert restore.PAGE.read_text() == page(CELLS)


def test_every_rule_covers_a_cell_and_none_is_excused_twice() -> None:
    for one in (*REFUSALS, *BROKEN):
        assert any(one.covers(cell) for cell in CELLS), one
        assert one.reason
    assert len(CELLS) >= 90
    assert {cell.moment for cell in CELLS} == set(Moment)
    assert {cell.harm for cell in CELLS} == set(Harm)
