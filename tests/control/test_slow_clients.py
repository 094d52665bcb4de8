"""Who speaks slowly or not at all is dropped, and keeps nobody from being served: raw sockets against a real plane."""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from connector.control.http.connections import Waiting
from tests.control.conftest import Plane
from tests.waiting import eventually

PATIENCE = 1.0
HEAD = b"POST /agents/v1/enrol HTTP/1.1\r\nHost: plane\r\nContent-Length: %d\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: plane\r\n\r\n"
PACE = 0.05  # seconds between two bytes
LONG = b"/console/static/console.css"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    root = tmp_path_factory.mktemp("plane")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKE_GATES", str(root))
        made = Plane(root, bounds={"patience": PATIENCE})
        yield made
        made.kill()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def _connect(plane: Plane, stack: ExitStack, room: int = 0) -> socket.socket:
    where = urlsplit(plane.url)
    made = stack.enter_context(socket.socket())
    made.settimeout(10)
    if room:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    made.connect((where.hostname, where.port))
    return made


def _speak(plane: Plane, stack: ExitStack, room: int = 0) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return stack.enter_context(context.wrap_socket(_connect(plane, stack, room)))


def _hear(sock: socket.socket, seconds: float) -> bytes | None:
    """What arrives: nothing (None), or the end of the connection (empty)."""
    sock.settimeout(seconds)
    try:
        return sock.recv(1 << 16)
    except TimeoutError:
        return None
    except OSError:
        return b""
    finally:
        sock.settimeout(10)


def _is_dropped(sock: socket.socket) -> bool:
    return _hear(sock, 10) == b""


def _drip(sock: socket.socket, content: bytes) -> bool:
    """Send it byte by byte; whether we were dropped before its end."""
    for at in range(len(content)):
        try:
            sock.sendall(content[at : at + 1])
        except OSError:
            return True
        if (heard := _hear(sock, PACE)) is not None:
            return heard == b""
    return False


def _answer(sock: socket.socket, request: bytes = b"") -> int:
    sock.sendall(request)
    answer = http.client.HTTPResponse(sock)
    answer.begin()
    answer.read()
    return answer.status


def test_a_head_byte_by_byte_is_dropped(impatient: Plane, stack: ExitStack) -> None:
    begun = time.monotonic()
    assert _drip(_speak(impatient, stack), b"GET / HTTP/1.1\r\nX: " + b"x" * 400)
    assert time.monotonic() - begun < 10 * PATIENCE


def test_the_head_of_a_second_request_is_no_exception(impatient: Plane, stack: ExitStack) -> None:
    sock = _speak(impatient, stack)
    assert _answer(sock, GET) == 400
    assert _drip(sock, b"GET / HTTP/1.1\r\nX: " + b"x" * 400)


def test_a_body_byte_by_byte_is_dropped_while_others_are_served(impatient: Plane, stack: ExitStack) -> None:
    slow = [_speak(impatient, stack) for _ in range(60)]  # more than there are threads for requests
    for sock in slow:
        sock.sendall(HEAD % 1000)
    assert impatient.jobs.jobs() == []
    assert _drip(slow[0], b"x" * 400)
    assert all(_is_dropped(sock) for sock in slow)


def test_who_says_nothing_is_dropped(impatient: Plane, stack: ExitStack) -> None:
    for sock in (_connect(impatient, stack), _speak(impatient, stack)):  # without and with a handshake
        assert _is_dropped(sock)


def test_a_crowd_that_says_nothing_keeps_nobody_out(
    make_plane: Callable[..., Plane], stack: ExitStack
) -> None:
    """Nobody's patience ends here: there is room for so many, and the oldest make it."""
    plane = make_plane(bounds={"patience": 600.0, "waiting": 20})
    client = plane.client(plane.enrol())
    busy = _speak(plane, stack)
    crowd = [_connect(plane, stack) for _ in range(60)]
    assert plane.jobs.jobs() == []
    assert not client.heartbeat([]).stop
    assert all(_is_dropped(sock) for sock in [busy, *crowd[:40]])
    assert _hear(crowd[-1], 0.1) is None


def test_who_is_dropped_to_make_room_is_logged_and_who_was_gone_is_not(
    caplog: pytest.LogCaptureFixture, stack: ExitStack
) -> None:
    ours, theirs = (stack.enter_context(sock) for sock in socket.socketpair())
    gone = socket.socket()
    gone.close()
    waiting = Waiting(1)
    with caplog.at_level(logging.INFO):
        for peer, sock in (("gone", gone), ("silent", ours), ("newest", theirs)):
            waiting.enter(peer, sock)
    assert [record.getMessage() for record in caplog.records] == [
        "silent is dropped: more than 1 connections have no complete request, and it has waited longest"
    ]


def test_a_crowd_between_two_requests_keeps_nobody_out(
    make_plane: Callable[..., Plane], stack: ExitStack
) -> None:
    plane = make_plane(bounds={"waiting": 5})
    crowd = [_speak(plane, stack) for _ in range(5)]
    for sock in crowd:
        assert _answer(sock, GET) == 400
    assert plane.jobs.jobs() == []
    assert _is_dropped(crowd[0])
    assert _answer(crowd[-1], GET) == 400


def test_who_has_asked_may_wait_and_may_rest(impatient: Plane, stack: ExitStack) -> None:
    assert impatient.client(impatient.enrol()).take(1.5 * PATIENCE) is None
    sock = _speak(impatient, stack)
    assert _answer(sock, GET) == 400
    assert _hear(sock, 1.3 * PATIENCE) is None
    assert _answer(sock, GET) == 400


def test_who_sends_much_at_a_fair_pace_is_heard(impatient: Plane, stack: ExitStack) -> None:
    sock = _speak(impatient, stack)
    piece, count = b" " * 4096, 30
    sock.sendall(HEAD % (len(piece) * count + 1))
    for _ in range(count):
        sock.sendall(piece)
        assert _hear(sock, PACE) is None
    assert _answer(sock, b" ") == 400


def test_who_does_not_read_its_answers_is_dropped(impatient: Plane, stack: ExitStack) -> None:
    """What the kernel keeps of them hides the end from the client; the plane says it."""
    sock = _speak(impatient, stack, room=4096)
    sock.sendall(b"GET %s HTTP/1.1\r\nHost: plane\r\n\r\n" % LONG * 600)
    eventually(lambda: "does not read its answer" in impatient.log.read_text(), "the reader is dropped")
