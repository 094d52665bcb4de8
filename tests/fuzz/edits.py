"""Inputs made from the kept ones by a few edits, as hypothesis draws them."""

from __future__ import annotations

from random import Random
from typing import Final

from hypothesis import strategies as st

from tests.fuzz.targets import Target

LONGEST: Final = 1 << 18
#: What one reader or the other gives a meaning to.
WORDS: Final = (
    b"{", b"}", b"[", b"]", b"&a ", b"*a", b"<<: *a", b"!!python/object:x ", b"---\n", b"null", b"~", b"-", b": ",
    b"\n  ", b"\n", b"\t", b"\"", b"'", b"|\n", b"? ", b"%TAG", b"#", b".inf", b"0x", b"1e999", b"9" * 400,
    b"9999999999999999999", b"0", b"true", b"1.5", b"\\ud800", b"4611686018427387903",
    b"\xff", b"\x00", b"\xf0\x9f\x92\xa5", b"\xed\xa0\x80", b"2030-13-45", b"{" * 60, b"[" * 3000,
)  # fmt: skip
_NUMBERS: Final = st.builds(
    lambda value, size: (value % (1 << 8 * size)).to_bytes(size, "big"),
    st.sampled_from([0, 1, 0x7F, 0xFF, 0xFFFF, 1 << 16, 1 << 20, 1 << 24, (1 << 32) - 1, (1 << 63) - 1, -1]),
    st.sampled_from([1, 2, 4, 8]),
)
_PUT: Final = st.one_of(st.just(b""), st.binary(max_size=40), _NUMBERS, st.sampled_from(WORDS))


@st.composite
def edited(draw: st.DrawFn, target: Target) -> bytes:
    """One of the kept inputs with one to six pieces replaced, repeated or taken from another; mostly its checksums are
    made right again.
    """
    pool = target.inputs()
    data = draw(st.sampled_from(pool))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, min(96, len(data))) | st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 2, 4, 8, 64, LONGEST])))
        other = draw(st.sampled_from(pool))
        put = draw(
            _PUT | st.sampled_from([data[start:end] * 2, data[start:end] * 30, other[start:], other[:end]])
        )
        data = (data[:start] + put + data[end:])[:LONGEST]
    return target.mend(data, Random(0)) if draw(st.integers(0, 4)) else data
