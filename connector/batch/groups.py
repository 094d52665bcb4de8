"""Order groups: which group waits for which, and the order within one that is an application. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter


def cycle(after: Mapping[str, Sequence[str]]) -> list[str]:
    """The groups of one cycle in order, the first one again at the end; empty when there is none. Unknown names are no groups."""
    try:
        _sorter(after).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def order(after: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Levels: every group comes after all that it waits for; within a level in the order given. Raises ValueError on a cycle."""
    sorter, place = _sorter(after), {name: n for n, name in enumerate(after)}
    sorter.prepare()
    levels: list[list[str]] = []
    while ready := sorter.get_ready():
        levels.append(sorted(ready, key=place.__getitem__))
        sorter.done(*ready)
    return levels


def _sorter(after: Mapping[str, Sequence[str]]) -> TopologicalSorter[str]:
    return TopologicalSorter(
        {name: [other for other in others if other in after] for name, others in after.items()}
    )


def ranks(patterns: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """The place of each name's first matching pattern, from 1; names that match none are left out. Case does not count."""
    found: dict[str, int] = {}
    for name in names:
        for place, pattern in enumerate(patterns, 1):
            if fnmatchcase(name.lower(), pattern.lower()):
                found[name] = place
                break
    return found
