"""Which machines a phrase means: terms over facts, all of which must hold. Pure.

    name:web-*  folder:/DC0/vm/prod*  cluster:c1  tag:tier=web  power:on  guest:debian*  network:vlan-10  !name:*-old

A word without a colon is a name. Globs know `*`, `?` and `[...]`, and letter case does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Final, Protocol, Self

from connector.errors import BadInput

POWER: Final = {"on": "poweredOn", "off": "poweredOff", "suspended": "suspended"}
_TERM: Final = re.compile(r'(!?)(?:([A-Za-z]+):)?("[^"]*"|[^\s"!][^\s"]*)(?:\s+|\Z)')


class Facts(Protocol):
    """What selectors look at. An empty value means that it is not known."""

    @property
    def name(self) -> str: ...
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
    """One condition."""

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
        return _like(self.glob, str(getattr(facts, self.what)))


_KINDS: Final = ("name", "folder", "cluster", "tag", "power", "guest", "network")


@dataclass(frozen=True, slots=True)
class Selector:
    """Terms that must all hold."""

    text: str
    terms: tuple[Term, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError (`BadInput` is for doors) for a phrase that means nothing."""
        terms, position = [], len(text) - len(text.lstrip())
        while position < len(text):
            found = _TERM.match(text, position)
            if found is None:
                raise ValueError(f"the selector cannot be read from {text[position : position + 20]!r} on")
            terms.append(_term(found[1] == "!", found[2], found[3].strip('"')))
            position = found.end()
        if not terms:
            raise ValueError("the selector is empty; `name:*` means every machine")
        return cls(text, tuple(terms))

    def matches(self, facts: Facts) -> bool:
        return all(term.holds(facts) for term in self.terms)


def selector(text: str) -> Selector:
    """For doors: raises `BadInput`."""
    try:
        return Selector.parse(text)
    except ValueError as wrong:
        raise BadInput(str(wrong), on=text[:80], remedy="e.g. name:web-* power:on") from None


def _term(negated: bool, what: str | None, glob: str) -> Term:
    what = (what or "name").lower()
    if what not in _KINDS:
        raise ValueError(f"a selector knows no {what[:20]!r}; it knows {', '.join(_KINDS)}")
    if what == "power" and glob.lower() not in POWER:
        raise ValueError(f"power is one of {', '.join(POWER)}")
    return Term(what, glob, negated)


def _like(glob: str, text: str) -> bool:
    return _pattern(glob.lower()).match(text.lower()) is not None


@lru_cache(maxsize=4096)
def _pattern(glob: str) -> re.Pattern[str]:
    return re.compile(translate(glob))
