"""Plans against a model of source and target: after the plan is delivered, the target shows the source."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.model import Extent
from connector.transfer import extents as ranges
from connector.transfer.extents import CELL
from connector.transfer.plan import InterruptedAttempt, plan

CELLS = 24
CAPACITY = CELLS * CELL - 512
cells = st.sets(st.integers(0, CELLS - 1), max_size=12)


def to_extents(numbers: set[int]) -> list[Extent]:
    return ranges.clip((Extent(n * CELL, CELL) for n in numbers), CAPACITY)


def to_cells(extents: list[Extent]) -> set[int]:
    return {at for e in extents for at in range(e.start // CELL, -(-e.end // CELL))}


@settings(max_examples=300)
@given(st.data())
def test_invariant_9_delivering_the_plan_makes_the_target_equal(data: st.DataObject) -> None:
    """History: several attempts under successive snapshots, each interrupted; between them the source changes."""
    source: dict[int, int] = dict.fromkeys(range(CELLS), 0)  # cell -> content, 0 is zeros
    target: dict[int, int] = dict.fromkeys(range(CELLS), 0)
    dirty = data.draw(st.booleans())
    if dirty:
        target = {n: data.draw(st.integers(0, 3)) for n in range(CELLS)}
    stamp = 10
    past: list[tuple[set[int], set[int]]] = []  # durable cells, cells changed since
    for attempt in range(data.draw(st.integers(1, 4))):
        changed = data.draw(cells)
        for n in changed:
            stamp += 1
            source[n] = stamp if data.draw(st.booleans()) else 0
        for _, since in past:
            since |= changed
        allocated = {n for n, content in source.items() if content}
        attempts = [InterruptedAttempt(to_extents(d), to_extents(c)) for d, c in past]
        made = plan(CAPACITY, to_extents(allocated), attempts, dirty=dirty or attempt > 0)
        todo = to_cells(made.read) | to_cells(made.zero)
        assert not to_cells(made.read) & to_cells(made.zero)
        done = {n for n in todo if data.draw(st.booleans())}
        for n in done:
            target[n] = 0 if n in to_cells(made.zero) else source[n]
        past.append((done, set()))
    allocated = {n for n, content in source.items() if content}
    made = plan(
        CAPACITY,
        to_extents(allocated),
        [InterruptedAttempt(to_extents(d), to_extents(c)) for d, c in past],
        dirty=True,
    )
    for n in to_cells(made.read):
        target[n] = source[n]
    for n in to_cells(made.zero):
        target[n] = 0
    assert target == source


@given(cells, cells)
def test_same_snapshot_reads_nothing_twice(wanted: set[int], durable: set[int]) -> None:
    made = plan(CAPACITY, to_extents(wanted), [InterruptedAttempt(to_extents(durable))])
    assert to_cells(made.read) == wanted - durable and made.zero == []
    assert to_cells(made.cover) == wanted


@given(cells, cells)
def test_delta_does_not_read_what_is_not_allocated(changed: set[int], allocated: set[int]) -> None:
    made = plan(CAPACITY, to_extents(changed), allocated=to_extents(allocated))
    assert to_cells(made.read) == changed & allocated
    assert to_cells(made.zero) == changed - allocated


def test_extents_are_rounded_to_cells_and_clipped() -> None:
    made = plan(CAPACITY, [Extent(CELL + 1, 1), Extent(CAPACITY - 1, 1)])
    assert made.read == [Extent(CELL, CELL), Extent((CELLS - 1) * CELL, CELL - 512)]


def test_what_changed_within_a_durable_cell_makes_the_whole_cell_stale() -> None:
    attempt = InterruptedAttempt([Extent(0, 4 * CELL)], [Extent(CELL + 100, 3)])
    made = plan(CAPACITY, [Extent(0, 2 * CELL)], [attempt])
    assert made.read == [Extent(CELL, CELL)]


def test_what_a_later_attempt_delivered_again_is_not_stale_for_the_earlier_one() -> None:
    changed = [Extent(0, 2 * CELL)]
    earlier, later = InterruptedAttempt([Extent(0, 4 * CELL)], changed), InterruptedAttempt([Extent(0, CELL)])
    assert plan(CAPACITY, [Extent(0, 4 * CELL)], [earlier, later]).read == [Extent(CELL, CELL)]
    assert plan(CAPACITY, [Extent(0, 4 * CELL)], [later, earlier]).read == changed


def test_what_is_stale_outside_of_what_is_wanted_is_read_and_never_taken_for_zeros() -> None:
    """Whether it is allocated was asked for the wanted ranges only: a repair may have delivered others."""
    attempt = InterruptedAttempt([Extent(0, CELL), Extent(8 * CELL, 2 * CELL)], [Extent(0, CAPACITY)])
    wanted = [Extent(0, 2 * CELL)]
    made = plan(CAPACITY, wanted, [attempt], allocated=[Extent(0, CELL)])
    assert made.read == [Extent(0, CELL), Extent(8 * CELL, 2 * CELL)]
    assert made.zero == [Extent(CELL, CELL)]


def test_what_became_stale_is_covered_even_where_nothing_is_allocated_any_more() -> None:
    made = plan(CAPACITY, [], [InterruptedAttempt([Extent(0, 2 * CELL)], [Extent(0, CELL)])])
    assert made.read == made.cover == [Extent(0, CELL)]
