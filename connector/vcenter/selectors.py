"""Chooses the machines of a vCenter that a selector means. The grammar is in `connector.selectors`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connector.errors import Ambiguous, NotFound
from connector.model import Machine, PowerState
from connector.names import unescaped
from connector.selectors import Selector, named_like

_WILD: Final = frozenset("*?[")
_POWER: Final = {PowerState.ON: "on", PowerState.OFF: "off", PowerState.SUSPENDED: "suspended"}


@dataclass(frozen=True, slots=True)
class SelectableMachine:
    """A machine of the inventory as selectors look at it."""

    machine: Machine

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def moref(self) -> str:
        return self.machine.moref

    @property
    def folder(self) -> str:
        return self.machine.path.rpartition("/")[0]

    @property
    def cluster(self) -> str:
        return self.machine.traits.cluster

    @property
    def host(self) -> str:
        return self.machine.traits.host

    @property
    def datastores(self) -> Sequence[str]:
        return self.machine.traits.datastores

    @property
    def networks(self) -> Sequence[str]:
        return self.machine.networks

    @property
    def guests(self) -> Sequence[str]:
        return (self.machine.guest_id, self.machine.guest_name)

    @property
    def tags(self) -> Mapping[str, str]:
        return dict.fromkeys(self.machine.traits.tags, "")

    @property
    def attributes(self) -> Sequence[tuple[str, str]]:
        return self.machine.traits.attributes

    @property
    def power(self) -> str:
        return _POWER.get(self.machine.power, "")


def choose(selector: Selector, machines: Sequence[Machine]) -> tuple[Machine, ...]:
    """The machines meant, in the order of `machines`. A name may be an inventory path, a moref or an instance UUID too.

    Raises `NotFound` when a name or the whole selector means no machine, `Ambiguous` when a name without wildcards means several.
    """
    named = {machine.moref for name in selector.names for machine in _named(name, machines)}
    chosen = tuple(
        machine
        for machine in machines
        if (not selector.names or machine.moref in named) and selector.narrows(SelectableMachine(machine))
    )
    if not chosen and (selector.names or selector.conditions):
        raise NotFound("no machine matches", on=str(selector), remedy="connector vm list shows the machines")
    return chosen


def _named(word: str, machines: Sequence[Machine]) -> Sequence[Machine]:
    for identity in _IDENTITIES:
        if hits := [machine for machine in machines if identity(machine, word)]:
            if len(hits) > 1:
                raise _ambiguous(word, hits)
            return hits
    matches = [machine for machine in machines if named_like(machine.name, word)] if _WILD & set(word) else []
    if not matches:
        raise NotFound(
            "no machine has that name, inventory path, instance UUID or moref",
            on=word,
            remedy="list the machines; the user may lack the right to see it",
        )
    return matches


_IDENTITIES: tuple[Callable[[Machine, str], bool], ...] = (
    lambda machine, word: machine.moref == word,
    lambda machine, word: bool(machine.instance_uuid) and machine.instance_uuid.lower() == word.lower(),
    lambda machine, word: word.startswith("/") and machine.path == word.rstrip("/"),
    lambda machine, word: machine.name == word,
    lambda machine, word: machine.name == unescaped(word),
)


def _ambiguous(word: str, hits: Sequence[Machine]) -> Ambiguous:
    listed = ", ".join(f"{machine.path} ({machine.moref})" for machine in hits[:8])
    more = f" and {len(hits) - 8} more" if len(hits) > 8 else ""
    return Ambiguous(
        f"{len(hits)} machines answer to it: {listed}{more}",
        on=word,
        remedy="use the moref or the inventory path",
    )
