"""`routes` puts the console together from its pages."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from connector.control.console.administration import AppliancePages, AuditPages, CodePages
from connector.control.console.bulk import BulkPages
from connector.control.console.drills import DrillPages
from connector.control.console.former_disks import FormerDiskForms
from connector.control.console.groups import GroupPages
from connector.control.console.job_lines import JobLines
from connector.control.console.job_page import JobDetailsReader, JobLogs
from connector.control.console.jobs import JobPages
from connector.control.console.live import Feed
from connector.control.console.login import LoginPages
from connector.control.console.middleware import PageDispatcher, guarded
from connector.control.console.new_job import NewJobPages
from connector.control.console.pages import ROOT, link
from connector.control.console.sessions import LoginThrottle, SessionAuthenticator
from connector.control.console.sources import SourcePages
from connector.control.console.streams import Streams
from connector.control.console.templating import Templates, with_headers
from connector.control.console.watching import Watching
from connector.control.smc.dispatcher import OperationDispatcher
from connector.control.state.access_keys import AccessKeys, includes
from connector.control.store import Store


def routes(
    store: Store,
    dispatcher: OperationDispatcher,
    keys: AccessKeys,
    grace: float,
    templates: Templates | None = None,
    *,
    billed: bool = True,
    drills: bool = False,
    drills_convert: bool = False,
) -> list[BaseRoute]:
    """The routes under `/console`, and the redirect from `/`. They must come before the public API.

    Changes go through `dispatcher`. `grace`: how long an appliance may be silent. `templates` can be shared.
    `billed`: whether what the provider makes costs money. `drills`: whether it does drills; `drills_convert`: whether they
    convert a copy.
    """
    templates = templates or Templates()
    authenticator = SessionAuthenticator(store, keys, LoginThrottle())
    lines = JobLines(store)
    watching = Watching(
        store,
        lines,
        JobDetailsReader(store, billed=billed, drills=drills, drills_convert=drills_convert),
        templates,
    )
    jobs = JobPages(store, dispatcher, lines, watching)
    changing = (
        DrillPages(dispatcher, jobs.one),  # before those of jobs, which take every word for an action
        jobs,
        SourcePages(store, dispatcher),
        NewJobPages(store, dispatcher),
        GroupPages(store, dispatcher),
        CodePages(store, dispatcher),
        AppliancePages(store, dispatcher, grace),
    )
    bulk = BulkPages(store, dispatcher, lines, jobs)
    former_disks = FormerDiskForms(dispatcher, jobs.one)  # before those of jobs, too
    looking = (AuditPages(store), JobLogs(store, lines))
    page_dispatcher = PageDispatcher(
        templates,
        authenticator,
        lambda: store.epochs.current().restored,
        watching.down,
        lambda key, operation: includes(key.role, dispatcher.find(operation).role),
    )
    return [
        _RootRoute("/", guarded(_front), methods=["GET"]),
        Route(ROOT, guarded(_front), methods=["GET"]),
        Route(f"{ROOT}/", guarded(_front), methods=["GET"]),
        *LoginPages(templates, authenticator).routes(),
        Streams(authenticator, Feed(watching.look, store.sessions.use)).route(),
        *page_dispatcher.routes(
            [view for pages in (*changing, *looking) for view in pages.views()],
            [form for pages in (former_disks, *changing, bulk) for form in pages.forms()],
        ),
        page_dispatcher.last_route(),
    ]


class _RootRoute(Route):
    """The address `/`, which people type. It is the public API's too, but a request for a page has no query."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        person = any(name == b"accept" and b"text/html" in value for name, value in scope.get("headers", ()))
        if not person or scope.get("method") != "GET" or scope.get("query_string"):
            return Match.NONE, {}
        return super().matches(scope)


def _front(_http: Request, _body: bytes) -> Response:
    return with_headers(RedirectResponse(link("jobs"), 303))
