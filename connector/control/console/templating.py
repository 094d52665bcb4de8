"""How pages are written: templates, the files beside them, and the headers that hold a browser to them.

Nothing comes from elsewhere and nothing is inline, so the policy can forbid both.
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
    """A piece of a page that is written anew when something changes. `version` follows from its content."""

    html: Markup
    version: str


class Templates:
    """Writes pages and parts of them. Thread-safe."""

    def __init__(self) -> None:
        self._files = {
            found.name: found.read_bytes() for found in (files(_ROOM) / "static").iterdir() if found.is_file()
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
        """A piece of one."""
        html = self._environment.get_template(template).render(values)
        return Fragment(Markup(html), _digest(html.encode()))  # noqa: S704 - a template of ours, escaped as all of them are

    def file(self, name: str) -> Response | None:
        """A file beside the templates. Its address changes with its content, so it may be kept for ever."""
        content = self._files.get(name)
        if content is None:
            return None
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        kept = {"cache-control": "public, max-age=31536000, immutable"}
        return with_headers(Response(content, media_type=kind, headers=kept))

    def _address(self, name: str) -> str:
        return f"{ROOT}/static/{name}?v={_digest(self._files[name])}"


def with_headers(response: Response) -> Response:
    """With the headers that every answer of the console carries; not kept by anybody unless it says so."""
    for name, value in _ALWAYS.items():
        response.headers[name] = value
    response.headers.setdefault("cache-control", "no-store")
    return response


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
