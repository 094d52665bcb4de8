"""A spreadsheet's rows, or RVTools' vInfo and vDisk sheets, to a manifest. Pure: text in, text out.

Columns are found by their headings, in any order and letter case; what a row cannot say is left to the defaults.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from connector.batch.manifest import API_VERSION, KIND, MAX_MACHINES
from connector.batch.problems import ManifestRefused, Mark, Problem

MAX_BYTES: Final = 16 << 20
_LONGEST_CELL: Final = 4096

#: Headings of a spreadsheet of one's own, and of RVTools (its names differ between versions).
_NAME: Final = ("name", "vm", "machine", "vm name")
_MOREF: Final = ("moref", "vm id", "vmid")
_GROUP: Final = ("group", "order group", "migration group")
_REGION: Final = ("region",)
_INSTANCE: Final = ("instance type", "instancetype")
_VSWITCH: Final = ("vswitch", "vswitch id")
_BANDWIDTH: Final = ("bandwidth",)
_TEMPLATE: Final = ("template",)
_SRM: Final = ("srm placeholder",)
_VCENTER: Final = ("vi sdk server",)
_DISK: Final = ("disk",)
_KEY: Final = ("disk key",)
_RAW: Final = ("raw", "raw comp. mode", "raw comp mode")
_MODE: Final = ("disk mode",)
_SHARING: Final = ("sharing mode", "shared bus")


@dataclass(slots=True)
class Sheet:
    """Rows by heading in lower case, each with the line on which it begins."""

    file: str
    headings: tuple[str, ...]
    rows: list[tuple[int, Mapping[str, str]]] = field(default_factory=list)

    def has(self, names: Sequence[str]) -> bool:
        return any(name in self.headings for name in names)


@dataclass(frozen=True, slots=True)
class Imported:
    """A manifest as text, and what a person should look at before using it."""

    text: str
    machines: int
    notes: tuple[str, ...]


def read(content: bytes, file: str) -> Sheet:
    """Comma, semicolon or tab between cells; UTF-8, UTF-16 with its mark, or else Windows-1252. Raises `ManifestRefused`."""
    if len(content) > MAX_BYTES:
        raise _refused(file, 1, f"the file is larger than {MAX_BYTES >> 20} MiB", "split it")
    if content[:4] == b"PK\x03\x04":
        remedy = "save the sheet as CSV: RVTools does with ExportvInfo2csv"
        raise _refused(file, 1, "this is a workbook, not CSV", remedy)
    text = _decoded(content)
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    sheet: Sheet | None = None
    try:
        for cells in reader:
            if sheet is None:
                sheet = Sheet(file, tuple(cell.strip().lower() for cell in cells))
            elif any(cell.strip() for cell in cells):
                row = dict(
                    zip(sheet.headings, (cell.strip()[:_LONGEST_CELL] for cell in cells), strict=False)
                )
                sheet.rows.append((reader.line_num, row))
    except csv.Error as broken:
        raise _refused(file, reader.line_num, f"not CSV: {broken}", "check the quotes of this row") from None
    if sheet is None or not sheet.rows:
        raise _refused(file, 1, "there is no row below the headings", "export at least one machine")
    return sheet


def manifest(sheet: Sheet, wave: str, region: str, disks: Sheet | None = None) -> Imported:
    """A manifest with one entry a row. `disks` is RVTools' vDisk sheet. Raises `ManifestRefused`."""
    if not sheet.has(_NAME) and not sheet.has(_MOREF):
        found = ", ".join(sheet.headings[:8]) or "none"
        remedy = "give a column VM (or name), or VM ID (or moref)"
        raise _refused(sheet.file, 1, f"no column names a machine; the headings are {found}", remedy)
    notes: list[str] = []
    entries = list(_entries(sheet, notes))
    if not entries:
        raise _refused(sheet.file, 1, "no row is a machine that can be migrated", "; ".join(notes[:3]))
    if len(entries) > MAX_MACHINES:
        raise _refused(
            sheet.file, 1, f"more than {MAX_MACHINES} machines", "split the sheet into several waves"
        )
    if disks is not None:
        notes += _disk_notes(disks, _meant(sheet, entries))
    body: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": wave},
        "defaults": {"target": {"region": region}},
    }
    if groups := list(dict.fromkeys(entry["group"] for entry in entries if "group" in entry)):
        body["groups"] = [{"name": name} for name in groups]
    body["machines"] = entries
    text = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=120)
    remarks = "".join(f"# look: {note}\n" for note in notes)
    return Imported(f"# From {_plain(sheet.file)}: check it, then `connector batch validate`.\n{remarks}{text}",
                    len(entries), tuple(notes))  # fmt: skip


def _entries(sheet: Sheet, notes: list[str]) -> Iterator[dict[str, Any]]:
    names = [_cell(row, _NAME) for _, row in sheet.rows]
    twice = (
        {name for name in names if name and names.count(name) > 1} if len(names) < MAX_MACHINES * 2 else set()
    )
    for line, row in sheet.rows:
        name, moref = _cell(row, _NAME), _cell(row, _MOREF)
        where = f"{_plain(sheet.file)}:{line}: {_plain(name or moref or 'a row')}"
        if not name and not moref:
            notes.append(f"{where} names no machine, left out")
        elif _yes(_cell(row, _TEMPLATE)) or _yes(_cell(row, _SRM)):
            notes.append(f"{where} is a template or a placeholder, left out")
        elif name in twice and not moref:
            notes.append(f"{where} comes twice and has no VM ID, left out")
        else:
            yield _entry(row, name, moref, by_moref=not name or name in twice)


def _entry(row: Mapping[str, str], name: str, moref: str, *, by_moref: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"moref": moref} if by_moref else {"name": name}
    if by_moref and (server := _cell(row, _VCENTER)):
        entry["vcenter"] = server if server.startswith("https://") else f"https://{server}"
    if group := _cell(row, _GROUP):
        entry["group"] = group
    target: dict[str, Any] = {}
    if region := _cell(row, _REGION):
        target["region"] = region
    if instance := _cell(row, _INSTANCE):
        target["instanceType"] = instance
    if vswitch := _cell(row, _VSWITCH):
        target["network"] = {"mode": "vpc", "vswitch": vswitch}
    if target:
        entry["target"] = target
    if bandwidth := _cell(row, _BANDWIDTH):
        entry["bandwidth"] = bandwidth
    return entry


def _meant(sheet: Sheet, entries: Sequence[Mapping[str, Any]]) -> set[str]:
    """Names of the machines that became entries, also of those that are named by moref."""
    morefs = {entry["moref"] for entry in entries if "moref" in entry}
    named = {entry["name"] for entry in entries if "name" in entry}
    return named | {_cell(row, _NAME) for _, row in sheet.rows if _cell(row, _MOREF) in morefs}


def _disk_notes(disks: Sheet, names: set[str]) -> Iterator[str]:
    """Disks that snapshots do not contain, or that several machines write to: they decide whether a machine can go."""
    if not disks.has(_NAME) or not disks.has(_DISK):
        raise _refused(disks.file, 1, "this is no vDisk sheet", "it has columns VM and Disk")
    for line, row in disks.rows:
        if _cell(row, _NAME) not in names:
            continue
        where = f"{_plain(disks.file)}:{line}: {_plain(_cell(row, _NAME))}: {_plain(_cell(row, _DISK))}"
        if "independent" in _cell(row, _MODE).lower():
            yield f"{where} is independent: no snapshot contains it"
        if _yes(_cell(row, _RAW)) or "physical" in _cell(row, _RAW).lower():
            yield f"{where} is a raw device mapping: only virtual compatibility can be read"
        if _cell(row, _SHARING).lower() not in ("", "none", "nosharing", "sharingnone"):
            yield f"{where} is shared: other machines write to it"


def _cell(row: Mapping[str, str], names: Sequence[str]) -> str:
    return next((row[name] for name in names if row.get(name)), "")


def _yes(text: str) -> bool:
    return text.lower() in ("true", "yes", "1", "wahr", "vrai")


def _decoded(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _plain(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]


def _refused(file: str, line: int, what: str, remedy: str) -> ManifestRefused:
    return ManifestRefused(file, [Problem(what, Mark(line, 1), remedy)])
