"""What a host refuses, as a number for an error frame. Only two numbers are known: memory and read-only."""

from __future__ import annotations

GENERIC = 1  # [?]
NOT_FOUND = 2  # [?]
INVALID = 3  # [?]
UNSUPPORTED = 4  # [?]
MEMORY = 5  # the number in VDDK's log when a host cannot allocate buffers
READ_ONLY = 0x0B
LOCKED = 13  # [?]


class Refused(Exception):
    """A request is answered with an error frame; the session goes on."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
