"""Every request for a page needs a session, a form token of ours and sound text. Every failure is a page with one line."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from markupsafe import Markup, escape
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from connector.control.console import actions, sessions
from connector.control.console.form_fields import field_at_fault, spoken
from connector.control.console.pages import (
    ROOT,
    Banner,
    Download,
    Form,
    Page,
    PageRequest,
    Picture,
    Redirect,
    See,
    View,
    link,
)
from connector.control.console.sessions import SessionAuthenticator, SessionUser
from connector.control.console.templating import Fragment, Templates, with_headers
from connector.control.domain.access import AccessKey, Role
from connector.control.smc.catalogue import Denied, translated
from connector.control.smc.signature_claim import pairs
from connector.control.state.access_keys import includes
from connector.errors import ConnectorError
from connector.http_edge import FORM, BodyTooLarge, Handler, edge, media_type, read_body

_LOG: Final = logging.getLogger(__name__)

MAX_BODY: Final = 64 << 10
MAX_TEXT: Final = 4000
THEMES: Final = ("light", "dark")
THEME: Final = "console-theme"
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_UNSOUND: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")

_ASK_AGAIN: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Connector</title><meta http-equiv="refresh" content="0"></head>
<body><p><a href="">Go on to the console</a></p></body></html>
"""

_FAILED: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Connector</title></head>
<body><p>{text}</p><p><a href="{jobs}">Back to the jobs</a></p></body></html>
"""

#: What a page says after an action. The address carries the word, never the sentence.
SAID: Final = {
    "created": "The job is created. It starts when you start it, or at its scheduled time.",
    **{action.word: action.done for action in actions.ACTIONS},
    "drill": "The rehearsal is asked for. The source is not touched.",
    "plan-conversion": "The plan is asked for. Nothing is started.",
    "stop-drill": "The rehearsal is being stopped.",
    "put-back": "The target instance gets its former disks again.",
    "release-former": "The former disks of the target instance are being removed.",
    "changed": "The change is saved.",
    "removed": "The source is being removed. A rescan registers its machine as a new source.",
    "made": "The workgroup is made.",
    "put": "The sources are in the workgroup.",
    "taken": "The sources are out of the workgroup.",
    "dissolved": "The workgroup is deleted.",
    "disabled": "The activation code enrols no further appliance. Its appliances wait for approval again.",
    "forgotten": "The activation code is deleted. Its appliances wait for approval again.",
    "approved": "The appliance is approved.",
    "revoked": "The appliance is shut out. Appliances that enrol with its code for its vCenter wait for approval.",
    "rotated": "The appliance gets a new secret and key with its next heartbeat.",
    "ended": "Your session has ended. Log in to go on.",
    "left": "You are logged out.",
}


class PageDispatcher:
    """Serves pages to people who are logged in."""

    def __init__(
        self,
        templates: Templates,
        authenticator: SessionAuthenticator,
        held: Callable[[], str] = lambda: "",
        down: Callable[[], Fragment] = lambda: Fragment(Markup(""), ""),
        permitted: Callable[[AccessKey, str], bool] = lambda _key, _operation: False,
    ) -> None:
        """`permitted`: whether a key may call an operation; pages show nobody a button that would be refused.

        `held`: why the state is held; empty if it is not. `down`: the part of a page about sources that are down."""
        self._held = held
        self._down = down
        self._permitted = permitted
        self._templates = templates
        self._authenticator = authenticator

    def routes(self, views: Iterable[View], forms: Iterable[Form]) -> list[BaseRoute]:
        """One route for each view, then one for each form."""
        routes: list[BaseRoute] = [
            Route(ROOT + view.path, guarded(partial(self._see, view.show)), methods=["GET"]) for view in views
        ]
        routes += [
            Route(ROOT + form.path, guarded(partial(self._change, form)), methods=["POST"]) for form in forms
        ]
        return routes

    def last_route(self) -> BaseRoute:
        """The route for every other address of the console."""
        return Route(ROOT + "/{rest:path}", guarded(partial(self._see, _nowhere)), methods=_METHODS)

    def _see(self, show: See, http: Request, _body: bytes) -> Response:
        user = self._session_user(http)
        if user is None:
            return to_login(http)
        request = _request(http, user)
        try:
            _sound(request.query, request.path)
            answer = show(request)
            return self._written(http, request, answer) if isinstance(answer, Page) else _sent(answer)
        except (Denied, ConnectorError) as refused:
            return self._refused(http, request, as_denied(refused))

    def _change(self, form: Form, http: Request, body: bytes) -> Response:
        user = self._session_user(http)
        if user is None:
            return to_login(http)
        request = _request(http, user)
        try:
            form_values = read_form(http, body, http.cookies.get(sessions.COOKIE, ""))
            _sound(request.path)
        except Denied as refused:
            return self._refused(http, request, refused)
        request = _request(http, user, form_values)
        try:
            redirect = form.do(request)
        except (Denied, ConnectorError) as refused:
            return self._again(http, request, form, as_denied(refused))
        if isinstance(redirect, Redirect):
            return with_headers(RedirectResponse(redirect.to, 303))
        return self._written(http, request, redirect)

    def _again(self, http: Request, request: PageRequest, form: Form, denied: Denied) -> Response:
        """The page of the form with the reason; only the reason if that page is gone too."""
        try:
            page = form.again(request)
        except (Denied, ConnectorError):
            return self._refused(http, request, denied)
        return self._written(http, request, page, banner(denied), denied.status)

    def _refused(self, http: Request, request: PageRequest, denied: Denied) -> Response:
        page = Page("refused.html", {"status": denied.status})
        return self._written(http, request, page, banner(denied), denied.status)

    def _written(
        self, http: Request, request: PageRequest, page: Page, above: Banner | None = None, status: int = 200
    ) -> Response:
        message = SAID.get(request.query.get("said", ""))
        restored = _restored(self._held())
        about = {
            "key": request.key,
            "csrf": sessions.proof(http.cookies.get(sessions.COOKIE, "")),
            "theme": theme(http),
            "here": request.here,
            "down": self._down(),
            "banner": above or restored or page.banner or (Banner(message) if message else None),
            "may_operate": includes(request.key.role, Role.OPERATOR),
            "may": partial(self._permitted, request.key),
        }
        html = self._templates.write(page.template, about | dict(page.values))
        return with_headers(Response(html, status, media_type="text/html"))

    def _session_user(self, http: Request) -> SessionUser | None:
        return self._authenticator.session_user(http.cookies.get(sessions.COOKIE, ""))


def _restored(why: str) -> Banner | None:
    """The banner of every page until a restore is confirmed."""
    if not why:
        return None
    remedy = "Nothing begins until an administrator runs: connector control confirm --state DIR"
    return Banner(f"The state of this control plane was restored: {why}. {remedy}", bad=True)


def guarded(work: Callable[[Request, bytes], Response]) -> Handler:
    """A handler that does `work` in its own thread. Every failure is answered in words for people."""

    async def handle(http: Request) -> Response:
        return await run_in_threadpool(work, http, await read_body(http, MAX_BODY))

    return edge(handle, _failure)


def _failure(http: Request, failed: Exception) -> Response:
    if isinstance(failed, Denied):
        return _plain(failed.status, failed.message)
    if isinstance(failed, BodyTooLarge):
        return _plain(Denied("MalformedRequest", "").status, f"The body is larger than {MAX_BODY} bytes.")
    if isinstance(failed, ConnectorError):
        _LOG.warning("the console cannot answer %.200r: %s", http.scope["path"], failed)
        return _page(503, "The control plane cannot answer now: wait, then reload the page.")
    _LOG.error("%s %.200r failed unexpectedly", http.method, http.scope["path"], exc_info=failed)
    return _page(500, "The page failed because of a defect of ours: see the control plane's log.")


def read_form(http: Request, body: bytes, cookie: str) -> dict[str, str]:
    """The form's fields. Raises `Denied` if the form is not from a page of ours in this session."""
    if body and media_type(http) != FORM:
        raise Denied("MalformedRequest", f"The body must be {FORM}.")
    values = pairs(body)
    foreign = http.headers.get("origin") not in (None, f"https://{http.headers.get('host', '')}")
    if foreign or not sessions.proven(cookie, values.pop("csrf", "")):
        raise Denied(
            "Forbidden.Unauthorized",
            "This form does not belong to your session; nothing was changed.",
            "reload the page and send it again",
        )
    _sound(values)
    return values


def to_login(http: Request) -> Response:
    """Send the browser to the login; afterwards it shows the requested page.

    A link on another site sends no cookie even if there is a session: then our own page asks once more.
    """
    if http.method == "GET" and http.headers.get("sec-fetch-site") == "cross-site":
        return with_headers(Response(_ASK_AGAIN, media_type="text/html"))
    back = _here(http) if http.method == "GET" else None
    reason = "ended" if http.cookies.get(sessions.COOKIE) else None
    response = RedirectResponse(link("login", back=back, said=reason), 303)
    return with_headers(response)


def theme(http: Request) -> str:
    """The chosen colours; empty for those of the system."""
    name = http.cookies.get(THEME, "")
    return name if name in THEMES else ""


def banner(denied: Denied) -> Banner:
    """One line: what failed, on which object, what to do."""
    problem, remedy = spoken(denied)
    return Banner(f"{problem}. {remedy[:1].upper()}{remedy[1:]}.", bad=True, field=field_at_fault(denied))


def as_denied(refused: Denied | ConnectorError) -> Denied:
    """A refusal under its public code. Internal failures are only in the log."""
    if isinstance(refused, Denied):
        return refused
    denied = translated(refused)
    if denied.status >= 500:  # the page does not show what failed; the log has it
        _LOG.warning("the console could not do it: %s", refused)
    return denied


def _sent(file: Download | Picture) -> Response:
    """A picture, or the answer that makes a browser save a file instead of showing it."""
    if isinstance(file, Picture):
        return with_headers(Response(file.content, media_type=file.media_type))
    headers = {"content-disposition": f'attachment; filename="{file.name}"'}
    return with_headers(StreamingResponse(file.pieces, media_type="text/plain", headers=headers))


def _nowhere(_request: PageRequest) -> Page:
    raise Denied("InvalidAction.NotFound", "There is no such page.", "use the links above")


def _request(http: Request, user: SessionUser, form: Mapping[str, str] | None = None) -> PageRequest:
    return PageRequest(
        key=user.key,
        session=user.session,
        origin=http.client.host if http.client else "",
        here=_here(http),
        path=dict(http.path_params),
        query=dict(http.query_params),
        form=form or {},
    )


def _here(http: Request) -> str:
    """The request's own address, without the Host header, which may be wrong."""
    path, query = quote(http.scope["path"]), http.scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _sound(*mappings: Mapping[str, Any]) -> None:
    for values in mappings:
        for name, value in values.items():
            if len(str(value)) > MAX_TEXT or _UNSOUND.search(f"{name}{value}"):
                raise Denied("MalformedRequest", "A value is too long, or holds control characters.")


def _page(status: int, text: str) -> Response:
    """A page that needs neither store nor templates, with a way back."""
    html = _FAILED.format(text=escape(text), jobs=escape(link("jobs")))
    return with_headers(Response(html, status, media_type="text/html"))


def _plain(status: int, text: str) -> Response:
    return with_headers(Response(text, status, media_type="text/plain"))
