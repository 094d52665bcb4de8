"""Only a cutover resumes a cutover: what `connector migrate` refuses before its appliance starts. Against the real operations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from connector.cli.migration import refuse_open_cutovers
from connector.clients.smc import SmcClient
from connector.control.domain.entities import Outcome, Task
from connector.errors import Conflict
from connector.model import Machine
from tests.batch.conftest import Desk
from tests.control import fresh
from tests.control.conftest import machine, quick_folder
from tests.control.house import House

__all__ = ["quick_folder"]

J: Machine = machine("vm-j", "j")


@pytest.fixture
def house(quick_folder: Path) -> Iterator[House]:
    found = House(fresh.sqlite(quick_folder / "control.sqlite"), quick_folder)
    yield found
    found.store.close()


def refuse(house: House, *machines: Machine) -> None:
    refuse_open_cutovers(cast("SmcClient", Desk(house)), machines)


def waiting(house: House) -> str:
    job = house.incremental()
    house.service.start(job)
    house.run(job)
    return job


@pytest.mark.parametrize("shut_down", [True, False])
def test_a_cutover_that_was_stopped_is_open_until_it_is_resumed_or_rolled_back(
    house: House, shut_down: bool
) -> None:
    job = waiting(house)
    refuse(house, J)
    house.service.cutover(job, last_sync=True, changes={})
    house.turn()
    final = house.take()
    assert final is not None and final.task is Task.FINAL
    if shut_down:
        house.store.cutovers.going_down(job, final.id)
    down = ", its source is down since " if shut_down else "is open; "
    with pytest.raises(Conflict, match=down):
        refuse(house, J)  # the stack was killed: the job is Running
    house.finish(final.id, house.appliance, Outcome.FAILED, {"error": "x", "what": "broken"}, {})
    house.turn()
    with pytest.raises(Conflict, match=down) as refused:
        refuse(house, machine("vm-other", "other"), J)
    assert refused.value.on == "j"
    assert refused.value.remedy == "--cutover resumes it, --rollback takes it back"
    house.service.rollback(job)
    house.turn()
    house.carry(power_tasks=True)
    house.turn()
    assert str(house.get(job).status) == "Stopped"
    refuse(house, J)


def test_a_cutover_that_is_done_is_not_open(house: House) -> None:
    job = waiting(house)
    house.service.cutover(job, last_sync=True, changes={})
    assert str(house.run(job).status) == "Finished"
    refuse(house, J)
