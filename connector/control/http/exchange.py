"""A request of the agents' API is checked for identity, then size, then shape. Every failure is one line of JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connector.epoch import HEADER
from connector.errors import BadInput, ConnectorError, ControlFailed
from connector.http_edge import Handler, edge, read_body

_LOG: Final = logging.getLogger(__name__)

MAX_BODY: Final = 1 << 20
_UNEXPECTED: Final = ControlFailed(
    "unexpected failure inside the control plane", remedy="read its log", retryable=False
)


class Message(BaseModel):
    """The body of a request. A field that its class does not have is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Empty(Message):
    """No body, or `{}`."""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One accepted request: the caller, the path's parameters, the query, the message, the caller's address."""

    who: Any
    path: dict[str, str]
    query: dict[str, str]
    message: Any
    origin: str = ""


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One route of an API. `work` answers JSON, in its own thread unless it `waits`."""

    method: str
    path: str
    work: Callable[[ApiRequest], Any]
    message: type[BaseModel] = Empty
    query: frozenset[str] = frozenset()
    max_body: int = MAX_BODY
    waits: bool = False  # `work` is a coroutine function


#: Answers who is calling. Raises `AuthenticationFailed`.
Authenticate = Callable[[str], Any]


class EpochExchange(Protocol):
    """Takes the epoch marks that callers keep, and gives them the mark to keep."""

    def hear(self, text: str, who: str) -> None: ...

    def say(self) -> str: ...


def application(
    apis: Sequence[tuple[Authenticate, Sequence[ApiRoute]]],
    others: Sequence[BaseRoute] = (),
    exchange: EpochExchange | None = None,
) -> Starlette:
    """The application with all routes, each behind its API's authentication. `others` authenticate by themselves."""
    routes: list[BaseRoute] = [
        Route(route.path, edge(_handler(authenticate, route, exchange), _failure), methods=[route.method])
        for authenticate, api in apis
        for route in api
    ]
    return Starlette(routes=[*routes, *others], exception_handlers={HTTPException: _refused})


def parse(kind: type[BaseModel], body: object) -> BaseModel:
    """The message. Raises `BadInput`, which names each wrong field and repeats no value."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        wrong = [
            f"{'.'.join(str(part) for part in detail['loc']) or 'body'}: {detail['msg']}"
            for detail in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        more = f" (and {len(wrong) - 5} more)" if len(wrong) > 5 else ""
        raise BadInput("; ".join(wrong[:5]) + more, on="request") from None


def bearer(header: str) -> str:
    """The token of an `Authorization` header; empty when there is none."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _handler(authenticate: Authenticate, route: ApiRoute, exchange: EpochExchange | None) -> Handler:
    async def handle(request: Request) -> Response:
        who = await run_in_threadpool(authenticate, bearer(request.headers.get("authorization", "")))
        if exchange is not None and (mark := request.headers.get(HEADER)):
            await run_in_threadpool(exchange.hear, mark, f"appliance {getattr(who, 'id', '')}".strip())
        query, message = _query(request, route), await _message(request, route)
        origin = request.client.host if request.client else ""
        call = ApiRequest(who, dict(request.path_params), query, message, origin)
        answer = await route.work(call) if route.waits else await run_in_threadpool(route.work, call)
        own_mark = exchange.say() if exchange is not None else ""
        return JSONResponse(answer, headers={HEADER: own_mark} if own_mark else None)

    return handle


def _failure(request: Request, failed: Exception) -> Response:
    if isinstance(failed, ConnectorError):
        return JSONResponse(failed.to_json(), status_code=failed.http_status)
    _LOG.error("%s %.200r failed unexpectedly", request.method, request.scope["path"], exc_info=failed)
    return JSONResponse(_UNEXPECTED.to_json(), status_code=500)


def _query(request: Request, route: ApiRoute) -> dict[str, str]:
    unknown = sorted(set(request.query_params) - route.query)
    if unknown:
        raise BadInput(f"unknown parameter {unknown[0][:80]!r}", on="request")
    return dict(request.query_params)


async def _message(request: Request, route: ApiRoute) -> BaseModel:
    content = await read_body(request, route.max_body)
    if not content:
        return parse(route.message, {})
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise BadInput("the body is not JSON", on="request") from None
    return await run_in_threadpool(parse, route.message, body)


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if request.url.path.startswith("/v1/"):  # the API of 0.1.0
        remedy = "use the public API, which is signed, at /: see docs/smc-api.md"
        failed = BadInput("the job API under /v1 is gone", on="request", remedy=remedy)
    else:
        failed = BadInput(error.detail, on="request", remedy="see docs/control.md for the paths and methods")
    return JSONResponse(failed.to_json(), status_code=error.status_code, headers=error.headers)
