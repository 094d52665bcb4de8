"""Replaces names of machines, hosts and people, and addresses, for `--anonymous`: the same name has the same token everywhere.

The scrubber of recordings does it: every word that is neither vSphere's nor the product's own becomes a pseudonym, and the key is
thrown away. Names that are known are replaced whole before, so that a machine whose name is an ordinary word is not told either.
"""

from __future__ import annotations

import ast
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import connector
from connector.vcenter.scrub import Scrubber, vocabulary

#: Times, and our own random ids, say nothing about anybody. They are kept, so that events can be put in order and found again.
_KEPT: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:\s?(?:Z|UTC|[+-]\d\d:?\d\d))?)?"
    r"|(?<![\w-])[a-z]{1,3}-[0-9a-f]{20}(?![\w-])|\[removed\]"
)
_SHORT: Final = 5  # characters; a shorter name is replaced only where it is a word of its own
_ROOMS: Final = ("connector", "vddk", "nfc")


class NameReplacement:
    """Pseudonyms for one bundle. `replaced` counts the texts that were changed."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._key = secrets.token_bytes(32)
        self._scrubber = Scrubber(self._key, vocabulary() | _own_words())
        self._names: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.replaced = 0
        self.know(names)

    def know(self, names: Iterable[str]) -> None:
        """Names that are replaced whole. Two characters and numbers are too little to tell anything by themselves."""
        fresh = {name.strip() for name in names}
        self._names |= {name.lower() for name in fresh if len(name) > 1 and not name.isdigit()}
        self._pattern = _any_of(self._names)

    def text(self, text: str) -> str:
        """The text with pseudonyms."""
        if self._pattern is not None:
            text = self._pattern.sub(lambda match: self._token(match[0]), text)
        changed, end = [], 0
        for kept in _KEPT.finditer(text):
            changed += [self._scrubber.text(text[end : kept.start()]), kept[0]]
            end = kept.end()
        result = "".join([*changed, self._scrubber.text(text[end:])])
        self.replaced += result != text
        return result

    def value(self, value: Any) -> Any:
        """A value of JSON, with its keys: some are names of hosts."""
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(below) for key, below in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(below) for below in value]
        return self.text(value) if isinstance(value, str) else value

    def _token(self, name: str) -> str:
        """A word that the scrubber does not know, and so makes a pseudonym of."""
        return "name" + hmac.new(self._key, name.lower().encode(), hashlib.sha256).hexdigest()[:12]


def _any_of(names: set[str]) -> re.Pattern[str] | None:
    if not names:
        return None
    words = (
        rf"(?<!\w){re.escape(name)}(?!\w)" if len(name) < _SHORT else re.escape(name)
        for name in sorted(names, key=len, reverse=True)
    )
    return re.compile("|".join(words), re.IGNORECASE)


def _own_words() -> frozenset[str]:
    """The words of our messages, fields and files, without those of our examples, which are in docstrings."""
    house = Path(connector.__file__).parents[1]
    files = (file for room in _ROOMS for file in (house / room).rglob("*.py"))
    return frozenset(
        word for file in files for text in _texts(file) for word in re.findall(r"[A-Za-z_]\w*", text)
    )


def _texts(file: Path) -> Iterator[str]:
    tree = ast.parse(file.read_text())
    told = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    yield file.stem
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
