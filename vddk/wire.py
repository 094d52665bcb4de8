"""Packets between a disk's owner and its worker: one SOCK_SEQPACKET message each, first byte the kind.

J  json     a request, an answer, or a failed read
R  read     key, region, start in region, length, offset on disk: u64 each, little endian
D  done     keys of reads that ended well, u64 each, as many as there were
X  extents  pairs of start and length, u64 each; a J packet ends the list
"""

import array
import json
import math
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

from vddk.spec import ConnectionSpec, DiskSpec, Extent, Installation, SessionCookie, UserPassword

LONGEST: Final = 1 << 17
_EXTENTS_PER_PACKET: Final = 4096
_READ: Final = struct.Struct("<5Q")
_ROOM: Final = socket.CMSG_SPACE(4 * array.array("i").itemsize)
_SEND_ROOM: Final = 1 << 20
"""Enough for the deepest queue of reads, so that queueing one never waits for the other side."""


class Read(NamedTuple):
    key: int
    region: int
    start: int
    length: int
    offset: int


class Packet(NamedTuple):
    kind: str
    body: bytes
    fds: tuple[int, ...]

    def read(self) -> Read:
        return Read(*_READ.unpack(self.body))

    def done(self) -> Sequence[int]:
        return struct.unpack(f"<{len(self.body) // 8}Q", self.body)

    def extents(self) -> list[Extent]:
        return [Extent(start, length) for start, length in struct.iter_unpack("<QQ", self.body)]

    def json(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.body)
        return content


class Channel:
    """One end. Sending and receiving may happen on two threads, each on one only."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_ROOM)
        self._socket = connected
        self._readable = select.poll()
        self._readable.register(connected, select.POLLIN)
        self._memory = bytearray(LONGEST)

    def send_json(self, fields: dict[str, Any], fds: Sequence[int] = ()) -> None:
        message = b"J" + json.dumps(fields).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self._socket.sendmsg([message], rights)

    def send_read(self, read: Read) -> None:
        self._socket.send(b"R" + _READ.pack(*read))

    def send_done(self, keys: Sequence[int]) -> None:
        self._socket.send(b"D" + struct.pack(f"<{len(keys)}Q", *keys))

    def send_extents(self, extents: Iterable[Extent]) -> None:
        numbers = [number for extent in extents for number in extent]
        step = 2 * _EXTENTS_PER_PACKET
        for first in range(0, len(numbers), step):
            part = numbers[first : first + step]
            self._socket.send(b"X" + struct.pack(f"<{len(part)}Q", *part))

    def receive(self, timeout: float | None = None) -> Packet:
        """The next packet. Raises `EOFError` when the other side is gone, `TimeoutError` when none came.

        The socket itself stays blocking, because sending must never fail for want of room.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while (packet := self._taken(wait=until is None)) is None:
            if until is not None:
                self._await(until)
        return packet

    def _await(self, until: float) -> None:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._readable.poll(math.ceil(left * 1000))

    def _taken(self, wait: bool) -> Packet | None:
        flags = socket.MSG_CMSG_CLOEXEC | (0 if wait else socket.MSG_DONTWAIT)
        try:
            size, ancillary, _, _ = self._socket.recvmsg_into([self._memory], _ROOM, flags)
        except BlockingIOError:
            return None
        except ConnectionError as error:
            raise EOFError from error
        if not size:
            raise EOFError
        fds = array.array("i")
        for _, _, data in ancillary:
            fds.frombytes(data)
        return Packet(chr(self._memory[0]), bytes(memoryview(self._memory)[1:size]), tuple(fds))

    def close(self) -> None:
        self._socket.close()


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def installation_fields(installation: Installation) -> dict[str, Any]:
    """Paths made absolute, because the child works in another directory."""
    tmp = installation.tmp_directory
    return {
        **asdict(installation),
        "directory": str(installation.directory.absolute()),
        "tmp_directory": str(tmp.absolute()) if tmp else None,
        "extra": dict(installation.extra),
    }


def installation_from(fields: dict[str, Any]) -> Installation:
    tmp = fields["tmp_directory"]
    paths = {"directory": Path(fields["directory"]), "tmp_directory": Path(tmp) if tmp else None}
    return Installation(**{**fields, **paths})


def connection_fields(spec: ConnectionSpec) -> dict[str, Any]:
    """Everything, secrets included: for a socket to our own child, for nothing else."""
    return {**asdict(spec), "session": isinstance(spec.credentials, SessionCookie)}


def connection_from(fields: dict[str, Any]) -> ConnectionSpec:
    rest = {name: value for name, value in fields.items() if name not in ("session", "credentials")}
    kind = SessionCookie if fields["session"] else UserPassword
    return ConnectionSpec(**rest, credentials=kind(**fields["credentials"]))


def disk_fields(spec: DiskSpec) -> dict[str, Any]:
    return {**asdict(spec), "connection": connection_fields(spec.connection)}


def disk_from(fields: dict[str, Any]) -> DiskSpec:
    return DiskSpec(**{**fields, "connection": connection_from(fields["connection"])})
