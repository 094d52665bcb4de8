"""A live page listens at one address. The request says which topics it watches."""

from __future__ import annotations

from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from connector.control.console import sessions
from connector.control.console.live import Feed, Topic
from connector.control.console.pages import ROOT, link
from connector.control.console.sessions import SessionAuthenticator
from connector.control.console.templating import with_headers
from connector.control.console.watching import COUNTS, LINE, SHEET
from connector.control.domain.access import Role
from connector.control.state.access_keys import includes
from connector.errors import ConnectorError

#: How many lines a page has at most, and how many characters an id.
_LINES: Final = 50
_ID: Final = 80


class Streams:
    """Server-sent events for pages of people who are logged in."""

    def __init__(self, authenticator: SessionAuthenticator, feed: Feed) -> None:
        self._authenticator = authenticator
        self._feed = feed

    def route(self) -> BaseRoute:
        return Route(f"{ROOT}/live", self._listen, methods=["GET"])

    async def _listen(self, http: Request) -> Response:
        try:
            user = await run_in_threadpool(
                self._authenticator.session_user, http.cookies.get(sessions.COOKIE, "")
            )
        except ConnectorError:
            return _no(503, "the control plane cannot answer now")
        if user is None:
            return _no(401, "log in first")
        topics = _topics(http, may_operate=includes(user.key.role, Role.OPERATOR))
        if not topics:
            return _no(400, "nothing to listen to")
        if not self._feed.has_room(user.session.id, user.key.id):
            return _no(503, "too many pages are open")
        events = self._feed.follow(user.session.id, user.key.id, topics)
        return with_headers(
            StreamingResponse(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        )


def sheet_address(job_id: str) -> str:
    """The address where the page of this job listens."""
    return link("live", sheet=job_id)


def list_address(job_ids: list[str], status: str) -> str:
    """The address where a list of these jobs listens. `status`: the status that the list is narrowed to."""
    return link("live", lines=",".join(job_ids), counts=status)


def _topics(http: Request, *, may_operate: bool) -> frozenset[Topic]:
    query = http.query_params
    topics = [Topic(LINE, name, may_operate) for name in query.get("lines", "").split(",") if name][:_LINES]
    if "sheet" in query:
        topics.append(Topic(SHEET, query["sheet"], may_operate))
    if "counts" in query:
        topics.append(Topic(COUNTS, query["counts"], may_operate))
    sound = all(len(topic.id) <= _ID and topic.id.isprintable() and topic.id.isascii() for topic in topics)
    return frozenset(topics) if sound else frozenset()


def _no(status: int, text: str) -> Response:
    return with_headers(Response(text, status, media_type="text/plain"))
