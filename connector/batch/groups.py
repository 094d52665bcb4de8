"""Order groups: which group waits for which, and the order within one that is an application. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase


def cycle(after: Mapping[str, Sequence[str]]) -> list[str]:
    """The groups of one cycle in order, the first one again at the end; empty when there is none. Unknown names are no groups."""
    done: set[str] = set()
    for start in after:
        trail: list[str] = []
        stack = [(start, iter(after[start]))] if start not in done else []
        trail.extend(name for name, _ in stack)
        while stack:
            name, left = stack[-1]
            below = next((other for other in left if other in after and other not in done), None)
            if below is None:
                done.add(name)
                stack.pop()
                trail.pop()
            elif below in trail:
                return [*trail[trail.index(below) :], below]
            else:
                trail.append(below)
                stack.append((below, iter(after[below])))
    return []


def order(after: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Levels: every group stands after all that it waits for; within a level in the order given. There must be no cycle."""
    levels: list[list[str]] = []
    placed: set[str] = set()
    left = list(after)
    while left:
        ready = [name for name in left if all(o in placed for o in after[name] if o in after)]
        if not ready:
            raise ValueError(f"a cycle: {' -> '.join(cycle(after))}")
        levels.append(ready)
        placed.update(ready)
        left = [name for name in left if name not in placed]
    return levels


def ranks(patterns: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """The place of each name's first matching pattern, from 1; names that match none are left out. Case does not count."""
    found: dict[str, int] = {}
    for name in names:
        for place, pattern in enumerate(patterns, 1):
            if fnmatchcase(name.lower(), pattern.lower()):
                found[name] = place
                break
    return found
