"""Classic messages: 264 bytes each, little-endian, the type at 0, the rest zero. They lead to the frames of `nfc.aio`. Pure.

C 43  "PlainText" at 4                                  [P]
C 33                                                    [P]
S 36  u32 1 at 16                                       [P]
C 51  u32 11 at 4: our version      S 51  the host's    [P]; that the host's stands at 4 too is [?]
C 54  u32 name length at 4, u32 operation id length at 8, then both strings raw    [P]
C 55  u32 3 at 4: features interruption and switch      [P]
C 52                                S 52                [P]
C 4   at the very end                                   [P]
"""

import struct
from enum import IntEnum
from typing import Final

from nfc.errors import AioRefused, ProtocolTooOld, UnexpectedAnswer

SIZE: Final = 264
VERSION: Final = 11
OLDEST: Final = 3
FEATURES: Final = 3
NAME: Final = b"vddk"
OPERATION: Final = b"nbdmode"
_U32: Final = struct.Struct("<I")
_ACCEPTED_AT: Final = 16


class Kind(IntEnum):
    END = 4
    HELLO = 33
    ACCEPTED = 36
    SECURITY = 43
    VERSION = 51
    SWITCH = 52
    CLIENT = 54
    FEATURES = 55


def message(kind: Kind, body: bytes = b"") -> bytes:
    """`body` stands from 4 on."""
    return (_U32.pack(kind) + body).ljust(SIZE, b"\0")


def hello() -> bytes:
    """What is sent before the first answer."""
    return message(Kind.SECURITY, b"PlainText") + message(Kind.HELLO)


def version() -> bytes:
    return message(Kind.VERSION, _U32.pack(VERSION))


def switch() -> bytes:
    """Who we are, what we can do, and the wish for frames."""
    client = message(Kind.CLIENT, _U32.pack(len(NAME)) + _U32.pack(len(OPERATION))) + NAME + OPERATION
    return client + message(Kind.FEATURES, _U32.pack(FEATURES)) + message(Kind.SWITCH)


def end() -> bytes:
    return message(Kind.END)


def check_accepted(answer: bytes) -> None:
    _expect(answer, Kind.ACCEPTED)
    number = _U32.unpack_from(answer, _ACCEPTED_AT)[0]
    if number != 1:
        raise UnexpectedAnswer(f"the host's first message says {number} instead of 1")


def check_version(answer: bytes, host: str) -> int:
    """The host's version, if it has asynchronous reads."""
    _expect(answer, Kind.VERSION)
    number = int(_U32.unpack_from(answer, 4)[0])
    if number < OLDEST:
        raise ProtocolTooOld(host, f"version {number}")
    return number


def check_switched(answer: bytes, host: str) -> None:
    number = _kind(answer)
    if number != Kind.SWITCH:
        raise AioRefused(host, f"message {number}")


def _kind(answer: bytes) -> int:
    if len(answer) != SIZE:
        raise UnexpectedAnswer(f"a message of {len(answer)} bytes instead of {SIZE}")
    return int(_U32.unpack_from(answer)[0])


def _expect(answer: bytes, expected: Kind) -> None:
    number = _kind(answer)
    if number != expected:
        raise UnexpectedAnswer(f"message {number} instead of {expected.value} ({expected.name})")
