"""The outer edge of every HTTP server of ours: bodies are bounded, and every failure becomes an answer.

A server says in its own words what its callers may know of a failure. Nobody outside ever sees a stack trace.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from connector.errors import BadInput

#: What a form of a browser or an SDK is sent as.
FORM = "application/x-www-form-urlencoded"

#: Answers a request. May raise anything.
Handler = Callable[[Request], Awaitable[Response]]
#: The answer to a request that failed. Must not raise. What it does not know, it logs.
FailureAnswer = Callable[[Request, Exception], Response]


class BodyTooLarge(BadInput):
    """The body of a request is larger than it may be. Crosses borders as a BadInput."""

    @property
    def id(self) -> str:
        return BadInput.__name__


def edge(handler: Handler, failure_answer: FailureAnswer) -> Handler:
    """`handler`, whose failures are answered. A caller that has gone away gets nothing."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as failed:  # noqa: BLE001 - the outer edge of our servers
            return failure_answer(request, failed)

    return answer


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises BodyTooLarge beyond `limit` bytes, before more than that is kept."""
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > limit:
            raise BodyTooLarge(f"the body is larger than {limit} bytes", on="request")
    return bytes(content)


def media_type(request: Request) -> str:
    """The type of the body without its parameters, in lower case; empty when it is not said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
