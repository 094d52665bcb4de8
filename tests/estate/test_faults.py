"""Fault rules: matched, skipped, counted, exhausted; bad ones are refused by name."""

import json
import re
import time
from pathlib import Path

import pytest

from simulator.faults import POINTS, Faults, InjectedFault, Rule, parse


def test_rules_from_json():
    text = json.dumps(
        [{"call": "CreateSnapshot_Task", "object": "vm-1*", "action": "fault", "fault": "TaskInProgress"}]
    )
    (rule,) = parse(text)
    assert rule == Rule("CreateSnapshot_Task", "fault", "vm-1*", fault="TaskInProgress")


@pytest.mark.parametrize(
    "item",
    [
        {"call": "x"},
        {"action": "fault"},
        {"call": "x", "action": "explode"},
        {"call": "x", "action": "fault", "tmes": 1},
        {"call": "x", "action": "fault", "times": 0},
        {"call": "x", "action": "fault", "chance": 2},
    ],
)
def test_wrong_rules_are_refused(item):
    with pytest.raises(ValueError, match="fault rule"):
        parse(json.dumps([item]))


def test_skip_times_and_object():
    faults = Faults([Rule("Query*", "fault", "vm-7", skip=2, times=2, fault="FileFault")])
    fired = [faults.consult("QueryChangedDiskAreas", "vm-7") is not None for _ in range(6)]
    assert fired == [False, False, True, True, False, False]
    assert faults.consult("QueryChangedDiskAreas", "vm-8") is None


def test_the_first_rule_that_fires_wins_and_rules_can_be_replaced():
    faults = Faults([Rule("*", "answer", answer={"n": 1}), Rule("*", "answer", times=None, answer={"n": 2})])
    assert [faults.meet("a")["n"] for _ in range(3)] == [1, 2, 2]
    faults.replace([])
    assert faults.meet("a") == {}


def test_meeting_a_fault_waits_and_raises_it_with_its_properties():
    faults = Faults([Rule("a", "fault", seconds=0.02, fault="FileFault", details={"file": "x.vmdk"})])
    began = time.monotonic()
    with pytest.raises(InjectedFault) as caught:
        faults.meet("a")
    assert time.monotonic() - began >= 0.02
    assert (caught.value.name, caught.value.details) == ("FileFault", {"file": "x.vmdk"})


def test_chance_follows_the_seed():
    def run(seed: int) -> list[bool]:
        faults = Faults([Rule("a", "cut", times=None, chance=0.5)], seed)
        return [faults.consult("a") is not None for _ in range(64)]

    assert run(1) == run(1) != run(2)
    assert 10 < sum(run(1)) < 54


ROOT = Path(__file__).parents[2]


@pytest.mark.generated
def test_every_point_is_consulted_and_documented():
    """And every point that is consulted is known, so that a rule for it is not refused."""
    code = "".join(
        file.read_text() for file in (ROOT / "simulator").rglob("*.py") if file.name != "faults.py"
    )
    assert set(re.findall(r'"((?:estate|nfc|folder)\.[a-z]+)"', code)) == set(POINTS)
    pages = "".join(file.read_text() for file in (ROOT / "docs").glob("simulator*.md"))
    assert [point for point in POINTS if f"`{point}`" not in pages] == []
