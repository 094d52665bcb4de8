"""The outer door of every request: size, identity, shape, and one line of JSON for every failure."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connector.control.messages import Empty, parse
from connector.epoch import HEADER
from connector.errors import BadInput, ConnectorError, ControlFailed

_LOG: Final = logging.getLogger(__name__)

MAX_BODY: Final = 1 << 20
_UNEXPECTED: Final = ControlFailed(
    "unexpected failure inside the control plane", remedy="read its log", retryable=False
)


@dataclass(frozen=True, slots=True)
class Call:
    """One accepted request: who, the path's parameters, the query, the message, its address."""

    who: Any
    path: dict[str, str]
    query: dict[str, str]
    message: Any
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One line of an API: `work` answers JSON, from a thread of its own unless it `waits`."""

    method: str
    path: str
    work: Callable[[Call], Any]
    message: type[BaseModel] = Empty
    query: frozenset[str] = frozenset()
    max_body: int = MAX_BODY
    waits: bool = False  # `work` is a coroutine function


#: Answers who is calling. Raises `AuthenticationFailed`.
Guard = Callable[[str], Any]


class Exchange(Protocol):
    """Hears what callers remember of us, and says what they shall remember."""

    def hear(self, text: str, who: str) -> None: ...

    def say(self) -> str: ...


def application(
    doors: Sequence[tuple[Guard, Sequence[Endpoint]]],
    others: Sequence[BaseRoute] = (),
    exchange: Exchange | None = None,
) -> Starlette:
    """All endpoints, each behind its guard; `others` guard themselves."""
    routes: list[BaseRoute] = [
        Route(endpoint.path, _door(guard, endpoint, exchange), methods=[endpoint.method])
        for guard, endpoints in doors
        for endpoint in endpoints
    ]
    return Starlette(routes=[*routes, *others], exception_handlers={HTTPException: _refused})


def bearer(header: str) -> str:
    """The token of an `Authorization` header; empty when there is none."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _door(
    guard: Guard, endpoint: Endpoint, exchange: Exchange | None
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            who = await run_in_threadpool(guard, bearer(request.headers.get("authorization", "")))
            if exchange is not None and (told := request.headers.get(HEADER)):
                await run_in_threadpool(exchange.hear, told, f"appliance {getattr(who, 'id', '')}".strip())
            query, body = _query(request, endpoint), await _body(request, endpoint)
            origin = request.client.host if request.client else ""
            call = Call(who, dict(request.path_params), query, body, origin)
            done = (
                await endpoint.work(call) if endpoint.waits else await run_in_threadpool(endpoint.work, call)
            )
            mark = exchange.say() if exchange is not None else ""
            return JSONResponse(done, headers={HEADER: mark} if mark else None)
        except ConnectorError as failed:
            return JSONResponse(failed.to_json(), status_code=failed.http_status)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:  # noqa: BLE001 - outer door: nobody outside sees a stack trace
            _LOG.exception("%s %s failed unexpectedly", endpoint.method, endpoint.path)
            return JSONResponse(_UNEXPECTED.to_json(), status_code=500)

    return answer


def _query(request: Request, endpoint: Endpoint) -> dict[str, str]:
    unknown = sorted(set(request.query_params) - endpoint.query)
    if unknown:
        raise BadInput(f"unknown parameter {unknown[0][:80]!r}", on="request")
    return dict(request.query_params)


async def _body(request: Request, endpoint: Endpoint) -> BaseModel:
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > endpoint.max_body:
            raise BadInput(f"the body is larger than {endpoint.max_body} bytes", on="request")
    if not content:
        return parse(endpoint.message, {})
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise BadInput("the body is not JSON", on="request") from None
    return await run_in_threadpool(parse, endpoint.message, body)


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if request.url.path.startswith("/v1/"):  # of 0.1.0
        remedy = "use the public API, which is signed, at /: see docs/smc-api.md"
        failed = BadInput("the job API under /v1 is gone", on="request", remedy=remedy)
    else:
        failed = BadInput(error.detail, on="request", remedy="see docs/control.md for the paths and methods")
    return JSONResponse(failed.to_json(), status_code=error.status_code, headers=error.headers)
