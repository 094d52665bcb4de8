"""Every address of the console, as the routes say them: who is nobody is sent away, and no form works without its proof."""

from __future__ import annotations

import re
from collections.abc import Iterator

from starlette.routing import Route

from connector.control.domain.access import Role
from tests.console.conftest import Console

#: For somebody who is not logged in.
OPEN = ("/", "/console", "/console/", "/console/login", "/console/static/{name}")
#: Answers what has no page.
REST = re.compile(r"/console/\{\w+:path\}")


def addresses(console: Console, method: str) -> Iterator[str]:
    """With something in the place of each parameter."""
    for route in console.app.routes:
        if isinstance(route, Route) and method in (route.methods or ()):
            if route.path in OPEN or REST.fullmatch(route.path):
                continue
            yield re.sub(r"\{[^}]*\}", "x-1", route.path)


def audited(console: Console) -> int:
    return console.store.audit.page().total


def test_nobody_sees_nothing(console: Console) -> None:
    stranger = console.visitor(None)
    tried = list(addresses(console, "GET"))
    assert len(tried) > 10
    for path in tried:
        answer = stranger.get(path)
        assert answer.status in (401, 403) or answer.moved.startswith("/console/login"), path


def test_no_form_works_without_its_proof(console: Console) -> None:
    visitor = console.visitor(Role.ADMIN)
    tried = list(addresses(console, "POST"))
    assert len(tried) > 10
    before = audited(console)
    for path in tried:
        for form in ({"csrf": ""}, {"csrf": "0" * 64}):
            answer = visitor.post(path, form)
            assert answer.status == 403, path
        assert visitor.post(path, origin="https://evil.example").status == 403, path
    assert audited(console) == before


def test_nobody_changes_nothing(console: Console) -> None:
    stranger = console.visitor(None)
    for path in addresses(console, "POST"):
        answer = stranger.post(path, {"csrf": "0" * 64})
        assert answer.status == 403 or answer.moved.startswith("/console/login"), path
    assert audited(console) == 0
