"""The authentication daemon's greeting, commands and answers, and the classic messages behind it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfc import authd, classic
from nfc.authd import LONGEST_LINE, LineDecoder, Reply
from nfc.errors import (
    AioRefused,
    BadSetting,
    CommandRefused,
    HttpAnswer,
    MalformedAnswer,
    NfcError,
    NfcOverTlsMissing,
    ProtocolTooOld,
    SizeOutOfBounds,
    TicketRefused,
    TlsMissing,
    UnexpectedAnswer,
    UnknownGreeting,
)

GREETING = (
    "220 VMware Authentication Daemon Version 1.10: SSL Required, ServerDaemonProtocol:SOAP, MKSDisplayProtocol:VNC , "
    "VMXARGS supported, NFCSSL supported/t, SHA256 supported"
)


def test_the_greeting_of_a_host_is_accepted() -> None:
    authd.check_greeting(GREETING, "esx")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("HTTP/1.1 400 Bad Request", HttpAnswer),
        ("SSH-2.0-OpenSSH_9.6", UnknownGreeting),
        ("220 mail.example ESMTP", UnknownGreeting),
        ("530 Too many connections", UnknownGreeting),
        (GREETING.replace("SSL Required", ""), TlsMissing),
        (GREETING.replace("NFCSSL supported", ""), NfcOverTlsMissing),
        (GREETING.replace("SHA256 supported", ""), NfcOverTlsMissing),
        ("\x1b[31m" + "A" * 1500, UnknownGreeting),
    ],
)
def test_what_is_no_such_greeting_is_named(line: str, kind: type[NfcError]) -> None:
    with pytest.raises(NfcError) as raised:
        authd.check_greeting(line, "esx")
    assert type(raised.value) is kind
    assert "esx" in str(raised.value) and len(str(raised.value)) < 700
    assert "\x1b" not in str(raised.value)


def test_commands_are_the_reference_s_bytes() -> None:
    assert authd.session("52 4f".replace(" ", "-")) == b"SESSION 52-4f\r\n"
    assert authd.BANNER == b"BANNER \r\n"
    assert authd.THUMBPRINT == b"THUMBPRINT_SHA2 PlainText\r\n"
    assert authd.proxy("vpxa-nfc") == b"PROXY vpxa-nfcssl\r\n"
    assert authd.proxy("ha-nfc") == b"PROXY ha-nfcssl\r\n"


@pytest.mark.parametrize("argument", ["", "a ", "a\r\nPROXY vpxa-nfc", "a\n", "ü", "x" * 513])
def test_a_ticket_cannot_bring_commands_of_its_own(argument: str) -> None:
    for command in (authd.session, authd.proxy):
        with pytest.raises(BadSetting) as raised:
            command(argument)
        assert "PROXY vpxa" not in str(raised.value)


@settings(max_examples=40)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80), st.integers(1, 9))
def test_lines_may_come_in_pieces(text: str, most: int) -> None:
    raw = text.encode() + b"\r\n"
    decoder = LineDecoder()
    lines = [decoder.feed(raw[start : start + most]) for start in range(0, len(raw), most)]
    assert lines == [None] * (len(lines) - 1) + [text]


def test_nothing_may_follow_a_line() -> None:
    with pytest.raises(UnexpectedAnswer):
        LineDecoder().feed(b"220 x\r\n2")


def test_a_line_without_end_is_refused() -> None:
    decoder = LineDecoder()
    with pytest.raises(SizeOutOfBounds):
        for _ in range(LONGEST_LINE + 1):
            decoder.feed(b"2")


def test_replies() -> None:
    assert authd.reply("200 Connect ha-nfcssl") == Reply(200, "Connect ha-nfcssl")
    assert authd.reply("220") == Reply(220, "")
    for line in ("", "20 x", "2000 x", "abc", "200x"):
        with pytest.raises(MalformedAnswer):
            authd.reply(line)
    authd.check(Reply(220, ""), 220, "BANNER", "esx")
    with pytest.raises(TicketRefused):
        authd.check(Reply(530, "Please login with USER and PASS."), 200, "PROXY", "esx")
    with pytest.raises(CommandRefused, match="THUMBPRINT_SHA2"):
        authd.check(Reply(501, "Unknown"), 200, "THUMBPRINT_SHA2", "esx")
    for text in ("Connect ha-nfc", "ha-nfcssl", ""):
        with pytest.raises(CommandRefused):
            authd.check_connected(Reply(200, text), "esx")
    authd.check_connected(Reply(200, "Connect ha-nfcssl"), "esx")


def test_digests() -> None:
    digits = "ab" * 32
    assert authd.digest(Reply(200, digits.upper())) == digits
    assert authd.digest(Reply(200, ":".join(["AB"] * 32))) == digits
    for text in ("", "ab" * 31, "zz" * 32, "ab" * 33):
        with pytest.raises(MalformedAnswer):
            authd.digest(Reply(200, text))


def test_classic_messages_are_the_reference_s_bytes() -> None:
    first, second = classic.hello()[:264], classic.hello()[264:]
    assert first == bytes.fromhex("2b000000 506c61696e54657874") + bytes(251)
    assert second == bytes.fromhex("21000000") + bytes(260)
    assert classic.version() == bytes.fromhex("33000000 0b000000") + bytes(256)
    switch = classic.switch()
    assert switch[:264] == bytes.fromhex("36000000 04000000 07000000") + bytes(252)
    assert switch[264:275] == b"vddknbdmode"
    assert switch[275:539] == bytes.fromhex("37000000 03000000") + bytes(256)
    assert switch[539:] == bytes.fromhex("34000000") + bytes(260)
    assert classic.end() == bytes.fromhex("04000000") + bytes(260)


def answer(kind: int, at: int = 4, number: int = 0) -> bytes:
    raw = bytearray(264)
    struct.pack_into("<I", raw, 0, kind)
    struct.pack_into("<I", raw, at, number)
    return bytes(raw)


def test_classic_answers_are_checked() -> None:
    classic.check_accepted(answer(36, 16, 1))
    for raw in (answer(36, 16, 0), answer(51, 16, 1), b"", answer(36, 16, 1)[:-1]):
        with pytest.raises(UnexpectedAnswer):
            classic.check_accepted(raw)
    assert classic.check_version(answer(51, 4, 11), "esx") == 11
    assert classic.check_version(answer(51, 4, 3), "esx") == 3
    with pytest.raises(ProtocolTooOld, match="version 2"):
        classic.check_version(answer(51, 4, 2), "esx")
    with pytest.raises(UnexpectedAnswer):
        classic.check_version(answer(52), "esx")
    classic.check_switched(answer(52), "esx")
    with pytest.raises(AioRefused):
        classic.check_switched(answer(4), "esx")
