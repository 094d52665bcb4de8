"""Fragments unpack to exactly what they say, whatever a host sends, in no more memory than that."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfc.codec import Compression, announced, unpack, wanted
from nfc.errors import BadCompression, BadSetting, MalformedAnswer, UnknownCompression


def unpacked(method: Compression, packed: bytes, length: int) -> bytes:
    memory = bytearray(b"\xee" * (length + 32))
    unpack(method, memoryview(packed), memoryview(memory)[16 : 16 + length])
    assert memory[:16] == memory[-16:] == b"\xee" * 16
    return bytes(memory[16:-16])


def skipz(length: int, *runs: tuple[int, bytes]) -> bytes:
    return struct.pack("<II", length, 0) + b"".join(
        struct.pack("<II", place, len(run)) + run for place, run in runs
    )


def test_golden_bytes() -> None:
    zeros = bytes.fromhex("10000000 00000000")
    assert unpacked(Compression.SKIPZ, zeros, 16) == bytes(16)
    runs = bytes.fromhex("10000000 00000000  02000000 03000000 616263  0f000000 01000000 7a")
    assert unpacked(Compression.SKIPZ, runs, 16) == b"\0\0abc" + bytes(10) + b"z"
    assert unpacked(Compression.ZLIB, bytes.fromhex("789c4b4c4a06000 24d0127".replace(" ", "")), 3) == b"abc"
    assert unpacked(Compression.NONE, b"abc", 3) == b"abc"


@settings(max_examples=40)
@given(st.lists(st.one_of(st.binary(min_size=1, max_size=60), st.integers(1, 200)), max_size=8))
def test_round_trips(parts: list[bytes | int]) -> None:
    plain = b"".join(part if isinstance(part, bytes) else bytes(part) for part in parts) + b"\0"
    runs, place = [], 0
    for part in parts:
        if isinstance(part, bytes):
            runs.append((place, part))
        place += len(part) if isinstance(part, bytes) else part
    assert unpacked(Compression.SKIPZ, skipz(len(plain), *runs), len(plain)) == plain
    assert unpacked(Compression.ZLIB, zlib.compress(plain), len(plain)) == plain


@settings(max_examples=40)
@given(st.sampled_from([Compression.ZLIB, Compression.SKIPZ]), st.binary(max_size=120), st.integers(1, 300))
def test_any_bytes_unpack_or_are_refused(method: Compression, packed: bytes, length: int) -> None:
    try:
        unpacked(method, packed, length)
    except BadCompression as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("cut", range(19))
def test_a_cut_skipz_is_refused(cut: int) -> None:
    whole = skipz(16, (2, b"abc"))
    if cut != 8:  # the head alone is all zeros
        with pytest.raises(BadCompression):
            unpacked(Compression.SKIPZ, whole[:cut], 16)


@pytest.mark.parametrize(
    "packed",
    [
        skipz(15),
        struct.pack("<II", 16, 1),
        skipz(16, (2, b"abc"), (4, b"x")),
        skipz(16, (4, b"x"), (2, b"a")),
        skipz(16, (14, b"abc")),
        skipz(16, (0xFFFFFFFF, b"abc")),
        skipz(16, (2, b"")),
        skipz(16) + struct.pack("<II", 0, 0xFFFFFFFF),
    ],
)
def test_a_wrong_skipz_is_refused(packed: bytes) -> None:
    with pytest.raises(BadCompression):
        unpacked(Compression.SKIPZ, packed, 16)


def test_zlib_fills_its_fragment_exactly() -> None:
    whole = zlib.compress(b"abc" * 100)
    for packed in (
        whole[:-1],
        whole[:5],
        whole + b"x",
        zlib.compress(b"abc" * 99),
        zlib.compress(b"abc" * 101),
        b"",
    ):
        with pytest.raises(BadCompression):
            unpacked(Compression.ZLIB, packed, 300)


def test_a_bomb_takes_no_more_than_the_plain_length() -> None:
    stream = zlib.compressobj(9)
    bomb = b"".join(stream.compress(bytes(1 << 20)) for _ in range(16)) + stream.flush()
    tracemalloc.start()
    try:
        with pytest.raises(BadCompression, match="more than"):
            unpacked(Compression.ZLIB, bomb, len(bomb))
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_methods_have_names() -> None:
    assert [wanted(name).value for name in ("none", "zlib", "skipz")] == [0, 1, 3]
    with pytest.raises(BadSetting, match="FastLZ is not supported"):
        wanted("fastlz")
    with pytest.raises(BadSetting):
        wanted("lz4")
    for number in (2, 4, 0xFFFFFFFF):
        with pytest.raises(UnknownCompression):
            announced(number)
    with pytest.raises(MalformedAnswer):
        unpack(Compression.FASTLZ, memoryview(b"x"), memoryview(bytearray(1)))
