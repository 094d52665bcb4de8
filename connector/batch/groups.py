"""Groups are ordered by the groups that they wait for. A group that is an application orders its machines too. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter


def cycle(after: Mapping[str, Sequence[str]]) -> list[str]:
    """The groups of one cycle in order, with the first again at the end; empty if there is none. Unknown names are ignored."""
    try:
        _sorter(after).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def order(after: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The groups by level: each comes after all that it waits for. Within a level the order is kept. ValueError for a cycle."""
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
    """The place of each name's first matching pattern, from 1, without names that match none. Case does not count."""
    places: dict[str, int] = {}
    for name in names:
        for place, pattern in enumerate(patterns, 1):
            if fnmatchcase(name.lower(), pattern.lower()):
                places[name] = place
                break
    return places
