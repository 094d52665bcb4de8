"""Each entry of a manifest is resolved to machines. An ambiguous entry is a problem with its line, never a guess. Pure."""

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

#: Facts that only the extensions give. A selector over an unknown fact would match nothing.
_OPTIONAL: Final = ("folder", "cluster", "power", "tag", "network")

#: vCenter's words for a hard disk. A label is in the language of the session that created the disk.
_HARD_DISK: Final = re.compile(
    r"(?:hard disk|festplatte|disque dur|disco duro|disco rigido|disco rígido|harde schijf|жесткий диск|жёсткий диск"
    r"|硬盘|硬碟|ハード ?ディスク|하드 ?디스크)\s*(?=[\d*?\[])"
)


@dataclass(frozen=True, slots=True)
class ResolvedMachine:
    """One machine of the wave with its choices."""

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
    """The machines of a wave, and the problems."""

    placements: tuple[ResolvedMachine, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    unresolved: tuple[int, ...] = ()  # entries that name no machine, or no single one


def resolve(wave: Wave, sources: Sequence[SourceView]) -> Resolved:
    """Resolve all entries. Explicit entries take their machines first; selectors get the others, each machine only once."""
    problems: list[Problem] = []
    warnings: list[Problem] = []
    unresolved: list[int] = []
    entry_of: dict[str, int] = {}
    pairs: list[tuple[int, SourceView]] = []
    entries = list(enumerate(wave.manifest.machines))
    explicit = [(number, entry) for number, entry in entries if entry.selector is None]
    for number, entry in explicit + [pair for pair in entries if pair[1].selector is not None]:
        matches = _found(wave, number, entry, sources, problems)
        warnings += _other_names(wave, number, entry, matches)
        if not matches:
            unresolved.append(number)
        fresh = [source for source in matches if source.id not in entry_of]
        for source in matches:
            other_entry = entry_of.get(source.id)
            if other_entry is not None and (
                entry.selector is None or wave.manifest.machines[other_entry].selector is not None
            ):
                problems.append(_twice(wave, number, other_entry, source))
        entry_of.update({source.id: number for source in fresh})
        pairs += [(number, source) for source in fresh]
    placements = [
        _placed(wave, number, source, problems) for number, source in sorted(pairs, key=lambda p: p[0])
    ]
    problems += _matched_by_none(wave, placements)
    return Resolved(tuple(placements), tuple(problems), tuple(warnings), tuple(unresolved))


def _matched_by_none(wave: Wave, placements: Sequence[ResolvedMachine]) -> Iterator[Problem]:
    """Problems of disk patterns under `defaults` that match no disk of any machine: most likely they are misspelt."""
    disks = wave.manifest.defaults.disks
    for key in ("include", "exclude", "sizes"):
        concerned = [
            placement for placement in placements if _root(wave, placement.entry, key) == ("defaults",)
        ]
        for place, choice in enumerate(getattr(disks, key) or ()):
            word = choice.disk if key == "sizes" else choice
            if concerned and not any(any(_matching(placement.source, word)) for placement in concerned):
                labels = dict.fromkeys(
                    disk.label for placement in concerned for disk in placement.source.disks
                )
                mark = wave.mark("defaults", "disks", key, place)
                text = f"no machine of the wave has a disk {word!r}"
                remedy = f"their disks are {', '.join(list(labels)[:8]) or 'none'}"
                yield Problem(text, mark, remedy, "defaults.disks")


def _found(
    wave: Wave, number: int, entry: MachineEntry, sources: Sequence[SourceView], problems: list[Problem]
) -> list[SourceView]:
    path = f"machines[{number}]"
    near = [source for source in sources if entry.vcenter is None or _is_of(source, entry.vcenter)]
    if entry.vcenter is not None and not near:
        problems.append(
            _unknown_vcenter(entry.vcenter, wave.mark("machines", number, "vcenter"), path, sources)
        )
        return []
    if entry.selector is not None:
        mark = wave.mark("machines", number, "selector")
        return _selected(entry.selector, near, mark, path, problems)
    kind = "moref" if entry.moref is not None else "name"
    word = entry.moref if entry.moref is not None else entry.name
    mark = wave.mark("machines", number, kind)
    matches = [s for s in near if (s.name if kind == "name" else s.moref) == word]
    if kind == "name":
        matches = matches or [s for s in near if s.registered == word]
        matches = matches or [s for s in near if s.name == unescaped(str(word))]
    matches = [s for s in matches if not s.missing] or matches[:1]
    if len(matches) > 1 and kind == "moref" and entry.name is not None:
        matches = [s for s in matches if _is_called(s, entry.name)] or matches
    if not matches:
        names = [s.name if kind == "name" else s.moref for s in near]
        problems.append(Problem(f"no machine is called {word!r}", mark, _suggestion(str(word), names), path))
    if len(matches) > 1:
        several = len({s.vcenter for s in matches}) > 1
        places = ", ".join(_place(s, with_vcenter=several) for s in matches[:6])
        text = f"{len(matches)} machines are called {word!r}: {places}"
        remedy = "add `vcenter`, and name it by moref" if several else "name one by moref"
        problems.append(Problem(text, mark, remedy, path))
        return []
    return matches


def _is_called(source: SourceView, name: str) -> bool:
    return name in (source.name, source.registered) or unescaped(name) == source.name


def _other_names(
    wave: Wave, number: int, entry: MachineEntry, sources: Sequence[SourceView]
) -> Iterator[Problem]:
    """A warning if the entry's name is not the machine's. The moref decides."""
    if entry.moref is None or entry.name is None:
        return
    for source in sources:
        if not _is_called(source, entry.name):
            mark = wave.mark("machines", number, "moref")
            text = (
                f"{source.moref} is called {visible(source.name)!r} in vCenter, not {visible(entry.name)!r}"
            )
            remedy = "the moref decides; if it is wrong, take it out"
            yield Problem(text, mark, remedy, f"machines[{number}]")


def _selected(
    text: str, sources: Sequence[SourceView], mark: FilePosition, path: str, problems: list[Problem]
) -> list[SourceView]:
    conditions = selector(text)
    matches = [s for s in sources if conditions.matches(SelectableSource(s)) and not s.missing]
    if matches:
        return sorted(matches, key=lambda s: (s.name, s.moref, s.id))
    remedy = "`connector vm list` shows what is there; a source appears when an appliance has seen it"
    for condition in conditions.conditions:
        facts = {"tag": "tags", "network": "networks"}.get(condition.key, condition.key)
        if condition.key in _OPTIONAL and not any(getattr(s, facts) for s in sources):
            remedy = f"this control plane tells no {facts} of its sources: select by name"
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
            bytes_wanted = quantities.size(choice.size)
            if bytes_wanted < disk.size:
                text = f"{source.name}: {disk.label} has {disk.size >> 30} GiB, more than {choice.size}"
                problems.append(Problem(text, where, "a disk cannot become smaller", f"machines[{number}]"))
            sizes[disk.index] = bytes_wanted
    left_out = _left_out(wave, number, source, choices, problems)
    return ResolvedMachine(number, source, choices, mark, tuple(sorted(sizes.items())), left_out)


def _left_out(
    wave: Wave, number: int, source: SourceView, choices: Choices, problems: list[Problem]
) -> tuple[int, ...]:
    """Keys of the disks that are left out: excluded, or not among the included ones."""
    disk_choices = choices.disks
    out: dict[int, SourceDiskView] = {}
    for key in ("include", "exclude"):
        words: Sequence[str | int] | None = getattr(disk_choices, key)
        if words is None:
            continue
        root = _root(wave, number, key)
        disks = [disk for word in words for disk in _matching(source, word)]
        for place, word in enumerate(words):
            if root[0] == "machines" and not any(_matching(source, word)):
                problems.append(_no_disk(source, word, wave.mark(*root, "disks", key, place)))
        out |= {d.index: d for d in source.disks if (d in disks) is (key == "exclude")}
    mark, path = wave.mark(*_root(wave, number, "exclude"), "disks"), f"machines[{number}].disks"
    if 0 in out:
        text = f"{source.name}: the system disk ({out[0].label}) cannot be left behind"
        problems.append(Problem(text, mark, "include it", path))
    if any(not disk.key for disk in out.values()):
        text = (
            f"{source.name}: this control plane does not tell the keys of disks, so none can be left behind"
        )
        problems.append(Problem(text, mark, "take include and exclude out", path))
    return tuple(sorted(disk.key for disk in out.values()))


def _root(wave: Wave, number: int, key: str) -> tuple[str | int, ...]:
    """Where a choice about disks is: in the machine's entry, or under defaults."""
    entry = wave.manifest.machines[number]
    return ("machines", number) if key in entry.disks.model_fields_set else ("defaults",)


def _source_problems(source: SourceView, mark: FilePosition) -> Iterator[Problem]:
    if source.missing:
        remedy = "take it out of the manifest, or bring it back and rescan"
        yield Problem(f"{source.name} is no longer in vCenter", mark, remedy)
    elif source.state == "Deleting":
        yield Problem(
            f"{source.name} is being removed as a source", mark, "wait, and let an appliance see it again"
        )


def _matching(source: SourceView, disk: str | int) -> Iterator[SourceDiskView]:
    for candidate in source.disks:
        if candidate.key == disk if isinstance(disk, int) else labelled(candidate.label, disk):
            yield candidate


def labelled(label: str, pattern: str) -> bool:
    """Whether a pattern matches a label, even if the two are in different languages."""
    label_text, pattern_text = (normalize("NFKC", text).lower() for text in (label, pattern))
    return fnmatchcase(label_text, pattern_text) or fnmatchcase(
        *(_HARD_DISK.sub("hard disk ", text, 1) for text in (label_text, pattern_text))
    )


def _no_disk(source: SourceView, disk: str | int, mark: FilePosition) -> Problem:
    labels = ", ".join(candidate.label for candidate in source.disks[:8]) or "none"
    return Problem(f"{source.name} has no disk {disk!r}", mark, f"its disks are {labels}")


def _twice(wave: Wave, number: int, other: int, source: SourceView) -> Problem:
    line = wave.mark("machines", other).line
    text = f"{source.name} is chosen here and in line {line}"
    remedy = "let one of the two leave it out, e.g. with !name:" + source.name
    return Problem(text, wave.mark("machines", number), remedy, f"machines[{number}]")


def _suggestion(word: str, names: Sequence[str]) -> str:
    close = get_close_matches(word, [name for name in names if name], 1)
    if close:
        return f"did you mean {visible(close[0])}? letter case matters"
    return "`connector vm list` shows what is there; a source appears when an appliance has seen it"


def _is_of(source: SourceView, vcenter: str) -> bool:
    """Whether a manifest's words for a vCenter, its URL, host or instance UUID, mean this machine's."""
    return server_url(vcenter) in {server_url(name) for name in (source.vcenter, source.address) if name}


def _unknown_vcenter(vcenter: str, mark: FilePosition, path: str, sources: Sequence[SourceView]) -> Problem:
    known = sorted({f"{s.address} ({s.vcenter})" if s.address else s.vcenter for s in sources if s.vcenter})
    remedy = (
        f"known are {', '.join(known[:6])}" if known else "this control plane tells no vCenter of its sources"
    )
    return Problem(f"no vCenter is known as {visible(vcenter)!r}", mark, visible(remedy), path)


def _place(source: SourceView, *, with_vcenter: bool) -> str:
    """Where a machine is: what tells it from others of its name."""
    vcenter = source.address or source.vcenter
    where = source.folder or vcenter or "vCenter"
    beside = f" of {vcenter}" if with_vcenter and source.folder and vcenter else ""
    return visible(f"{source.moref or source.id} in {where}{beside}")
