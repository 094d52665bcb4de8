"""Pages are made from templates, and their headers forbid a browser everything else.

A page uses no foreign files and no inline code, so the policy forbids both.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import Response

from connector.control.console import figures
from connector.control.console.form_fields import label
from connector.control.console.pages import ROOT, link
from connector.names import on_page

_ROOM: Final = "connector.control.console"

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
_ALWAYS: Final = {
    "strict-transport-security": "max-age=31536000",
    "x-frame-options": "DENY",
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a page that is sent again when it changes. `version` follows from its content."""

    html: Markup
    version: str


class Templates:
    """Makes pages and parts of pages. Thread-safe."""

    def __init__(self) -> None:
        self._files = {
            static_file.name: static_file.read_bytes()
            for static_file in (files(_ROOM) / "static").iterdir()
            if static_file.is_file()
        }
        self._environment = Environment(
            loader=PackageLoader(_ROOM),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=on_page,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(figures.FILTERS)
        self._environment.globals.update(link=link, asset=self._address, label=label)

    def write(self, template: str, values: Mapping[str, Any]) -> str:
        """A whole page."""
        return self._environment.get_template(template).render(values)

    def part(self, template: str, values: Mapping[str, Any]) -> Fragment:
        """A part of a page."""
        html = self._environment.get_template(template).render(values)
        markup = Markup(html)  # noqa: S704 # nosec B704 - a template of ours, escaped as all of them are
        return Fragment(markup, _digest(html.encode()))

    def file(self, name: str) -> Response | None:
        """A static file. Its address changes with its content, so a browser may keep it for ever."""
        content = self._files.get(name)
        if content is None:
            return None
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return with_headers(Response(content, media_type=kind, headers=headers))

    def _address(self, name: str) -> str:
        return f"{ROOT}/static/{name}?v={_digest(self._files[name])}"


def with_headers(response: Response) -> Response:
    """The answer with the headers of the console. Nobody may cache it unless it says so."""
    for name, value in _ALWAYS.items():
        response.headers[name] = value
    response.headers.setdefault("cache-control", "no-store")
    return response


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
