"""The console put together."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from connector.control.console.attempts import Attempts
from connector.control.console.bulk import BulkPages
from connector.control.console.door import Door, guarded
from connector.control.console.entrance import Entrance
from connector.control.console.groups import GroupPages
from connector.control.console.job_lines import JobLines
from connector.control.console.job_log import JobLogs
from connector.control.console.job_sheet import Sheets
from connector.control.console.jobs import JobPages
from connector.control.console.live import Feed
from connector.control.console.login import LoginPages
from connector.control.console.looks import Looks, dressed
from connector.control.console.new_job import NewJobPages
from connector.control.console.pages import ROOT, link
from connector.control.console.people import AppliancePages, AuditPages, CodePages
from connector.control.console.sources import SourcePages
from connector.control.console.streams import Streams
from connector.control.console.watching import Watching
from connector.control.keys import Keys
from connector.control.smc.desk import Desk
from connector.control.store import Store


def routes(store: Store, desk: Desk, keys: Keys, grace: float, looks: Looks | None = None) -> list[BaseRoute]:
    """Everything under `/console`, and the way there from `/`: put them before the public API.

    Changes go through `desk`; `grace` is how long an appliance may be silent; `looks` can be shared.
    """
    looks = looks or Looks()
    entrance = Entrance(store, keys, Attempts())
    lines = JobLines(store)
    watching = Watching(store, lines, Sheets(store), looks)
    jobs = JobPages(store, desk, lines, watching)
    changing = (
        jobs,
        SourcePages(store, desk),
        NewJobPages(store, desk),
        GroupPages(store, desk),
        CodePages(store, desk),
        AppliancePages(store, desk, grace),
    )
    bulk = BulkPages(store, desk, lines, jobs)
    looking = (AuditPages(store), JobLogs(store, lines))
    door = Door(looks, entrance, lambda: store.epochs.current().restored, watching.down)
    return [
        _Doorstep("/", guarded(_front), methods=["GET"]),
        Route(ROOT, guarded(_front), methods=["GET"]),
        Route(f"{ROOT}/", guarded(_front), methods=["GET"]),
        *LoginPages(looks, entrance).routes(),
        Streams(entrance, Feed(watching.look, store.sessions.use)).route(),
        *door.routes(
            [leaf for pages in (*changing, *looking) for leaf in pages.leaves()],
            [form for pages in (*changing, bulk) for form in pages.forms()],
        ),
        door.last_route(),
    ]


class _Doorstep(Route):
    """The address that people type. The public API lives there too, and nobody asks it for a page without a query."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        person = any(name == b"accept" and b"text/html" in value for name, value in scope.get("headers", ()))
        if not person or scope.get("method") != "GET" or scope.get("query_string"):
            return Match.NONE, {}
        return super().matches(scope)


def _front(_http: Request, _body: bytes) -> Response:
    return dressed(RedirectResponse(link("jobs"), 303))
