"""A CSV file of any tool and country becomes rows by heading. A guess is noted, an ambiguity is refused. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from connector.batch.problems import FilePosition, ManifestRefused, Problem
from connector.names import visible

MAX_BYTES: Final = 16 << 20
_LONGEST_CELL: Final = 4096
_MOST: Final = 200  # characters of a name in a note
_SEPARATORS: Final = ",;\t|"
_DECLARED: Final = re.compile(r'"?sep=(.)"?[ \t]*(?:\r\n|\n|\r|\Z)', re.IGNORECASE)
_MARKS: Final = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)


@dataclass(slots=True)
class Sheet:
    """Rows by headings in lower case, each with the line on which it begins."""

    file: str
    headings: tuple[str, ...]
    rows: list[tuple[int, Mapping[str, str]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    differing: dict[str, int] = field(
        default_factory=dict
    )  # headings of several columns -> first line that differs

    def has(self, names: Sequence[str]) -> bool:
        return any(name in self.headings for name in names)

    def require_single(self, names: Collection[str]) -> None:
        """Raise `ManifestRefused` if two columns have the same of these headings but different cells."""
        for heading, line in self.differing.items():
            if heading in names:
                places = [str(n) for n, known in enumerate(self.headings, start=1) if known == heading]
                text = f"the columns {' and '.join(places)} are both called {heading!r}, and differ"
                remedy = "take away or rename the one that is a custom attribute"
                raise refused(self.file, line, text, remedy)


def read(content: bytes, file: str, known: Collection[str] = ()) -> Sheet:
    """Read a sheet in UTF-8 or UTF-16, or in a guessed encoding, which is noted. Raises `ManifestRefused`.

    The separator is the one that the first line declares, else the one that gives most of the `known` headings.
    """
    if len(content) > MAX_BYTES:
        raise refused(file, 1, f"the file is larger than {MAX_BYTES >> 20} MiB", "split it")
    if content[:4] == b"PK\x03\x04":
        remedy = "save the sheet as CSV: RVTools does with ExportvInfo2csv"
        raise refused(file, 1, "this is a workbook, not CSV", remedy)
    text, guess = _decoded(content)
    declared = _DECLARED.match(text)
    text = text[declared.end() :] if declared else text
    above = 1 if declared else 0
    separator = declared[1] if declared else _separator(text, known)
    sheet: Sheet | None = None
    for line, cells in _records(text, separator, file, above):
        if sheet is None:
            sheet = Sheet(file, tuple(_heading(cell) for cell in cells))
        else:
            _add(sheet, line, cells)
    if sheet is None or not sheet.rows:
        raise refused(file, 1, "there is no row below the headings", "export at least one machine")
    if guess:
        sheet.notes.append(f"{plain(file)}: {guess}")
    return sheet


def plain(text: str) -> str:
    return visible(text[: 2 * _MOST])[:_MOST]


def refused(file: str, line: int, what: str, remedy: str) -> ManifestRefused:
    return ManifestRefused(file, [Problem(what, FilePosition(line, 1), remedy)])


def _records(text: str, separator: str, file: str, above: int) -> Iterator[tuple[int, list[str]]]:
    """The records that are not empty, each with its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = above + 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = above + reader.line_num + 1
    except csv.Error as broken:
        raise refused(file, line, f"not CSV: {broken}", "check the quotes of this row") from None


def _add(sheet: Sheet, line: int, cells: Sequence[str]) -> None:
    row: dict[str, str] = {}
    for heading, cell in zip(sheet.headings, cells, strict=False):
        value = cell[:_LONGEST_CELL]
        if row.setdefault(heading, value).strip() != value.strip():
            sheet.differing.setdefault(heading, line)
    if any(cell.strip() for cell in cells[len(sheet.headings) :]):
        text = f"has {len(cells)} cells below {len(sheet.headings)} headings: a cell may hold the separator"
        sheet.notes.append(f"{plain(sheet.file)}:{line}: the row {text}")
    sheet.rows.append((line, row))


def _heading(cell: str) -> str:
    return " ".join(cell.replace("\ufeff", "").split()).lower()


def _separator(text: str, known: Collection[str]) -> str:
    return max(_SEPARATORS, key=lambda separator: _score(text, separator, known))


def _score(text: str, separator: str, known: Collection[str]) -> tuple[int, int]:
    """How many known headings this separator gives, and how many cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        cells = next((cells for cells in reader if any(cell.strip() for cell in cells)), [])
    except csv.Error:
        return 0, 0
    return sum(_heading(cell) in known for cell in cells), len(cells)


def _decoded(content: bytes) -> tuple[str, str]:
    """The text, and a note about a guessed encoding."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            text = content.decode(encoding, "replace").removeprefix("\ufeff")
            return text, _lost(text)
    if content[:400].count(0) > len(content[:400]) // 4:
        encoding = "utf-16-le" if content[1:400:2].count(0) >= content[:400:2].count(0) else "utf-16-be"
        return content.decode(encoding, "replace"), f"it has no byte order mark: read as {encoding.upper()}"
    try:
        return content.decode("utf-8"), ""
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    line, example = next((n, row) for n, row in enumerate(text.splitlines(), start=1) if not row.isascii())
    at = next(n for n, c in enumerate(example) if not c.isascii())
    near = plain(example[max(0, at - 15) : at + 15])
    return text, f"it is not UTF-8: read as Windows-1252, a guess; look at line {line}, which reads {near!r}"


def _lost(text: str) -> str:
    if "\ufffd" not in text:
        return ""
    line = text.count("\n", 0, text.index("\ufffd")) + 1
    return f"bytes on line {line} are no text in its encoding; each is shown as U+FFFD"
