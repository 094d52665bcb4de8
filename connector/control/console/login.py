"""The pages of the entrance: log in, log out, light or dark."""

from __future__ import annotations

from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from connector import pasted
from connector.control.console import entrance
from connector.control.console.door import SAID, THEME, THEMES, banner, guarded, read_form, theme, to_login
from connector.control.console.entrance import Entrance, TooSoon
from connector.control.console.looks import Looks, dressed
from connector.control.console.pages import ROOT, Banner, link, ours
from connector.control.smc.catalogue import Denied
from connector.errors import AuthenticationFailed

_YEAR: Final = 365 * 86400


class LoginPages:
    """What somebody sees who is not, or no longer, logged in."""

    def __init__(self, looks: Looks, guests: Entrance) -> None:
        self._looks = looks
        self._entrance = guests

    def routes(self) -> list[BaseRoute]:
        """They guard themselves."""
        return [
            Route(f"{ROOT}/login", guarded(self._show), methods=["GET"]),
            Route(f"{ROOT}/login", guarded(self._enter), methods=["POST"]),
            Route(f"{ROOT}/logout", guarded(self._leave), methods=["POST"]),
            Route(f"{ROOT}/theme", guarded(self._choose), methods=["POST"]),
            Route(f"{ROOT}/static/{{name}}", guarded(partial(_file, self._looks)), methods=["GET"]),
        ]

    def _show(self, http: Request, _body: bytes) -> Response:
        said = SAID.get(http.query_params.get("said", ""))
        return self._page(http, Banner(said) if said else None)

    def _page(self, http: Request, above: Banner | None, status: int = 200, back: str = "") -> Response:
        visitor = http.cookies.get(entrance.VISITOR) or entrance.fresh()
        back = back or http.query_params.get("back", "")
        values = {
            "csrf": entrance.proof(visitor),
            "theme": theme(http),
            "banner": above,
            "back": back if ours(back) else "",
        }
        response = Response(self._looks.write("login.html", values), status, media_type="text/html")
        entrance.bake(response, entrance.VISITOR, visitor)
        return dressed(response)

    def _enter(self, http: Request, body: bytes) -> Response:
        origin = http.client.host if http.client else ""
        back = ""
        try:
            given = read_form(http, body, http.cookies.get(entrance.VISITOR, ""))
            back = given.get("back", "")
            token = self._entrance.enter(
                pasted.bare(given.get("key", "")), pasted.bare(given.get("secret", "")), origin
            )
        except Denied as refused:
            return self._page(http, banner(refused), refused.status)
        except TooSoon as wait:
            response = self._page(http, Banner(str(wait), bad=True), wait.http_status, back)
            response.headers["retry-after"] = str(wait.seconds)
            return response
        except AuthenticationFailed as refused:
            return self._page(http, Banner(str(refused), bad=True), refused.http_status, back)
        self._entrance.forget(http.cookies.get(entrance.COOKIE, ""))
        response = RedirectResponse(back if ours(back) else link("jobs"), 303)
        entrance.bake(response, entrance.COOKIE, token)
        entrance.eat(response, entrance.VISITOR)
        return dressed(response)

    def _leave(self, http: Request, body: bytes) -> Response:
        cookie = http.cookies.get(entrance.COOKIE, "")
        read_form(http, body, cookie)
        self._entrance.leave(cookie, http.client.host if http.client else "")
        response = RedirectResponse(link("login", said="left"), 303)
        entrance.eat(response, entrance.COOKIE)
        return dressed(response)

    def _choose(self, http: Request, body: bytes) -> Response:
        """Kept in a cookie, so that a page comes in its colours at once and without a script."""
        cookie = http.cookies.get(entrance.COOKIE, "")
        if self._entrance.guest(cookie) is None:
            return to_login(http)
        given = read_form(http, body, cookie)
        back, chosen = given.get("back", ""), given.get("theme", "")
        response = RedirectResponse(back if ours(back) else link("jobs"), 303)
        if chosen in THEMES:
            response.set_cookie(
                THEME, chosen, max_age=_YEAR, path=ROOT, secure=True, httponly=True, samesite="strict"
            )
        else:
            response.delete_cookie(THEME, path=ROOT, secure=True, httponly=True, samesite="strict")
        return dressed(response)


def _file(looks: Looks, http: Request, _body: bytes) -> Response:
    found = looks.file(http.path_params["name"])
    return found if found is not None else dressed(Response("no such file", 404, media_type="text/plain"))
