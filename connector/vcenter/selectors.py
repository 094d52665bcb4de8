"""Which machines of a vCenter a selector means: the grammar is `connector.selectors`. Pure."""

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
    """The machines meant, in the order given. Names are also inventory paths, morefs and instance UUIDs.

    Raises `NotFound` when a name, or all of it, means nobody; `Ambiguous` when a name without wildcards means several.
    """
    named = {machine.moref for name in selector.names for machine in _named(name, machines)}
    chosen = tuple(
        machine
        for machine in machines
        if (not selector.names or machine.moref in named) and selector.narrows(SelectableMachine(machine))
    )
    if not chosen and (selector.names or selector.conditions):
        raise NotFound(
            "no machine is meant by it", on=str(selector), remedy="see connector vm list for what there is"
        )
    return chosen


def _named(word: str, machines: Sequence[Machine]) -> Sequence[Machine]:
    for identity in _IDENTITIES:
        if hits := [one for one in machines if identity(one, word)]:
            if len(hits) > 1:
                raise _ambiguous(word, hits)
            return hits
    found = [machine for machine in machines if named_like(machine.name, word)] if _WILD & set(word) else []
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
