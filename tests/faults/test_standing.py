"""Restored state of a control plane that stands by itself on PostgreSQL; the cells are on docs/restore-matrix.md."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.postgres import binaries, cluster
from tests.faults.restore import STANDING, Moment, StandingCell
from tests.faults.standing import Standing
from tests.faults.world import SHM
from tests.integration.house import house
from tests.warm import warm


@pytest.fixture(scope="session")
def standing() -> Iterator[Standing]:
    programs = binaries()
    if programs is None:
        pytest.skip("needs the package postgresql")
    with (
        tempfile.TemporaryDirectory(prefix="standing-", dir=SHM) as root,
        warm(Path(root) / "warm"),
        cluster(programs) as server,
    ):
        made = Standing(Path(root), server)
        yield made
        made.close()


def _cells() -> Iterator[object]:
    for cell in STANDING:
        marks = [pytest.mark.xfail(strict=True, reason=cell.broken)] if cell.broken else []
        yield pytest.param(cell, marks=marks, id=cell.id)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("standing")
@pytest.mark.parametrize("cell", list(_cells()))
def test_cell(standing: Standing, cell: StandingCell) -> None:
    standing.put_back(Moment.SECOND)
    for what in cell.harmed:
        standing.harm(what, cell.harm)
    with house(standing.live) as made:
        made.write(count=6)
        with standing.running(made) as jobs:
            if cell.late:
                standing.await_hold(jobs)
                standing.confirm()
                refused = standing.act(made, "watch")
            else:
                refused = standing.act(made, "start")
            if cell.held and not cell.late:
                assert refused is not None, "nothing is held"
                refused.check()
                assert "confirm" in refused.error["remedy"]
                standing.confirm()
                refused = standing.act(made, "start")
            assert refused is None, refused
            made.write(count=3)
            refused = standing.act(made, "cutover")
            assert refused is None, refused
            assert made.machine().power_state == "poweredOff"
