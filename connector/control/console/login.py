"""The pages that need no session: log in, log out, light or dark."""

from __future__ import annotations

from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from connector import pasted
from connector.control.console import sessions
from connector.control.console.middleware import (
    SAID,
    THEME,
    THEMES,
    banner,
    guarded,
    read_form,
    theme,
    to_login,
)
from connector.control.console.pages import ROOT, Banner, link, ours
from connector.control.console.sessions import SessionAuthenticator, TooSoon
from connector.control.console.templating import Templates, with_headers
from connector.control.smc.catalogue import Denied
from connector.errors import AuthenticationFailed

_YEAR: Final = 365 * 86400


class LoginPages:
    """The pages for people who are not logged in."""

    def __init__(self, templates: Templates, authenticator: SessionAuthenticator) -> None:
        self._templates = templates
        self._authenticator = authenticator

    def routes(self) -> list[BaseRoute]:
        """The routes, which check cookies and forms themselves."""
        return [
            Route(f"{ROOT}/login", guarded(self._show), methods=["GET"]),
            Route(f"{ROOT}/login", guarded(self._enter), methods=["POST"]),
            Route(f"{ROOT}/logout", guarded(self._leave), methods=["POST"]),
            Route(f"{ROOT}/theme", guarded(self._choose), methods=["POST"]),
            Route(f"{ROOT}/static/{{name}}", guarded(partial(_file, self._templates)), methods=["GET"]),
        ]

    def _show(self, http: Request, _body: bytes) -> Response:
        message = SAID.get(http.query_params.get("said", ""))
        return self._page(http, Banner(message) if message else None)

    def _page(self, http: Request, above: Banner | None, status: int = 200, back: str = "") -> Response:
        visitor = http.cookies.get(sessions.VISITOR) or sessions.fresh()
        back = back or http.query_params.get("back", "")
        values = {
            "csrf": sessions.proof(visitor),
            "theme": theme(http),
            "banner": above,
            "back": back if ours(back) else "",
        }
        response = Response(self._templates.write("login.html", values), status, media_type="text/html")
        sessions.bake(response, sessions.VISITOR, visitor)
        return with_headers(response)

    def _enter(self, http: Request, body: bytes) -> Response:
        origin = http.client.host if http.client else ""
        back = ""
        try:
            form = read_form(http, body, http.cookies.get(sessions.VISITOR, ""))
            back = form.get("back", "")
            token = self._authenticator.enter(
                pasted.bare(form.get("key", "")), pasted.bare(form.get("secret", "")), origin
            )
        except Denied as refused:
            return self._page(http, banner(refused), refused.status)
        except TooSoon as wait:
            response = self._page(http, Banner(str(wait), bad=True), wait.http_status, back)
            response.headers["retry-after"] = str(wait.seconds)
            return response
        except AuthenticationFailed as refused:
            return self._page(http, Banner(str(refused), bad=True), refused.http_status, back)
        self._authenticator.forget(http.cookies.get(sessions.COOKIE, ""))
        response = RedirectResponse(back if ours(back) else link("jobs"), 303)
        sessions.bake(response, sessions.COOKIE, token)
        sessions.eat(response, sessions.VISITOR)
        return with_headers(response)

    def _leave(self, http: Request, body: bytes) -> Response:
        cookie = http.cookies.get(sessions.COOKIE, "")
        read_form(http, body, cookie)
        self._authenticator.leave(cookie, http.client.host if http.client else "")
        response = RedirectResponse(link("login", said="left"), 303)
        sessions.eat(response, sessions.COOKIE)
        return with_headers(response)

    def _choose(self, http: Request, body: bytes) -> Response:
        """Keep the colours in a cookie, so that a page has them at once and without a script."""
        cookie = http.cookies.get(sessions.COOKIE, "")
        if self._authenticator.session_user(cookie) is None:
            return to_login(http)
        form = read_form(http, body, cookie)
        back, colours = form.get("back", ""), form.get("theme", "")
        response = RedirectResponse(back if ours(back) else link("jobs"), 303)
        if colours in THEMES:
            response.set_cookie(
                THEME, colours, max_age=_YEAR, path=ROOT, secure=True, httponly=True, samesite="strict"
            )
        else:
            response.delete_cookie(THEME, path=ROOT, secure=True, httponly=True, samesite="strict")
        return with_headers(response)


def _file(templates: Templates, http: Request, _body: bytes) -> Response:
    file = templates.file(http.path_params["name"])
    return file if file is not None else with_headers(Response("no such file", 404, media_type="text/plain"))
