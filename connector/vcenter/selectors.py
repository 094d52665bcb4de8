"""Which machines are meant: names stand side by side, conditions narrow them down. Pure.

    web-01 db-01                     these two, by name, moref, inventory path or instance UUID
    web-*                            every machine whose name matches
    folder:/DC0/vm/prod power:on     what is below the folder and runs
    web-* !tag:keep attr:owner=shop*

`!` turns a condition round. Letter case does not matter; `*`, `?` and `[abc]` match as in file names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from connector.errors import Ambiguous, BadInput, NotFound
from connector.model import Machine, PowerState
from connector.names import unescaped

_WILD = frozenset("*?[")
_POWER = {"on": PowerState.ON, "off": PowerState.OFF, "suspended": PowerState.SUSPENDED}


def _like(value: str, pattern: str) -> bool:
    return fnmatchcase(value.lower(), pattern.lower())


def _any(values: Iterable[str], pattern: str) -> bool:
    return any(_like(value, pattern) for value in values)


def _below(machine: Machine, folder: str) -> bool:
    """In the folder or anywhere below it; a folder without "/" is meant by its own name."""
    above = machine.path.rpartition("/")[0]
    if not folder.startswith("/"):
        return _any(above.split("/")[1:], folder)
    pattern = folder.rstrip("/")
    parts = above.split("/")
    return any(_like("/".join(parts[: n + 1]), pattern) for n in range(len(parts)))


def _attribute(machine: Machine, pattern: str) -> bool:
    wanted, separator, value = pattern.partition("=")
    held = (text for name, text in machine.traits.attributes if _like(name, wanted))
    return _any(held, value if separator else "?*")


CONDITIONS: Mapping[str, tuple[str, Callable[[Machine, str], bool]]] = {
    "name": ("name", lambda m, p: _like(m.name, p) or _like(m.name, unescaped(p))),
    "moref": ("managed object reference", lambda m, p: _like(m.moref, p)),
    "folder": ("in or below this folder, by path or by name", _below),
    "cluster": ("name of the cluster", lambda m, p: _like(m.traits.cluster, p)),
    "host": ("name of the host", lambda m, p: _like(m.traits.host, p)),
    "datastore": ("one of its datastores", lambda m, p: _any(m.traits.datastores, p)),
    "network": ("one of its networks", lambda m, p: _any(m.networks, p)),
    "guest": ("guest system, by id or by name", lambda m, p: _any((m.guest_id, m.guest_name), p)),
    "tag": ("one of its tags", lambda m, p: _any(m.traits.tags, p)),
    "attr": ("custom attribute, attr:NAME or attr:NAME=VALUE", _attribute),
    "power": ("on, off or suspended", lambda m, p: m.power is _POWER[p.lower()]),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One `key:pattern`, perhaps turned round."""

    key: str
    pattern: str
    negated: bool = False

    def holds(self, machine: Machine) -> bool:
        return CONDITIONS[self.key][1](machine, self.pattern) is not self.negated


@dataclass(frozen=True, slots=True)
class Selector:
    """What a person wrote. Empty means every machine."""

    names: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @classmethod
    def parse(cls, words: Sequence[str]) -> Selector:
        """Raises `BadInput` for a key that is none, and for a condition without a pattern."""
        names, conditions = [], []
        for word in words:
            condition = _condition(word)
            if condition is None:
                names.append(word)
            else:
                conditions.append(condition)
        return cls(tuple(dict.fromkeys(names)), tuple(conditions))

    def choose(self, machines: Sequence[Machine]) -> tuple[Machine, ...]:
        """The machines meant, in the order given. Raises `NotFound` when a name, or all of it, means nobody;
        `Ambiguous` when a name without wildcards means several.
        """
        named = {one.moref for name in self.names for one in _named(name, machines)} if self.names else None
        found = tuple(
            one
            for one in machines
            if (named is None or one.moref in named) and all(term.holds(one) for term in self.conditions)
        )
        if not found and (self.names or self.conditions):
            raise NotFound(
                "no machine is meant by it", on=str(self), remedy="see connector vm list for what there is"
            )
        return found

    def __str__(self) -> str:
        terms = (f"{'!' if one.negated else ''}{one.key}:{one.pattern}" for one in self.conditions)
        return " ".join((*self.names, *terms))


def _condition(word: str) -> Condition | None:
    if word.startswith("/"):
        return None
    key, separator, pattern = word.removeprefix("!").partition(":")
    if not separator:
        if word.startswith("!"):
            raise BadInput("only a condition can be turned round", on=word, remedy=f"write !name:{word[1:]}")
        return None
    if key not in CONDITIONS:
        raise BadInput(
            f"{key or 'nothing'} is no condition, there are {', '.join(CONDITIONS)}",
            on=word,
            remedy=f"if it is a name, write name:{word.removeprefix('!')}",
        )
    if not pattern:
        raise BadInput("the condition has no pattern", on=word, remedy=f"write {key}:*, or leave it out")
    if key == "power" and pattern.lower() not in _POWER:
        raise BadInput("there is no such power state", on=word, remedy=f"one of {', '.join(_POWER)}")
    return Condition(key, pattern, word.startswith("!"))


def _named(word: str, machines: Sequence[Machine]) -> Sequence[Machine]:
    for identity in _IDENTITIES:
        if hits := [one for one in machines if identity(one, word)]:
            if len(hits) > 1:
                raise _ambiguous(word, hits)
            return hits
    found = (
        [one for one in machines if _like(one.name, word) or _like(one.name, unescaped(word))]
        if _WILD & set(word)
        else []
    )
    if not found:
        raise NotFound(
            "no machine has that name, inventory path, instance UUID or moref",
            on=word,
            remedy="list the machines; the user may lack the right to see it",
        )
    return found


_IDENTITIES: tuple[Callable[[Machine, str], bool], ...] = (
    lambda one, word: one.moref == word,
    lambda one, word: bool(one.instance_uuid) and one.instance_uuid.lower() == word.lower(),
    lambda one, word: word.startswith("/") and one.path == word.rstrip("/"),
    lambda one, word: one.name == word,
    lambda one, word: one.name == unescaped(word),
)


def _ambiguous(word: str, hits: Sequence[Machine]) -> Ambiguous:
    shown = ", ".join(f"{one.path} ({one.moref})" for one in hits[:8])
    more = f" and {len(hits) - 8} more" if len(hits) > 8 else ""
    return Ambiguous(
        f"{len(hits)} machines answer to it: {shown}{more}",
        on=word,
        remedy="use the moref or the inventory path",
    )


def described() -> str:
    """The language in lines for `--help`."""
    keys = "\n".join(f"  {key + ':':<11}{meaning}" for key, (meaning, _) in CONDITIONS.items())
    return (
        "\b\nSELECTOR is any number of\n"
        "  a name (with * and ?), inventory path, moref or instance UUID: machines side by side\n"
        "  a condition KEY:PATTERN that all of them must meet, or !KEY:PATTERN that none may:\n" + keys
    )
