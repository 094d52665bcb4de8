"""A service manager as a service sees it: a datagram socket that hears what services say."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import PATIENCE


class Hearing:
    """What has been said, oldest first; each message is a set of lines."""

    def __init__(self, heard: socket.socket, address: str) -> None:
        self._socket, self.address = heard, address

    def next(self) -> set[str]:
        """The next message; waits for it."""
        self._socket.settimeout(PATIENCE)
        return set(self._socket.recv(4096).decode().split("\n"))

    def until(self, line: str) -> list[set[str]]:
        """All messages up to the first one with `line`."""
        found = [self.next()]
        while line not in found[-1]:
            found.append(self.next())
        return found

    def rest(self) -> list[set[str]]:
        """What has been said and not been read, without waiting."""
        self._socket.setblocking(False)
        found = []
        try:
            while True:
                found.append(set(self._socket.recv(4096).decode().split("\n")))
        except BlockingIOError:
            return found


@contextmanager
def hearing(abstract: str = "") -> Iterator[Hearing]:
    """A manager's socket at a path, or with a name in the abstract namespace."""
    with (
        tempfile.TemporaryDirectory(prefix="manager-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard,
    ):
        path = str(Path(folder, "notify"))
        heard.bind(f"\0{abstract}" if abstract else path)
        yield Hearing(heard, f"@{abstract}" if abstract else path)
