"""Edits files of sections and keys, as systemd and NetworkManager write them; every other byte of a file stays.

Lines end as they did. A line of systemd that ends with a backslash goes on in the next one, and the lines are edited as one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

KeyTest = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class SectionLine:
    """One line with its ending, in its section. `key` is empty for headers, comments and empty lines."""

    text: str
    section: str = ""
    key: str = ""
    value: str = ""
    is_header: bool = False


def split(text: str) -> list[str]:
    """Lines with their endings. Only a line feed ends a line, not what Python also takes for an end."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def ending(text: str) -> str:
    """How the first line ends: the ending of lines that are added."""
    first, newline, _ = text.partition("\n")
    return "\r\n" if newline and first.endswith("\r") else "\n"


def values(text: str, section: str, key: str) -> list[str]:
    """The values of a key, in order."""
    return [line.value for line in _lines(text) if line.section == section and line.key == key]


def words(text: str, section: str, key: str) -> list[str]:
    """The words of a list of systemd, whose assignments add up, and which an empty assignment empties."""
    result: list[str] = []
    for value in values(text, section, key):
        result = [*result, *value.split()] if value else []
    return result


def without(text: str, section: str, is_removed: KeyTest) -> str:
    """The text without assignments of some keys of a section."""
    kept = (
        line for line in _lines(text) if not (line.section == section and line.key and is_removed(line.key))
    )
    return "".join(line.text for line in kept)


def without_sections(text: str, *sections: str) -> str:
    """The text without these sections. Comments and empty lines stay."""
    return "".join(
        line.text for line in _lines(text) if line.section not in sections or not (line.is_header or line.key)
    )


def with_value(text: str, section: str, key: str, value: str) -> str:
    """The text with exactly this one assignment of the key in its section, in the first one's place."""
    lines = list(_lines(text))
    places = [n for n, line in enumerate(lines) if line.section == section and line.key == key]
    end = ending(text)
    if not places:
        return _with_added(lines, section, f"{key}={value}", end)
    kept = [line.text for n, line in enumerate(lines) if n not in places[1:]]
    first = lines[places[0]].text
    if lines[places[0]].value != value:
        kept[places[0]] = f"{key}={value}{first[len(first.rstrip(chr(13) + chr(10))) :]}"
    return "".join(kept)


def _with_added(lines: list[SectionLine], section: str, assignment: str, end: str) -> str:
    """After the header of the section, which is added at the end when there is none."""
    texts = [line.text for line in lines]
    headers = [n for n, line in enumerate(lines) if line.is_header and line.section == section]
    if not headers:
        gap = [] if not texts else [end] if texts[-1].endswith("\n") else [end, end]
        return "".join([*texts, *gap, f"[{section}]{end}", f"{assignment}{end}"])
    place = headers[0]
    if not texts[place].endswith("\n"):
        return "".join([*texts[: place + 1], end, assignment])
    return "".join([*texts[: place + 1], f"{assignment}{end}", *texts[place + 1 :]])


def _lines(text: str) -> Iterator[SectionLine]:
    section = ""
    for joined in _joined(text):
        line = joined.strip()
        if not line or line[0] in "#;":
            yield SectionLine(joined, section)
        elif line[0] == "[" and line[-1] == "]":
            section = line[1:-1]
            yield SectionLine(joined, section, is_header=True)
        else:
            key, _, value = line.partition("=")
            yield SectionLine(joined, section, key.strip(), re.sub(r"\\\r?\n", " ", value).strip())


def _joined(text: str) -> Iterator[str]:
    """Lines, and continued lines in one piece. A comment is not continued."""
    pieces: list[str] = []
    for line in split(text):
        pieces.append(line)
        is_comment = len(pieces) == 1 and line.lstrip()[:1] in ("#", ";")
        if is_comment or not line.rstrip("\r\n").endswith("\\"):
            yield "".join(pieces)
            pieces = []
    if pieces:
        yield "".join(pieces)
