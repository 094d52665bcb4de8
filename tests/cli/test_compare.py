"""The comparison at the end finds any single differing byte, wherever it is."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from connector.cli import compare as compared
from connector.cli.compare import compare

SIZE = 3 * 4096 + 512


def reader(data: bytes) -> compared.Reader:
    return lambda offset, length: data[offset : offset + length]


def test_equal_disks_are_equal() -> None:
    data = random.Random(1).randbytes(SIZE)
    assert compare(reader(data), reader(bytes(data)), SIZE).equal


@given(st.integers(0, SIZE - 1), st.integers(1, 255))
def test_one_flipped_byte_is_found_and_located(where: int, flip: int) -> None:
    data = random.Random(2).randbytes(SIZE)
    other = bytearray(data)
    other[where] ^= flip
    assert compare(reader(data), reader(bytes(other)), SIZE).first_difference == where


def test_a_target_that_is_too_short_differs() -> None:
    data = bytes(SIZE)
    assert compare(reader(data), reader(data[:-1]), SIZE).first_difference == SIZE - 1
