"""Bitmaps become extents: padding, the tail, windows, any pattern."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfc.allocation import MOST_CHUNKS, Window, bitmap_extents, bitmap_size, extents, windows
from nfc.errors import OutOfRange
from nfc.spec import CHUNK, Extent


def test_golden_bitmap() -> None:
    assert bitmap_extents(bytes.fromhex("b1010000"), 9, 0, 65536) == [
        Extent(0, 65536),
        Extent(4 * 65536, 2 * 65536),
        Extent(7 * 65536, 2 * 65536),
    ]


def test_padding_means_nothing() -> None:
    assert bitmap_extents(b"\xff\xff\xff\xff", 3, CHUNK, CHUNK) == [Extent(CHUNK, 3 * CHUNK)]
    assert bitmap_extents(b"\xf8\xff\xff\xff", 3, CHUNK, CHUNK) == []
    assert bitmap_extents(b"", 0, 0, CHUNK) == []
    assert [bitmap_size(count) for count in (0, 1, 32, 33, MOST_CHUNKS)] == [0, 4, 4, 8, 65536]


@given(st.lists(st.booleans(), max_size=100), st.integers(0, 5))
def test_a_bitmap_says_which_chunks(bits: list[bool], first: int) -> None:
    number = sum(1 << index for index, bit in enumerate(bits) if bit)
    bitmap = number.to_bytes(bitmap_size(len(bits)), "little")
    covered = {
        (extent.start + step) // CHUNK - first
        for extent in bitmap_extents(bitmap, len(bits), first * CHUNK, CHUNK)
        for step in range(0, extent.length, CHUNK)
    }
    assert covered == {index for index, bit in enumerate(bits) if bit}


def test_the_tail_cannot_be_asked_for_and_counts_as_allocated() -> None:
    capacity = 10 * CHUNK + 512
    assert list(windows(capacity, 0, capacity, CHUNK)) == [
        Window(0, 10 * CHUNK, answerable=True),
        Window(10 * CHUNK, 512, answerable=False),
    ]
    assert list(extents(lambda window: [], capacity, 0, capacity, CHUNK)) == [Extent(10 * CHUNK, 512)]
    assert list(extents(lambda window: [], 512, 0, 512, CHUNK)) == [Extent(0, 512)]


@settings(max_examples=40)
@given(st.integers(1, 40 * CHUNK), st.data())
def test_questions_are_whole_chunks_inside_the_disk(sectors: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, sectors))
    length = data.draw(st.integers(0, sectors - start))
    asked: list[Window] = []

    def everything(window: Window) -> list[Extent]:
        asked.append(window)
        return [Extent(window.start, window.length)]

    answer = list(extents(everything, sectors, start, length, CHUNK))
    assert answer == ([Extent(start, length)] if length else [])
    for window in asked:
        assert window.start % CHUNK == window.length % CHUNK == 0
        assert window.start + window.length <= sectors


def test_a_large_disk_is_asked_for_in_steps() -> None:
    steps = list(windows(62 << 40, 0, 62 << 40, CHUNK))
    assert max(step.length for step in steps) == MOST_CHUNKS * CHUNK
    assert sum(step.length for step in steps) == 62 << 40


def test_outside_of_the_disk_is_refused_at_once() -> None:
    for start, length in ((-1, 1), (0, -1), (0, 513), (513, 0)):
        with pytest.raises(OutOfRange):
            extents(lambda window: [], 512, start, length, CHUNK)
