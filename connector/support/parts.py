"""The parts of a bundle are collected one by one, each within a bound; one that cannot be read is listed with the reason.

A bundle is made when something is broken. So no part stops another one: `PartCollector.add` takes every failure of its part.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from connector.logs import one_line_each
from connector.support.names import NameReplacement
from connector.support.secret_removal import SecretRemoval

_LOG: Final = logging.getLogger(__name__)
#: Bytes of one part, and of all of them. What is longer keeps its newest lines, or its first rows.
PART_LIMIT: Final = 4 << 20
TOTAL_LIMIT: Final = 48 << 20


@dataclass(frozen=True, slots=True)
class BundlePart:
    """One file of the bundle. `content` is None when it could not be read; `trouble` says why."""

    path: str
    source: str
    content: bytes | None
    replaced: str = "nothing"
    trouble: str = ""

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.content or b"")


class PartCollector:
    """Collects the parts. `names`: how names are replaced; None: they are kept."""

    def __init__(self, secrets: SecretRemoval, names: NameReplacement | None = None) -> None:
        self.parts: list[BundlePart] = []
        self.secrets = secrets
        self.names = names
        self._room = TOTAL_LIMIT

    def json(self, path: str, source: str, make: Callable[[], Any], *, has_names: bool = True) -> None:
        """Add what `make` answers as JSON. `has_names`: False for what cannot have names, such as versions of libraries."""
        with self._part(path, source):
            value = self.secrets.value(make())
            value = self.names.value(value) if self.names and has_names else value
            self._add(path, source, json.dumps(value, indent=1, default=str, ensure_ascii=False) + "\n")

    def text(self, path: str, source: str, make: Callable[[], str]) -> None:
        """Add a text. Control characters are written out; of a long one the end is kept."""
        with self._part(path, source):
            text = self.secrets.text(make())
            text = self.names.text(text) if self.names else text
            self._add(path, source, one_line_each(text))

    def told(self, text: str) -> str:
        """A text about the bundle, as it may be told in it."""
        text = self.secrets.text(text)
        return self.names.text(text) if self.names else text

    def failed(self, path: str, source: str, why: str) -> None:
        """List a part that is not there."""
        trouble = self.told(" ".join(why.split()))[:300]
        self.parts.append(BundlePart(path, source, None, trouble=trouble or "it failed without a reason"))

    @contextmanager
    def _part(self, path: str, source: str) -> Iterator[None]:
        self._before = (self.secrets.removed, self.names.replaced if self.names else 0)
        try:
            yield
        except Exception as failed:  # noqa: BLE001 - an outer handler: one part must not stop the others
            self.failed(path, source, f"{type(failed).__name__}: {failed}")

    def _add(self, path: str, source: str, text: str) -> None:
        content, cut = _newest(text.encode("utf-8", "replace"), min(PART_LIMIT, self._room))
        self._room -= len(content)
        if not content and text:
            self.failed(path, source, "the bundle is full")
            return
        removed = self.secrets.removed - self._before[0]
        words = [f"{removed} secrets"] if removed else []
        words += ["names"] if self.names and self.names.replaced > self._before[1] else []
        words += ["cut to the newest lines"] if cut else []
        self.parts.append(BundlePart(path, source, content, ", ".join(words) or "nothing"))


def _newest(content: bytes, limit: int) -> tuple[bytes, bool]:
    """The last whole lines within the limit, and whether something was cut."""
    if len(content) <= limit:
        return content, False
    if limit <= 0:
        return b"", True
    _, _, rest = content[-limit:].partition(b"\n")
    return rest, True
