"""The control plane asks the instance itself; one that cannot answer now is asked again."""

from __future__ import annotations

from typing import Any

import pytest

from connector.control.domain.entities import Outcome, Pass
from connector.errors import ControlFailed, TransferFailed
from tests.control.house import House


def _taken(house: House) -> tuple[str, Pass]:
    job = house.job()
    house.service.start(job)
    house.turn()
    found = house.take()
    assert found is not None
    house.prove(found.id, house.appliance)
    return job, found


def _report(house: House, found: Pass) -> None:
    house.service.finish(found.id, house.appliance, Outcome.DONE, None, {})


def test_an_instance_that_does_not_answer_is_asked_again(house: House) -> None:
    job, found = _taken(house)
    house.cloud.silent = TransferFailed("the connection broke", on="127.0.0.9")
    with pytest.raises(ControlFailed, match="cannot be asked what it holds") as later:
        _report(house, found)
    assert later.value.retryable
    assert house.status(job) == "Running/Syncing"
    house.cloud.silent = None
    _report(house, found)
    _report(house, found)  # the answer was lost: the same report again
    house.turn()
    assert house.status(job) == "Finished"


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ({"base": None}, "shows no finished pass"),
        ({"settled": False}, "in the middle of a pass"),
        ({"spoiled": [[0, 65536]]}, "in the middle of a pass"),
        ({"base": {"pass_id": "p-newer", "change_id": ""}}, "shows reading p-newer"),
        ({"target": "ab" * 16}, "shows target abab"),
        ({"generation": 7}, "shows generation 7, the evidence says none"),
        ({"root": "cd" * 32}, "shows root cdcd"),
    ],
)
def test_a_disk_that_shows_something_else_fails_the_pass(
    house: House, shown: dict[str, Any], said: str
) -> None:
    job, found = _taken(house)
    (disks,) = house.cloud.shown.values()
    disks[1] |= shown
    with pytest.raises(ControlFailed, match=said) as refused:
        _report(house, found)
    assert not refused.value.retryable
    house.turn()
    assert (house.status(job), house.cloud.images) == ("InError", [])
    assert said in str((house.get(job).error or {}).get("what"))
