"""The body of an answer is read as plain bytes, and never more of them than the limit allows."""

from __future__ import annotations

import zlib
from typing import Any, Final, Protocol

from connector.errors import VCenterFault

LARGEST: Final = 1 << 30  # bytes of one answer; 500 machines with all that is read of them are about 20 MiB
_PIECE: Final = 1 << 16
_GZIP: Final = b"\x1f\x8b"
_FRAMED, _BARE = 47, -15  # wbits of zlib: with the frame of gzip or zlib, without a frame
PACKINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})  # as Content-Encoding names them


class AnswerStream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Body:
    """A stream of at most `most` bytes, unpacked while it is read."""

    def __init__(self, stream: AnswerStream, *, packed: bool = False, most: int = LARGEST) -> None:
        self._stream = _Bounded(stream, most)
        self._unpacked = _Bounded(_Unpacked(self._stream), most) if packed else self._stream

    def read(self, size: int = _PIECE, /) -> bytes:
        """Some bytes; none at the end. Raises `ConnectionResetError`, `VCenterFault`, and what the stream raises."""
        return self._unpacked.read(size)


class _Bounded:
    """A stream that ends."""

    def __init__(self, stream: AnswerStream, most: int) -> None:
        self._stream, self._most = stream, most

    def read(self, size: int, /) -> bytes:
        piece = self._stream.read(size)
        self._most -= len(piece)
        if self._most < 0:
            raise strange("it never ends")
        return piece


class _Unpacked:
    """Data of gzip or deflate, unpacked: several members in a row, and deflate with or without zlib's frame."""

    def __init__(self, stream: AnswerStream) -> None:
        self._stream = stream
        self._tail = b""  # read and not unpacked yet
        self._unpack: Any = None  # unpacks the current member
        self._last = False  # nothing follows

    def read(self, size: int, /) -> bytes:
        try:
            if self._unpack is None and not self._last:
                self._unpack = zlib.decompressobj(wbits=self._frame())
            return self._some(size)
        except zlib.error as damaged:
            raise strange(f"compressed data is damaged ({damaged})") from damaged

    def _some(self, size: int) -> bytes:
        while not self._last:
            packed = self._tail or self._stream.read(_PIECE)
            piece: bytes = self._unpack.decompress(packed, size)
            self._tail = self._unpack.unused_data if self._unpack.eof else self._unpack.unconsumed_tail
            if self._unpack.eof:
                self._next_member()
            if piece:
                return piece
            if not packed:
                raise ConnectionResetError("the answer ended early (compressed data is cut off)")
        return b""

    def _frame(self) -> int:
        """The wbits for the member that begins here. Deflate must have zlib's frame, but some servers leave it out."""
        self._look_ahead()
        head = self._tail[:2]
        zlibs = len(head) == 2 and head[0] & 0xF == 8 and int.from_bytes(head, "big") % 31 == 0
        return _FRAMED if zlibs or _GZIP.startswith(head) else _BARE

    def _next_member(self) -> None:
        """Only a member of gzip may follow. Zeros before it are padding; anything else is no part of the answer."""
        self._look_ahead()
        while self._tail and not self._tail.strip(b"\0"):
            self._tail = b""
            self._look_ahead()
        self._tail = self._tail.lstrip(b"\0")
        self._look_ahead()
        self._last = not self._tail.startswith(_GZIP)
        self._unpack = None if self._last else zlib.decompressobj(wbits=_FRAMED)

    def _look_ahead(self) -> None:
        while len(self._tail) < len(_GZIP) and (more := self._stream.read(_PIECE)):
            self._tail += more


def strange(what: str) -> VCenterFault:
    """The error for an answer that no vCenter gives."""
    return VCenterFault(
        f"this is no answer of a vCenter: {what}", remedy="check host, port and the proxies in between"
    )
