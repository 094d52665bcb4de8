"""A recorded conversation holds nothing of its owner, whatever the host says, and our client can have it once more."""

from __future__ import annotations

import ssl
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.vcenter.scrub import Scrubber
from nfc import aio
from nfc.connection import TlsLayer, connect
from nfc.conversation import Conversation
from nfc.disk import NfcDisk, open_disk
from nfc.engine import Engine
from nfc.errors import DiskLocked, HostError, NfcError, TicketRefused
from nfc.listening import Form, Message
from nfc.recording import Recording, document
from nfc.scrubbing import BLANK, MessageScrubber, filler
from nfc.spec import Extent
from tests.nfc.host import GREETING, HANDLE, PATH, SESSION, SIZE, Script, certificate, content, serving
from tests.nfc.host import spec as real_spec
from tests.nfc.replay import FOLDER, MAGIC, Outcome, ask_again, conversations, replaying, spec
from tests.waiting import PATIENCE

SECRETS = (SESSION, "secret-ticket", "kunde", "esx-47", "lab.example", "[ds] vm/vm", "60 00 C2 9a")
READS = ((0, 65536), (SIZE // 2 // 512 * 512, 16384), (SIZE - 4096, 4096))
WINDOW = 7
BITMAP = "S 7ada00a1 0d000000"  # nobody can tell whether a bitmap is one


def scrubber(known: str = "vmdk") -> Scrubber:
    return Scrubber(b"key" * 11, frozenset(known.split()))


def recorded(
    script: Script, act: Callable[[NfcDisk], object], **changes: object
) -> tuple[str, NfcError | None]:
    """The file of one connection, and what ended it."""
    recording, failed = Recording(scrubber(), "a test"), None
    with serving(script) as host:
        try:
            with open_disk(real_spec(host, **changes), recording) as disk:
                act(disk)
        except NfcError as error:
            failed = error
    recording.finish()
    return document([recording]), failed


def look(disk: NfcDisk) -> list[bytes]:
    """Everything that a disk has to tell."""
    disk.metadata()
    list(disk.allocated(0, disk.info.capacity))
    data = [bytearray(length) for _, length in READS]
    for (offset, _), memory in zip(READS, data, strict=True):
        disk.read_into(offset, memory)
    return [bytes(memory) for memory in data]


def assert_discreet(text: str, secrets: tuple[str, ...] = SECRETS) -> None:
    """No secret as text or in hexadecimal, and no byte of the disk beyond what chance gives."""
    bare = "".join(text.split()).lower()
    for secret in (
        *secrets,
        *(certificate(name).sha1 for name in ("host", "data")),
        certificate("data").sha256,
    ):
        assert secret.lower() not in text.lower(), secret
        assert secret.encode().hex() not in bare, secret
    assert certificate("data").sha256 not in bare.replace(":", "")
    assert not windows() & {bare[at : at + 2 * WINDOW] for at in range(len(bare))}


@cache
def windows() -> frozenset[str]:
    """Some bytes in a row of what the disk holds, from everywhere."""
    places = {*range(70_000), *range(0, len(content()), 512)}
    pieces = {content()[at : at + WINDOW] for at in places}
    return frozenset(piece.hex() for piece in pieces if len(piece) == WINDOW and len(set(piece)) > 1)


@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("method", "compression"), [(0, "none"), (1, "zlib"), (3, "skipz"), (0, "zlib")])
def test_a_recorded_conversation_is_replayed_byte_by_byte(
    method: int, compression: str, tls: ssl.TLSVersion
) -> None:
    text, failed = recorded(Script(method=method, tls=tls), look, compression=compression)
    assert failed is None
    assert_discreet(text)
    (script,) = conversations(text)
    with replaying([script]) as host, open_disk(spec(host, script, compression=compression)) as disk:
        assert disk.info.capacity == SIZE
        assert disk.metadata().keys() == {"uuid", "adapterType"}
        assert list(disk.allocated(0, SIZE)) == [Extent(0, 1 << 19), Extent(2 << 20, 4608)]
        for offset, length in READS:
            memory = bytearray(length)
            disk.read_into(offset, memory)
            if method == 3:  # where SkipZ has no runs
                assert all(
                    got in (0, wanted) for got, wanted in zip(memory, filler(offset, length), strict=True)
                )
            else:
                assert memory == filler(offset, length)


def test_the_same_driver_replays_whatever_was_recorded() -> None:
    text, _ = recorded(Script(method=1), look, compression="zlib")
    (script,) = conversations(text)
    with replaying([script]) as host:
        outcomes = ask_again(host, script)
    assert len(outcomes) == len(script.requests)
    assert not [outcome for outcome in outcomes if isinstance(outcome, NfcError)]


NONE = pytest.param("", marks=pytest.mark.skip(reason="needs a recording of a real host in fixtures/nfc"))


@pytest.mark.parametrize(
    "name", sorted({file.name for file in FOLDER.glob("*.txt")} - {"read-a-disk.txt"}) or [NONE]
)
def test_conversations_from_elsewhere(name: str) -> None:
    """Whatever `connector record --nfc` wrote to fixtures/nfc/NAME.txt: our client says each byte of it again."""
    scripts = conversations((FOLDER / name).read_text())
    with replaying(scripts) as host:
        for script in scripts:
            ask_again(host, script)


def test_sizes_order_and_pieces_stay() -> None:
    """Fragments come in an order of the host's, of sizes of its own; a disk's bytes are the only thing that was changed."""
    heard: list[tuple[int, ...]] = []

    def note(raw: bytes) -> bytes:
        heard.append(struct.unpack_from("<QIIQIIII", raw, 16)[2:])
        return raw

    text, _ = recorded(Script(mangle=note), lambda disk: disk.read_into(0, bytearray(300 * 1024)))
    frames = [
        line.data
        for line in conversations(text)[0].all
        if line.speaker == "S" and line.data[4:8] == b"\7\0\0\0"
    ]
    assert [struct.unpack_from("<QIIQIIII", raw, 16)[2:] for raw in frames] == heard
    assert len(heard) == 5 and [place for *_, place, _, _ in heard] != sorted(
        place for *_, place, _, _ in heard
    )


def test_digests_are_equal_where_they_were() -> None:
    text, _ = recorded(Script(), look)
    lines = text.splitlines()
    first, second = [line for line in lines if "the host's certificate has" in line]
    (named,) = [line for line in lines if line.startswith('S "200 ') and "Connect" not in line]
    assert first != second
    assert second.endswith(named.split()[2].strip('"').lower())
    assert named.split()[2].isupper(), "its form stays"


def test_what_the_daemon_says_is_scrubbed() -> None:
    greeting = f"{GREETING}, esx-47.lab.example (10.47.11.8) fd12::47".encode() + b"\r\n"
    text, failed = recorded(Script(greeting=greeting), look)
    assert failed is None
    assert_discreet(text, (*SECRETS, "10.47.11.8", "fd12::47"))
    assert "NFCSSL supported/t, SHA256 supported" in text
    (script,) = conversations(text)
    with replaying([script]) as host:
        ask_again(host, script)


def outcomes_of(text: str) -> list[Outcome]:
    (script,) = conversations(text)
    with replaying([script]) as host:
        return ask_again(host, script)


@pytest.mark.parametrize(
    "replies",
    [
        {"BANNER ": "530 Please login with USER and PASS."},
        {"PROXY vpxa-nfcssl": f"530 The session {SESSION} of kunde is expired on esx-47.lab.example"},
    ],
)
def test_a_refused_ticket_is_recorded(replies: dict[str, str]) -> None:
    text, failed = recorded(Script(replies=replies), look)
    assert isinstance(failed, TicketRefused)
    assert_discreet(text)
    (outcome,) = outcomes_of(text)
    assert isinstance(outcome, TicketRefused)


def test_an_error_of_the_host_is_recorded() -> None:
    words = f"Failed to lock the file {PATH} of kunde-M\u00fcller at esx-47.lab.example".encode()
    text, failed = recorded(Script(errors={4: struct.pack("<II", 6, len(words)) + words}), look)
    assert isinstance(failed, DiskLocked)
    assert_discreet(text, (*SECRETS, "ller"))
    again = outcomes_of(text)[-1]
    assert isinstance(again, DiskLocked) and again.code == 6
    assert again.words.startswith("Failed to lock the file [n")


def test_a_read_outside_is_recorded() -> None:
    recording = Recording(scrubber(), "outside")
    with serving(Script(bad_offset=1 << 40)) as host:
        disk = real_spec(host)
        engine = Engine(connect(disk.ticket, None, disk.patience, recording), Conversation(PATH), PATIENCE)
        engine.start(1, HANDLE, 1 << 40, memoryview(bytearray(512)))
        (ended,) = engine.ended(PATIENCE)
        engine.stop(politely=True)
    assert isinstance(ended.error, HostError)
    recording.finish()
    (again,) = outcomes_of(document([recording]))
    assert isinstance(again, HostError) and again.code == ended.error.code == 0x22


#: Messages of a host while all is read.
MESSAGES = 26
#: Of these, the ones that close the disk.
CLOSING = 2


@pytest.mark.parametrize("number", range(MESSAGES))
def test_a_cut_anywhere_leaves_a_readable_file(number: int) -> None:
    text, failed = recorded(Script(cut_at=number), look)
    assert (failed is None) is (number >= MESSAGES - CLOSING), "whoever closes a disk need not know"
    assert_discreet(text)
    assert "of the host are no whole message" in text
    (script,) = conversations(text)
    assert script.session != SESSION


def test_a_whole_conversation_has_so_many_messages() -> None:
    with serving(Script()) as host, open_disk(real_spec(host)) as disk:
        look(disk)
        disk.close()
        assert host.messages == MESSAGES


@pytest.mark.parametrize(
    ("at", "new"),
    [
        (0, "00"),
        (4, "63"),
        (12, "63"),
        (16, "01"),
        (16 + 12, "09"),
        (16 + 16, "01"),
        (16 + 24, "ffffffff"),
        (16 + 32, "00"),
    ],
)
def test_a_file_ends_where_the_host_stops_making_sense(at: int, new: str) -> None:
    """What follows a damaged frame can be anything, the content of the disk too."""
    changed = bytes.fromhex(new)

    def mangle(raw: bytes) -> bytes:
        return raw[:at] + changed + raw[at + len(changed) :] + content()[:4096]

    text, failed = recorded(Script(mangle=mangle), look)
    assert failed is not None
    assert_discreet(text)
    assert text.splitlines()[-1].startswith("# cut here: among the first ")


def test_compressed_content_that_does_not_unpack_is_no_part_of_a_file() -> None:
    def damaged(raw: bytes) -> bytes:
        return raw[:70] + b"\xff" + raw[71:]

    text, failed = recorded(Script(method=1, mangle=damaged), look, compression="zlib")
    assert failed is not None and "(BadCompression)" in text
    assert_discreet(text)


@dataclass
class Tape:
    """An observer that keeps all it hears, to be played to recordings."""

    said: list[tuple[str, bytes]] = field(default_factory=list)

    def sent(self, data: bytes) -> None:
        self.said.append(("C", data))

    def received(self, data: bytes) -> None:
        self.said.append(("S", data))

    def secured(self, certificate: bytes) -> None:
        self.said.append(("=", certificate))

    @property
    def opened(self) -> int:
        """Bytes that the host had said when the disk was open."""
        frames = [at for at, (who, data) in enumerate(self.said) if who == "C" and data.startswith(MAGIC)]
        first = next(at for at in frames if self.said[at][1][4] == aio.Kind.DDB_GET)
        return sum(len(data) for who, data in self.said[:first] if who == "S")

    def played(self, change: Callable[[str, bytes], list[bytes]]) -> str:
        recording = Recording(scrubber(), "a tape")
        for speaker, data in self.said:
            for piece in change(speaker, data):
                {"C": recording.sent, "S": recording.received, "=": recording.secured}[speaker](piece)
        recording.finish()
        return document([recording])


@cache
def tape(compression: str = "skipz") -> Tape:
    heard = Tape()
    method = {"skipz": 3, "zlib": 1, "none": 0}[compression]
    with (
        serving(Script(method=method)) as host,
        open_disk(real_spec(host, compression=compression), heard) as disk,
    ):
        disk.metadata()
        list(disk.allocated(0, SIZE))
        disk.read_into(0, bytearray(4096))
    return heard


def test_it_does_not_matter_in_which_pieces_it_is_heard() -> None:
    whole = tape().played(lambda _, data: [data])
    torn = tape().played(
        lambda who, data: [data] if who == "=" else [data[at : at + 1] for at in range(len(data))]
    )
    assert torn == whole and "cut here" not in whole


@given(data=st.data())
def test_no_damage_makes_it_raise_or_tell(data: st.DataObject) -> None:
    """Bytes changed or lost, wherever that is, or put in from the disk once it is open."""
    heard = tape(data.draw(st.sampled_from(["none", "zlib", "skipz"])))
    size = sum(len(said) for who, said in heard.said if who == "S")
    kind = data.draw(st.sampled_from(["byte", "lose", "insert"]))
    place = data.draw(st.integers(heard.opened if kind == "insert" else 0, size - 1))
    value, count = data.draw(st.binary(min_size=1, max_size=1)), data.draw(st.integers(1, 300))
    passed = 0

    def change(who: str, said: bytes) -> list[bytes]:
        nonlocal passed
        if who != "S":
            return [said]
        at, passed = place - passed, passed + len(said)
        if not 0 <= at < len(said):
            return [said]
        put = {"byte": value, "lose": b"", "insert": content()[512 : 512 + count]}[kind]
        skipped = {"byte": 1, "lose": count, "insert": 0}[kind]
        return [said[:at] + put + said[at + skipped :]]

    text = heard.played(change)
    assert_discreet("\n".join(line for line in text.splitlines() if not line.startswith(BITMAP)))


@given(garbage=st.binary(max_size=600), speaker=st.sampled_from(["C", "S"]), after=st.integers(0, 40))
def test_garbage_from_either_side_never_raises(garbage: bytes, speaker: str, after: int) -> None:
    recording = Recording(scrubber(), "garbage")
    for who, said in tape("none").said[:after]:
        {"C": recording.sent, "S": recording.received, "=": recording.secured}[who](said)
    (recording.sent if speaker == "C" else recording.received)(garbage)
    recording.finish("done")
    assert conversations(document([recording]))


SCRUBBED = MessageScrubber(scrubber())


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (struct.pack("<5I", 0, 65536, 4, 0, 0xFFFFFFFF), True),
        (b"kundenname\0\0", False),
        ("kundenname".encode("utf-16-le"), False),
        ("\u9867\u5ba2\u540d\u524d".encode(), False),
        (bytes(64) + b"\1\2\3", False),
    ],
)
def test_numbers_stay_and_what_may_be_text_does_not(raw: bytes, kept: bool) -> None:
    scrubbed = SCRUBBED._numbers(raw)
    assert len(scrubbed) == len(raw) and (scrubbed == raw) is kept
    assert scrubbed.count(0) >= raw.count(0) or kept or BLANK in scrubbed


@pytest.mark.parametrize(
    ("rest", "shown"),
    [
        (b"", b""),
        (struct.pack("<I", 9) + b"not found", struct.pack("<I", 9) + b"not found"),
        (struct.pack("<I", 9) + b"not found\0\0\0", BLANK + bytes(3) + b"not found\0\0\0"),
        (b"\1\2\3\4\5\6", BLANK * 6),
        ("Anna".encode("utf-16-le"), (BLANK + b"\0") * 4),
    ],
)
def test_an_error_keeps_its_number_and_words_of_the_protocol(rest: bytes, shown: bytes) -> None:
    assert SCRUBBED._error(b"\x0b\0\0\0" + rest) == b"\x0b\0\0\0" + shown


def test_a_pseudonym_of_another_length_is_not_used() -> None:
    class Careless(Scrubber):
        def fitted(self, text: str) -> str:
            return self.text(text)

    assert MessageScrubber(Careless(b"key", frozenset()))._fitted(b"kundenname") == BLANK * 10


@given(offset=st.integers(0, 1 << 50), length=st.integers(0, 5000), cut=st.integers(0, 5000))
def test_the_filler_is_the_same_in_any_pieces(offset: int, length: int, cut: int) -> None:
    whole = filler(offset, length)
    assert len(whole) == length and 0 not in whole
    assert whole == filler(offset, min(cut, length)) + filler(
        offset + min(cut, length), length - min(cut, length)
    )


def test_a_small_piece_that_zlib_would_not_shrink_comes_as_it_is() -> None:
    """Content of 11 bytes that shrank; its filler does not."""
    packed = zlib.compress(bytes(11))
    head = struct.pack("<QIIQIIIII", 0, 1, 1, 0, 11, 0, 11, len(packed), 0)
    scrubbed = SCRUBBED.message("S", Message(Form.FRAME, head, aio.Kind.IO, 0, packed))
    part = aio.parse_fragment(scrubbed.data)
    assert len(scrubbed.extra) == part.packed <= part.plain


def test_without_an_observer_nothing_stands_between() -> None:
    layers: list[TlsLayer] = []
    with serving() as host:
        disk = real_spec(host)
        connection = connect(disk.ticket, None, disk.patience)
        layers.append(connection._layer)
        connection.close()
    assert isinstance(layers[0].tls, ssl.SSLObject)
