"""Invariants 5 and 6: changed areas are consumed by covered length, and doubt never means "no changes"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import (
    BadInput,
    ChangesUnknown,
    Conflict,
    ConnectorError,
    NotFound,
    NotPermitted,
    SessionExpired,
    Unreachable,
    VCenterFault,
)
from connector.model import Extent, MachineDisk
from connector.vcenter.changes import ChangedAreas, covered, doubted, merged, root_file, why_no_delta

CELL = 512


@st.composite
def _answers(draw: st.DrawFn) -> tuple[int, set[int], Callable[[int], ChangedAreas], list[int]]:
    """A disk, its changed cells, and a server that pages over them in windows of any length."""
    cells = draw(st.integers(1, 60))
    dirty = draw(st.sets(st.integers(0, cells - 1)))
    cuts = sorted(draw(st.sets(st.integers(1, cells - 1))) if cells > 1 else set())
    ends = [*cuts, cells]
    asked: list[int] = []

    def ask(start: int) -> ChangedAreas:
        asked.append(start)
        assert start < cells * CELL, "asked at or past the end"
        end = next(end for end in ends if end * CELL > start)
        areas = tuple(Extent(n * CELL, CELL) for n in sorted(dirty) if start <= n * CELL < end * CELL)
        return ChangedAreas(start, end * CELL - start, areas)

    return cells * CELL, dirty, ask, asked


@given(_answers())
def test_invariant_5_every_changed_byte_is_found_whatever_the_paging(
    case: tuple[int, set[int], Callable[[int], ChangedAreas], list[int]],
) -> None:
    capacity, dirty, ask, asked = case
    found = covered(capacity, ask)
    cells = {n for area in found for n in range(area.start // CELL, area.end // CELL)}
    assert cells == dirty
    assert asked == sorted(set(asked)) and asked[0] == 0
    assert all(one.end < other.start for one, other in pairwise(found))


def test_invariant_5_empty_windows_in_the_middle_do_not_end_the_search() -> None:
    pages = {
        0: ChangedAreas(0, 10, ()),
        10: ChangedAreas(10, 10, ()),
        20: ChangedAreas(20, 10, (Extent(25, 5),)),
    }
    assert covered(30, pages.__getitem__) == (Extent(25, 5),)


def test_a_disk_without_capacity_is_not_asked_about() -> None:
    def never(_: int) -> ChangedAreas:
        raise AssertionError

    assert covered(0, never) == ()


WRONG = {
    "zero length": ChangedAreas(0, 0, ()),
    "negative length": ChangedAreas(0, -5, ()),
    "wrong start": ChangedAreas(5, 95, ()),
    "start before": ChangedAreas(-5, 100, ()),
    "past the end": ChangedAreas(0, 101, ()),
    "area before the window": ChangedAreas(0, 50, (Extent(-1, 3),)),
    "area past the window": ChangedAreas(0, 50, (Extent(49, 2),)),
    "area past the disk": ChangedAreas(0, 100, (Extent(99, 2),)),
    "empty area": ChangedAreas(0, 100, (Extent(9, 0),)),
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=list(WRONG))
def test_contradictions_are_refused(answer: ChangedAreas) -> None:
    with pytest.raises(ChangesUnknown, match="hashes"):
        covered(100, lambda _: answer, "vm-1 Hard disk 1")


@given(st.integers(1, 99), st.integers(-200, 200), st.integers(-50, 200))
def test_a_second_window_that_does_not_continue_is_refused(first: int, start: int, length: int) -> None:
    pages = [ChangedAreas(0, first, ()), ChangedAreas(start, length, ())]
    if start == first and length == 100 - first:
        return
    with pytest.raises((ChangesUnknown, IndexError)) as refused:
        covered(100, lambda _: pages.pop(0))
    if not 0 < length < 100 - first or start != first:
        assert isinstance(refused.value, ChangesUnknown)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)).map(lambda pair: Extent(*pair))))
def test_merging_keeps_every_byte_and_no_other(areas: list[Extent]) -> None:
    def bytes_of(extents: object) -> set[int]:
        return {byte for area in extents for byte in range(area.start, area.end)}  # type: ignore[attr-defined]

    found = merged(areas)
    assert bytes_of(found) == bytes_of(areas)
    assert all(one.end < other.start for one, other in pairwise(found))


BASE = MachineDisk(
    key=2000,
    label="Hard disk 1",
    capacity=1 << 30,
    path="[ds1] web/web.vmdk",
    datastore="ds1",
    backing="FlatVer2",
    mode="persistent",
    uuid="6000C29a",
    change_id="52 de c0 d9/4",
)


def test_the_next_snapshot_of_the_same_disk_is_comparable() -> None:
    assert why_no_delta(BASE, replace(BASE, change_id="52 de c0 d9/9")) is None
    assert (
        why_no_delta(BASE, replace(BASE, change_id="52 de c0 d9/9", path="[ds1] web/web-000002.vmdk")) is None
    )


REASONS = {
    "uuid part": (replace(BASE, change_id="53 00 00 00/1"), "restarted"),
    "null id": (replace(BASE, change_id=None), "not active"),
    "empty id": (replace(BASE, change_id=""), "not active"),
    "resized": (replace(BASE, capacity=2 << 30), "resized"),
    "moved to another datastore": (replace(BASE, path="[ds2] web/web.vmdk"), "moved"),
    "moved to another folder": (replace(BASE, path="[ds1] web_1/web.vmdk"), "moved"),
    "another disk": (replace(BASE, uuid="6000C29b"), "another disk"),
}


@pytest.mark.parametrize(("now", "reason"), REASONS.values(), ids=list(REASONS))
def test_whatever_spoils_a_change_id_is_named(now: MachineDisk, reason: str) -> None:
    assert reason in (why_no_delta(BASE, now) or "")


def test_a_base_without_a_change_id_is_none() -> None:
    assert "base" in (why_no_delta(replace(BASE, change_id=None), BASE) or "")


def test_only_a_snapshots_suffix_is_dropped_from_a_file_name() -> None:
    assert root_file("[d] a/a-000001.vmdk") == "[d] a/a.vmdk"
    assert root_file("[d] a/a-1.vmdk") == "[d] a/a-1.vmdk"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (VCenterFault("a file could not be used"), ChangesUnknown),
        (BadInput("refused"), ChangesUnknown),
        (ChangesUnknown("x"), ChangesUnknown),
        (Unreachable("x"), Unreachable),
        (SessionExpired("x"), SessionExpired),
        (VCenterFault("x", retryable=True), VCenterFault),
        (Conflict("busy", retryable=True), Conflict),
        (NotFound("x"), NotFound),
        (NotPermitted("x"), NotPermitted),
    ],
)
def test_what_a_failed_query_means(error: ConnectorError, kind: type[ConnectorError]) -> None:
    assert type(doubted(error)) is kind
