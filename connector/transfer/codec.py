"""Blocks are compressed only when it pays: the level follows from measured rates of the link and of zstd.

The sender measures how fast the link takes bytes while the link is the bottleneck, how fast this computer compresses, and how
well this disk compresses: two figures for all levels, whose ratios to each other (`SPEED`, `GAIN`) are fixed. The level with the
best predicted rate wins, and "none" wins every tie.
"""

from __future__ import annotations

import threading
import time

import zstandard

from connector import settings
from connector.errors import BadInput, WireViolation
from connector.transfer.wire import Codec

LEVELS = (0, -5, -1, 1, 3)  # 0 is none
SPEED = {
    0: 1e12,
    -5: 0.7e9,
    -1: 0.6e9,
    1: 0.5e9,
    3: 0.28e9,
}  # first guesses, plain bytes a second on one core
GAIN = {0: 1.0, -5: 0.70, -1: 0.82, 1: 0.91, 3: 1.0}  # saving relative to level 3, on operating-system blocks
WORTH = 16  # a block is sent plain unless it shrinks by 1/16
PROBE_EVERY = 64  # blocks between two samples of how well the data compresses while the level is none
CALM = 4  # intervals without waiting for the network after which the next lower level is tried
BETTER = 1.15  # the predicted gain from which a level is chosen
SHARE = (
    0.5  # of a core that compression may use: reading, digesting and TLS need the rest, here and at the peer
)


class Choice:
    """The level to use now; thread-safe. Coders report to `compressed`, one supervisor calls `decide`."""

    def __init__(self, mode: str = "adaptive") -> None:
        """`mode`: "adaptive", "none", or a zstd level. Raises BadInput."""
        self._mode, self._fixed = mode, fixed_level(mode)
        self.level = self._fixed or 0
        self._lock = threading.Lock()
        self._scale = 1.0  # this machine's speed relative to the first guesses
        self._saving = 0.5  # fraction that level 3 would save on this data
        self._blocks = 0
        self._calm = 0

    def use(self, mode: str) -> None:
        """Use this mode from now on; the same mode again changes nothing. Raises BadInput."""
        if mode != self._mode:
            self._mode, self._fixed = mode, fixed_level(mode)
            self.level = self._fixed or 0

    @property
    def probing(self) -> bool:
        """True when the next block should be sampled although the level is none."""
        if self._fixed is not None or self.level != 0:
            return False
        with self._lock:
            self._blocks += 1
            return self._blocks % PROBE_EVERY == 1

    def compressed(self, level: int, plain: int, packed: int, seconds: float) -> None:
        """One block (or sample) went through `level`."""
        if not plain or level not in GAIN:
            return
        with self._lock:
            saving = min(1.0, max(0.0, (1 - packed / plain) / GAIN[level]))
            self._saving += (saving - self._saving) / 8
            if saving > 0.1:  # zstd skips data that does not compress, which says nothing about its speed
                self._scale += (plain / max(seconds, 1e-9) / SPEED[level] - self._scale) / 8

    def decide(self, link: float | None, strain: float = 1.0) -> int:
        """Choose the level again after an interval.

        `link` is the rate in bytes a second at which the network took the bytes. None means that the network was not the
        bottleneck: then the level slowly goes back to none. `strain` is how many seconds one second of computing took.
        Above 1 other programs use the processors, and a peer that seems slow may only wait for a processor.
        """
        if self._fixed is not None:
            return self.level
        if link is not None:
            self._calm = 0
            self.level = self._best(link, max(1.0, strain))
        elif self.level:
            self._calm += 1
            if self._calm >= CALM:
                self._calm, self.level = 0, LEVELS[LEVELS.index(self.level) - 1]
        return self.level

    def _best(self, link: float, strain: float) -> int:
        best, rate = 0, link
        for level in LEVELS[1:]:
            left = max(0.02, 1 - self._saving * GAIN[level])
            promise = min(SPEED[level] * self._scale * SHARE / strain, link / left)
            if promise > rate * (BETTER if best == 0 else 1.02):
                best, rate = level, promise
        return best


def fixed_level(mode: str) -> int | None:
    """The zstd level that `mode` names, 0 for none; None when it adapts. Raises BadInput."""
    try:
        return settings.fixed_level(mode)
    except ValueError:
        raise BadInput(
            f"compression {mode!r} is not known", remedy="use none, adaptive or a zstd level from -7 to 22"
        ) from None


class Packer:
    """Compresses blocks for one thread."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._compressors: dict[int, zstandard.ZstdCompressor] = {}

    def pack(self, plain: memoryview) -> tuple[Codec, memoryview | bytes]:
        """The block as it goes on the wire; `plain` itself when compression does not pay."""
        level = self._choice.level
        if level == 0:
            if self._choice.probing:
                self._compress(-5, plain[: 1 << 16])
            return Codec.NONE, plain
        packed = self._compress(level, plain)
        if len(packed) > len(plain) - len(plain) // WORTH:
            return Codec.NONE, plain
        return Codec.ZSTD, packed

    def _compress(self, level: int, plain: memoryview) -> bytes:
        compressor = self._compressors.get(level)
        if compressor is None:
            compressor = self._compressors[level] = zstandard.ZstdCompressor(
                level=level, write_checksum=False
            )
        began = time.perf_counter()
        packed = compressor.compress(plain)
        self._choice.compressed(level, len(plain), len(packed), time.perf_counter() - began)
        return packed


class Unpacker:
    """Decompresses blocks for one thread; it never uses more memory than the frame announced."""

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 21)

    def unpack(self, codec: Codec, payload: memoryview | bytes, length: int) -> memoryview:
        """The plain bytes, exactly `length`. Raises WireViolation."""
        if codec == Codec.NONE:
            return memoryview(payload)
        try:
            if zstandard.frame_content_size(payload) != length:
                raise WireViolation("a compressed block announces another size than its frame")
            plain = self._decompressor.decompress(payload, max_output_size=length, allow_extra_data=False)
        except zstandard.ZstdError:
            raise WireViolation("a compressed block cannot be decompressed") from None
        if len(plain) != length:
            raise WireViolation("a compressed block has another size than its frame")
        return memoryview(plain)
