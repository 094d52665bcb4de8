"""Compares an image with its evidence, offline: names the byte ranges that are not as they were proved."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from connector.model import Extent
from connector.transfer import digest
from connector.transfer import extents as ranges
from connector.transfer.account import Account
from connector.transfer.extents import BLOCK, CELL
from connector.transfer.image import DiskImage, RawImage
from connector.transfer.roots import Roots

STRIDE: Final = 16 << 20  # bytes of one work item


@dataclass(slots=True)
class VerificationResult:
    """`differences` are byte ranges. `exact`: they are single cells (64 KiB), located with an intact digest table."""

    root: str = ""
    differences: list[Extent] = field(default_factory=list)
    exact: bool = False
    table_damaged: list[Extent] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not self.differences and not self.table_damaged


def check(
    account: Account,
    image: DiskImage,
    table: Path | None = None,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> VerificationResult:
    """Read the whole image with several threads; memory does not grow with it. `progress` gets the bytes read so far.

    `table`: the digest table beside the image; with it, differences are located to the cell. Raises BadInput.
    """
    capacity = account.capacity
    reader = _Reader(image)
    roots = Roots(capacity, account.parts)
    for extent, digests in _in_order(reader.digests, capacity, workers or 2 * (os.cpu_count() or 2)):
        roots.feed(digests)
        progress(extent.end)
    verdict = VerificationResult(_root(roots, account).hex())
    wrong = [
        part
        for part, actual, source, target in zip(
            account.parts, roots.piece_roots, account.source, account.target, strict=True
        )
        if not actual == source == target
    ]
    verdict.table_damaged = [] if table is None else _damaged(account, table)
    verdict.exact = table is not None and not ranges.intersect(wrong, verdict.table_damaged)
    located = _cells(wrong, reader, table) if verdict.exact and table is not None else wrong
    verdict.differences = ranges.union(located or wrong, reader.excess())
    return verdict


def _root(roots: Roots, account: Account) -> bytes:
    """The image's root in the form of the evidence: version 1 has a flat root."""
    return roots.flat if roots.flat in account.whole else roots.whole


class _Reader:
    """An image that may be shorter or longer than the disk: missing bytes are differences, and so are extra bytes."""

    def __init__(self, image: DiskImage) -> None:
        self._image = image
        self._local = threading.local()
        self._capacity = 0

    def digests(self, extent: Extent) -> bytes:
        """The digests of an extent's cells. A cell that the image does not have gets the mark, which is no digest."""
        self._capacity = max(self._capacity, extent.end)
        inside = ranges.clip([extent], self._image.capacity)
        if inside == [extent] and self._image.reads_as_zero(extent):
            return digest.unmarked(extent.length, digest.MARK * digest.count(extent.length))
        pieces = [self._piece(piece) for piece in ranges.blocks([extent])]
        return b"".join(pieces)

    def excess(self) -> list[Extent]:
        """The bytes of the image beyond the disk, unless all are zeros: a volume may be rounded up."""
        extra = Extent(self._capacity, self._image.capacity - self._capacity)
        if extra.length <= 0 or self._image.reads_as_zero(extra):
            return []
        room = self._room()
        for start, length in ranges.blocks([extra]):
            self._image.read_into(start, room[:length])
            if any(room[:length]):
                return [extra]
        return []

    def _piece(self, piece: Extent) -> bytes:
        length = piece.length
        if piece.end > self._image.capacity:
            length = max(0, self._image.capacity - piece.start) // CELL * CELL
        room = self._room()[:length]
        self._image.read_into(piece.start, room)
        return digest.cells(room) + digest.MARK * digest.count(piece.length - length)

    def _room(self) -> memoryview:
        if not hasattr(self._local, "room"):
            self._local.room = memoryview(bytearray(BLOCK))
        room: memoryview = self._local.room
        return room


def _in_order(work: Callable[[Extent], bytes], capacity: int, workers: int) -> Iterator[tuple[Extent, bytes]]:
    """Results in the order of the disk; a few are computed ahead."""
    with ThreadPoolExecutor(workers, thread_name_prefix="verify") as pool:
        waiting: deque[tuple[Extent, Future[bytes]]] = deque()
        for extent in ranges.blocks(ranges.whole(capacity), STRIDE):
            waiting.append((extent, pool.submit(work, extent)))
            if len(waiting) > 2 * workers:
                extent_done, future = waiting.popleft()
                yield extent_done, future.result()
        for extent_done, future in waiting:
            yield extent_done, future.result()


def _damaged(account: Account, table: Path) -> list[Extent]:
    """The parts of the disk whose digest table is not as it was proved."""
    entries = RawImage(table)
    try:
        if entries.capacity != digest.count(account.capacity) * digest.SIZE:
            return ranges.whole(account.capacity)
        roots = Roots(account.capacity, account.parts)
        for extent in ranges.blocks(ranges.whole(account.capacity), STRIDE):
            roots.feed(_entries(entries, extent))
    finally:
        entries.close()
    return [
        part
        for part, actual, expected in zip(account.parts, roots.piece_roots, account.source, strict=True)
        if actual != expected
    ]


def _entries(table: RawImage, extent: Extent) -> bytes:
    room = bytearray(digest.count(extent.length) * digest.SIZE)
    table.read_into(extent.start // CELL * digest.SIZE, memoryview(room))
    return digest.unmarked(extent.length, bytes(room))


def _cells(wrong: list[Extent], reader: _Reader, table: Path) -> list[Extent]:
    entries = RawImage(table)
    cells = []
    try:
        for extent in ranges.blocks(wrong, STRIDE):
            pairs = zip(
                digest.each(reader.digests(extent)), digest.each(_entries(entries, extent)), strict=True
            )
            for number, (have, want) in enumerate(pairs):
                if have != want:
                    start = extent.start + number * CELL
                    cells.append(Extent(start, min(CELL, extent.end - start)))
    finally:
        entries.close()
    return ranges.normalise(cells)
