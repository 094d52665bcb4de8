"""Disks over real sockets and both TLS layers: every byte right, every failure named, nothing left running."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nfc.connection import Stream, connect
from nfc.conversation import Conversation
from nfc.disk import open_disk
from nfc.engine import Engine
from nfc.errors import (
    AioRefused,
    AnswerTooLarge,
    BadBuffer,
    BadFragment,
    BadSetting,
    CommandRefused,
    ConnectionFailed,
    DiskClosed,
    DiskLocked,
    FirstLayerUntrusted,
    HostError,
    HttpAnswer,
    MalformedAnswer,
    Misaligned,
    NfcError,
    NotSigned,
    OpenRefused,
    OutOfMemory,
    OutOfRange,
    ProtocolTooOld,
    SecondLayerUntrusted,
    SessionCut,
    TicketRefused,
    TimedOut,
    TlsFailed,
    TooManyInFlight,
    Unreachable,
    WrongMagic,
)
from nfc.spec import Completion, DiskInfo, DiskSpec, Extent, Patience, Ticket
from tests.nfc.host import GREETING, HANDLE, SESSION, SIZE, Script, certificate, content, serving, spec, whole
from tests.waiting import PATIENCE, eventually

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert not [
        thread.name for thread in threading.enumerate() if _is_reader(thread) and thread not in before
    ]


def _is_reader(thread: threading.Thread) -> bool:
    return thread.name.startswith("nfc ")


def refused(script: Script, **changes: object) -> NfcError:
    """What is said when a disk cannot be opened. It never holds the ticket."""
    with serving(script) as host, pytest.raises(NfcError) as raised:
        open_disk(spec(host, **changes))
    assert "\n" not in str(raised.value) and SESSION not in repr(raised.value)
    return raised.value


@pytest.mark.parametrize(("method", "name"), [(0, "none"), (1, "zlib"), (3, "skipz"), (0, "skipz")])
def test_reads_in_flight_with_mixed_fragments(method: int, name: str) -> None:
    with (
        serving(Script(method=method, gather=4)) as host,
        open_disk(spec(host, compression=name, depth=4)) as disk,
    ):
        memory = [*disk.buffers(3, 300 * 1024), memoryview(bytearray(b"\xff" * 300 * 1024))]
        offsets = [0, 400 * 1024, 800 * 1024, SIZE - 300 * 1024]
        for token, offset in enumerate(offsets):
            disk.submit(offset, memory[token], token)
        with pytest.raises(TooManyInFlight):
            disk.submit(0, bytearray(512), 9)
        ended: list[Completion] = []
        while len(ended) < 4:
            ended += disk.completions(PATIENCE)
        assert sorted(ended) == [Completion(token, None) for token in range(4)]
        for offset, buffer in zip(offsets, memory, strict=True):
            assert buffer == content()[offset : offset + len(buffer)]
        assert disk.completions() == []


def test_a_disk_tells_about_itself() -> None:
    with serving() as host, open_disk(spec(host)) as disk:
        assert disk.info == DiskInfo(SIZE, 512)
        assert (disk.transport, disk.version, disk.host_buffer) == ("nfcssl", 11, (MIB, 4))
        assert disk.metadata() == {"uuid": "60 00 C2 9a", "adapterType": "lsilogic"}
        assert disk.identity.first_sha256 == certificate("host").sha256
        assert disk.identity.second_sha256 == certificate("data").sha256
        assert not disk.identity.pinned
    assert host.lines == [f"SESSION {SESSION}", "BANNER ", "THUMBPRINT_SHA2 PlainText", "PROXY vpxa-nfcssl"]
    assert host.classic == [43, 33, 51, 54, 55, 52, 4]
    assert host.frames == [2, 9, 22, 4, *[11] * 9, 5, 3]


def test_a_whole_disk_in_one_call_while_another_read_is_under_way() -> None:
    with serving() as host, open_disk(spec(host)) as disk:
        small, all_of_it = disk.buffers(1, 512)[0], bytearray(SIZE)
        disk.submit(SIZE - 512, small, 41)
        disk.read_into(0, all_of_it)
        assert all_of_it == content()
        assert disk.completions() == [Completion(41, None)] and small == content()[-512:]


def test_what_is_allocated() -> None:
    with serving() as host, open_disk(spec(host)) as disk:
        assert list(disk.allocated(0, SIZE)) == [Extent(0, 1 << 19), Extent(2 * MIB, 4608)]
        assert list(disk.allocated(65536 + 1, 1000)) == [Extent(65537, 1000)]
        assert list(disk.allocated(SIZE, 0)) == []
        with pytest.raises(OutOfRange):
            disk.allocated(0, SIZE + 1)


def test_a_host_that_cannot_tell_what_is_allocated_allocates_all() -> None:
    with serving(Script(errors={13: struct.pack("<I", 5)})) as host, open_disk(spec(host)) as disk:
        assert list(disk.allocated(512, 2 * MIB)) == [Extent(512, 2 * MIB)]
    with (
        serving(Script(errors={13: struct.pack("<I", 5) + b"no memory"})) as host,
        open_disk(spec(host)) as disk,
        pytest.raises(OutOfMemory),
    ):
        list(disk.allocated(512, 2 * MIB))


def test_bad_reads_are_refused_here() -> None:
    with serving() as host, open_disk(spec(host)) as disk:
        memory = bytearray(1024)
        refusals: list[tuple[type[NfcError], int, bytearray | memoryview]] = [
            (Misaligned, 1, memory),
            (Misaligned, 0, memory[:100]),
            (Misaligned, 0, bytearray()),
            (OutOfRange, SIZE - 512, memory),
            (OutOfRange, -512, memory),
            (BadBuffer, 0, memoryview(bytes(512))),
            (BadBuffer, 0, memoryview(bytearray(2048))[::2]),
        ]
        for kind, offset, buffer in refusals:
            with pytest.raises(kind):
                disk.read_into(offset, buffer)
    assert 7 not in host.frames


def test_closing_waits_for_reads_and_is_for_good() -> None:
    with serving(Script(gather=2)) as host:
        disk = open_disk(spec(host))
        memory = disk.buffers(2, MIB)
        for token in range(2):
            disk.submit(token * MIB, memory[token], token)
        disk.close()
        disk.close()
        assert memory[0] == content()[:MIB] and memory[1] == content()[MIB : 2 * MIB]
        calls: list[Callable[[], object]] = [
            lambda: disk.read_into(0, bytearray(512)),
            lambda: disk.submit(0, bytearray(512), 1),
            disk.completions,
            lambda: list(disk.allocated(0, 1)),
            disk.metadata,
            lambda: disk.buffers(1, 512),
        ]
        for call in calls:
            with pytest.raises(DiskClosed):
                call()


def test_another_certificate_in_the_first_layer_sees_no_ticket() -> None:
    with serving(Script(first="impostor")) as host:
        for changes, seen in (
            ({}, certificate("impostor").sha1),
            (
                {"thumbprint": certificate("impostor").sha1, "pin": certificate("host").sha256},
                certificate("impostor").sha256,
            ),
        ):
            with pytest.raises(FirstLayerUntrusted) as raised:
                open_disk(spec(host, **changes))
            assert seen in str(raised.value) and "the first TLS layer" in str(raised.value)
            assert not raised.value.retryable
    assert host.lines == []


def test_another_certificate_in_the_second_layer_sees_no_message() -> None:
    with serving(Script(second="impostor")) as host, pytest.raises(SecondLayerUntrusted) as raised:
        open_disk(spec(host))
    for part in (certificate("impostor").sha256, certificate("data").sha256, "the second TLS layer"):
        assert part in str(raised.value)
    assert host.lines and host.classic == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_either_version_of_tls(version: ssl.TLSVersion) -> None:
    with serving(Script(tls=version)) as host, open_disk(spec(host)) as disk:
        memory = bytearray(200 * 1024)
        disk.read_into(4096, memory)
        assert memory == content()[4096 : 4096 + len(memory)]


@pytest.mark.parametrize(
    ("signer", "why"),
    [("host", "IP address mismatch"), ("impostor", "self-signed certificate")],
    ids=["another name", "another authority"],
)
def test_a_host_for_which_no_authority_vouches_sees_no_ticket(tmp_path: Path, signer: str, why: str) -> None:
    """The ticket's thumbprint fits in both cases."""
    authority = tmp_path / "authority.pem"
    authority.write_bytes(certificate(signer).pem)
    with (
        serving() as host,
        pytest.raises(NotSigned, match=f"the authority does not vouch for .*{why}") as raised,
    ):
        open_disk(spec(host, authority=str(authority)))
    assert not raised.value.retryable
    assert host.lines == []


@pytest.mark.parametrize("content_of_file", [None, b"", b"no certificate"], ids=["missing", "empty", "other"])
def test_a_file_without_authorities_is_bad_input(tmp_path: Path, content_of_file: bytes | None) -> None:
    authority = tmp_path / "authority.pem"
    if content_of_file is not None:
        authority.write_bytes(content_of_file)
    with serving() as host, pytest.raises(BadSetting, match=r"authority\.pem has no certificates"):
        open_disk(spec(host, authority=str(authority)))


def test_a_pin_that_fits_is_said() -> None:
    pin = certificate("host").sha256.upper()
    with (
        serving() as host,
        open_disk(spec(host, pin=pin, thumbprint=certificate("host").sha1.upper())) as disk,
    ):
        assert disk.identity.pinned


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (Script(greeting=b"HTTP/1.0 400 Bad Request\r\n"), HttpAnswer),
        (Script(greeting=GREETING.encode() + b"\r\n220 more\r\n"), MalformedAnswer),
        (Script(greeting=b"x" * 10_000), MalformedAnswer),
        (Script(replies={"BANNER ": "530 Please login with USER and PASS."}), TicketRefused),
        (Script(replies={"PROXY vpxa-nfcssl": "530 Expired"}), TicketRefused),
        (Script(replies={"THUMBPRINT_SHA2 PlainText": "501 Unknown"}), CommandRefused),
        (Script(replies={"THUMBPRINT_SHA2 PlainText": "200 abc"}), MalformedAnswer),
        (Script(replies={"PROXY vpxa-nfcssl": "200 Connect ha-nfc"}), CommandRefused),
        (Script(replies={"BANNER ": "220 x\r\n220 y"}), MalformedAnswer),
        (Script(version=2), ProtocolTooOld),
        (Script(switched=4), AioRefused),
        (Script(errors={4: struct.pack("<I", 6)}), OpenRefused),
        (Script(errors={4: struct.pack("<I", 6) + b"Failed to lock the file"}), DiskLocked),
        (Script(errors={9: struct.pack("<I", 6)}), HostError),
    ],
)
def test_a_host_that_cannot_serve_is_named(script: Script, kind: type[NfcError]) -> None:
    error = refused(script)
    assert isinstance(error, kind), repr(error)


def test_no_tls_behind_the_greeting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.sendall(GREETING.encode() + b"\r\n")
                connection.recv(4096)
                connection.sendall(b"530 what is this?\r\n")
                connection.recv(4096)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        ticket = Ticket("127.0.0.1", certificate("host").sha1, SESSION, listener.getsockname()[1])
        with pytest.raises(TlsFailed, match="begins no TLS record"):
            open_disk(DiskSpec(ticket, "[ds] a.vmdk"))
        thread.join()


def test_a_closed_port_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreachable, match="902") as raised:
        open_disk(DiskSpec(Ticket("127.0.0.1", certificate("host").sha1, SESSION, port), "[ds] a.vmdk"))
    assert raised.value.retryable


def test_a_record_is_taken_without_what_follows() -> None:
    """What comes behind the answer to PROXY belongs to the second layer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = Stream(Ticket("127.0.0.1", "ab" * 20, "x", listener.getsockname()[1]), Patience())
        other, _ = listener.accept()
        with other, stream.socket:
            other.sendall(b"\x17\x03\x03\x00\x03abc\x16\x03\x03\x00\x01d" + b"\x17\x03\x03\xff\xff")
            assert stream.record("it") == b"\x17\x03\x03\x00\x03abc"
            assert stream.record("it") == b"\x16\x03\x03\x00\x01d"
            with pytest.raises(TlsFailed):
                stream.record("it")


BEFORE_FRAMES = 7
"""Messages of a host until frames begin: greeting, 3 replies, 3 classic."""
OPENING = BEFORE_FRAMES + 4
"""Until the disk is open."""


@pytest.mark.parametrize("number", range(OPENING))
def test_a_cut_at_any_message_of_the_opening(number: int) -> None:
    error = refused(Script(cut_at=number))
    assert isinstance(error, SessionCut) and error.retryable


def test_the_opening_has_so_many_messages() -> None:
    with serving() as host, open_disk(spec(host)):
        assert host.messages == OPENING


@pytest.mark.parametrize("number", [0, 1, 4, 7])
def test_a_silent_host_is_given_up(number: int) -> None:
    patience = Patience(answer=0.3, silence=0.3, closing=0.3)
    error = refused(Script(silent_at=number), patience=patience)
    assert isinstance(error, TimedOut)


def test_a_cut_inside_a_read_ends_all_that_is_under_way() -> None:
    with serving(Script(cut_at=OPENING + 3, gather=2)) as host, open_disk(spec(host)) as disk:
        memory = disk.buffers(2, 256 * 1024)
        for token in range(2):
            disk.submit(token * MIB, memory[token], token)
        ended: list[Completion] = []
        while len(ended) < 2:
            ended += disk.completions(PATIENCE)
        assert {type(completion.error) for completion in ended} == {SessionCut}
        before = bytes(memory[0]), bytes(memory[1])
        disk.submit(0, bytearray(512), 7)
        (late,) = disk.completions(PATIENCE)
        assert late.token == 7 and isinstance(late.error, SessionCut)
        with pytest.raises(SessionCut):
            disk.read_into(0, bytearray(512))
        with pytest.raises(ConnectionFailed):
            disk.metadata()
        assert (bytes(memory[0]), bytes(memory[1])) == before


def test_a_host_that_falls_silent_says_what_is_missing() -> None:
    with serving(Script(silent_at=BEFORE_FRAMES + 1)) as host:
        connection = connect(spec(host).ticket, None, spec(host).patience)
        engine = Engine(connection, Conversation("[ds] a.vmdk"), silence=0.3)
        engine.start(1, HANDLE, 0, memoryview(bytearray(128 * 1024)))
        (ended,) = engine.ended(PATIENCE)
        engine.stop(politely=True)
    assert isinstance(ended.error, TimedOut) and "bytes are missing" in str(ended.error)


def test_reading_is_cancelled_from_another_thread() -> None:
    with serving(Script(silent_at=OPENING)) as host, open_disk(spec(host)) as disk:
        thread = threading.Thread(target=lambda: (host.quiet.wait(PATIENCE), disk.cancel()))
        thread.start()
        with pytest.raises(SessionCut, match="cancelled"):
            disk.read_into(0, bytearray(512))
        thread.join()


def test_an_error_of_one_read_leaves_the_others() -> None:
    with serving(Script(gather=2, bad_offset=MIB)) as host, open_disk(spec(host)) as disk:
        memory = disk.buffers(2, 128 * 1024)
        for token in range(2):
            disk.submit(token * MIB, memory[token], token)
        ended: list[Completion] = []
        while len(ended) < 2:
            ended += disk.completions(PATIENCE)
        good, bad = sorted(ended)
        assert good == Completion(0, None) and memory[0] == content()[: 128 * 1024]
        assert isinstance(bad.error, HostError) and bad.error.code == 0x22
    assert host.classic[-1] == 4


def mangled(at: int, text: str) -> Callable[[bytes], bytes]:
    def mangle(raw: bytes) -> bytes:
        new = bytes.fromhex(text)
        return raw[:at] + new + raw[at + len(new) :]

    return mangle


@pytest.mark.parametrize(
    ("mangle", "kind"),
    [
        (mangled(0, "00"), WrongMagic),
        (mangled(16 + 28, "01000000"), BadFragment),
        (mangled(16 + 24, "ffffffff"), AnswerTooLarge),
        (mangled(16 + 12, "09000000"), MalformedAnswer),
        (lambda raw: raw + raw, MalformedAnswer),
    ],
)
def test_a_malformed_answer_ends_the_session(mangle: Callable[[bytes], bytes], kind: type[NfcError]) -> None:
    script = Script(mangle=mangle, parts=whole, gather=2)
    with serving(script) as host, open_disk(spec(host)) as disk:
        around = bytearray(b"\xee" * 3 * 4096)
        disk.submit(0, memoryview(around)[4096:8192], 1)
        disk.submit(MIB, bytearray(4096), 2)
        ended: list[Completion] = []
        while len(ended) < 2:
            ended += disk.completions(PATIENCE)
        assert any(isinstance(completion.error, kind) for completion in ended)
        assert around[:4096] == around[8192:] == b"\xee" * 4096
        with pytest.raises(kind):
            disk.read_into(0, bytearray(512))


def test_smaller_buffers_after_a_refusal() -> None:
    for largest, accepted in ((4 * MIB, (MIB, 4)), (MIB, (MIB, 1)), (0, (0, 0))):
        with serving(Script(largest_buffer=largest)) as host, open_disk(spec(host)) as disk:
            assert disk.host_buffer == accepted
            memory = bytearray(4096)
            disk.read_into(0, memory)
            assert memory == content()[:4096]
    assert refused(Script(errors={2: struct.pack("<I", 0x1D)})).id == "OutOfMemory"


def test_settings_are_checked_before_anything_is_sent() -> None:
    with serving() as host:
        wrong: list[dict[str, object]] = [
            {"compression": "fastlz"}, {"depth": 0}, {"chunk": 512}, {"buffer": 1 << 24}, {"pin": "ab"}, {"thumbprint": "ab"},
        ]  # fmt: skip
        for changes in wrong:
            with pytest.raises(BadSetting):
                spec(host, **changes)
    assert host.messages == 0


def test_no_secret_is_shown() -> None:
    ticket = Ticket("h", "ab" * 20, SESSION)
    assert SESSION not in repr(ticket) and SESSION not in repr(DiskSpec(ticket, "[ds] a.vmdk"))


def test_a_host_that_breaks_off_while_it_is_idle_is_seen_at_the_next_read() -> None:
    before = set(threading.enumerate())
    with serving(Script(cut_at=OPENING)) as host, open_disk(spec(host)) as disk:
        for _ in range(2):
            with pytest.raises(SessionCut):
                disk.read_into(0, bytearray(512))
        eventually(
            lambda: (
                not [
                    thread for thread in threading.enumerate() if _is_reader(thread) and thread not in before
                ]
            ),
            "the thread ended",
        )
