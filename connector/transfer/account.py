"""The account of a disk gives every byte range its reason and the digests of both ends, in a bounded size.

Up to `PLAIN` ranges are listed one by one. An account with more ranges packs the reasons and gives the digests of equal
segments. The format is documented in docs/evidence.md.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, Final

from connector.model import Extent
from connector.transfer import digest
from connector.transfer import extents as ranges
from connector.transfer.extents import CELL
from connector.transfer.reasons import BY_LETTER, Piece, Reason, cut, segment, tiles

PLAIN: Final = 4096  # ranges that are listed one by one, at most
UNPACKED: Final = 16 << 20  # bytes of packed reasons, at most
_RUN: Final = re.compile(r"([a-z])([1-9][0-9]{0,15})")
_HEX: Final = re.compile(r"[0-9a-f]{64}")


class NoAccount(ValueError):
    """The text is no account; the message says where."""


@dataclass(frozen=True, slots=True)
class Account:
    """`parts` tile the disk. `source` and `target` are the parts' roots, `whole` the disk's two roots (see `roots`)."""

    capacity: int
    pieces: tuple[Piece, ...]
    parts: tuple[Extent, ...]
    source: tuple[bytes, ...]
    target: tuple[bytes, ...]
    whole: tuple[bytes, bytes]

    def to_json(self) -> dict[str, Any]:
        size = segment(self.capacity)
        body: dict[str, Any] = {
            "capacity": self.capacity,
            "segment": size,
            "root": {"source": self.whole[0].hex(), "target": self.whole[1].hex()},
        }
        ends = (tuple(root.hex() for root in self.source), tuple(root.hex() for root in self.target))
        if not _few(self.pieces, self.capacity):
            return body | {"packed": {"reasons": _pack(self.pieces), "source": ends[0], "target": ends[1]}}
        reasons = [piece.reason.value for piece in cut(self.pieces, size)]
        rows = zip(self.parts, reasons, *ends, strict=True)
        return body | {"ranges": [[start, length, *row] for (start, length), *row in rows]}

    def reasons(self, extent: Extent) -> list[Reason]:
        """The reasons of the pieces in a range, in order, without repetition."""
        reasons = [p.reason for p in self.pieces if p.start < extent.end and extent.start < p.end]
        return [reason for reason, _ in groupby(reasons)]


def segments(capacity: int) -> list[Extent]:
    """The disk in equal segments; the last may be short."""
    return list(ranges.blocks(ranges.whole(capacity), segment(capacity)))


def parts_of(pieces: Sequence[Piece], capacity: int) -> list[Extent]:
    """The parts that get digests in the account of these pieces: the pieces cut into segments, or only the segments."""
    if not _few(pieces, capacity):
        return segments(capacity)
    return [Extent(start, length) for start, length, _ in cut(pieces, segment(capacity))]


def _few(pieces: Sequence[Piece], capacity: int) -> bool:
    """Whether the pieces are few enough to be listed one by one."""
    return sum(1 for _ in islice(cut(pieces, segment(capacity)), PLAIN + 1)) <= PLAIN


def from_json(body: object) -> Account:
    """The reverse of `to_json`, strict. Raises NoAccount."""
    if not isinstance(body, dict):
        raise NoAccount("the account is no JSON object")
    capacity = _size(body, "capacity")
    if _size(body, "segment") != segment(capacity):
        raise NoAccount(f"segments of a disk of {capacity} bytes have {segment(capacity)} bytes")
    root = body.get("root")
    if not isinstance(root, dict) or set(root) != {"source", "target"}:
        raise NoAccount("root lacks source or target")
    whole = (_digest(root["source"], "root"), _digest(root["target"], "root"))
    if "packed" in body and "ranges" not in body:
        return _from_packed(body["packed"], capacity, whole)
    return _from_ranges(body.get("ranges"), capacity, whole)


def _from_ranges(rows: object, capacity: int, whole: tuple[bytes, bytes]) -> Account:
    if not isinstance(rows, list) or len(rows) > PLAIN:
        raise NoAccount(f"ranges must be a list of {PLAIN} at most")
    pieces, source, target = [], [], []
    for number, row in enumerate(rows):
        if not (isinstance(row, list) and len(row) == 5 and type(row[0]) is int and type(row[1]) is int):
            raise NoAccount(f"range {number} is not [start, length, reason, source, target]")
        if row[2] not in list(Reason):
            raise NoAccount(f"range {number} has no known reason")
        pieces.append(Piece(row[0], row[1], Reason(row[2])))
        source.append(_digest(row[3], f"range {number}"))
        target.append(_digest(row[4], f"range {number}"))
    if not tiles([(start, length) for start, length, _ in pieces], capacity):
        raise NoAccount(f"the ranges do not tile [0, {capacity})")
    parts = tuple(Extent(start, length) for start, length, _ in pieces)
    return Account(capacity, tuple(pieces), parts, tuple(source), tuple(target), whole)


def _from_packed(body: object, capacity: int, whole: tuple[bytes, bytes]) -> Account:
    if not isinstance(body, dict) or set(body) != {"reasons", "source", "target"}:
        raise NoAccount("packed lacks reasons, source or target")
    pieces = _unpack(body["reasons"], capacity)
    parts = segments(capacity)
    ends = []
    for end in ("source", "target"):
        listed = body[end]
        if not isinstance(listed, list) or len(listed) != len(parts):
            raise NoAccount(f"packed has not one {end} digest for each segment")
        ends.append(tuple(_digest(text, f"segment {n}") for n, text in enumerate(listed)))
    return Account(capacity, tuple(pieces), tuple(parts), ends[0], ends[1], whole)


def _pack(pieces: Sequence[Piece]) -> str:
    text = "".join(f"{piece.reason.letter}{digest.count(piece.length)}" for piece in pieces)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _unpack(packed: object, capacity: int) -> list[Piece]:
    if not isinstance(packed, str):
        raise NoAccount("packed reasons must be text")
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(base64.b64decode(packed, validate=True), UNPACKED).decode("ascii")
    except (binascii.Error, zlib.error, ValueError):
        raise NoAccount("packed reasons cannot be unpacked") from None
    if not unpacker.eof or unpacker.unused_data:
        raise NoAccount("packed reasons do not end where they should")
    return _pieces(text, capacity)


def _pieces(text: str, capacity: int) -> list[Piece]:
    pieces, at, position = [], 0, 0
    for run in _RUN.finditer(text):
        if run.start() != position or run[1] not in BY_LETTER or at >= capacity:
            break
        length = min(int(run[2]) * CELL, capacity - at)
        if digest.count(length) != int(run[2]):
            break
        pieces.append(Piece(at, length, BY_LETTER[run[1]]))
        at, position = at + length, run.end()
    if position != len(text) or at != capacity:
        raise NoAccount(f"packed reasons do not tile [0, {capacity}): they break at byte {at}")
    return pieces


def _size(body: dict[str, Any], name: str) -> int:
    size = body.get(name)
    if type(size) is not int or not 0 < size < 1 << 62:
        raise NoAccount(f"{name} must be a number of bytes")
    return size


def _digest(text: object, where: str) -> bytes:
    if not isinstance(text, str) or not _HEX.fullmatch(text):
        raise NoAccount(f"{where} has no valid digest")
    return bytes.fromhex(text)
