"""Classic NFC messages: 264 bytes each, the type first, the rest zero but for a few fields.

| type | from | meaning |
|---|---|---|
| 43 | client | how the digest of its certificate was checked; ASCII `PlainText` at 4 |
| 33, 36 | client, host | a question and its answer, u32 1 at 16 |
| 51 | both | u32 version at 4 |
| 54 | client | u32 length of a name and of an operation id at 4 and 8, then both without an end |
| 55 | client | u32 features at 4 |
| 52 | both | from here on AIO frames |
| 4 | client | the end |
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from simulator.nfc.wire import Ended, Wire

SIZE = 264
CLOSE, PING, PONG, DIGEST, VERSION, AIO, NAMES, FEATURES = 4, 33, 36, 43, 51, 52, 54, 55
LEAST_VERSION = 3
_LONGEST_NAME = 1024


@dataclass(frozen=True, slots=True)
class Introduction:
    """What the client said of itself."""

    version: int = 0
    name: str = ""
    operation: str = ""
    features: int = 0


def message(kind: int, fields: bytes = b"", at: int = 4) -> bytes:
    """One message; `fields` at an offset, zeros elsewhere."""
    return struct.pack("<I", kind).ljust(at, b"\0") + fields + bytes(SIZE - at - len(fields))


def introduce(wire: Wire, version: int) -> Introduction | None:
    """Answer until both sides agree on AIO; None when the client ends it. Raises Ended.

    The order of the client's messages is not enforced, but for a version named before AIO.
    """
    known: dict[str, int | str] = {}
    while True:
        body = wire.receive(SIZE)
        (kind,) = struct.unpack_from("<I", body)
        if kind == CLOSE:
            return None
        if kind == AIO:
            break
        known |= _step(wire, kind, body, version)
    said = Introduction(**known)  # type: ignore[arg-type]
    if min(said.version, version) < LEAST_VERSION:
        raise Ended(f"no AIO between version {said.version} of the client and {version} of the host")
    wire.send(message(AIO))
    return said


def _step(wire: Wire, kind: int, body: bytes, version: int) -> dict[str, int | str]:
    first, second = struct.unpack_from("<II", body, 4)
    if kind == DIGEST:
        if body[4:].rstrip(b"\0") != b"PlainText":
            raise Ended("message 43 says something other than PlainText")
    elif kind == PING:
        wire.send(message(PONG, struct.pack("<I", 1), at=16))
    elif kind == VERSION:
        wire.send(message(VERSION, struct.pack("<I", version)))
        return {"version": first}
    elif kind == NAMES:
        return _names(wire, first, second)
    elif kind == FEATURES:
        return {"features": first}
    else:
        raise Ended(f"unknown classic message {kind}")
    return {}


def _names(wire: Wire, name: int, operation: int) -> dict[str, int | str]:
    if max(name, operation) > _LONGEST_NAME:
        raise Ended(f"names of {name} and {operation} bytes in message 54")
    return {
        "name": wire.receive(name).decode(errors="replace"),
        "operation": wire.receive(operation).decode(errors="replace"),
    }
