"""The journal: golden bytes, and any cut leaves a prefix of what was acknowledged."""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import Conflict
from connector.instance import journal
from connector.instance.journal import Journal
from connector.instance.nodes import NodeArray as PageNodes
from connector.instance.records import (
    CRC,
    RANGE,
    RECORD,
    Discard,
    DoubtRecord,
    Grown,
    NodeRecord,
    Pages,
    PassBegin,
    PassEnd,
    Ranges,
    Record,
    Root,
    Spoiled,
    TargetRecord,
    Type,
    encode,
    read_records,
    take_records,
)
from connector.instance.state import DiskState
from connector.kinds import RangeState
from connector.model import Extent
from connector.transfer import extents as ranges
from connector.transfer import tree

GOLDEN = Path(__file__).parents[2] / "fixtures" / "journals"
CAPACITY = 1 << 30
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # every record is flushed, hundreds of them
FULL = PassBegin("pass-1", "full", "snapshot-7", "52 de c0/81", "", '{"uuid": "6000C29a"}')
DELTA = PassBegin("pass-2", "delta", "snapshot-9", "52 de c0/90", "52 de c0/81", '{"uuid": "6000C29a"}')
DATA = Ranges(((Extent(0, 1 << 20), RangeState.DATA), (Extent(1 << 25, 1 << 29), RangeState.ZERO)))
CHANGED = Ranges(((Extent(1 << 16, 1 << 16), RangeState.DATA),))
STORIES: dict[str, list[Record]] = {
    "fresh": [],
    "interrupted-full": [FULL, DATA],
    "finished-full": [FULL, DATA, PassEnd("pass-1")],
    "interrupted-delta": [FULL, DATA, PassEnd("pass-1"), DELTA, CHANGED],
    "discarded-delta": [FULL, DATA, PassEnd("pass-1"), DELTA, CHANGED, Discard()],
    "grown": [FULL, DATA, PassEnd("pass-1"), Grown(CAPACITY * 2)],
}
COMPARE = PassBegin("pass-3", "compare", "snapshot-11", "71 aa 09/2", "", '{"uuid": "6000C29a"}')
COMPARED = Ranges(
    (
        (Extent(0, 1 << 25), RangeState.SAME),
        (Extent(1 << 25, 1 << 20), RangeState.DATA),
        (Extent(33 << 20, CAPACITY - (33 << 20)), RangeState.HOLE),
    )
)
REPAIR = PassBegin("pass-1", "repair", "snapshot-7", "52 de c0/81", "52 de c0/81", '{"uuid": "6000C29a"}')
WRONG = Spoiled((Extent(1 << 16, 1 << 16), Extent(1 << 20, 1 << 16)))
FINISHED = STORIES["finished-full"]
NEWER: dict[str, list[Record]] = {
    "interrupted-compare": [*FINISHED, DoubtRecord("CBT missed a write"), COMPARE, COMPARED],
    "finished-compare": [*FINISHED, COMPARE, COMPARED, PassEnd("pass-3")],
    "doubted": [*FINISHED, DoubtRecord("CBT missed a write")],
    "spoiled": [*FINISHED, WRONG],
    "half-repaired": [*FINISHED, WRONG, REPAIR, CHANGED],
    "repaired": [
        *FINISHED,
        WRONG,
        REPAIR,
        CHANGED,
        Ranges(((WRONG.areas[1], RangeState.DATA),)),
        PassEnd("pass-1"),
    ],
}
TARGET = TargetRecord("0123456789abcdef0123456789abcdef")
TOUCHED = NodeRecord((Pages(0, 1, b"\x11" * 32), Pages(2, 32), Pages(40, 2, b"\x22" * 32 + b"\x33" * 32)))
ENDED = PassEnd("pass-1", b"\x44" * 32)
AGAIN = NodeRecord((Pages(0, 1, b"\x55" * 32),))
#: Version 3: who the target is, the nodes of each window, the roots of each pass.
ROOTED: dict[str, list[Record]] = {
    "fresh": [TARGET],
    "interrupted-full": [TARGET, FULL, TOUCHED, DATA],
    "finished-full": [TARGET, FULL, TOUCHED, DATA, ENDED],
    "finished-delta": [
        *(TARGET, FULL, TOUCHED, DATA, ENDED, DELTA, AGAIN, CHANGED),
        PassEnd("pass-2", b"\x66" * 32, ENDED.root),
    ],
    "damaged": [TargetRecord(TARGET.target_id, "its journal was missing")],
    "adopted": [*FINISHED, TARGET, TOUCHED, Root(ENDED.root)],
}


def written(records: list[Record], version: int = journal.VERSION) -> bytes:
    return journal.header("2000", CAPACITY, version) + b"".join(encode(record) for record in records)


@pytest.mark.parametrize("name", STORIES)
def test_golden_journals_of_version_1_are_read_for_ever_and_become_version_3(
    name: str, tmp_path: Path
) -> None:
    becomes_new(GOLDEN / f"{name}.journal", STORIES[name], 1, tmp_path)


@pytest.mark.parametrize("name", NEWER)
def test_golden_journals_of_version_2_are_read_for_ever_and_become_version_3(
    name: str, tmp_path: Path
) -> None:
    becomes_new(GOLDEN / "2" / f"{name}.journal", NEWER[name], 2, tmp_path)


def becomes_new(stored: Path, story: list[Record], version: int, tmp_path: Path) -> None:
    assert written(story, version) == stored.read_bytes()
    path = Path(shutil.copy(stored, tmp_path / "journal"))
    found = Journal(path, "2000", CAPACITY)
    assert found.records == story
    found.append(DoubtRecord("appended by a newer release"), ENDED)
    found.close()
    assert path.read_bytes() == written([*story, DoubtRecord("appended by a newer release"), ENDED])


@pytest.mark.parametrize("name", ROOTED)
def test_golden_journals_are_written_and_read_for_ever(name: str, tmp_path: Path) -> None:
    stored = GOLDEN / "3" / f"{name}.journal"
    assert written(ROOTED[name]) == stored.read_bytes()
    found = Journal(Path(shutil.copy(stored, tmp_path / "journal")), "2000", CAPACITY)
    assert found.records == ROOTED[name]
    found.close()


def test_what_a_journal_says_of_the_target() -> None:
    full, delta = (DiskState.fold(CAPACITY, ROOTED[f"finished-{kind}"]) for kind in ("full", "delta"))
    assert (full.target, full.generation, full.base_root, full.previous) == (
        *(TARGET.target_id, 1, ENDED.root, b""),
    )
    assert (delta.generation, delta.base_root, delta.previous) == (2, b"\x66" * 32, ENDED.root)
    damaged = DiskState.fold(CAPACITY, ROOTED["damaged"])
    assert (damaged.touched, damaged.doubt, damaged.base) == (True, "its journal was missing", None)
    assert not DiskState.fold(CAPACITY, ROOTED["fresh"]).touched


def test_the_base_of_an_older_release_has_no_root_and_is_compared_once() -> None:
    """Though a full proof may say what its root is."""
    before = DiskState.fold(CAPACITY, [*FINISHED, TARGET])
    assert (before.base, before.base_root, before.unknown) == (FULL, b"", True)
    assert "has no roots" in before.doubt
    after = DiskState.fold(CAPACITY, ROOTED["adopted"])
    assert (after.base_root, after.unknown, after.doubt) == (ENDED.root, False, before.doubt)
    half = DiskState.fold(CAPACITY, [FULL, DATA, TARGET])
    assert (half.doubt, half.unknown) == ("", True)
    assert ranges.covered(half.missing("pass-1", [], [])) == CAPACITY - (1 << 20) - (1 << 29)


@pytest.mark.parametrize(
    ("name", "base", "attempts", "settled"),
    [
        ("fresh", None, [], False),
        ("interrupted-full", None, [FULL], False),
        ("finished-full", FULL, [], True),
        ("interrupted-delta", FULL, [DELTA], False),
        ("discarded-delta", FULL, [], False),
        ("grown", None, [], False),
        ("interrupted-compare", None, [COMPARE], False),
        ("finished-compare", COMPARE, [], True),
        ("doubted", FULL, [], True),
        ("spoiled", FULL, [], False),
        ("half-repaired", FULL, [REPAIR], False),
        ("repaired", FULL, [], True),
    ],
)
def test_what_a_journal_means(
    name: str, base: PassBegin | None, attempts: list[PassBegin], settled: bool
) -> None:
    state = DiskState.fold(CAPACITY, (STORIES | NEWER)[name])
    assert (state.base, [a.begin for a in state.attempts], state.settled) == (base, attempts, settled)


def test_what_is_known_to_be_wrong_shrinks_as_it_is_mended() -> None:
    assert DiskState.fold(CAPACITY, NEWER["spoiled"]).spoiled == list(WRONG.areas)
    half = DiskState.fold(CAPACITY, NEWER["half-repaired"])
    assert (half.spoiled, half.mended) == ([WRONG.areas[1]], [WRONG.areas[0]])
    assert half.missing("pass-1", [], []) == [WRONG.areas[1]]
    whole = DiskState.fold(CAPACITY, NEWER["repaired"])
    assert (whole.spoiled, whole.mended, whole.base) == ([], list(WRONG.areas), FULL)


LATER = PassBegin("pass-2", "repair", "snapshot-9", "52 de c0/90", "52 de c0/81", '{"uuid": "6000C29a"}')


@pytest.mark.parametrize("repair", [REPAIR, LATER], ids=["of the same reading", "of the next one"])
def test_what_a_discarded_repair_wrote_is_wrong_again(repair: PassBegin) -> None:
    """Nobody knows any more what it read, and no delta delivers it: CBT does not know these ranges."""
    state = DiskState.fold(CAPACITY, [*FINISHED, WRONG, repair, CHANGED, Discard()])
    assert (state.spoiled, state.mended, state.attempts) == (list(WRONG.areas), [], [])
    state.apply(DELTA)
    assert state.missing("pass-2", [], []) == list(WRONG.areas)


def test_a_discarded_repair_of_a_reading_is_wrong_wherever_it_wrote() -> None:
    more = Ranges(((Extent(1 << 16, 1 << 18), RangeState.DATA),))
    state = DiskState.fold(CAPACITY, [*FINISHED, WRONG, REPAIR, more, Discard()])
    assert state.spoiled == ranges.union(WRONG.areas, [Extent(1 << 16, 1 << 18)])


def test_a_discarded_delta_leaves_nothing_wrong() -> None:
    assert DiskState.fold(CAPACITY, STORIES["discarded-delta"]).spoiled == []


def test_invariant_2_a_comparing_pass_is_not_complete_before_it_named_the_whole_disk() -> None:
    state = DiskState.fold(CAPACITY, NEWER["interrupted-compare"])
    assert state.missing("pass-3", [], []) == []
    short = DiskState.fold(CAPACITY, [*NEWER["interrupted-compare"][:-1], CHANGED])
    assert short.missing("pass-3", [], []) == [Extent(0, 1 << 16), Extent(1 << 17, CAPACITY - (1 << 17))]


def test_invariant_6_nothing_goes_on_from_a_base_in_doubt() -> None:
    state = DiskState.fold(CAPACITY, NEWER["doubted"])
    for kind in ("delta", "repair"):
        with pytest.raises(Conflict, match="CBT missed a write"):
            state.check_begin(PassBegin("pass-4", kind, "s", "52 de c0/95", FULL.change_id))
    assert state.check_begin(COMPARE)
    state.apply(COMPARE)
    assert (state.base, state.doubt) == (None, "CBT missed a write")
    state.apply(PassEnd("pass-3"))
    assert (state.base, state.doubt) == (COMPARE, "")


def test_the_same_reading_may_begin_again_as_another_kind() -> None:
    state = DiskState.fold(CAPACITY, STORIES["interrupted-delta"])
    again = PassBegin("pass-2", "compare", DELTA.snapshot, DELTA.change_id, "", DELTA.identity)
    assert state.check_begin(again)
    state.apply(again)
    assert [attempt.begin for attempt in state.attempts] == [again]


@pytest.mark.parametrize("gib", [1, 63, 64, 65, 4096])
def test_nodes_of_disks_of_every_size(gib: int) -> None:
    """Those of a large disk lie in a mapping of their own; it may become large later."""
    capacity, node, state = gib << 30, b"\x11" * 32, DiskState(gib << 30)
    held = PageNodes(capacity)
    last = tree.count(capacity) - 1
    held.apply(NodeRecord((Pages(last, 3, node * 3), Pages(0, 2, node * 2), Pages(1, 1))), state)
    assert [held.get(page) for page in (0, 1, last)] == [node, tree.BLANK, node]
    assert held.root == tree.root(capacity, node + bytes(32 * (last - 1)) + node)
    held.apply(Grown(2 * capacity), state)
    assert [held.get(page) for page in (0, 1, last, 2 * last)] == [node, tree.BLANK, node, tree.BLANK]
    assert held.root == tree.root(2 * capacity, node + bytes(32 * (last - 1)) + node + bytes(32 * (last + 1)))


texts = st.text(max_size=20)
extents = st.builds(Extent, st.integers(0, 1 << 40), st.integers(1, 1 << 40))
digests = st.sampled_from([b"\x11" * 32, bytes(range(32)), b"\xff" * 32])
pages = st.one_of(
    st.builds(Pages, st.integers(0, 1 << 31), st.integers(1, 1 << 31), st.just(b"")),
    st.lists(digests, min_size=1, max_size=3).map(lambda nodes: Pages(7, len(nodes), b"".join(nodes))),
)
records = st.one_of(
    st.builds(
        PassBegin, texts, st.sampled_from(["full", "delta", "compare", "repair"]), texts, texts, texts, texts
    ),
    st.lists(st.tuples(extents, st.sampled_from(RangeState)), max_size=5).map(
        lambda found: Ranges(tuple(found))
    ),
    st.builds(PassEnd, texts),
    st.builds(PassEnd, texts, digests, digests),
    st.builds(Root, digests),
    st.builds(TargetRecord, digests.map(lambda one: one[:16].hex()), texts),
    st.lists(pages, max_size=5).map(lambda found: NodeRecord(tuple(found))),
    st.just(Discard()),
    st.builds(Grown, st.integers(0, 1 << 60)),
    st.builds(DoubtRecord, texts),
    st.lists(extents, max_size=5).map(lambda found: Spoiled(tuple(found))),
)


@given(st.lists(records, max_size=6), st.data())
def test_invariant_1_cut_at_any_byte_leaves_a_prefix(story: list[Record], data: st.DataObject) -> None:
    stream = written(story)
    cut = data.draw(st.integers(0, len(stream)))
    garbage = data.draw(st.binary(max_size=8))
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
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


def framed(kind: Type, body: bytes) -> bytes:
    """A record whose checksum is right, whatever it says."""
    record = RECORD.pack(kind, len(body)) + body
    return record + CRC.pack(zlib.crc32(record))


bodies = st.one_of(
    st.binary(max_size=60),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 2)), max_size=3).map(
        lambda rows: b"".join(RANGE.pack(*row) for row in rows)
    ),
)
begun = st.builds(PassBegin, texts, st.just("full"), texts, texts, texts)
streams = st.lists(
    st.one_of(
        st.one_of(begun, records).map(encode),
        st.builds(framed, st.sampled_from([Type.RANGES, Type.NODES]), bodies),
    ),
    max_size=6,
).map(b"".join)


@given(streams, st.binary(max_size=8))
def test_ranges_and_pages_mean_the_same_without_a_record_around_them(stream: bytes, tail: bytes) -> None:
    data = b"header" + stream + tail
    expected, end = read_records(data, 6)
    state, kept = DiskState(CAPACITY), [record for record in expected if not isinstance(record, Ranges)]
    taken: list[Record] = []

    def take(record: Record) -> None:
        taken.append(record)
        state.apply(record)

    def runs(listed: list[tuple[int, int, bytes]]) -> None:
        take(NodeRecord(tuple(Pages(*run) for run in listed)))

    assert take_records(data, 6, take, runs, state.name) == end
    assert taken == kept
    assert all(
        extent.length for record in expected if isinstance(record, Ranges) for extent, _ in record.ranges
    )
    assert state == DiskState.fold(CAPACITY, expected)


@given(st.data())
def test_a_flipped_bit_ends_the_journal_there(data: st.DataObject) -> None:
    story = STORIES["interrupted-delta"]
    stream = bytearray(written(story))
    start = len(journal.header("2000", CAPACITY))
    at = data.draw(st.integers(start, len(stream) - 1))
    stream[at] ^= 1 << data.draw(st.integers(0, 7))
    found, _ = read_records(bytes(stream), start)
    assert found == story[: len(found)] and len(found) < len(story)


def test_another_disk_and_a_newer_release_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(written([FULL]))
    with pytest.raises(Conflict, match="journal of disk '2000'"):
        Journal(path, "2001", CAPACITY)
    newer = bytearray(written([FULL]))
    newer[9] = 4
    path.write_bytes(newer)
    with pytest.raises(Conflict, match="version 4 is newer than 3"):
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


def test_a_header_of_a_form_that_nobody_wrote_is_refused_though_its_checksum_holds(tmp_path: Path) -> None:
    name = b"2000"
    head = journal.HEADER.pack(journal.MAGIC, journal.VERSION, len(name), 1, CAPACITY) + name
    (tmp_path / "journal").write_bytes(head + CRC.pack(zlib.crc32(head)))
    with pytest.raises(Conflict, match="damaged"):
        Journal(tmp_path / "journal", "2000", CAPACITY)


def test_a_record_that_the_system_takes_in_pieces_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, write = Journal(tmp_path / "journal", "2000", CAPACITY), os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:7]))
    made.append(FULL)
    made.append(DATA)
    made.close()
    again = Journal(tmp_path / "journal", "2000", CAPACITY)
    assert again.records == [FULL, DATA]
    again.close()
