"""What a fragment's bytes unpack to. Pure; never takes more memory than the plain length that was announced.

SkipZ [P]: u32 plain length, u32 0, then runs of (u32 place, u32 length, bytes) in order; what no run covers is zero.
zlib [P] is one zlib stream. FastLZ is not built in: nobody here has a library for it.
"""

import struct
import zlib
from enum import IntEnum
from typing import Final

from nfc.errors import BadCompression, BadSetting, UnknownCompression

_HEAD: Final = struct.Struct("<II")
_PIECE: Final = 1 << 18


class Compression(IntEnum):
    """As a request asks for it and as a fragment says it [P]."""

    NONE = 0
    ZLIB = 1
    FASTLZ = 2
    SKIPZ = 3


KNOWN: Final = {"none": Compression.NONE, "zlib": Compression.ZLIB, "skipz": Compression.SKIPZ}


def wanted(name: str) -> Compression:
    """The compression of this name, or `BadSetting`."""
    if name == "fastlz":
        raise BadSetting("compression", f"FastLZ is not supported; use one of {', '.join(KNOWN)}")
    if name not in KNOWN:
        raise BadSetting("compression", f"{name!r} is none of {', '.join(KNOWN)}")
    return KNOWN[name]


def announced(number: int) -> Compression:
    """The compression that a fragment announces, or `UnknownCompression`."""
    if number == Compression.FASTLZ:
        raise UnknownCompression(
            "a fragment is compressed with FastLZ, which is not supported and was not asked for"
        )
    if number not in KNOWN.values():
        raise UnknownCompression(f"a fragment is compressed with method {number}, which is not known")
    return Compression(number)


def unpack(method: Compression, packed: memoryview, plain: memoryview) -> None:
    """Fills `plain` from `packed`, wholly. Raises `BadCompression` where they do not fit each other."""
    if method is Compression.NONE:
        if len(packed) != len(plain):
            raise BadCompression(f"{len(packed)} bytes are not the {len(plain)} of the fragment")
        plain[:] = packed
    elif method is Compression.ZLIB:
        _inflate(packed, plain)
    elif method is Compression.SKIPZ:
        _unskip(packed, plain)
    else:
        raise UnknownCompression(f"{method.name} cannot be unpacked here")


def _inflate(packed: memoryview, plain: memoryview) -> None:
    """Piece by piece, so that a small stream that grows without end is stopped at the plain length."""
    stream = zlib.decompressobj()
    filled, rest = 0, bytes(packed)
    try:
        while not stream.eof:
            piece = stream.decompress(rest, min(len(plain) - filled + 1, _PIECE))
            rest = stream.unconsumed_tail
            if filled + len(piece) > len(plain):
                raise BadCompression(
                    f"a zlib stream unpacks to more than the {len(plain)} bytes of its fragment"
                )
            plain[filled : filled + len(piece)] = piece
            filled += len(piece)
            if not piece and not rest and not stream.eof:
                raise BadCompression(f"a zlib stream ends after {filled} of {len(plain)} bytes")
    except zlib.error as error:
        raise BadCompression(f"a zlib stream is damaged: {error}") from error
    if filled != len(plain) or stream.unused_data:
        raise BadCompression(
            f"a zlib stream of {filled} bytes does not fill its fragment of {len(plain)} exactly"
        )


def _unskip(packed: memoryview, plain: memoryview) -> None:
    if len(packed) < _HEAD.size:
        raise BadCompression(f"a SkipZ fragment has {len(packed)} bytes, its head alone takes {_HEAD.size}")
    length, zero = _HEAD.unpack_from(packed)
    if length != len(plain) or zero:
        raise BadCompression(f"a SkipZ fragment says {length} and {zero} instead of {len(plain)} and 0")
    position, end = _HEAD.size, 0
    while position < len(packed):
        position, end = _run(packed, position, plain, end)
    _clear(plain, end, len(plain))


def _run(packed: memoryview, position: int, plain: memoryview, end: int) -> tuple[int, int]:
    """Copies one run; where the next one begins, and where its bytes end in `plain`."""
    if position + _HEAD.size > len(packed):
        raise BadCompression("a SkipZ fragment ends inside the head of a run")
    place, length = _HEAD.unpack_from(packed, position)
    position += _HEAD.size
    if place < end or not length or place + length > len(plain):
        raise BadCompression(
            f"a SkipZ run of {length} bytes at {place} is out of order or outside of {len(plain)}"
        )
    if position + length > len(packed):
        raise BadCompression(f"a SkipZ run of {length} bytes is cut")
    _clear(plain, end, place)
    plain[place : place + length] = packed[position : position + length]
    return position + length, place + length


def _clear(plain: memoryview, start: int, end: int) -> None:
    plain[start:end] = bytes(end - start)
