"""Frames: golden bytes, any chunking, and a peer that lies."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import WireViolation
from connector.transfer import digest, wire
from connector.transfer.codec import Unpacker
from connector.transfer.extents import BLOCK, CELL
from connector.transfer.receiver import Hello
from connector.transfer.wire import Codec, Decoder, Frame, FrameKind

GOLDEN = Path(__file__).parents[2] / "fixtures" / "frames"
EVERYTHING = wire.FROM_APPLIANCE | wire.FROM_INSTANCE


def block(offset: int, plain: bytes, sequence: int = 1) -> Frame:
    return Frame(
        FrameKind.DATA, sequence, offset, len(plain), digests=digest.cells(memoryview(plain)), payload=plain
    )


def golden() -> dict[str, list[Frame]]:
    """What the golden files hold: the two directions of a short conversation."""
    plain = bytes(range(256)) * (CELL // 256) + b"tail" * 128
    packed = bytes.fromhex("28b52ffd60ff0f4d00001000000100fad0032c")
    zeros = Frame(FrameKind.DATA, 4, BLOCK, 4351, Codec.ZSTD, digest.cells(memoryview(bytes(4351))), packed)
    return {
        "appliance": [
            Hello("2000", "pass-1", 5 << 30, 32 << 20).frame(),
            Frame(FrameKind.ZERO, 1, 1 << 30, 3 << 30),
            block(0, plain, 2),
            Frame(FrameKind.FLUSH, 3),
            zeros,
            Frame(FrameKind.END, 5),
        ],
        "instance": [
            wire.text(FrameKind.READY, {"window": 32 << 20, "cell": CELL, "block": BLOCK}),
            Frame(FrameKind.ACK, 3, 1500, len(plain)),
            Frame(FrameKind.ACK, 5, 2500, len(plain) + 4351),
            wire.text(FrameKind.ERROR, {"error": "TargetFull", "what": "no space left"}),
        ],
        "compare": [
            Frame(
                FrameKind.SAME,
                1,
                0,
                BLOCK,
                digests=digest.root(digest.cells(memoryview(bytes(range(256)) * 4096))),
            ),
            block(BLOCK, plain, 2),
            Frame(FrameKind.HOLE, 3, 2 * BLOCK, 3 << 30),
            Frame(FrameKind.SAME, 4, (3 << 30) + 2 * BLOCK, 512, digests=digest.root(digest.zeros(512))),
            Frame(FrameKind.END, 5),
        ],
        "refusal": [
            wire.text(FrameKind.REFUSE, {"error": "PeerRefused", "what": "pass-1 is not the running pass"})
        ],
    }


def encoded(frames: list[Frame]) -> bytes:
    return b"".join(wire.encode(frame) + bytes(frame.payload) for frame in frames)


def plain_fields(frame: Frame) -> tuple[object, ...]:
    fields = (frame.kind, frame.sequence, frame.offset, frame.length, frame.codec)
    return (*fields, bytes(frame.digests), bytes(frame.payload))


@pytest.mark.parametrize("name", golden())
def test_golden_frames_are_written_and_read_for_ever(name: str) -> None:
    stored = (GOLDEN / f"{name}.bin").read_bytes()
    assert encoded(golden()[name]) == stored
    found = list(Decoder(EVERYTHING).feed(stored))
    assert [plain_fields(f) for f in found] == [plain_fields(f) for f in golden()[name]]


@given(st.lists(st.integers(1, 70000), max_size=12), st.sampled_from(sorted(golden())))
def test_frames_do_not_depend_on_chunking(cuts: list[int], name: str) -> None:
    stream = memoryview(encoded(golden()[name]))
    decoder, found, at = Decoder(EVERYTHING), [], 0
    for cut in [*cuts, len(stream)]:
        found += [plain_fields(frame) for frame in decoder.feed(stream[at : at + cut])]
        at += cut
    assert found == [plain_fields(f) for f in golden()[name]] and decoder.idle


@given(st.integers(0, 47), st.integers(0, 7))
def test_a_flipped_bit_in_a_header_is_refused(byte: int, bit: int) -> None:
    stream = bytearray(encoded([block(0, b"x" * CELL)]))
    stream[byte] ^= 1 << bit
    with pytest.raises(WireViolation):
        list(Decoder(wire.FROM_APPLIANCE).feed(bytes(stream)))


@given(st.binary(max_size=400))
def test_noise_is_refused_or_waited_for(noise: bytes) -> None:
    decoder = Decoder(EVERYTHING)
    try:
        list(decoder.feed(wire.MAGIC + noise))
    except WireViolation:
        return
    assert len(noise) < wire.HEADER.size


def forged(**changes: int) -> bytes:
    fields = {"version": 1, "kind": 4, "codec": 0, "flags": 0, "sequence": 1, "offset": 0, "length": CELL}
    fields |= {"digests": 32, "payload": CELL, "reserved": 0} | changes
    head = wire.HEADER.pack(wire.MAGIC, *fields.values(), 0)[:-4]
    return head + struct.pack(">I", zlib.crc32(head))


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 0},
        {"version": 2},
        {"version": 3},
        {"kind": 10, "payload": 0},
        {"kind": 10, "version": 2},
        {"kind": 10, "version": 2, "payload": 0, "digests": 64},
        {"kind": 10, "version": 2, "payload": 0, "digests": 0},
        {"kind": 10, "version": 2, "payload": 0, "offset": 15 * CELL, "length": 2 * CELL},
        {"kind": 10, "version": 2, "payload": 0, "length": 0},
        {"kind": 11, "digests": 0, "payload": 0},
        {"kind": 11, "version": 2, "digests": 0, "payload": 0, "offset": 1},
        {"kind": 0},
        {"kind": 99},
        {"kind": 8},
        {"codec": 2},
        {"codec": 1},
        {"flags": 1},
        {"reserved": 7},
        {"sequence": 2},
        {"sequence": 0},
        {"offset": 512},
        {"offset": 1 << 63},
        {"offset": 15 * CELL, "length": 2 * CELL, "payload": 2 * CELL, "digests": 64},
        {"length": 0, "payload": 0, "digests": 0},
        {"length": BLOCK + 1, "payload": BLOCK + 1, "digests": 17 * 32},
        {"payload": 0xFFFFFFFF},
        {"digests": 0xFFFFFFFF},
        {"digests": 64},
        {"payload": CELL - 1},
        {"codec": 1, "payload": CELL + 1},
        {"codec": 1, "payload": 0},
        {"kind": 5},
        {"kind": 5, "digests": 0, "payload": 0, "length": 0},
        {"kind": 5, "digests": 0, "payload": 0, "length": (1 << 64) - 1},
        {"kind": 5, "digests": 0, "payload": 0, "offset": 1},
        {"kind": 6, "digests": 0, "payload": 0},
        {"kind": 1, "digests": 0, "payload": 1 << 20, "length": 0, "sequence": 0},
    ],
    ids=str,
)
def test_a_lying_header_is_refused_before_any_memory_is_taken(changes: dict[str, int]) -> None:
    asked = []
    decoder = Decoder(wire.FROM_APPLIANCE, lambda n: asked.append(n) or memoryview(bytearray(n)))  # type: ignore[func-returns-value]
    with pytest.raises(WireViolation):
        list(decoder.feed(forged(**changes)))
    assert asked == []


def test_acknowledgements_never_go_back() -> None:
    with pytest.raises(WireViolation, match="went back"):
        list(Decoder(wire.FROM_INSTANCE).feed(encoded([Frame(FrameKind.ACK, 5), Frame(FrameKind.ACK, 4)])))


@pytest.mark.parametrize("text", [b"[]", b"{", b"\xff", b"[" * 10000])
def test_text_that_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(WireViolation):
        _ = Frame(FrameKind.HELLO, payload=text).text


def test_decompression_is_bounded_by_the_frame() -> None:
    import zstandard

    bomb = zstandard.compress(bytes(64 << 20))
    unknown = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(CELL))
    twice = zstandard.compress(bytes(CELL)) * 2
    noise = random.Random(1).randbytes(500)
    for payload in (bomb, unknown, twice, noise, zstandard.compress(bytes(CELL))[:-1]):
        with pytest.raises(WireViolation):
            Unpacker().unpack(Codec.ZSTD, payload, CELL)
    assert Unpacker().unpack(Codec.ZSTD, zstandard.compress(bytes(CELL)), CELL) == bytes(CELL)
