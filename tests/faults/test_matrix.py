"""Every cell of the fault matrix; see docs/fault-matrix.md for what it promises."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from connector.control.domain.entities import Pass
from connector.errors import ConnectorError, catalogue, from_json
from tests.faults.conftest import Shop
from tests.faults.matrix import ALL, CELLS, WHY_NOT, Cell, Fault, Outcome, Part, page
from tests.faults.strikes import Strike
from tests.faults.works import READER, WINDOW, Works, can_fill
from tests.integration.house import MIB

READERS = {Part.HOST: "nfc", Part.WORKER: "vddk"}
PAGE = Path(__file__).parents[2] / "docs" / "fault-matrix.md"


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.id)
def test_cell(shop: Shop, cell: Cell) -> None:
    works = shop.open()
    if cell.fault is Fault.FULL and cell.part is not Part.HOST and not can_fill(works.small["target"]):
        pytest.skip("needs the right to mount a tmpfs")
    try:
        _run(works, shop.total, cell)
    except BaseException:
        shop.spoil()
        raise


def _run(works: Works, total: int, cell: Cell) -> None:
    house = works.house
    house.write(count=3)
    foreign, truth, restarts = works.foreign(), house.digests(), works.restarts
    works.relay.reset()
    name = f"cell-{abs(hash(cell.id)) % 10**6}"
    job = works.begin(name, reader=READERS.get(cell.part, READER))
    with ExitStack() as undo:
        strike = Strike(works, cell, total, undo)
        strike.arm()
        works.jobs.start(job)
        found = works.rest(job)
    assert strike.done, "the fault never happened"
    seen = _outcome(works, found, restarts)
    assert cell.outcome.covers(seen), (
        f"{seen}: {found['error']}\n{[e['text'] for e in found['events']]}\n{works.log()}"
    )
    if seen is Outcome.CLEAN:
        _check_cause(found["error"])
        assert name not in works.images(), "an image of a run that failed"
        found = works.again(job)
    assert found["status"] == "Finished", found["error"]
    assert works.image(name) == truth
    assert works.foreign() == foreign
    works.no_snapshot()
    if cell.fault is not Fault.FLIP:
        _check_twice(works.readings(job))
    works.end(job)


def _outcome(works: Works, job: dict[str, Any], restarts: int) -> Outcome:
    if job["status"] != "Finished":
        return Outcome.CLEAN
    again = works.restarts > restarts or len(job["passes"]) > 1
    restarted = any("started again" in event["text"] for event in job["events"])
    return Outcome.RESUMED if again or restarted else Outcome.RETRIED


def _check_cause(error: dict[str, Any] | None) -> None:
    assert error is not None
    assert error["error"] in catalogue()
    known = from_json(error)
    assert type(known) is not ConnectorError, f"an unforeseen failure: {known}"
    assert "\n" not in str(known)


def _check_twice(passes: list[Pass]) -> None:
    """What was durable before the last attempt was not read again, but for one window."""
    rows = {row["key"]: row for row in passes[-1].disks}
    for earlier in passes[:-1]:
        for disk in earlier.disks:
            last = rows[disk["key"]]
            if last["read"]:
                assert last["read"] + disk["done"] <= last["wanted"] + WINDOW + MIB, (disk, last)


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text() == page()


def test_every_cell_is_there_or_has_a_reason() -> None:
    lines = {(cell.part, cell.fault) for cell in CELLS}
    every = {(part, fault) for part in Part for fault in Fault}
    assert lines | set(WHY_NOT) == every
    assert not lines & set(WHY_NOT)
    assert len(CELLS) >= 120
    assert {cell.moment for cell in CELLS} == set(ALL)
