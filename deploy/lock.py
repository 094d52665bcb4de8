"""Reads `requirements.lock`: the part that the product needs when it runs, with the hashes that pip-compile wrote.

The lock also has what tests need. Its comments say who asked for each package (`# via ...`), so the part that runs is what can be
reached from the dependencies in `pyproject.toml` and from the chosen extras. `keyring` is for a person's desktop and stays out.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Extras that the package has: without the cloud's SDK a control plane could only serve the provider `local`.
EXTRAS: Final = ("alibaba",)
_PINNED: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Pinned:
    """One package of the lock. `lines`: as the lock has it, with hashes. `wanted_by`: the packages that need it."""

    name: str
    lines: tuple[str, ...]
    wanted_by: frozenset[str]

    @property
    def version(self) -> str:
        return self.lines[0].partition("==")[2].split()[0]


def runtime(root: Path) -> tuple[Pinned, ...]:
    """What the product in `root` needs when it runs, by name."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = [*project["dependencies"], *(line for extra in EXTRAS for line in extras[extra])]
    return closure(read((root / "requirements.lock").read_text()), named)


def closure(locked: Mapping[str, Pinned], requirements: Iterable[str]) -> tuple[Pinned, ...]:
    """The packages that `requirements` name, and what they need in turn. Raises KeyError for one that is not locked."""
    reached = {_normal(_NAME.match(line).group()) for line in requirements}  # type: ignore[union-attr]
    while more := {p.name for p in locked.values() if p.wanted_by & reached} - reached:
        reached |= more
    return tuple(locked[name] for name in sorted(reached))


def read(text: str) -> dict[str, Pinned]:
    """Every package of a lock, by its normalised name."""
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if _PINNED.match(line):
            blocks.append([line])
        elif blocks and line.startswith(" "):
            blocks[-1].append(line)
    return {pinned.name: pinned for pinned in map(_pinned, blocks)}


def requirements(packages: Iterable[Pinned]) -> str:
    """A requirements file with hashes, as pip reads it."""
    return "".join(f"{line}\n" for package in packages for line in package.lines)


def _pinned(block: list[str]) -> Pinned:
    lines = tuple(line for line in block if not line.lstrip().startswith("#"))
    names = [line.strip(" #").removeprefix("via").strip() for line in block if line.lstrip().startswith("#")]
    pinned = _PINNED.match(block[0])
    assert pinned is not None  # noqa: S101 - a block begins with a pinned line
    return Pinned(_normal(pinned.group(1)), lines, frozenset(_normal(n.split()[0]) for n in names if n))


def _normal(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
