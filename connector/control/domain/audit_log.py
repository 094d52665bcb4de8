"""The lines of the audit log are a chain: each has the digest of the line before it and its own.

The digest of a line is the SHA-256 of its canonical JSON: all fields but `digest`, keys sorted, no blanks, ASCII only. A line
of an export is the same JSON with `digest`. Who knows one digest knows by it everything up to that line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from connector.control.domain.entities import Json
from connector.errors import AuditLogDamaged

#: What the first line has in place of the digest of a line before it.
BEGINNING: Final = "0" * 64
LONGEST: Final = 16 << 20  # bytes of one line of an export

_REMEDY: Final = (
    "compare with an earlier export (--against) to see what is still as it was; find out who could change it"
)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line. `who`: the id of an access key or appliance, "system", or a user of the machine.

    `previous`: the digest of the line before it.
    """

    number: int
    at: float
    who: str
    origin: str
    action: str
    subject: str
    details: Json
    previous: str
    digest: str

    def content(self) -> Json:
        """What the digest is about."""
        return {name: value for name, value in asdict(self).items() if name != "digest"}

    def line(self) -> bytes:
        """Its line of an export."""
        return canonical(asdict(self)) + b"\n"


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The last line of the log: its number, 0 when there is none, and its digest."""

    number: int
    digest: str


EMPTY: Final = ChainHead(0, BEGINNING)
_NAMES: Final = frozenset(field.name for field in fields(AuditEntry))


def canonical(content: Mapping[str, Any]) -> bytes:
    """The one way to write a line as bytes."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def digest_of(content: Mapping[str, Any]) -> str:
    """The digest of a line without `digest`."""
    return hashlib.sha256(canonical(content)).hexdigest()


def follow(head: ChainHead, content: Json) -> AuditEntry:
    """The next line after `head`, with its number and digests. `content` is all the rest."""
    plain = json.loads(json.dumps(content))  # as it will be read: tuples are lists, keys are words
    whole: Json = {**plain, "number": head.number + 1, "previous": head.digest}
    return AuditEntry(**whole, digest=digest_of(whole))


def read(line: bytes, number: int, on: str) -> AuditEntry:
    """The line with this number of an export. Raises `AuditLogDamaged` unless it is as it was written, to the byte."""
    try:
        entry = AuditEntry(**json.loads(line))
        intact = line == entry.line() and type(entry.number) is int
    except (ValueError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise damaged(on, f"line {number} was changed: it is no line that the export wrote")
    return entry


def damaged(on: str, what: str) -> AuditLogDamaged:
    """The failure of a verification."""
    return AuditLogDamaged(what, on=on, remedy=_REMEDY)


class Chain:
    """Walks along the lines of one log, first to last. `on` names it in failures."""

    def __init__(self, on: str) -> None:
        self.on = on
        self.head = EMPTY

    def check(self, entry: AuditEntry) -> None:
        """Take the next line. Raises `AuditLogDamaged`, with the number of the line that is wrong."""
        number = self.head.number + 1
        if entry.digest != digest_of(entry.content()):
            raise damaged(self.on, f"line {number} was changed: its digest is not that of its content")
        if entry.number > number:
            raise damaged(self.on, f"line {number} is missing: line {entry.number} is in its place")
        if entry.number != number:
            raise damaged(
                self.on, f"line {entry.number} comes again after line {number - 1}: it was inserted or moved"
            )
        if entry.previous != self.head.digest:
            before = "what is before it" if number == 1 else f"line {number - 1} or what is before it"
            raise damaged(self.on, f"line {number} does not continue the log: {before} was replaced")
        self.head = ChainHead(number, entry.digest)

    def walk(self, entries: Iterable[AuditEntry]) -> Iterator[AuditEntry]:
        """The lines, each after its check."""
        for entry in entries:
            self.check(entry)
            yield entry


def verify(
    entries: Iterable[AuditEntry],
    on: str,
    earlier: Iterable[AuditEntry] = (),
    earlier_on: str = "",
    known: str = "",
) -> ChainHead:
    """Walk the whole log and answer its head. Raises `AuditLogDamaged`.

    `earlier`: the lines of an earlier export, of which every one must still be there. `known`: a digest that was the head
    once, so a line must have it. Lines that were cut from the end show only in these two.
    """
    chain, before = Chain(on), Chain(earlier_on)
    kept = before.walk(earlier)
    seen = known in ("", BEGINNING)
    for entry in chain.walk(entries):
        seen = seen or entry.digest == known
        was = next(kept, None)
        if was is not None and was.digest != entry.digest:
            raise damaged(
                on,
                f"line {entry.number} is another one than in {earlier_on}: the log was rewritten from there",
            )
    last = chain.head.number
    if sum(1 for _ in kept):
        raise damaged(
            on,
            f"lines {last + 1} to {before.head.number} of {earlier_on} are missing: {_CUT} after line {last}",
        )
    if not seen:
        raise damaged(on, f"none of its {last} lines has the digest {known}: {_CUT}, or it was rewritten")
    return chain.head


_CUT: Final = "the log was cut, or an older copy of the database was put back,"
