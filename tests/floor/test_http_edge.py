"""The outer edge of our servers: a body is refused before more than its limit is kept, and every failure has an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from starlette.requests import Request
from starlette.responses import Response

from connector.errors import BadInput
from connector.http_edge import BodyTooLarge, Handler, edge, media_type, read_body

LIMIT = 10


def sent(pieces: Iterator[bytes], **headers: str) -> Request:
    """A request whose body arrives in these pieces; without more of them its sender has gone away."""

    async def receive() -> dict[str, object]:
        piece = next(pieces, None)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": piece != b""}

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


def answered(handler: Handler, request: Request) -> Response:
    def failure(_request: Request, failed: Exception) -> Response:
        return Response(type(failed).__name__, 418)

    return asyncio.run(edge(handler, failure)(request))  # type: ignore[arg-type]


def test_a_body_is_read_up_to_its_limit() -> None:
    assert asyncio.run(read_body(sent(iter([b"12345", b"67890", b""])), LIMIT)) == b"1234567890"


def test_an_endless_body_is_refused_at_once() -> None:
    pieces = iter([b"x" * 8] * 1000)
    with pytest.raises(BodyTooLarge, match="larger than 10 bytes") as refused:
        asyncio.run(read_body(sent(pieces), LIMIT))
    assert refused.value.id == BadInput.__name__
    assert sum(1 for _ in pieces) == 998  # nothing was read beyond the piece that was too much


def test_a_failure_is_answered_and_never_raised() -> None:
    async def fails(_request: Request) -> Response:
        raise ZeroDivisionError("a secret")

    answer = answered(fails, sent(iter([b""])))
    assert (answer.status_code, answer.body) == (418, b"ZeroDivisionError")


def test_a_caller_that_has_gone_away_is_no_failure() -> None:
    async def reads(request: Request) -> Response:
        return Response(await read_body(request, LIMIT))

    assert answered(reads, sent(iter([b"half"]))).status_code == 400


@pytest.mark.parametrize(
    ("header", "kind"), [("Text/Plain; charset=x", "text/plain"), ("", ""), (" A/b ;", "a/b")]
)
def test_the_type_of_a_body_is_compared_without_its_parameters(header: str, kind: str) -> None:
    assert media_type(sent(iter([b""]), content_type=header)) == kind
