"""The body of an answer as plain bytes, compressed or not; one that is cut off or never ends is told as such."""

from __future__ import annotations

import zlib
from typing import Final, Protocol

from connector.errors import VCenterFault

LARGEST: Final = 1 << 30  # bytes of one answer; 500 machines with all that is read of them are about 20 MiB
_PIECE: Final = 1 << 16


class Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Body:
    """A stream of at most `most` bytes, unpacked while it is read."""

    def __init__(self, stream: Stream, *, packed: bool = False, most: int = LARGEST) -> None:
        self._stream, self._most = stream, most
        self._unpack = zlib.decompressobj(wbits=47) if packed else None
        self._tail = b""

    def read(self, size: int = _PIECE, /) -> bytes:
        """Some bytes; none at the end. Raises `ConnectionResetError`, `VCenterFault`, and what the stream raises."""
        piece = self._stream.read(size) if self._unpack is None else self._unpacked(size)
        self._most -= len(piece)
        if self._most < 0:
            raise strange("it never ends")
        return piece

    def _unpacked(self, size: int) -> bytes:
        assert self._unpack is not None
        try:
            while not self._unpack.eof:
                packed = self._tail or self._stream.read(_PIECE)
                piece = self._unpack.decompress(packed, size)
                self._tail = self._unpack.unconsumed_tail
                if piece:
                    return piece
                if not packed:
                    raise ConnectionResetError("the answer ended early (compressed data is cut off)")
        except zlib.error as damaged:
            raise strange(f"compressed data is damaged ({damaged})") from damaged
        return b""


def strange(what: str) -> VCenterFault:
    """The error about an answer that no vCenter gives."""
    return VCenterFault(
        f"this is no answer of a vCenter: {what}", remedy="check host, port and proxies on the way there"
    )
