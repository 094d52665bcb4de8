"""Records how a disk is read over NFC, scrubbed, for tests to replay: one connection for each compression. It only reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from connector.model import DiskAccess
from connector.sources.nfc import ERRORS, new_ticket
from nfc.codec import KNOWN
from nfc.disk import NfcDisk, open_disk
from nfc.errors import NfcError
from nfc.recording import Recording, document
from nfc.scrubbing import Pseudonyms
from nfc.spec import SECTOR, DiskSpec, Extent, Patience

FILE: Final = "nfc.txt"
ALLOCATION: Final = 4 << 30
"""Bytes of a disk, from its beginning, that are asked for what is allocated."""
PATIENCE: Final = Patience(connect=20.0, answer=30.0, opening=60.0, silence=60.0, closing=20.0)
_BUFFERS: Final = {"none": (1 << 20, 4)}
"""Size and count as a pass asks for them; other compressions show how an answer comes in pieces."""
_SMALL_BUFFERS: Final = (16 << 10, 4)


@dataclass(frozen=True, slots=True)
class NfcRecording:
    """The text of a file, how many connections were heard, and what went wrong in the last one, or nothing."""

    text: str
    connections: int
    trouble: str = ""


def record(access: DiskAccess, pseudonyms: Pseudonyms) -> NfcRecording:
    """Open the disk, read a little of it and close it, with each compression. An error of the host is part of a recording.

    Raises what vCenter answers instead of a ticket, and ReaderFailed or its like when a host says nothing at all.
    """
    recordings: list[Recording] = []
    for compression in KNOWN:
        ticket = new_ticket(access)
        buffer, buffers = _BUFFERS.get(compression, _SMALL_BUFFERS)
        spec = DiskSpec(
            ticket, access.path, compression=compression, buffer=buffer, buffers=buffers, patience=PATIENCE
        )
        title = f"compression {compression}, {buffers} buffers of {buffer} bytes"
        recordings.append(Recording(pseudonyms, title))
        if (failed := _heard(spec, recordings[-1])) is None:
            continue
        if all(recording.empty for recording in recordings):
            raise ERRORS.explain(failed, access.path) from failed
        return NfcRecording(document(recordings), len(recordings), str(ERRORS.explain(failed, access.path)))
    return NfcRecording(document(recordings), len(recordings))


def _heard(spec: DiskSpec, recording: Recording) -> NfcError | None:
    """What ended the conversation, unless it came to its end."""
    failed: NfcError | None = None
    try:
        with closing(open_disk(spec, recording)) as disk:
            look(disk)
    except NfcError as error:
        failed = error
    recording.finish(f"the client ended with {failed.id}" if failed else "")
    return failed


def look(disk: NfcDisk) -> None:
    """Read a little of each kind that a disk has to tell."""
    disk.metadata()
    capacity = disk.info.capacity
    list(disk.allocated(0, min(ALLOCATION, capacity)))
    for place in places(capacity):
        disk.read_into(place.start, bytearray(place.length))


def places(capacity: int) -> Iterator[Extent]:
    """What is read of a disk of this size: its beginning, its middle, its last sectors."""
    middle = capacity // 2 // SECTOR * SECTOR
    for start, length in ((0, 64 << 10), (middle, 16 << 10), (max(capacity - (4 << 10), 0), 4 << 10)):
        yield Extent(start, min(length, capacity - start))
