"""Which machine each entry of a manifest means. Pure; what cannot be told is a problem with its line, never a guess."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final
from unicodedata import normalize

from connector.batch import quantities
from connector.batch.manifest import Choices, MachineEntry
from connector.batch.parse import Wave
from connector.batch.plane import SourceDiskView, SourceView
from connector.batch.problems import FilePosition, Problem
from connector.batch.selectors import SelectableSource, selector
from connector.batch.servers import server_url
from connector.names import unescaped, visible

#: Facts of sources that the public API alone does not tell; a selector over one that nobody told would match nothing.
_OPTIONAL: Final = ("folder", "cluster", "power", "tag", "network")

#: What vCenter calls a hard disk, in the languages that it speaks. A label is in the language of whoever asked for it.
_HARD_DISK: Final = re.compile(
    r"(?:hard disk|festplatte|disque dur|disco duro|disco rigido|disco rígido|harde schijf|жесткий диск|жёсткий диск"
    r"|硬盘|硬碟|ハード ?ディスク|하드 ?디스크)\s*(?=[\d*?\[])"
)


@dataclass(frozen=True, slots=True)
class ResolvedMachine:
    """One machine of the wave with everything that was chosen for it."""

    entry: int
    source: SourceView
    choices: Choices
    mark: FilePosition
    sizes: tuple[tuple[int, int], ...] = ()  # disk index, bytes
    left_out: tuple[int, ...] = ()  # disk keys

    @property
    def disks(self) -> tuple[SourceDiskView, ...]:
        """The disks that migrate."""
        return tuple(disk for disk in self.source.disks if not disk.key or disk.key not in self.left_out)

    @property
    def size(self) -> int:
        return sum(disk.size for disk in self.disks)

    @property
    def group(self) -> str:
        return self.choices.group or ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The machines of a wave, and what stands in the way."""

    placements: tuple[ResolvedMachine, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()


def resolve(wave: Wave, sources: Sequence[SourceView]) -> Resolved:
    """Explicit entries take their machines first; selectors share out the rest, and never the same machine twice."""
    problems: list[Problem] = []
    warnings: list[Problem] = []
    taken: dict[str, int] = {}
    chosen: list[tuple[int, SourceView]] = []
    entries = list(enumerate(wave.manifest.machines))
    explicit = [(number, entry) for number, entry in entries if entry.selector is None]
    for number, entry in explicit + [pair for pair in entries if pair[1].selector is not None]:
        found = _found(wave, number, entry, sources, problems)
        warnings += _other_names(wave, number, entry, found)
        fresh = [source for source in found if source.id not in taken]
        for source in found:
            other = taken.get(source.id)
            if other is not None and (
                entry.selector is None or wave.manifest.machines[other].selector is not None
            ):
                problems.append(_twice(wave, number, other, source))
        taken.update({source.id: number for source in fresh})
        chosen += [(number, source) for source in fresh]
    placements = [
        _placed(wave, number, source, problems) for number, source in sorted(chosen, key=lambda p: p[0])
    ]
    problems += _matched_by_none(wave, placements)
    return Resolved(tuple(placements), tuple(problems), tuple(warnings))


def _matched_by_none(wave: Wave, placements: Sequence[ResolvedMachine]) -> Iterator[Problem]:
    """What is said about disks for all machines at once, and fits the disk of none: most likely it is misspelt."""
    disks = wave.manifest.defaults.disks
    for key in ("include", "exclude", "sizes"):
        concerned = [one for one in placements if _root(wave, one.entry, key) == ("defaults",)]
        for place, choice in enumerate(getattr(disks, key) or ()):
            word = choice.disk if key == "sizes" else choice
            if concerned and not any(any(_matching(one.source, word)) for one in concerned):
                labels = dict.fromkeys(disk.label for one in concerned for disk in one.source.disks)
                mark = wave.mark("defaults", "disks", key, place)
                what = f"no machine of the wave has a disk {word!r}"
                remedy = f"their disks are {', '.join(list(labels)[:8]) or 'none'}"
                yield Problem(what, mark, remedy, "defaults.disks")


def _found(
    wave: Wave, number: int, entry: MachineEntry, sources: Sequence[SourceView], problems: list[Problem]
) -> list[SourceView]:
    near = [s for s in sources if entry.vcenter is None or _same_url(s.vcenter, entry.vcenter)]
    path = f"machines[{number}]"
    if entry.selector is not None:
        mark = wave.mark("machines", number, "selector")
        return _selected(entry.selector, near, mark, path, problems)
    kind = "moref" if entry.moref is not None else "name"
    wanted = entry.moref if entry.moref is not None else entry.name
    mark = wave.mark("machines", number, kind)
    found = [s for s in near if (s.name if kind == "name" else s.moref) == wanted]
    if kind == "name":
        found = found or [s for s in near if s.registered == wanted]
        found = found or [s for s in near if s.name == unescaped(str(wanted))]
    found = [s for s in found if not s.missing] or found[:1]
    if len(found) > 1 and kind == "moref" and entry.name is not None:
        found = [s for s in found if _is_called(s, entry.name)] or found
    if not found:
        names = [s.name if kind == "name" else s.moref for s in near]
        problems.append(
            Problem(f"no machine is called {wanted!r}", mark, _suggestion(str(wanted), names), path)
        )
    if len(found) > 1:
        which = ", ".join(f"{s.moref or s.id} in {s.folder or s.vcenter or 'vCenter'}" for s in found[:6])
        what = f"{len(found)} machines are called {wanted!r}: {which}"
        problems.append(Problem(what, mark, "name one by moref, and vcenter if there are several", path))
        return []
    return found


def _is_called(source: SourceView, name: str) -> bool:
    return name in (source.name, source.registered) or unescaped(name) == source.name


def _other_names(
    wave: Wave, number: int, entry: MachineEntry, sources: Sequence[SourceView]
) -> Iterator[Problem]:
    """The moref decides; a name beside it that is another one is said."""
    if entry.moref is None or entry.name is None:
        return
    for source in sources:
        if not _is_called(source, entry.name):
            mark = wave.mark("machines", number, "moref")
            what = (
                f"{source.moref} is called {visible(source.name)!r} in vCenter, not {visible(entry.name)!r}"
            )
            remedy = "the moref decides; if it is wrong, take it out"
            yield Problem(what, mark, remedy, f"machines[{number}]")


def _selected(
    text: str, sources: Sequence[SourceView], mark: FilePosition, path: str, problems: list[Problem]
) -> list[SourceView]:
    wanted = selector(text)
    found = [s for s in sources if wanted.matches(SelectableSource(s)) and not s.missing]
    if found:
        return sorted(found, key=lambda s: (s.name, s.moref, s.id))
    remedy = "`connector vm list` shows what is there; a source appears when an appliance has seen it"
    for condition in wanted.conditions:
        what = {"tag": "tags", "network": "networks"}.get(condition.key, condition.key)
        if condition.key in _OPTIONAL and not any(getattr(s, what) for s in sources):
            remedy = f"this control plane tells no {what} of its sources: select by name"
    problems.append(Problem(f"the selector {text!r} matches no machine", mark, remedy, path))
    return []


def _placed(wave: Wave, number: int, source: SourceView, problems: list[Problem]) -> ResolvedMachine:
    choices = wave.choices(number)
    mark = wave.mark("machines", number)
    problems += _source_problems(source, mark)
    sizes: dict[int, int] = {}
    root = _root(wave, number, "sizes")
    for place, choice in enumerate(choices.disks.sizes or ()):
        where = wave.mark(*root, "disks", "sizes", place)
        disks = list(_matching(source, choice.disk))
        if not disks and root[0] == "machines":
            problems.append(_no_disk(source, choice.disk, where))
        for disk in disks:
            wanted = quantities.size(choice.size)
            if wanted < disk.size:
                what = f"{source.name}: {disk.label} has {disk.size >> 30} GiB, more than {choice.size}"
                problems.append(Problem(what, where, "a disk cannot become smaller", f"machines[{number}]"))
            sizes[disk.index] = wanted
    left_out = _left_out(wave, number, source, choices, problems)
    return ResolvedMachine(number, source, choices, mark, tuple(sorted(sizes.items())), left_out)


def _left_out(
    wave: Wave, number: int, source: SourceView, choices: Choices, problems: list[Problem]
) -> tuple[int, ...]:
    """Keys of the disks that stay behind: excluded, or not among those that are included."""
    chosen = choices.disks
    out: dict[int, SourceDiskView] = {}
    for key in ("include", "exclude"):
        words: Sequence[str | int] | None = getattr(chosen, key)
        if words is None:
            continue
        root = _root(wave, number, key)
        found = [disk for word in words for disk in _matching(source, word)]
        for place, word in enumerate(words):
            if root[0] == "machines" and not any(_matching(source, word)):
                problems.append(_no_disk(source, word, wave.mark(*root, "disks", key, place)))
        out |= {d.index: d for d in source.disks if (d in found) is (key == "exclude")}
    mark, path = wave.mark(*_root(wave, number, "exclude"), "disks"), f"machines[{number}].disks"
    if 0 in out:
        what = f"{source.name}: the system disk ({out[0].label}) cannot be left behind"
        problems.append(Problem(what, mark, "include it", path))
    if any(not disk.key for disk in out.values()):
        what = (
            f"{source.name}: this control plane does not tell the keys of disks, so none can be left behind"
        )
        problems.append(Problem(what, mark, "take include and exclude out", path))
    return tuple(sorted(disk.key for disk in out.values()))


def _root(wave: Wave, number: int, key: str) -> tuple[str | int, ...]:
    """Where a choice about disks was written: at the machine, or under defaults."""
    own = wave.manifest.machines[number]
    return ("machines", number) if key in own.disks.model_fields_set else ("defaults",)


def _source_problems(source: SourceView, mark: FilePosition) -> Iterator[Problem]:
    if source.missing:
        remedy = "take it out of the manifest, or bring it back and rescan"
        yield Problem(f"{source.name} is no longer in vCenter", mark, remedy)
    elif source.state == "Deleting":
        yield Problem(
            f"{source.name} is being removed as a source", mark, "wait, and let an appliance see it again"
        )


def _matching(source: SourceView, disk: str | int) -> Iterator[SourceDiskView]:
    for found in source.disks:
        if found.key == disk if isinstance(disk, int) else labelled(found.label, disk):
            yield found


def labelled(label: str, pattern: str) -> bool:
    """Whether a pattern fits a label, whichever languages the two are in."""
    own, wanted = (normalize("NFKC", text).lower() for text in (label, pattern))
    return fnmatchcase(own, wanted) or fnmatchcase(
        *(_HARD_DISK.sub("hard disk ", text, 1) for text in (own, wanted))
    )


def _no_disk(source: SourceView, disk: str | int, mark: FilePosition) -> Problem:
    labels = ", ".join(found.label for found in source.disks[:8]) or "none"
    return Problem(f"{source.name} has no disk {disk!r}", mark, f"its disks are {labels}")


def _twice(wave: Wave, number: int, other: int, source: SourceView) -> Problem:
    line = wave.mark("machines", other).line
    what = f"{source.name} is chosen here and in line {line}"
    remedy = "let one of the two leave it out, e.g. with !name:" + source.name
    return Problem(what, wave.mark("machines", number), remedy, f"machines[{number}]")


def _suggestion(wanted: str, names: Sequence[str]) -> str:
    close = get_close_matches(wanted, [name for name in names if name], 1)
    if close:
        return f"did you mean {visible(close[0])}? letter case matters"
    return "`connector vm list` shows what is there; a source appears when an appliance has seen it"


def _same_url(one: str, other: str) -> bool:
    return server_url(one) == server_url(other)
