"""How a disk is brought up to date: every doubt means comparing, and the question to vCenter is about the base's disk."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from connector.appliance.passes.planning import Decision, decide
from connector.errors import ChangesUnknown
from connector.model import Extent, MachineDisk

DISK = MachineDisk(
    2000, "Hard disk 1", 8192, "[ds] now.vmdk", "ds", "FlatVer2", "persistent", "uuid-now", change_id="id/2"
)
CHANGES = (Extent(0, 65536),)
IDENTITY = {"uuid": "uuid-then", "path": "[ds] then.vmdk"}
BASE = {"pass_id": "p-1", "snapshot": "token-1", "change_id": "id/1", "identity": IDENTITY}
STATE: dict[str, Any] = {
    "touched": True,
    "base": BASE,
    "capacity": 4096,
    "doubt": "",
    "spoiled": [],
    "attempts": [],
}


def attempt(kind: str = "full", snapshot: str = "token-1") -> dict[str, Any]:
    return {"kind": kind, "snapshot": snapshot, "change_id": "id/0"}


def decided(
    state: dict[str, Any] | None,
    existing: Collection[str] = (),
    known: bool = True,
    disagreement: str = "",
) -> tuple[Decision, list[MachineDisk]]:
    asked: list[MachineDisk] = []

    def changed(was: MachineDisk) -> tuple[Extent, ...]:
        asked.append(was)
        if not known:
            raise ChangesUnknown("tracking was restarted")
        return CHANGES

    return decide(state, DISK, "token-2", lambda: existing, changed, disagreement), asked


def test_invariant_13_a_disagreement_means_comparing_and_cbt_is_not_even_asked() -> None:
    decision, asked = decided(STATE, disagreement="they disagree")
    assert (decision.kind, decision.note, asked) == ("compare", "compared: they disagree", [])
    decision, _ = decided(STATE | {"doubt": "its journal was lost"}, disagreement="they disagree")
    assert decision.note == "compared: its journal was lost"


def test_a_target_that_is_new_is_copied_in_full_and_says_why() -> None:
    decision, _ = decided(None, disagreement="its target is gone")
    assert (decision.kind, decision.note) == ("full", "copied in full: its target is gone")


def test_a_delta_asks_about_the_disk_as_it_was_at_the_base() -> None:
    decision, (was,) = decided(STATE)
    assert decision == Decision("delta", "id/1", CHANGES)
    assert (was.capacity, was.change_id, was.uuid, was.path) == (4096, "id/1", "uuid-then", "[ds] then.vmdk")


def test_what_is_known_to_be_wrong_is_repaired_from_the_base() -> None:
    decision, _ = decided(STATE | {"spoiled": [[0, 512], [1024, 512]]})
    assert (decision.kind, decision.base_change_id, decision.changes) == ("repair", "id/1", CHANGES)
    assert "1024 bytes" in decision.note


@pytest.mark.parametrize("state", [None, STATE | {"touched": False}])
def test_a_target_that_nobody_wrote_is_copied_in_full(state: dict[str, Any] | None) -> None:
    assert decided(state) == (Decision("full"), [])


@pytest.mark.parametrize(
    ("changes", "existing", "known", "why"),
    [
        ({"doubt": "CBT missed a write"}, set(), True, "CBT missed a write"),
        ({}, {"token-1"}, True, "was still there"),
        ({}, set(), False, "tracking was restarted"),
        ({"base": None}, set(), True, "no finished pass"),
        ({"base": None, "attempts": [attempt(), attempt("compare")]}, set(), True, "no finished pass"),
        ({"base": None, "attempts": [attempt()]}, set(), False, "tracking was restarted"),
    ],
)
def test_invariant_6_every_doubt_means_comparing(
    changes: dict[str, Any], existing: set[str], known: bool, why: str
) -> None:
    decision, _ = decided(STATE | changes, existing, known)
    assert (decision.kind, decision.changes) == ("compare", None) and why in decision.note


def test_a_first_pass_goes_on_in_its_own_snapshot_without_asking() -> None:
    here, elsewhere = attempt(snapshot="token-2"), attempt()
    assert decided(STATE | {"base": None, "attempts": [here]}, known=False) == (Decision("full"), [])
    decision, (was,) = decided(STATE | {"base": None, "attempts": [elsewhere, here]})
    assert decision == Decision("full") and was.change_id == "id/0"
