"""Which machines a phrase means: names stand side by side, conditions narrow them down. Pure.

    web-* db-01                          every machine with one of these names (or morefs)
    folder:/DC0/vm/prod power:on         what is in or below the folder and runs
    web-* !tag:keep network:"VM Network"

The language of `connector vm list`, over what the control plane knows of its sources. `*`, `?` and `[abc]` match as in
file names, letter case does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Final, Protocol, Self

from connector.errors import BadInput
from connector.names import unescaped

POWER: Final = {"on": "poweredOn", "off": "poweredOff", "suspended": "suspended"}
_TERM: Final = re.compile(r'(!?)(?:([A-Za-z]+):)?("[^"]*"|[^\s"!][^\s"]*)(?:\s+|\Z)')


class Facts(Protocol):
    """What selectors look at. An empty value means that it is not known."""

    @property
    def name(self) -> str: ...
    @property
    def moref(self) -> str: ...
    @property
    def folder(self) -> str: ...
    @property
    def cluster(self) -> str: ...
    @property
    def power(self) -> str: ...
    @property
    def guest(self) -> str: ...
    @property
    def networks(self) -> Sequence[str]: ...
    @property
    def tags(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Term:
    """One condition, perhaps turned round."""

    what: str
    glob: str
    negated: bool = False

    def holds(self, facts: Facts) -> bool:
        return self._plain(facts) is not self.negated

    def _plain(self, facts: Facts) -> bool:
        if self.what == "tag":
            key, given, value = self.glob.partition("=")
            found = [v for k, v in facts.tags.items() if _like(key, k)]
            return any(_like(value, v) for v in found) if given else bool(found)
        if self.what == "network":
            return any(_like(self.glob, network) for network in facts.networks)
        if self.what == "power":
            return facts.power == POWER[self.glob.lower()]
        if self.what == "folder":
            return _below(facts.folder, self.glob)
        value = str(getattr(facts, self.what))
        return _like(self.glob, value) or (self.what == "name" and _like(unescaped(self.glob), value))


KEYS: Final = ("name", "moref", "folder", "cluster", "tag", "power", "guest", "network")


@dataclass(frozen=True, slots=True)
class Selector:
    """One of the names, if there are any, and every condition."""

    text: str
    names: tuple[str, ...]
    terms: tuple[Term, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError (`BadInput` is for doors) for a phrase that means nothing."""
        names, terms, position = [], [], len(text) - len(text.lstrip())
        while position < len(text):
            found = _TERM.match(text, position)
            if found is None:
                raise ValueError(f"the selector cannot be read from {text[position : position + 20]!r} on")
            negated, key, glob = found[1] == "!", found[2], found[3].strip('"')
            if key is not None:
                terms.append(_term(negated, key, glob))
            elif negated:
                raise ValueError(f"only a condition can be turned round: write !name:{glob[:40]}")
            else:
                names.append(glob)
            position = found.end()
        if not names and not terms:
            raise ValueError("the selector is empty; `name:*` means every machine")
        return cls(text, tuple(names), tuple(terms))

    def matches(self, facts: Facts) -> bool:
        named = not self.names or any(
            _like(n, facts.name) or _like(unescaped(n), facts.name) or n == facts.moref for n in self.names
        )
        return named and all(term.holds(facts) for term in self.terms)


def selector(text: str) -> Selector:
    """For doors: raises `BadInput`."""
    try:
        return Selector.parse(text)
    except ValueError as wrong:
        raise BadInput(str(wrong), on=text[:80], remedy="e.g. web-* power:on") from None


def _term(negated: bool, key: str, glob: str) -> Term:
    what = key.lower()
    if what not in KEYS:
        raise ValueError(f"a selector of a manifest knows no {what[:20]!r}; it knows {', '.join(KEYS)}")
    if what == "power" and glob.lower() not in POWER:
        raise ValueError(f"power is one of {', '.join(POWER)}")
    return Term(what, glob, negated)


def _below(folder: str, glob: str) -> bool:
    """In the folder or anywhere below it; a folder without "/" is meant by its own name."""
    parts = folder.split("/")
    if not glob.startswith("/"):
        return any(_like(glob, part) for part in parts[1:])
    pattern = glob.rstrip("/")
    return any(_like(pattern, "/".join(parts[: n + 1])) for n in range(len(parts)))


def _like(glob: str, text: str) -> bool:
    return _pattern(glob.lower()).match(text.lower()) is not None


@lru_cache(maxsize=4096)
def _pattern(glob: str) -> re.Pattern[str]:
    return re.compile(translate(glob))
