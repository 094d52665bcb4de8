"""A conversation over NFC as a text that may be given away, and that tests can replay; see fixtures/nfc. Pure.

It hears one connection above TLS (`nfc.connection.Observer`), and writes down each message once it is whole and scrubbed. Where
the conversation stops making sense, it says so in a comment and keeps nothing behind it.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from nfc import aio, classic
from nfc.errors import NfcError
from nfc.listening import CLIENT, HOST, Form, Listener, Message, Speaker
from nfc.scrubbing import MessageScrubber, Pseudonyms

MOST: Final = 32 << 20
"""Bytes of one connection that are listened to."""
CONNECTION: Final = "== a new connection"
TLS: Final = "== TLS"
LEFT: Final = "== the layer is left"
ABOUT: Final = """\
# Conversations over NFC, as both sides spoke them above TLS, recorded from a host and scrubbed.
# C: the client, S: the host. Text in quotes is a line that ends in CR LF; everything else is hexadecimal.
# Texts, digests and tickets are pseudonyms of the same length; equal ones are equal in all of this recording.
# The content of the disk was replaced: sector n is filled with one byte, 1 + n modulo 255. Only SkipZ and QUERY_ALLOCATED still
# show where it was zero. ee stands for bytes that are neither a text nor a number that is known.
"""
_NAMES: Final = {CLIENT: "client", HOST: "host"}


class Recording:
    """One connection, which must not be used by two threads at once."""

    def __init__(self, pseudonyms: Pseudonyms, title: str) -> None:
        self.lines = [CONNECTION, f"# {title}", "# authd"]
        self._scrubber = MessageScrubber(pseudonyms)
        self._listener = Listener(self._told)
        self._heard: dict[Speaker, int] = {CLIENT: 0, HOST: 0}
        self._over = self._classic = False

    @property
    def empty(self) -> bool:
        """Whether neither side has said anything."""
        return not any(self._heard.values())

    def sent(self, data: bytes) -> None:
        self._hear(CLIENT, data)

    def received(self, data: bytes) -> None:
        self._hear(HOST, data)

    def secured(self, certificate: bytes) -> None:
        if self._over:
            return
        digests = (
            (name, hashlib.new(name.replace("-", ""), certificate, usedforsecurity=False).hexdigest())
            for name in ("SHA-1", "SHA-256")
        )
        shown = ", ".join(f"{name} {self._scrubber.digits(digest).lower()}" for name, digest in digests)
        self.lines += [TLS, f"# the host's certificate has {shown}"]

    def finish(self, remark: str = "") -> None:
        """The connection is over; nothing more is kept. `remark` becomes a comment."""
        if not self._over:
            begun = ((self._listener.begun(speaker), speaker) for speaker in (CLIENT, HOST))
            self.lines += [
                f"# the last {n} bytes of the {_NAMES[who]} are no whole message" for n, who in begun if n
            ]
        self._over = True
        if remark:
            self.lines.append(f"# {remark}")

    def _hear(self, speaker: Speaker, data: bytes) -> None:
        if self._over:
            return
        self._heard[speaker] += len(data)
        try:
            if self._heard[speaker] > MOST:
                self._cut(speaker, f"more than {MOST} bytes")
            else:
                self._listener.hear(speaker, data)
        except NfcError as error:
            self._cut(speaker, error.id)  # its words may hold bytes of the stream

    def _cut(self, speaker: Speaker, why: str) -> None:
        self._over = True
        heard_bytes = self._heard[speaker]
        self.lines.append(
            f"# cut here: among the first {heard_bytes} bytes of the {_NAMES[speaker]} is something that makes no sense ({why})"
        )

    def _told(self, speaker: Speaker, message: Message) -> None:
        scrubbed = self._scrubber.message(speaker, message)
        if speaker == CLIENT:
            self.lines += self._comment(scrubbed)
        shown = _line(scrubbed.data) if message.form is Form.LINE else _bytes(scrubbed).hex(" ", 4)
        self.lines.append(f"{speaker} {shown}")
        if speaker == HOST and message.form is Form.LINE and message.data.startswith(b"200 Connect "):
            self.lines.append(LEFT)

    def _comment(self, message: Message) -> list[str]:
        """What the client begins."""
        if message.form is Form.FRAME:
            return [f"# {_question(message)}"]
        if message.form is Form.CLASSIC and message.kind == classic.Kind.END:
            return ["# the end"]
        if message.form is Form.CLASSIC and not self._classic:
            self._classic = True
            return ["# classic messages"]
        return []


def document(recordings: Iterable[Recording]) -> str:
    """The text of a file."""
    return ABOUT + "\n".join(line for recording in recordings for line in recording.lines) + "\n"


def _bytes(message: Message) -> bytes:
    if message.form is not Form.FRAME:
        return message.data
    return (
        aio.HEADER.pack(aio.MAGIC, message.kind, len(message.data), message.operation)
        + message.data
        + message.extra
    )


def _line(raw: bytes) -> str:
    """In quotes, where that says every byte."""
    text = raw.removesuffix(b"\r\n").decode("ascii", "replace")
    plain = raw.endswith(b"\r\n") and text.isprintable() and text.isascii() and '"' not in text
    return f'"{text}"' if plain else raw.hex(" ", 4)


def _question(message: Message) -> str:
    name = aio.Kind(message.kind).name
    if message.kind == aio.Kind.IO:
        read = aio.parse_read(message.data)
        return f"{name}: {read.length} bytes at {read.offset}, compression {read.compression}"
    return f"{name} {message.extra.decode('ascii', 'replace')}" if message.kind == aio.Kind.DDB_GET else name
