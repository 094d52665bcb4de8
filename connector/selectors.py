"""The grammar of selectors, for command line, manifests and pages: names add machines, conditions narrow them. Pure.

    web-01 db-*                          machines with one of these names
    folder:/DC0/vm/prod power:on         machines in or below the folder that run
    web-* !tag:keep network:"VM Network"

`!` negates a condition. Letter case does not matter; `*`, `?` and `[abc]` match as in file names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Final, Protocol, Self

from connector.errors import BadInput
from connector.names import unescaped

POWER: Final = ("on", "off", "suspended")
_WORD: Final = re.compile(r'(!?)(?:([A-Za-z]*):)?("[^"]*"|[^\s"!][^\s"]*)?(?:\s+|\Z)')


class Selectable(Protocol):
    """A machine as selectors see it. An empty value is unknown, and matches no pattern except `*`."""

    @property
    def name(self) -> str: ...
    @property
    def moref(self) -> str: ...
    @property
    def folder(self) -> str: ...
    @property
    def cluster(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def datastores(self) -> Sequence[str]: ...
    @property
    def networks(self) -> Sequence[str]: ...
    @property
    def guests(self) -> Sequence[str]:
        """Every known name of the guest system."""

    @property
    def tags(self) -> Mapping[str, str]: ...
    @property
    def attributes(self) -> Sequence[tuple[str, str]]: ...
    @property
    def power(self) -> str:
        """One of POWER."""


def like(text: str, pattern: str) -> bool:
    """Whether `text` matches, in any letter case."""
    return _compiled(pattern.lower()).match(text.lower()) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


def named_like(name: str, pattern: str) -> bool:
    """Whether a machine's name matches; a person may write it as vCenter does, with `%2f` for a slash."""
    return like(name, pattern) or like(name, unescaped(pattern))


def _any(values: Iterable[str], pattern: str) -> bool:
    return any(like(value, pattern) for value in values)


def _below(machine: Selectable, folder: str) -> bool:
    """Whether the machine is in the folder or below it; a folder without "/" is a name."""
    parts = machine.folder.split("/")
    if not folder.startswith("/"):
        return _any(parts[1:], folder)
    pattern = folder.rstrip("/")
    return _any(("/".join(parts[: n + 1]) for n in range(len(parts))), pattern)


def _tag(machine: Selectable, pattern: str) -> bool:
    key, separator, value = pattern.partition("=")
    values = [text for name, text in machine.tags.items() if like(name, key)]
    return _any(machine.tags, pattern) or (_any(values, value) if separator else False)


def _attribute(machine: Selectable, pattern: str) -> bool:
    key, separator, value = pattern.partition("=")
    values = (text for name, text in machine.attributes if like(name, key))
    return _any(values, value if separator else "?*")


#: By key: its meaning for people, and the function that says whether a machine matches a pattern.
CONDITIONS: Final[Mapping[str, tuple[str, Callable[[Selectable, str], bool]]]] = {
    "name": ("name", lambda m, p: named_like(m.name, p)),
    "moref": ("managed object reference", lambda m, p: like(m.moref, p)),
    "folder": ("in or below this folder, by path or by name", _below),
    "cluster": ("name of the cluster", lambda m, p: like(m.cluster, p)),
    "host": ("name of the host", lambda m, p: like(m.host, p)),
    "datastore": ("one of its datastores", lambda m, p: _any(m.datastores, p)),
    "network": ("one of its networks", lambda m, p: _any(m.networks, p)),
    "guest": ("guest system, by id or by name", lambda m, p: _any(m.guests, p)),
    "tag": ("one of its tags, tag:NAME or tag:NAME=VALUE", _tag),
    "attr": ("custom attribute, attr:NAME or attr:NAME=VALUE", _attribute),
    "power": ("on, off or suspended", lambda m, p: m.power == p.lower()),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One `key:pattern`, perhaps negated."""

    key: str
    pattern: str
    negated: bool = False

    def holds(self, machine: Selectable) -> bool:
        return CONDITIONS[self.key][1](machine, self.pattern) is not self.negated


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector means machines that match one of its names, if it has any, and all conditions. Empty means all machines."""

    names: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @classmethod
    def parse(cls, text: str, keys: Collection[str] = CONDITIONS.keys()) -> Self:
        """From one text; quotes hold words together. Raises BadInput when it cannot be read, and for keys not in `keys`."""
        names, conditions, position = [], [], len(text) - len(text.lstrip())
        while position < len(text):
            word = _WORD.match(text, position)
            if word is None or word.end() == position:
                raise BadInput("the selector cannot be read from here on", on=text[position : position + 20])
            value = (word[3] or "").strip('"')
            if word[2] is None and not word[1] and word[3]:
                names.append(value)
            else:
                conditions.append(condition(word[1], word[2], value, keys))
            position = word.end()
        if not names and not conditions:
            raise BadInput("the selector is empty", on="selector", remedy="name:* means every machine")
        return cls(tuple(dict.fromkeys(names)), tuple(conditions))

    @classmethod
    def of(cls, words: Sequence[str], keys: Collection[str] = CONDITIONS.keys()) -> Self:
        """From words that a shell has split. Raises BadInput, see `parse`."""
        names, conditions = [], []
        for word in words:
            negated, term = ("!", word[1:]) if word.startswith("!") else ("", word)
            key, separator, pattern = term.partition(":")
            if word.startswith("/") or not (separator or negated):
                names.append(word)
            else:
                conditions.append(
                    condition(negated, key if separator else None, pattern if separator else term, keys)
                )
        return cls(tuple(dict.fromkeys(names)), tuple(conditions))

    def matches(self, machine: Selectable) -> bool:
        """Whether the selector means this machine. Names are patterns; a moref is written as it is."""
        named_here = not self.names or any(
            named_like(machine.name, name) or name == machine.moref for name in self.names
        )
        return named_here and self.narrows(machine)

    def narrows(self, machine: Selectable) -> bool:
        """Whether the machine meets every condition."""
        return all(condition.holds(machine) for condition in self.conditions)

    def __str__(self) -> str:
        terms = (f"{'!' if term.negated else ''}{term.key}:{term.pattern}" for term in self.conditions)
        return " ".join((*self.names, *terms))


def condition(
    negation: str, key: str | None, pattern: str, keys: Collection[str] = CONDITIONS.keys()
) -> Condition:
    """The condition `KEY:PATTERN`, after a `negation` of "!" or "". Raises BadInput."""
    if key is None:
        raise BadInput("only a condition can be negated", on=f"!{pattern}", remedy=f"write !name:{pattern}")
    word, key = f"{negation}{key}:{pattern}", key.lower()
    if key not in keys:
        raise BadInput(
            f"{key or 'nothing'} is no condition, there are {', '.join(keys)}",
            on=word,
            remedy=f"if it is a name, write name:{word.removeprefix('!')}",
        )
    if not pattern:
        raise BadInput("the condition has no pattern", on=word, remedy=f"write {key}:*, or leave it out")
    if key == "power" and pattern.lower() not in POWER:
        raise BadInput("there is no such power state", on=word, remedy=f"one of {', '.join(POWER)}")
    return Condition(key, pattern, bool(negation))


def described() -> str:
    """The grammar in lines for `--help`."""
    keys = "\n".join(f"  {key + ':':<11}{meaning}" for key, (meaning, _) in CONDITIONS.items())
    return (
        "\b\nSELECTOR is any number of\n"
        "  a name (with * and ?), inventory path, moref or instance UUID: machines side by side\n"
        "  a condition KEY:PATTERN that all of them must meet, or !KEY:PATTERN that none may:\n" + keys
    )
