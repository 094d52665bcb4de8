"""The account of a disk: every byte has exactly one reason, in few bytes, and what is no account is refused."""

from __future__ import annotations

import base64
import itertools
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.model import Extent
from connector.transfer import account as accounts
from connector.transfer import digest
from connector.transfer import extents as ranges
from connector.transfer.account import PLAIN, Account, NoAccount, from_json, parts_of
from connector.transfer.extents import BLOCK, CELL
from connector.transfer.reasons import SEGMENTS, Piece, Reason, segment, tile, tiles
from connector.transfer.roots import Roots

CELLS = 40
CAPACITY = CELLS * CELL - 512
claims = st.lists(
    st.tuples(st.sampled_from(Reason), st.sets(st.integers(0, CELLS - 1), max_size=15)), max_size=5
)


def to_extents(cells: set[int]) -> list[Extent]:
    return ranges.clip(ranges.normalise(Extent(n * CELL, CELL) for n in cells), CAPACITY)


@given(claims)
def test_every_cell_has_one_reason_and_the_first_claim_counts(made: list[tuple[Reason, set[int]]]) -> None:
    pieces = tile(CAPACITY, [(reason, to_extents(cells)) for reason, cells in made], Reason.UNCHANGED)
    assert tiles([(p.start, p.length) for p in pieces], CAPACITY)
    assert all(a.reason is not b.reason for a, b in itertools.pairwise(pieces))
    for number in range(CELLS):
        wanted = next((reason for reason, cells in made if number in cells), Reason.UNCHANGED)
        assert [p.reason for p in pieces if p.start <= number * CELL < p.end] == [wanted]


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [(0, CAPACITY - 1)],
        [(0, CELL), (2 * CELL, CAPACITY - 2 * CELL)],
        [(0, 100), (100, CAPACITY - 100)],
    ],
)
def test_what_leaves_a_gap_does_not_tile(pieces: list[tuple[int, int]]) -> None:
    assert not tiles(pieces, CAPACITY)


def account(pieces: list[Piece], capacity: int) -> Account:
    parts = parts_of(pieces, capacity)
    one = tuple(digest.root(str(part).encode()) for part in parts)
    return Account(capacity, tuple(pieces), tuple(parts), one, one, (digest.zeros(1), digest.zeros(1)))


def again(made: Account) -> Account:
    return from_json(json.loads(json.dumps(made.to_json())))


@given(claims)
def test_few_ranges_are_listed_one_by_one(made: list[tuple[Reason, set[int]]]) -> None:
    pieces = tile(CAPACITY, [(reason, to_extents(cells)) for reason, cells in made], Reason.DATA)
    told = account(pieces, CAPACITY)
    assert "ranges" in told.to_json()
    read = again(told)
    assert (
        tile(CAPACITY, [(p.reason, [Extent(p.start, p.length)]) for p in read.pieces], Reason.DATA) == pieces
    )
    assert (read.parts, read.source, read.target, read.whole) == (
        told.parts,
        told.source,
        told.target,
        told.whole,
    )


def fragmented(capacity: int) -> list[Piece]:
    """Every second cell changed."""
    odd = [Extent(at, CELL) for at in range(CELL, capacity, 2 * CELL)]
    return tile(capacity, [(Reason.CHANGED, odd)], Reason.UNCHANGED)


def test_of_a_badly_fragmented_disk_the_reasons_are_packed() -> None:
    capacity = 2 * PLAIN * CELL + 512
    told = account(fragmented(capacity), capacity)
    body = told.to_json()
    assert set(body) == {"capacity", "segment", "root", "packed"}
    assert len(body["packed"]["reasons"]) < 1000
    assert again(told) == told
    assert told.reasons(Extent(CELL, 2 * CELL)) == [Reason.CHANGED, Reason.UNCHANGED]


@pytest.mark.parametrize("capacity", [512, CELL, BLOCK, 40 << 30, (62 << 40) + 512])
def test_a_disk_has_a_bounded_number_of_segments(capacity: int) -> None:
    size = segment(capacity)
    assert size >= BLOCK and size & (size - 1) == 0
    assert len(parts_of([Piece(0, capacity, Reason.DATA)], capacity)) <= SEGMENTS
    assert len(json.dumps(account([Piece(0, capacity, Reason.DATA)], capacity).to_json())) < 1 << 20


def plain() -> dict[str, Any]:
    return account(tile(CAPACITY, [(Reason.DATA, [Extent(0, CELL)])], Reason.EQUAL), CAPACITY).to_json()


def packed() -> dict[str, Any]:
    capacity = 2 * PLAIN * CELL
    return account(fragmented(capacity), capacity).to_json()


def broken(body: dict[str, Any], path: tuple[Any, ...], value: object) -> dict[str, Any]:
    made = json.loads(json.dumps(body))
    at = made
    for step in path[:-1]:
        at = at[step]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return made


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        broken(plain(), ("capacity",), True),
        broken(plain(), ("capacity",), CAPACITY + CELL),
        broken(plain(), ("segment",), 512),
        broken(plain(), ("root",), {"source": "00" * 32}),
        broken(plain(), ("root", "source"), "00" * 31),
        broken(plain(), ("ranges",), ...),
        broken(plain(), ("ranges", 0), ...),
        broken(plain(), ("ranges", 0, 0), CELL),
        broken(plain(), ("ranges", 0, 1), 0),
        broken(plain(), ("ranges", 0, 2), "because"),
        broken(plain(), ("ranges", 0, 2), []),
        broken(plain(), ("ranges", 0, 3), "AB" * 32),
        broken(plain(), ("ranges", 0, 4), None),
        broken(plain(), ("ranges",), [[0, CAPACITY, "data", "00" * 32, "00" * 32]] * (PLAIN + 1)),
        broken(packed(), ("packed", "reasons"), "!!!"),
        broken(packed(), ("packed", "reasons"), "eJwDAAAAAAE="),
        broken(packed(), ("packed", "source"), []),
        broken(packed(), ("packed", "target", 0), "x"),
        broken(packed(), ("packed",), []),
    ],
)
def test_what_is_no_account_is_refused(body: object) -> None:
    with pytest.raises(NoAccount):
        from_json(body)


@pytest.mark.parametrize(
    "text", ["", "u10", "u39c0", "u41", "x40", "u40u", "u39 c1", "u020c20", f"u{'9' * 30}"]
)
def test_packed_reasons_that_do_not_tile_are_refused(text: str) -> None:
    with pytest.raises(NoAccount, match="tile"):
        accounts._pieces(text, CAPACITY)


def test_a_bomb_of_reasons_is_not_unpacked_to_its_end() -> None:
    bomb = base64.b64encode(zlib.compress(b"u1" * (accounts.UNPACKED // 2 + 1))).decode()
    with pytest.raises(NoAccount, match="do not end"):
        accounts._unpack(bomb, CAPACITY)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


@given(st.sampled_from([plain(), packed()]), st.data())
def test_noise_in_an_account_is_refused_or_read(body: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(body)))
    try:
        from_json(body | {name: data.draw(JSON)})
    except NoAccount:
        return


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.lists(st.integers(1, 7), max_size=20))
def test_roots_do_not_depend_on_how_the_digests_come(lengths: list[int], cuts: list[int]) -> None:
    parts, at = [], 0
    for length in lengths:
        parts.append(Extent(at * CELL, length * CELL))
        at += length
    digests = b"".join(digest.zeros(n + 1) for n in range(at))
    roots = Roots(at * CELL, parts)
    position = 0
    for size in [*cuts, at]:
        roots.feed(digests[position * 32 : (position + size) * 32])
        position += size
    assert roots.piece_roots == [
        digest.root(digests[p.start // CELL * 32 : p.end // CELL * 32]) for p in parts
    ]
    assert roots.flat == digest.root((at * CELL).to_bytes(8, "big") + digests)
