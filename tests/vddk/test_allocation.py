"""The arithmetic of chunk queries, against the plain definition, for any disk and window."""

import itertools
from collections.abc import Iterator

from hypothesis import example, given
from hypothesis import strategies as st

from vddk.abi import MAX_CHUNKS
from vddk.allocation import Window, extents, merged, sound, windows
from vddk.spec import Extent

CHUNK = 65536
SECTOR = 512


@st.composite
def questions(draw: st.DrawFn) -> tuple[int, int, int]:
    capacity = draw(st.integers(0, 40 * CHUNK // SECTOR)) * SECTOR
    start = draw(st.integers(0, capacity))
    return capacity, start, draw(st.integers(0, capacity - start))


@given(questions())
def test_windows_keep_the_rules_and_cover_what_was_asked(question: tuple[int, int, int]) -> None:
    capacity, start, length = question
    found = list(windows(capacity, start, length, CHUNK))
    for window in found:
        assert window.length > 0 and window.start % CHUNK == 0 and window.start + window.length <= capacity
        assert not window.answerable or window.length % CHUNK == 0
    assert all(a.start + a.length == b.start for a, b in itertools.pairwise(found))
    if length:
        assert found[0].start <= start and found[-1].start + found[-1].length >= start + length
        assert all(window.answerable for window in found[:-1])
    else:
        assert not any(not window.answerable for window in found)


@given(st.integers(1, 64 << 40), st.sampled_from([65536, 1 << 20]))
@example(2_800_000_000_000 + 512, 65536)
@example(62 << 40, 65536)
def test_no_query_is_too_long_for_the_largest_disk(capacity: int, chunk: int) -> None:
    capacity -= capacity % SECTOR
    found = list(windows(capacity, 0, capacity, chunk))
    assert all(window.length // chunk <= MAX_CHUNKS for window in found)
    assert sum(window.length for window in found) == capacity


@given(questions(), st.data())
def test_extents_are_the_allocated_chunks_and_the_tail(
    question: tuple[int, int, int], data: st.DataObject
) -> None:
    capacity, start, length = question
    chunks = capacity // CHUNK
    used = data.draw(st.sets(st.integers(0, max(chunks - 1, 0)), max_size=chunks)) if chunks else set()

    def ask(window: Window) -> Iterator[Extent]:
        first, last = window.start // CHUNK, (window.start + window.length) // CHUNK
        return (Extent(chunk * CHUNK, CHUNK) for chunk in sorted(used) if first <= chunk < last)

    found = list(extents(ask, capacity, start, length, CHUNK))
    tail = [Extent(chunks * CHUNK, capacity - chunks * CHUNK)]
    assert found == list(
        merged([Extent(chunk * CHUNK, CHUNK) for chunk in sorted(used)] + tail, start, length)
    )


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9))), st.integers(0, 50), st.integers(0, 50))
def test_merging_is_set_union_inside_a_window(pieces: list[tuple[int, int]], start: int, length: int) -> None:
    ascending = [Extent(*piece) for piece in sorted(pieces)]
    found = list(merged(ascending, start, length))
    wanted = {i for s, n in pieces for i in range(s, s + n)} & set(range(start, start + length))
    assert [i for s, n in found for i in range(s, s + n)] == sorted(wanted)
    assert all(a.start + a.length < b.start for a, b in itertools.pairwise(found))


@given(st.lists(st.tuples(st.integers(-2, 12), st.integers(-1, 6)), max_size=4))
def test_an_answer_is_sound_only_in_order_and_inside(blocks: list[tuple[int, int]]) -> None:
    window = Window(2, 8, answerable=True)
    spread = [i for s, n in blocks for i in range(s, s + n)]
    proper = (
        all(n > 0 for _, n in blocks) and spread == sorted(set(spread)) and all(2 <= i < 10 for i in spread)
    )
    assert sound([Extent(*block) for block in blocks], window) == proper


def test_a_later_window_is_not_asked_for_before_it_is_needed() -> None:
    asked: list[Window] = []

    def ask(window: Window) -> list[Extent]:
        asked.append(window)
        return [Extent(window.start, CHUNK), Extent(window.start + 2 * CHUNK, CHUNK)]

    step = MAX_CHUNKS * CHUNK
    found = extents(ask, 5 * step, 0, 5 * step, CHUNK)
    assert asked == []
    assert next(found) == Extent(0, CHUNK)
    assert len(asked) == 1
