"""authd on port 902: one plain line, then commands in a first TLS layer, until PROXY hands the connection on.

Answers: 220 greeting, 200 done, 501 wrong argument or unknown command, 530 not logged in.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from simulator.nfc.tickets import Ticket
from simulator.nfc.wire import Ended, Wire

_MOST_COMMANDS = 32


@dataclass(frozen=True, slots=True)
class Settings:
    """What authd needs of its host. `digest`: SHA-256 that THUMBPRINT_SHA2 answers; `redeem` uses a ticket up."""

    banner: str
    first: ssl.SSLContext
    second: ssl.SSLContext
    digest: str
    plain_data: bool
    redeem: Callable[[str], Ticket | None]


class Authd:
    """One conversation, from the banner to the connection for data."""

    def __init__(self, wire: Wire, settings: Settings) -> None:
        self._wire, self._settings = wire, settings
        self._ticket: Ticket | None = None

    def run(self) -> Ticket:
        """The ticket of whoever came in; the wire then carries data. Raises Ended."""
        self._say(self._settings.banner)
        self._wire.secure(self._settings.first)
        for _ in range(_MOST_COMMANDS):
            ticket = self._command(self._wire.line())
            if ticket is not None:
                return ticket
        raise Ended("the client sent too many commands")

    def _command(self, line: str) -> Ticket | None:
        word, _, argument = line.partition(" ")
        if word == "SESSION":
            self._ticket = self._settings.redeem(argument)
        elif word == "PROXY":
            return self._proxy(argument)
        elif word in ("USER", "PASS"):
            self._say("530 Please login with USER and PASS.")
        elif word == "BANNER":
            self._say(self._settings.banner)
        elif line == "THUMBPRINT_SHA2 PlainText":
            self._say(f"200 {self._settings.digest}")
        else:
            self._say(f"501 {word[:32]}: wrong argument or unknown command")
        return None

    def _proxy(self, argument: str) -> Ticket | None:
        offered = {"vpxa-nfcssl": "ha-nfcssl"} | ({"vpxa-nfc": "ha-nfc"} if self._settings.plain_data else {})
        if argument not in offered:
            self._say("501 PROXY: no such service")
            return None
        if self._ticket is None:
            self._say("530 Login incorrect.")
            return None
        self._say(f"200 Connect {offered[argument]}")
        self._wire.abandon()
        if argument == "vpxa-nfcssl":
            self._wire.secure(self._settings.second)
        return self._ticket

    def _say(self, text: str) -> None:
        self._wire.send(f"{text}\r\n".encode())
