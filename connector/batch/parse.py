"""A manifest's bytes become a wave whose values know their lines. Every problem in it is found at once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from connector.batch import document, quantities
from connector.batch.document import Document, Path
from connector.batch.groups import cycle
from connector.batch.manifest import Choices, CutoverWindow, MachineEntry, MigrationWave, merged
from connector.batch.problems import FilePosition, ManifestRefused, Problem
from connector.specification import bounds

#: Our words for pydantic's kinds of errors.
_WORDS: Final = {
    "missing": ("{name} is missing", "add it"),
    "dict_type": ("a mapping is expected", "write KEY: VALUE below it"),
    "model_type": ("a mapping is expected", "write KEY: VALUE below it"),
    "list_type": ("a list is expected", "begin each item with a dash"),
    "string_type": ("text is expected", "put it in quotes"),
}
_DAY: Final = 86400
_LONGEST_AHEAD: Final = 30 * _DAY


@dataclass(frozen=True, slots=True)
class Wave:
    """A manifest that is right in itself. Whether its machines exist is checked later."""

    document: Document
    manifest: MigrationWave

    @property
    def file(self) -> str:
        return self.document.file

    @property
    def name(self) -> str:
        return self.manifest.metadata.name

    @property
    def zone(self) -> ZoneInfo | None:
        return ZoneInfo(self.manifest.timeZone) if self.manifest.timeZone else None

    def mark(self, *path: str | int) -> FilePosition:
        return self.document.mark(path)

    def choices(self, index: int) -> Choices:
        """The choices of entry `index`, over the defaults."""
        entry = self.manifest.machines[index]
        values = {name: getattr(entry, name) for name in Choices.model_fields}
        chosen = Choices.model_construct(
            _fields_set=entry.model_fields_set & set(Choices.model_fields), **values
        )
        merged_choices: Choices = merged(self.manifest.defaults, chosen)
        return merged_choices

    def start(self) -> float | None:
        """When first runs begin; None: by hand, 0: at once."""
        start = self.manifest.schedule.start
        if start == "manual":
            return None
        return 0.0 if start == "now" else quantities.moment(start, self.zone)

    def window(self, group: str) -> tuple[float, float] | None:
        """When the cutover of a group may begin; None: only with `--now`."""
        group_window = next((g.window for g in self.manifest.groups if g.name == group), None)
        window = group_window or (self.manifest.cutover.window if self.manifest.cutover else None)
        if window is None:
            return None
        return quantities.moment(window.start, self.zone), quantities.moment(window.end, self.zone)


def parse(content: bytes, file: str) -> Wave:
    """Read a manifest. Raises `ManifestRefused` with every problem that is visible without clock and control plane."""
    parsed = document.read(content, file)
    if not isinstance(parsed.value, dict):
        raise ManifestRefused(
            file, [Problem("this is not a manifest", FilePosition(), "see config/manifest.yaml")]
        )
    try:
        wave = Wave(parsed, MigrationWave.model_validate(parsed.value))
    except ValidationError as invalid:
        raise ManifestRefused(file, _translated(invalid, parsed)) from None
    if problems := [*_entries(wave), *_groups(wave), *_hooks(wave), *_moments(wave), *_rules(wave)]:
        raise ManifestRefused(file, problems)
    return wave


def check_time(wave: Wave, now: float) -> None:
    """Raise `ManifestRefused` if a time in the manifest is in the past, too far ahead, or before what it waits for."""
    problems = list(_sequence(wave))
    problems += [
        Problem(
            "the cutover window is over",
            wave.document.mark((*path, "end")),
            "move the window; `batch cutover --now` ignores it",
            _spelled(path),
        )
        for path, window in _windows(wave)
        if quantities.moment(window.end, wave.zone) <= now
    ]
    start = wave.start()
    if start and start > now + _LONGEST_AHEAD:
        path = ("schedule", "start")
        problems.append(
            Problem(
                "a start can be scheduled at most 30 days ahead",
                wave.document.mark(path),
                "choose an earlier moment",
                _spelled(path),
            )
        )
    if problems:
        raise ManifestRefused(wave.file, problems)


def _windows(wave: Wave) -> Iterator[tuple[Path, CutoverWindow]]:
    if wave.manifest.cutover:
        yield ("cutover", "window"), wave.manifest.cutover.window
    for number, group in enumerate(wave.manifest.groups):
        if group.window:
            yield ("groups", number, "window"), group.window


def _entries(wave: Wave) -> Iterator[Problem]:
    first_entry: dict[tuple[str, ...], int] = {}
    for number, entry in enumerate(wave.manifest.machines):
        path: Path = ("machines", number)
        selecting = [name for name in ("name", "moref", "selector") if getattr(entry, name) is not None]
        if len(selecting) != 1 and selecting != ["name", "moref"]:
            text = f"{' and '.join(selecting)} are given" if selecting else "no machine is chosen"
            yield _at(wave, path, text, "give name, moref, both, or a selector")
            continue
        identity = (selecting[-1], str(getattr(entry, selecting[-1])).lower(), (entry.vcenter or "").lower())
        if identity in first_entry:
            first = wave.mark("machines", first_entry[identity]).line
            yield _at(
                wave, (*path, selecting[-1]), f"this machine is in line {first} already", "keep one of them"
            )
        first_entry.setdefault(identity, number)


def _groups(wave: Wave) -> Iterator[Problem]:
    groups = wave.manifest.groups
    names = [group.name for group in groups]
    for number, group in enumerate(groups):
        if group.name in names[:number]:
            yield _at(wave, ("groups", number, "name"), "this group is defined twice", "rename one of them")
        if group.shutdownOrder and wave.manifest.cutover and not wave.manifest.cutover.finalSync:
            text = "machines are shut down only with cutover.finalSync"
            yield _at(wave, ("groups", number, "shutdownOrder"), text, "leave one of them out")
        for place, other in enumerate(group.after):
            if other not in names:
                yield _at(
                    wave,
                    ("groups", number, "after", place),
                    f"no group is called {other}",
                    _near(other, names),
                )
    if ring := cycle({group.name: group.after for group in groups}):
        number = names.index(ring[0])
        yield _at(
            wave,
            ("groups", number, "after"),
            f"the groups wait for each other: {' -> '.join(ring)}",
            "take one of these dependencies out",
        )
    for path, name in _group_uses(wave):
        if name not in names:
            yield _at(wave, path, f"no group is called {name}", _near(name, names))


def _group_uses(wave: Wave) -> Iterator[tuple[Path, str]]:
    manifest = wave.manifest
    if manifest.defaults.group:
        yield ("defaults", "group"), manifest.defaults.group
    for number, entry in enumerate(manifest.machines):
        if entry.group:
            yield ("machines", number, "group"), entry.group
    for number, hook in enumerate(manifest.hooks):
        for place, name in enumerate(hook.groups):
            yield ("hooks", number, "groups", place), name


def _hooks(wave: Wave) -> Iterator[Problem]:
    names: set[str] = set()
    for number, hook in enumerate(wave.manifest.hooks):
        path: Path = ("hooks", number)
        if (hook.http is None) == (hook.command is None):
            yield _at(wave, path, "a hook is either http or command", "give exactly one of them")
        if hook.groups and not hook.phase.value.endswith("cutover"):
            yield _at(wave, (*path, "groups"), "only cutover hooks belong to groups", "remove groups")
        if hook.name in names:
            yield _at(wave, (*path, "name"), "two hooks have this name", "rename one of them")
        names.add(hook.name)


def _moments(wave: Wave) -> Iterator[Problem]:
    start = wave.manifest.schedule.start
    places: list[tuple[Path, str]] = [] if start in ("manual", "now") else [(("schedule", "start"), start)]
    for path, window in _windows(wave):
        places += [((*path, "start"), window.start), ((*path, "end"), window.end)]
    wrong = False
    for path, text in places:
        try:
            quantities.moment(text, wave.zone)
        except ValueError as invalid:
            wrong = True
            yield _at(wave, path, str(invalid), "e.g. 2026-12-05T22:00+01:00")
    if wrong:
        return
    for path, window in _windows(wave):
        if quantities.moment(window.end, wave.zone) <= quantities.moment(window.start, wave.zone):
            yield _at(
                wave, (*path, "end"), "the window ends before it starts", "swap start and end, or move end"
            )


def _sequence(wave: Wave) -> Iterator[Problem]:
    """Groups whose window closes before a group that they wait for may begin."""
    for number, group in enumerate(wave.manifest.groups):
        for place, other in enumerate(group.after):
            own, first = wave.window(group.name), wave.window(other)
            if own and first and own[1] <= first[0]:
                text = f"the window of {group.name} closes before that of {other} opens"
                yield _at(wave, ("groups", number, "after", place), text, "move one of the windows")


def _valid(seconds: int) -> bool:
    return bounds.DAYS_VALID[0] * _DAY <= seconds <= bounds.DAYS_VALID[-1] * _DAY


def _rules(wave: Wave) -> Iterator[Problem]:
    parts: list[tuple[Path, Choices | MachineEntry]] = [(("defaults",), wave.manifest.defaults)]
    parts += [(("machines", number), entry) for number, entry in enumerate(wave.manifest.machines)]
    for path, part in parts:
        if part.incremental:
            hours, remainder = divmod(quantities.seconds(part.incremental.every), 3600)
            if remainder or hours not in bounds.HOURS_BETWEEN_RUNS:
                every = (*path, "incremental", "every")
                text = f"the interval is whole hours from {bounds.words(bounds.HOURS_BETWEEN_RUNS, 'h')}"
                yield _at(wave, every, text, "e.g. 6h")
        if part.validFor and not _valid(quantities.seconds(part.validFor)):
            text = f"a job is valid for {bounds.words(bounds.DAYS_VALID, 'd')}"
            yield _at(wave, (*path, "validFor"), text, f"e.g. {bounds.DEFAULT_DAYS_VALID}d")
        for place, size in enumerate(part.disks.sizes or ()):
            if quantities.size(size.size) % (1 << 30):
                yield _at(
                    wave, (*path, "disks", "sizes", place, "size"), "disks are whole GiB", "round it up"
                )
        pattern = part.target.imageName
        if pattern and (unknown := _unknown_word(pattern)):
            words = "{wave}, {group}, {machine}, {moref}"
            yield _at(wave, (*path, "target", "imageName"), f"nothing is known as {unknown}", f"use {words}")
    for number in range(len(wave.manifest.machines)):
        if wave.choices(number).target.region is None:
            text, remedy = "target.region is missing", "set it here, or once under defaults"
            yield _at(wave, ("machines", number), text, remedy)


def _unknown_word(pattern: str) -> str:
    text = pattern
    for word in ("{wave}", "{group}", "{machine}", "{moref}"):
        text = text.replace(word, "")
    opened = min((text.find(brace) for brace in "{}" if brace in text), default=-1)
    return text[opened : opened + 20] if opened >= 0 else ""


def _at(wave: Wave, path: Path, text: str, remedy: str) -> Problem:
    return Problem(text, wave.document.mark(path), remedy, _spelled(path))


def _near(name: str, names: Sequence[str]) -> str:
    close = get_close_matches(name, names, 1, 0.5)
    if close:
        return f"did you mean {close[0]}?"
    return f"groups are {', '.join(names[:8])}" if names else "define it under groups"


def _translated(invalid: ValidationError, content: Document) -> list[Problem]:
    problems: dict[tuple[FilePosition, str, str], Problem] = {}
    for error in invalid.errors(include_url=False, include_input=False):
        problem = _problem(error, content)
        problems.setdefault((problem.mark, problem.path, problem.what), problem)
    return list(problems.values())


def _problem(error: Any, content: Document) -> Problem:
    path = content.known(error["loc"])
    name, kind = str(error["loc"][-1]), error["type"]
    if kind == "extra_forbidden":
        close = get_close_matches(name, _fields_at(path[:-1]), 1)
        remedy = (
            f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(_fields_at(path[:-1])))}"
        )
        return Problem(f"unknown key {name[:80]!r}", content.key_mark(path), remedy, _spelled(path[:-1]))
    if kind in _WORDS:
        text, remedy = _WORDS[kind]
        return Problem(text.format(name=name), content.mark(path), remedy, _spelled(path))
    text = str(error["msg"]).removeprefix("Value error, ")
    return Problem(text[:1].lower() + text[1:], content.mark(path), "see docs/manifest.md", _spelled(path))


def _fields_at(path: Path) -> list[str]:
    """The keys that a place of a manifest may have."""
    schema = MigrationWave.model_json_schema()
    parts: list[Any] = [schema]
    for step in path:
        parts = [below for part in parts for below in _steps(part, step, schema["$defs"])]
    return sorted({name for part in parts for name in _resolved(part, schema["$defs"]).get("properties", {})})


def _steps(part: Any, step: str | int, definitions: Any) -> Iterator[Any]:
    part = _resolved(part, definitions)
    below = part.get("items") if isinstance(step, int) else part.get("properties", {}).get(step)
    if below is not None:
        yield from below.get("anyOf", [below])


def _resolved(part: Any, definitions: Any) -> Any:
    return definitions[part["$ref"].rpartition("/")[2]] if "$ref" in part else part


def _spelled(path: Path) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else (f".{step}" if text else step)
    return text
