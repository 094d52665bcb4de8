"""The readers of bytes that others wrote. A target may refuse as documented; any other exception is a crash.

`run` returns what it noticed, as one line: an input that makes a reader notice something new is worth keeping for a while.
"""

from __future__ import annotations

import json
import re
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from connector.batch.parse import parse
from connector.batch.problems import ManifestRefused
from connector.errors import BadInput, Conflict, EvidenceDamaged, Ineligible, ReaderFailed, WireViolation
from connector.instance import journal
from connector.instance.journal import Journal
from connector.instance.records import RECORD, Ranges, encode
from connector.instance.state import DiskState
from connector.sources.descriptor import SECTOR, flat_file
from connector.sources.https import beside
from connector.transfer import evidence, wire
from connector.transfer.account import NoAccount, from_json
from connector.transfer.codec import Unpacker
from connector.transfer.evidence import Signer
from connector.transfer.extents import BLOCK
from connector.transfer.receiver import Hello
from connector.transfer.wire import Decoder, FrameKind
from nfc import aio, authd
from nfc.codec import Compression
from nfc.conversation import Conversation
from nfc.errors import MalformedAnswer

FIXTURES: Final = Path(__file__).parents[2] / "fixtures"
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Target:
    """`mend` makes the checksums of a mutant right again, so that it gets further in."""

    name: str
    run: Callable[[bytes], str]
    refusals: tuple[type[Exception], ...]
    corpus: tuple[Path, ...]
    memory: tuple[int, int]  # bytes at most: a constant, and for each byte of input
    mend: Callable[[bytes, Random], bytes]
    few: int  # inputs that the default tests can afford

    @property
    def seeds(self) -> Path:
        """Inputs that failed once, and whatever else is replayed for ever."""
        return FIXTURES / "fuzz" / self.name

    def inputs(self) -> list[bytes]:
        """Corpus and seeds, always in the same order."""
        files = [file for place in (*self.corpus, self.seeds) for file in sorted(place.rglob("*"))]
        return [file.read_bytes() for file in files if file.is_file() and file.name != "README.md"]

    def limit(self, data: bytes) -> int:
        constant, each = self.memory
        return constant + each * len(data)


def read_frames(data: bytes) -> str:
    """As both sides read them, in one piece and byte by byte: the same frames."""
    heard = []
    for accepts in (wire.FROM_APPLIANCE, wire.FROM_INSTANCE):
        whole, torn = _frames(data, accepts, len(data)), _frames(data, accepts, 61)
        assert whole == torn, "frames depend on how the stream was cut"
        heard.append(" ".join(whole))
    return " / ".join(heard)


def _frames(data: bytes, accepts: frozenset[FrameKind], step: int) -> list[str]:
    decoder, unpacker, seen = Decoder(accepts), Unpacker(), []
    try:
        for at in range(0, len(data), step or 1):
            for frame in decoder.feed(data[at : at + step]):
                seen.append(frame.kind.name)
                if frame.kind in wire.TEXT:
                    _ = Hello.parse(frame) if frame.kind == FrameKind.HELLO else frame.text
                if frame.kind == FrameKind.DATA:
                    assert len(unpacker.unpack(frame.codec, frame.payload, frame.length)) == frame.length
                    assert frame.length <= BLOCK
    except WireViolation as refused:
        seen.append(_shape(refused))
    return seen


def read_journal(data: bytes) -> str:
    """Through the file, as an instance does at its start; what was read is what a second reader finds."""
    with tempfile.TemporaryDirectory(dir=_memory()) as place:
        path = Path(place, "journal")
        path.write_bytes(data)
        found = Journal(path, "2000", 1 << 30)
        found.close()
        again = Journal(path, "2000", 1 << 30)
        again.close()
        assert again.records == found.records, "a second reader finds something else"
        kept = path.read_bytes()
    start = len(journal.header("2000", 1 << 30))
    assert b"".join(encode(record) for record in found.records) == kept[start:]
    ranges = [extent for record in found.records if isinstance(record, Ranges) for extent, _ in record.ranges]
    assert all(extent.length > 0 for extent in ranges), "an extent of no bytes"
    state = DiskState.fold(found.capacity, found.records)
    kinds = [type(record).__name__ for record in found.records]
    return f"{' '.join(kinds)} {state.settled} {len(state.attempts)}"


def _memory() -> str | None:
    place = Path("/dev/shm")
    return str(place) if place.is_dir() else None


def read_manifest(data: bytes) -> str:
    """Every problem has a line, and says something."""
    try:
        wave = parse(data, "wave.yaml")
    except ManifestRefused as refused:
        assert refused.problems and "\n" not in str(refused)
        assert all(problem.mark.line >= 1 and problem.what for problem in refused.problems)
        return " / ".join(re.sub(r"'[^']*'|[^a-z ]", "", problem.what)[:40] for problem in refused.problems)
    return f"a wave of {min(len(wave.manifest.machines), 3)}"


def read_evidence(data: bytes) -> str:
    """The signature and what it covers, then the account of each disk: what is read is written again in the same way."""
    found = evidence.read(data)
    seen = []
    for disk in found.disks.values():
        try:
            account = from_json(disk)
        except NoAccount as refused:
            seen.append(_shape(refused))
            continue
        again = json.loads(evidence.canonical(account.to_json()))
        assert from_json(again) == account
        assert sum(piece.length for piece in account.pieces) == account.capacity
        seen.append("packed" if "packed" in again else "listed")
    return " / ".join(seen)


NFC_READ: Final = 4096
NFC_GUARD: Final = b"\xee" * 512


def read_nfc(data: bytes) -> str:
    """Answers of a host to one of each question, in one piece and torn: the same ends, and no byte beside the reads."""
    ends = []
    for compression in (Compression.ZLIB, Compression.SKIPZ):
        whole, torn = _nfc(data, compression, len(data)), _nfc(data, compression, 7)
        assert whole == torn, "ends depend on how the stream was cut"
        ends.append(whole)
    return " / ".join(ends)


def _nfc(data: bytes, compression: Compression, step: int) -> str:
    conversation, memory = (
        Conversation("[ds] a.vmdk", compression),
        bytearray(NFC_GUARD + bytes(NFC_READ) + NFC_GUARD),
    )
    conversation.read(1, 7, 0, memoryview(memory)[512:-512])
    for key, question in enumerate(
        (aio.open_file("a"), aio.get_metadata(7, "b"), aio.query_allocated(7, 0, 9, 65536))
    ):
        conversation.ask(key + 2, question)
    try:
        for at in range(0, len(data), step or 1):
            _nfc_piece(conversation, memoryview(data)[at : at + step])
        refused = ""
    except MalformedAnswer as error:
        refused = f"{error.id} {_shape(error)}"
        conversation.give_up(error)
    assert memory.startswith(NFC_GUARD) and memory.endswith(NFC_GUARD), "a byte outside of the read"
    ended = [(end.key, end.error and end.error.id) for end in conversation.take()]
    return f"{ended} {conversation.waiting} {refused}"


def _nfc_piece(conversation: Conversation, piece: memoryview) -> None:
    while piece:
        target = conversation.decoder.target
        count = min(len(target), len(piece))
        target[:count] = piece[:count]
        conversation.decoder.advance(count)
        piece = piece[count:]


def read_authd(data: bytes) -> str:
    """A line of the daemon, and what it means as a reply and as a digest."""
    line = authd.LineDecoder().feed(data)
    if line is None:
        return "no line"
    reply = authd.reply(line)
    return f"{reply.code} {len(authd.digest(reply))}"


def read_descriptor(data: bytes) -> str:
    """The flat file that a descriptor names is beside it, and has whole sectors."""
    flat = flat_file(data, "disk")
    assert flat.length > 0 and flat.length % SECTOR == 0
    assert beside("[ds] web/web.vmdk", flat.name) == f"[ds] web/{flat.name}" and "/" not in flat.name
    return f"{flat.length.bit_length()}"


def mend_magic(data: bytes, random: Random) -> bytes:
    """The first frame begins as it should and answers what was asked."""
    return (
        aio.HEADER.pack(
            aio.MAGIC, random.choice((1, 4, 7, 11, 13)), 44 + random.choice((0, 4)), random.randrange(4)
        )
        + data[16:]
    )


def _shape(refused: Exception) -> str:
    return re.sub(r"[0-9]+", "#", str(refused))


def mend_frames(data: bytes, random: Random) -> bytes:
    """The header checksum of every frame that can be found is right."""
    mended, at = bytearray(data), 0
    while (at := mended.find(wire.MAGIC, at)) >= 0 and at + wire.HEADER.size <= len(mended):
        end = at + wire.HEADER.size
        mended[end - 4 : end] = zlib.crc32(mended[at : end - 4]).to_bytes(4, "big")
        at = end
    return bytes(mended)


def mend_journal(data: bytes, random: Random) -> bytes:
    """Checksums of header and records are right, as far as their lengths lead."""
    mended = bytearray(data)
    if len(mended) < journal.HEADER.size:
        return data
    end = journal.HEADER.size + journal.HEADER.unpack_from(mended)[2]
    start = 0
    while end + 4 <= len(mended):
        mended[end : end + 4] = zlib.crc32(mended[start:end]).to_bytes(4, "big")
        start = end + 4
        if start + RECORD.size > len(mended):
            break
        end = start + RECORD.size + RECORD.unpack_from(mended, start)[1]
    return bytes(mended)


def mend_evidence(data: bytes, random: Random) -> bytes:
    """Signed again by somebody: in order, whatever it says."""
    try:
        sections = json.loads(data)["sections"]
        return evidence.seal(sections, Signer(Ed25519PrivateKey.from_private_bytes(bytes(32))))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return data


def as_it_is(data: bytes, random: Random) -> bytes:
    """There is no checksum."""
    return data


TARGETS: Final = (
    Target("wire", read_frames, (WireViolation,), (FIXTURES / "frames",), (8 * MIB, 64), mend_frames, 150),
    Target("journal", read_journal, (Conflict,), (FIXTURES / "journals",), (MIB, 256), mend_journal, 150),
    Target(
        "manifest",
        read_manifest,
        (ManifestRefused,),
        (FIXTURES / "manifests",),
        (48 * MIB, 2048),
        as_it_is,
        25,
    ),
    Target(
        "evidence",
        read_evidence,
        (EvidenceDamaged, BadInput),
        (),
        (48 * MIB, 256),
        mend_evidence,
        60,
    ),
    Target("nfc", read_nfc, (), (), (MIB, 256), mend_magic, 60),
    Target("descriptor", read_descriptor, (Ineligible, ReaderFailed), (), (MIB, 256), as_it_is, 100),
    Target("authd", read_authd, (MalformedAnswer,), (), (MIB, 64), as_it_is, 60),
)
