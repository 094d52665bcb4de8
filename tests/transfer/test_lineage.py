"""A target is gone on from only when its instance and the last evidence say the same of it (invariant 13)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from connector.appliance.passes.order import order_from_json
from connector.errors import ControlFailed
from connector.transfer.evidence import LineageHead
from connector.transfer.lineage import Lineage, from_json

HEAD = LineageHead("p-a", "52/7", "t-1", 3, "root-3")
STATE: dict[str, Any] = {
    "base": {"pass_id": "p-a", "change_id": "52/7"},
    "target": "t-1",
    "generation": 3,
    "root": "root-3",
    "previous_root": "root-2",
}
NEXT = {
    "base": {"pass_id": "p-b", "change_id": "52/8"},
    "target": "t-1",
    "generation": 4,
    "root": "root-4",
    "previous_root": "root-3",
}


def lineage(head: LineageHead | None = HEAD, *readings: str, compare: str = "") -> Lineage:
    return Lineage({} if head is None else {"2000": head}, None, frozenset(readings), compare)


def test_invariant_13_target_and_evidence_agree() -> None:
    assert lineage().disagreement("2000", STATE) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"base": {"pass_id": "p-0", "change_id": "52/7"}}, "shows p-0, the evidence names p-a"),
        ({"base": {"pass_id": "p-a", "change_id": "52/6"}}, "another change id"),
        ({"target": "t-2"}, "not the one that the evidence of p-a names"),
        ({"generation": 2}, "another root or generation"),
        ({"root": "root-2"}, "another root or generation"),
        ({"root": ""}, "another root or generation"),
        ({"base": None}, "has no finished pass, the evidence names p-a"),
    ],
)
def test_invariant_13_any_difference_has_the_disk_compared(change: dict[str, Any], reason: str) -> None:
    assert reason in lineage().disagreement("2000", STATE | change)


def test_a_pass_that_died_before_its_evidence_is_one_step_ahead() -> None:
    assert lineage(HEAD, "p-b").disagreement("2000", NEXT) == ""


@pytest.mark.parametrize(
    "change",
    [
        {"target": "t-2"},
        {"generation": 5},
        {"previous_root": "root-2"},
        {"base": {"pass_id": "p-c", "change_id": "52/8"}},
    ],
)
def test_invariant_13_whatever_else_is_ahead_is_compared(change: dict[str, Any]) -> None:
    """A restored database does not know the pass; a restored target does not follow the head."""
    assert lineage(HEAD, "p-b").disagreement("2000", NEXT | change) != ""


def test_without_evidence_only_a_pass_that_the_control_plane_handed_out_counts() -> None:
    assert lineage(None, "p-a").disagreement("2000", STATE) == ""
    assert "no evidence" in lineage(None).disagreement("2000", STATE)
    assert lineage(None).disagreement("2000", STATE | {"base": None}) == ""


def test_what_the_control_plane_doubts_is_compared_whatever_the_target_says() -> None:
    assert lineage(compare="it was restored").disagreement("2000", STATE) == "it was restored"


def test_evidence_of_version_1_is_compared_by_reading_and_change_id() -> None:
    old = LineageHead("p-a", "52/7")
    assert lineage(old).disagreement("2000", STATE) == ""
    assert lineage(old, "p-b").disagreement("2000", NEXT) == ""
    assert lineage(old).disagreement("2000", NEXT) != ""
    assert lineage(replace(old, change_id="52/6")).disagreement("2000", STATE) != ""


def test_it_is_read_off_an_order_and_back() -> None:
    body = {
        "heads": {"2000": HEAD.to_json()},
        "previous": {"id": "p-a", "digest": "d"},
        "readings": ["p-b"],
        "compare": "",
    }
    assert from_json(body).to_json() == body
    assert from_json(body) == Lineage({"2000": HEAD}, {"id": "p-a", "digest": "d"}, frozenset({"p-b"}))
    assert from_json({}) == Lineage()


@pytest.mark.parametrize("body", [{"heads": {"2000": {}}}, {"previous": {}}, {"heads": 1}, 7])
def test_an_order_with_an_unreadable_lineage_is_refused(body: Any) -> None:
    order = {
        "pass_id": "p-1",
        "job_id": "j-1",
        "moref": "vm-1",
        "instance_uuid": "u",
        "name": "web",
        "final": False,
        "instance": None,
        "credential": None,
    }
    assert order_from_json(order).lineage == Lineage()
    with pytest.raises(ControlFailed, match="cannot be read"):
        order_from_json(order | {"lineage": body})
