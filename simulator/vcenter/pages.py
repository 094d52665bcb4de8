"""Answers of the property collector in pages."""

from __future__ import annotations

import secrets
import threading
from typing import Any

from simulator.vcenter.api import vmodl
from simulator.vcenter.encode import Light

_COLLECTOR = vmodl.query.PropertyCollector
_MOST_TOKENS = 100


class Pages:
    """The rest of paged answers by token, per session; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rest: dict[tuple[str, str], tuple[list[Light], int]] = {}

    def first(self, owner: str, contents: list[Light], size: int) -> Light | None:
        """The first page as a RetrieveResult; None for an empty answer."""
        if not contents:
            return None
        page, rest = (contents[:size], contents[size:]) if size > 0 else (contents, [])
        fields: dict[str, Any] = {"objects": page}
        if rest:
            token = secrets.token_hex(8)
            with self._lock:
                self._rest[owner, token] = (rest, size)
                while len(self._rest) > _MOST_TOKENS:
                    self._rest.pop(next(iter(self._rest)))
            fields["token"] = token
        return Light(_COLLECTOR.RetrieveResult, fields)

    def take(self, owner: str, token: str) -> tuple[list[Light], int]:
        """Remove and return the page of a token. Raises InvalidArgument for an unknown token."""
        with self._lock:
            page = self._rest.pop((owner, token), None)
        if page is None:
            raise vmodl.fault.InvalidArgument(invalidProperty="token", msg=f"unknown token {token}")
        return page
