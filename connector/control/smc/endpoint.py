"""The public API has one address: GET and POST on `/`, answered in JSON. Every failure has a code."""

from __future__ import annotations

import json
import logging
import uuid
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from connector.clients.signature import Request
from connector.control.smc.authenticator import Authenticator
from connector.control.smc.catalogue import Denied, translated
from connector.control.smc.dispatcher import OperationDispatcher, permit
from connector.control.smc.operations import Answer, Caller
from connector.control.smc.parameters import parse
from connector.control.smc.signature_claim import COMMON, claim, pairs
from connector.control.store.database import PEERS, DatabaseSilent
from connector.errors import ConnectorError
from connector.http_edge import FORM, BodyTooLarge, edge, media_type, read_body
from connector.outages import Outages

_LOG: Final = logging.getLogger(__name__)

MAX_BODY: Final = 1 << 20


class ApiEndpoint:
    """Dispatches signed requests to operations."""

    def __init__(self, dispatcher: OperationDispatcher, authenticator: Authenticator) -> None:
        self._dispatcher = dispatcher
        self._authenticator = authenticator
        self._outages = Outages(_LOG, PEERS)

    def route(self) -> Route:
        """The route `/`. Signatures cover the path, so the API can have no other."""
        return Route("/", edge(self._answer, self._failure), methods=["GET", "POST"])

    async def _answer(self, http: HttpRequest) -> Response:
        http.state.id = str(uuid.uuid4()).upper()
        body = await read_body(http, MAX_BODY)
        origin = http.client.host if http.client else ""
        answer = await run_in_threadpool(self._handle, http, body, origin)
        self._outages.heard(DatabaseSilent)
        return _response(200, {"RequestId": http.state.id} | answer)

    def _failure(self, http: HttpRequest, failed: Exception) -> Response:
        denied = self._denied(failed, http.state.id)
        return _response(denied.status, _error(denied, http.state.id, http.headers.get("host", "")))

    def _denied(self, failed: Exception, request_id: str) -> Denied:
        if isinstance(failed, Denied):
            return failed
        if isinstance(failed, BodyTooLarge):
            return Denied("MalformedRequest", f"The body is larger than {MAX_BODY} bytes.")
        if isinstance(failed, ConnectorError):
            denied = translated(failed)
            if denied.status >= 500:  # the caller does not see what failed; the log has it
                self._outages.missed(f"request {request_id} failed", failed)
            return denied
        _LOG.error("request %s failed unexpectedly", request_id, exc_info=failed)
        return Denied("InternalError", "The request processing has failed due to some unknown error.")

    def _handle(self, http: HttpRequest, body: bytes, origin: str) -> Answer:
        request = _request(http, body)
        claimed = claim(request)
        key = self._authenticator.admit(claimed)
        operation = self._dispatcher.find(claimed.action)
        permit(key, operation)
        values = parse(operation.parameters, _own(request))
        self._authenticator.once(claimed, key, strict=operation.changes)
        return self._dispatcher.carry_out(Caller(key, origin), operation, values)


def _own(request: Request) -> dict[str, str]:
    """The parameters of the operation, without those of the signature."""
    parameters = {**request.query, **request.form}
    if parameters.get("Format", "JSON").upper() not in ("JSON", ""):
        raise Denied(
            "InvalidParameter.Format", "The specified parameter Format is not valid: JSON is answered."
        )
    return {name: value for name, value in parameters.items() if name not in COMMON}


def _request(http: HttpRequest, body: bytes) -> Request:
    headers: dict[str, str] = {}
    for name, value in http.headers.items():
        headers[name] = value if name not in headers else f"{headers[name]},{value}"
    query = pairs(http.scope["query_string"])
    form: dict[str, str] = {}
    if body:
        if (media_type(http) or FORM) != FORM:
            raise Denied("MalformedRequest", f"The body must be {FORM}, or empty.")
        form = pairs(body)
    if form.keys() & query.keys():
        raise Denied("MalformedRequest", "A parameter is in the query and in the body.")
    return Request(http.method, "/", query, form, headers, body)


def _error(denied: Denied, request_id: str, host: str) -> Answer:
    return {
        "RequestId": request_id,
        "HostId": host,
        "Code": denied.code,
        "Message": denied.message,
        "Recommend": denied.remedy,
    }


def _response(status: int, body: Answer) -> Response:
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(content, status, media_type="application/json;charset=utf-8")
