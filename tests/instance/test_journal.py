"""The journal: golden bytes, and any cut leaves a prefix of what was acknowledged."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import Conflict
from connector.instance import journal
from connector.instance.journal import Discard, Grown, Journal, PassBegin, PassEnd, RangeKind, Ranges, Record
from connector.instance.state import State
from connector.model import Extent

GOLDEN = Path(__file__).parents[2] / "fixtures" / "journals"
CAPACITY = 1 << 30
FULL = PassBegin("pass-1", "full", "snapshot-7", "52 de c0/81", "", '{"uuid": "6000C29a"}')
DELTA = PassBegin("pass-2", "delta", "snapshot-9", "52 de c0/90", "52 de c0/81", '{"uuid": "6000C29a"}')
DATA = Ranges(((Extent(0, 1 << 20), RangeKind.DATA), (Extent(1 << 25, 1 << 29), RangeKind.ZERO)))
CHANGED = Ranges(((Extent(1 << 16, 1 << 16), RangeKind.DATA),))
STORIES: dict[str, list[Record]] = {
    "fresh": [],
    "interrupted-full": [FULL, DATA],
    "finished-full": [FULL, DATA, PassEnd("pass-1")],
    "interrupted-delta": [FULL, DATA, PassEnd("pass-1"), DELTA, CHANGED],
    "discarded-delta": [FULL, DATA, PassEnd("pass-1"), DELTA, CHANGED, Discard()],
    "grown": [FULL, DATA, PassEnd("pass-1"), Grown(CAPACITY * 2)],
}


def written(records: list[Record]) -> bytes:
    return journal.header("2000", CAPACITY) + b"".join(journal.encode(record) for record in records)


@pytest.mark.parametrize("name", STORIES)
def test_golden_journals_are_written_and_read_for_ever(name: str, tmp_path: Path) -> None:
    stored = GOLDEN / f"{name}.journal"
    assert written(STORIES[name]) == stored.read_bytes()
    found = Journal(Path(shutil.copy(stored, tmp_path / "journal")), "2000", CAPACITY)
    assert found.records == STORIES[name]
    found.close()


@pytest.mark.parametrize(
    ("name", "base", "attempts", "settled"),
    [
        ("fresh", None, [], False),
        ("interrupted-full", None, [FULL], False),
        ("finished-full", FULL, [], True),
        ("interrupted-delta", FULL, [DELTA], False),
        ("discarded-delta", FULL, [], False),
        ("grown", None, [], False),
    ],
)
def test_what_a_journal_means(
    name: str, base: PassBegin | None, attempts: list[PassBegin], settled: bool
) -> None:
    state = State.fold(CAPACITY, STORIES[name])
    assert (state.base, [a.begin for a in state.attempts], state.settled) == (base, attempts, settled)


texts = st.text(max_size=20)
extents = st.builds(Extent, st.integers(0, 1 << 40), st.integers(1, 1 << 40))
records = st.one_of(
    st.builds(PassBegin, texts, st.sampled_from(["full", "delta"]), texts, texts, texts, texts),
    st.lists(st.tuples(extents, st.sampled_from(RangeKind)), max_size=5).map(
        lambda found: Ranges(tuple(found))
    ),
    st.builds(PassEnd, texts),
    st.just(Discard()),
    st.builds(Grown, st.integers(0, 1 << 60)),
)


@given(st.lists(records, max_size=6), st.data())
def test_invariant_1_cut_at_any_byte_leaves_a_prefix(story: list[Record], data: st.DataObject) -> None:
    stream = written(story)
    cut = data.draw(st.integers(0, len(stream)))
    garbage = data.draw(st.binary(max_size=8))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "journal")
        header = len(journal.header("2000", CAPACITY))
        path.write_bytes(stream[:cut] + (garbage if cut >= header else b""))
        found = Journal(path, "2000", CAPACITY)
        whole = [n for n in range(len(story) + 1) if len(written(story[:n])) <= cut]
        least = max(whole, default=0)
        assert found.records[:least] == story[:least]
        assert found.records == story[: len(found.records)] or len(garbage) > 0
        found.append(PassEnd("after the cut"))
        found.close()
        again = Journal(path, "2000", CAPACITY)
        assert again.records == [*found.records, PassEnd("after the cut")]
        again.close()


@given(st.data())
def test_a_flipped_bit_ends_the_journal_there(data: st.DataObject) -> None:
    story = STORIES["interrupted-delta"]
    stream = bytearray(written(story))
    start = len(journal.header("2000", CAPACITY))
    at = data.draw(st.integers(start, len(stream) - 1))
    stream[at] ^= 1 << data.draw(st.integers(0, 7))
    found, _ = journal.read_records(bytes(stream), start)
    assert found == story[: len(found)] and len(found) < len(story)


def test_another_disk_and_a_newer_release_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(written([FULL]))
    with pytest.raises(Conflict, match="journal of disk '2000'"):
        Journal(path, "2001", CAPACITY)
    newer = bytearray(written([FULL]))
    newer[9] = 2
    path.write_bytes(newer)
    with pytest.raises(Conflict, match="version 2 is newer than 1"):
        Journal(path, "2000", CAPACITY)
    path.write_bytes(b"something else entirely")
    with pytest.raises(Conflict, match="not a journal"):
        Journal(path, "2000", CAPACITY)
    damaged = bytearray(written([FULL]))
    damaged[25] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(Conflict, match="damaged"):
        Journal(path, "2000", CAPACITY)
    assert path.read_bytes() == damaged
