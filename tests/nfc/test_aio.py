"""Frames and conversations: golden bytes written by hand from the reference, any chopping, hostile answers."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfc import aio
from nfc.aio import LONGEST_PAYLOAD, MAGIC, Kind, Question
from nfc.codec import Compression
from nfc.conversation import MOST_PIECES, Conversation, Coverage, Ended
from nfc.errors import (
    AnswerTooLarge,
    BadCompression,
    BadFragment,
    BadSetting,
    BufferRefused,
    HostError,
    MalformedAnswer,
    NfcError,
    NotWritable,
    SizeOutOfBounds,
    UnexpectedAnswer,
    UnknownCompression,
    WrongMagic,
)

DISK = "[ds] vm/vm.vmdk"


def hexed(text: str) -> bytes:
    return bytes.fromhex("".join(text.split()))


def feed(conversation: Conversation, received: bytes, most: int = 1 << 30) -> None:
    """Gives bytes to the decoder, at most so many at once."""
    rest = memoryview(received)
    while rest:
        target = conversation.decoder.target
        count = min(len(target), len(rest), most)
        assert count
        target[:count] = rest[:count]
        conversation.decoder.advance(count)
        rest = rest[count:]


def fragment(
    operation: int,
    place: int,
    plain: int,
    wire: bytes,
    total: int,
    offset: int = 0,
    method: int = 0,
    packed: int | None = None,
) -> bytes:
    """An IO answer, laid out as the reference says."""
    length = len(wire) if packed is None else packed
    payload = struct.pack("<QQQIIIII", 0, method << 32, offset, total, place, plain, length, 0)
    return struct.pack("<IIII", 0xA100DA7A, 7, 44, operation) + payload + wire


GOLDEN: dict[str, tuple[Question, str]] = {
    "OPEN_SESSION": (
        aio.open_session(2 << 20, 4),
        "7ada00a1 02000000 10000000 00000000  00000000 00002000 04000000 00000000",
    ),
    "SET_SOCK_OPTS": (
        aio.set_socket_options(),
        "7ada00a1 09000000 0c000000 00000000  000000000000000000000000",
    ),
    "SET_RES_POOL": (aio.set_resource_pool(), "7ada00a1 16000000 04000000 00000000  01000000"),
    "OPEN_FILE": (
        aio.open_file("[d] a.vmdk"),
        "7ada00a1 04000000 3c000000 00000000  0a000000 00000000 00000000 00000000 02000000 1e000000"
        + "00" * 36
        + "5b645d20612e766d646b",
    ),
    "DDB_GET": (
        aio.get_metadata(0x1122334455667788, "uuid"),
        "7ada00a1 0b000000 10000000 00000000  8877665544332211 04000000 00000000  75756964",
    ),
    "QUERY_ALLOCATED": (
        aio.query_allocated(0x1122334455667788, 3 << 20, 16, 65536),
        "7ada00a1 0d000000 30000000 00000000  8877665544332211 0000000000000000 0000010000000000"
        "0000300000000000 1000000000000000 0000000000000000",
    ),
    "CLOSE_FILE": (
        aio.close_file(0x1122334455667788),
        "7ada00a1 05000000 08000000 00000000  8877665544332211",
    ),
    "CLOSE_SESSION": (aio.close_session(), "7ada00a1 03000000 04000000 00000000  00000000"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_questions_are_the_bytes_of_the_reference(name: str) -> None:
    question, text = GOLDEN[name]
    assert Conversation(DISK).ask(1, question) == hexed(text)


def test_a_read_is_the_bytes_of_the_reference_and_ids_count_up() -> None:
    conversation = Conversation(DISK, Compression.SKIPZ)
    conversation.ask(1, aio.set_resource_pool())
    assert conversation.read(2, 0x1122334455667788, 0x300000, memoryview(bytearray(0x100000))) == hexed(
        """7ada00a1 07000000 2c000000 01000000  8877665544332211 01000000 03000000
        0000300000000000 0000100000000000 00001000 00001000 00000000"""
    )


OPENED = "7ada00a1 04000000 3c000000 00000000" + (
    "0000000000000000 8877665544332211 02000000 1e000000 00000000 0000400000000000 00000000 10000000 ff000000 3f000000"
    "0000000000000000"
)


def test_an_opened_file_says_its_handle_and_size() -> None:
    conversation = Conversation(DISK)
    conversation.ask(5, aio.open_file(DISK))
    feed(conversation, hexed(OPENED))
    (ended,) = conversation.take()
    assert ended.key == 5 and ended.answer is not None
    file = aio.parse_file(ended.answer.payload)
    assert file == (0x1122334455667788, 2, 0x1E, 4 << 20, 512)


@pytest.mark.parametrize("most", [1, 7, 1 << 20])
def test_answers_in_any_order_reach_who_asked(most: int) -> None:
    conversation = Conversation(DISK)
    memory = bytearray(12)
    conversation.ask(10, aio.get_metadata(1, "uuid"))
    conversation.read(11, 1, 4096, memoryview(memory))
    conversation.ask(12, aio.query_allocated(1, 0, 9, 65536))
    received = (
        fragment(1, 8, 4, b"klmn", 12, 4096)
        + hexed(
            "7ada00a1 0d000000 30000000 02000000" + "00" * 32 + "0900000000000000" + "00" * 8 + "05010000"
        )
        + fragment(1, 0, 8, b"abcdefgh", 12, 4096)
        + hexed("7ada00a1 0b000000 10000000 00000000 0000000000000000 00000000 03000000 616263")
    )
    feed(conversation, received, most)
    first, second, third = conversation.take()
    assert first.key == 12 and first.answer is not None and first.answer.extra == b"\5\1\0\0"
    assert second == Ended(11, None) and memory == b"abcdefghklmn"
    assert third.key == 10 and third.answer is not None and third.answer.extra == b"abc"
    assert conversation.waiting == 0


@settings(max_examples=40)
@given(st.data())
def test_fragments_may_come_in_any_order_packed_in_any_way(data: st.DataObject) -> None:
    plain = data.draw(st.binary(min_size=1, max_size=300)) + bytes(data.draw(st.integers(0, 500)))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(plain) - 1), max_size=6))) if len(plain) > 1 else []
    edges = [0, *cuts, len(plain)]
    pieces = [(low, plain[low:high]) for low, high in pairwise(edges)]
    received = []
    for place, piece in data.draw(st.permutations(pieces)):
        packed = zlib.compress(piece)
        if data.draw(st.booleans()) and len(packed) <= len(piece):
            received.append(fragment(0, place, len(piece), packed, len(plain), 512, 1))
        else:
            received.append(fragment(0, place, len(piece), piece, len(plain), 512))
    memory = bytearray(b"\xff" * len(plain))
    conversation = Conversation(DISK, Compression.ZLIB)
    conversation.read(3, 1, 512, memoryview(memory))
    feed(conversation, b"".join(received), data.draw(st.integers(1, 400)))
    assert conversation.take() == [Ended(3, None)]
    assert memory == plain


def broken(
    kind: type[NfcError],
    received: bytes,
    length: int = 16,
    offset: int = 0,
    wanted: Compression = Compression.ZLIB,
) -> str:
    """What is said about an answer to a read; not one byte is taken that was not asked for."""
    around = bytearray(b"\xee" * (length + 64))
    conversation = Conversation(DISK, Compression.ZLIB)
    conversation.read(1, 7, 0, memoryview(around)[32 : 32 + length])
    with pytest.raises(MalformedAnswer) as raised:
        feed(conversation, received)
    assert type(raised.value) is kind
    assert around[:32] == around[-32:] == b"\xee" * 32
    assert conversation.take() == []
    (ended,) = conversation.give_up(raised.value)
    assert ended == Ended(1, raised.value)
    return str(raised.value)


HOSTILE: dict[str, tuple[type[NfcError], bytes]] = {
    "wrong magic": (WrongMagic, struct.pack("<IIII", MAGIC + 1, 7, 44, 0)),
    "endless payload": (SizeOutOfBounds, struct.pack("<IIII", MAGIC, 7, LONGEST_PAYLOAD + 1, 0)),
    "largest payload": (SizeOutOfBounds, struct.pack("<IIII", MAGIC, 7, 0xFFFFFFFF, 0)),
    "short payload": (SizeOutOfBounds, struct.pack("<IIII", MAGIC, 7, 43, 0) + bytes(43)),
    "no payload": (SizeOutOfBounds, struct.pack("<IIII", MAGIC, 7, 0, 0)),
    "another id": (UnexpectedAnswer, fragment(1, 0, 16, bytes(16), 16)),
    "another type": (UnexpectedAnswer, struct.pack("<IIII", MAGIC, 4, 60, 0) + bytes(60)),
    "outside": (BadFragment, fragment(0, 9, 8, bytes(8), 16)),
    "far outside": (BadFragment, fragment(0, 0xFFFFFFFF, 1, bytes(1), 16)),
    "empty": (BadFragment, fragment(0, 0, 0, b"", 16)),
    "twice": (BadFragment, fragment(0, 0, 8, bytes(8), 16) * 2),
    "overlap before": (BadFragment, fragment(0, 4, 8, bytes(8), 16) + fragment(0, 0, 5, bytes(5), 16)),
    "overlap behind": (BadFragment, fragment(0, 4, 8, bytes(8), 16) + fragment(0, 11, 5, bytes(5), 16)),
    "more than asked": (AnswerTooLarge, fragment(0, 0, 17, bytes(17), 17)),
    "far more than asked": (AnswerTooLarge, fragment(0, 0, 0xFFFFFFFF, b"", 0xFFFFFFFF, packed=0xFFFFFFFF)),
    "less than asked": (BadFragment, fragment(0, 0, 8, bytes(8), 8)),
    "another offset": (BadFragment, fragment(0, 0, 16, bytes(16), 16, offset=512)),
    "wire too long": (SizeOutOfBounds, fragment(0, 0, 16, b"", 16, packed=0xFFFFFFFF)),
    "wire too short": (SizeOutOfBounds, fragment(0, 0, 16, bytes(15), 16)),
    "packed too long": (SizeOutOfBounds, fragment(0, 0, 16, b"", 16, method=1, packed=0x7FFFFFFF)),
    "unknown method": (UnknownCompression, fragment(0, 0, 16, bytes(9), 16, method=4)),
    "fastlz": (UnknownCompression, fragment(0, 0, 16, bytes(9), 16, method=2)),
    "not asked for": (UnknownCompression, fragment(0, 0, 16, bytes(9), 16, method=3)),
    "damaged": (BadCompression, fragment(0, 0, 16, b"\xff" * 9, 16, method=1)),
    "nothing packed": (BadCompression, fragment(0, 0, 16, b"", 16, method=1)),
    "short error": (SizeOutOfBounds, struct.pack("<IIII", MAGIC, 1, 3, 0) + bytes(3)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_an_error(name: str) -> None:
    text = broken(*HOSTILE[name])
    assert "malformed" in text and "\n" not in text


def test_fastlz_is_refused_by_name() -> None:
    assert "FastLZ" in broken(*HOSTILE["fastlz"])


def test_a_status_in_a_fragment_is_never_data() -> None:
    bad = bytearray(fragment(0, 0, 16, bytes(16), 16))
    bad[16] = 5
    broken(UnexpectedAnswer, bytes(bad))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_an_answer_or_an_error(junk: bytes, framed: bool) -> None:
    conversation = Conversation(DISK, Compression.SKIPZ)
    conversation.read(1, 7, 0, memoryview(bytearray(64)))
    conversation.ask(2, aio.query_allocated(1, 0, 9, 65536))
    try:
        feed(conversation, (struct.pack("<I", MAGIC) if framed else b"") + junk)
    except MalformedAnswer as error:
        assert {ended.error for ended in conversation.give_up(error)} == {error}


def test_numbers_of_a_host_take_no_memory() -> None:
    big = struct.pack("<IIII", MAGIC, 7, 0xFFFFFFFF, 0)
    tracemalloc.start()
    try:
        for received in (big, *(bytes_ for _, bytes_ in HOSTILE.values())):
            conversation = Conversation(DISK, Compression.ZLIB)
            conversation.read(1, 7, 0, memoryview(bytearray(16)))
            with pytest.raises(MalformedAnswer):
                feed(conversation, received)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_an_error_ends_its_request_and_not_the_session() -> None:
    conversation = Conversation(DISK)
    memory = bytearray(4)
    conversation.read(1, 7, 0, memoryview(bytearray(4)))
    conversation.read(2, 7, 512, memoryview(memory))
    feed(conversation, fragment(0, 0, 2, b"ab", 4))
    feed(
        conversation,
        hexed("7ada00a1 01000000 04000000 00000000 0b000000") + fragment(1, 0, 4, b"abcd", 4, 512),
    )
    first, second = conversation.take()
    assert type(first.error) is NotWritable and first.error.code == 0x0B
    assert second == Ended(2, None) and memory == b"abcd"


def test_errors_are_told_by_call_and_words() -> None:
    def answer(question: Question, words: bytes) -> str:
        conversation = Conversation(DISK)
        conversation.ask(1, question)
        payload = struct.pack("<I", 99) + words
        feed(conversation, struct.pack("<IIII", MAGIC, 1, len(payload), 0) + payload)
        error = conversation.take()[0].error
        assert isinstance(error, HostError) and error.code == 99 and "0x63" in str(error)
        return error.id

    assert answer(aio.open_session(0, 0), b"") == BufferRefused.__name__
    assert answer(aio.open_session(0, 0), b"out of MEMORY\0\0") == "OutOfMemory"
    assert answer(aio.open_file(DISK), b"") == "OpenRefused"
    assert answer(aio.open_file(DISK), b"Failed to lock the file\n\x1b[1m") == "DiskLocked"
    assert answer(aio.open_file(DISK), b"Machine is running without a snapshot") == "RunningWithoutSnapshot"
    assert answer(aio.close_file(1), b"\xff\xfe") == "HostError"


@pytest.mark.parametrize(
    ("question", "payload"),
    [
        (aio.query_allocated(1, 0, 9, 65536), bytes(32) + struct.pack("<QQ", 10, 0)),
        (aio.query_allocated(1, 0, 9, 65536), bytes(32) + struct.pack("<QQ", 1 << 63, 0)),
        (aio.query_allocated(1, 0, 9, 65536), bytes(47)),
        (aio.get_metadata(1, "uuid"), struct.pack("<QII", 0, 0, 4097)),
        (aio.get_metadata(1, "uuid"), struct.pack("<QI", 0, 0)),
    ],
)
def test_answers_to_questions_are_bounded(question: Question, payload: bytes) -> None:
    conversation = Conversation(DISK)
    conversation.ask(1, question)
    with pytest.raises(MalformedAnswer):
        feed(conversation, struct.pack("<IIII", MAGIC, question.kind, len(payload), 0) + payload)


def test_a_disk_of_impossible_size_is_refused() -> None:
    def opened(capacity: int, sector: int) -> bytes:
        return bytes(8) + struct.pack("<QIIIQI", 1, 2, 0x1E, 0, capacity, sector) + bytes(20)

    assert aio.parse_file(opened(4 << 20, 4096)).sector == 4096
    for capacity, sector in ((0, 512), (513, 512), (1 << 63, 512), (1 << 20, 3), (1 << 20, 1 << 20)):
        with pytest.raises(SizeOutOfBounds):
            aio.parse_file(opened(capacity, sector))
    with pytest.raises(SizeOutOfBounds):
        aio.parse_file(opened(4 << 20, 512)[:-1])


def test_what_cannot_be_asked_is_refused_here() -> None:
    for path in ("", "a\0b", "x" * 5000):
        with pytest.raises(BadSetting):
            aio.open_file(path)


@settings(max_examples=40)
@given(st.sets(st.integers(1, 255), max_size=40), st.randoms())
def test_coverage_takes_each_byte_once(cuts: set[int], dice: random.Random) -> None:
    edges = [0, *sorted(cuts), 256]
    pieces = [(low, high - low) for low, high in pairwise(edges)]
    dice.shuffle(pieces)
    coverage = Coverage(256)
    done: set[int] = set()
    for place, length in pieces:
        for seen in done & {place - 1, place + length}:
            with pytest.raises(BadFragment):
                coverage.add(min(seen, place), abs(seen - place) + 1)
        coverage.add(place, length)
        done |= set(range(place, place + length))
        assert coverage.missing == 256 - len(done)
    with pytest.raises(BadFragment):
        coverage.add(dice.randrange(256), 1)


def test_a_read_in_crumbs_takes_no_memory() -> None:
    coverage = Coverage(1 << 20)
    with pytest.raises(BadFragment, match="separate pieces"):
        for place in range(0, 1 << 20, 2):
            coverage.add(place, 1)
    assert coverage.missing == (1 << 20) - MOST_PIECES - 1


def test_an_id_that_is_under_way_is_not_given_twice() -> None:
    conversation = Conversation(DISK)
    conversation.read(1, 7, 0, memoryview(bytearray(4)))
    conversation._operations = 0xFFFFFFFF
    assert conversation.ask(2, aio.close_session())[12:16] == b"\xff\xff\xff\xff"
    assert conversation.ask(3, aio.close_session())[12:16] == b"\1\0\0\0"
    assert "4 of 4 bytes are missing" in conversation.state()


def test_every_type_of_frame_is_the_reference_s() -> None:
    assert {kind.name: kind.value for kind in Kind} == {
        "ERROR": 1, "OPEN_SESSION": 2, "CLOSE_SESSION": 3, "OPEN_FILE": 4, "CLOSE_FILE": 5, "IO": 7, "SET_SOCK_OPTS": 9,
        "DDB_GET": 11, "QUERY_ALLOCATED": 13, "SET_RES_POOL": 22,
    }  # fmt: skip
