"""The outer edge of our HTTP servers: it bounds bodies, and turns every failure into an answer.

Each server decides what its callers may know about a failure. No caller ever sees a stack trace.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from connector.errors import BadInput

#: The media type of forms of browsers and SDKs.
FORM = "application/x-www-form-urlencoded"

#: Answers a request. May raise anything.
Handler = Callable[[Request], Awaitable[Response]]
#: Makes the answer to a request that failed. It must not raise. It logs unknown failures.
FailureAnswer = Callable[[Request, Exception], Response]


class BodyTooLarge(BadInput):
    """The body of a request is too large. In messages to other processes it is a BadInput."""

    @property
    def id(self) -> str:
        return BadInput.__name__


def edge(handler: Handler, failure_answer: FailureAnswer) -> Handler:
    """`handler` with an answer for every failure. A caller that has left gets no error."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as failed:  # noqa: BLE001 - the outer edge of our servers
            return failure_answer(request, failed)

    return answer


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises BodyTooLarge beyond `limit` bytes; never more of them are in memory."""
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > limit:
            raise BodyTooLarge(f"the body is larger than {limit} bytes", on="request")
    return bytes(content)


def media_type(request: Request) -> str:
    """The media type of the body without its parameters, in lower case; empty when the request has none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
