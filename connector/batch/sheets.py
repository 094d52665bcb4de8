"""The rows of a spreadsheet, or of RVTools' vInfo and vDisk sheets, become a manifest. Pure: text in, text out.

Columns are found by their headings, in any order and letter case. A missing column leaves the choice to the defaults. In
a sheet of RVTools only its own columns count: any other column with one of our headings is a custom attribute.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from connector.batch import table
from connector.batch.manifest import API_VERSION, KIND, MAX_MACHINES
from connector.batch.servers import server_url
from connector.batch.table import MAX_BYTES, Sheet, plain, refused
from connector.batch.words import truth
from connector.names import skeleton, unescaped

__all__ = ["MAX_BYTES", "Imported", "Sheet", "manifest", "read"]

#: Headings of our spreadsheets and of RVTools, whose names differ between versions.
_RVTOOLS_NAME: Final = ("vm",)
_RVTOOLS_ID: Final = ("vm id",)
_NAME: Final = (*_RVTOOLS_NAME, "vm name", "name", "machine")
_MOREF: Final = (*_RVTOOLS_ID, "vmid", "moref")
_GROUP: Final = ("group", "order group", "migration group")
_REGION: Final = ("region",)
_INSTANCE: Final = ("instance type", "instancetype")
_VSWITCH: Final = ("vswitch", "vswitch id")
_BANDWIDTH: Final = ("bandwidth",)
_TEMPLATE: Final = ("template",)
_SRM: Final = ("srm placeholder",)
_VCENTER: Final = ("vi sdk server", "vcenter")
_DISK: Final = ("disk",)
_RAW: Final = ("raw",)
_RAW_MODE: Final = ("raw comp. mode", "raw comp mode")
_MODE: Final = ("disk mode",)
_SHARING: Final = ("sharing mode",)
_BUS: Final = ("shared bus",)
_READ: Final = frozenset(
    (*_NAME, *_MOREF, *_GROUP, *_REGION, *_INSTANCE, *_VSWITCH, *_BANDWIDTH, *_TEMPLATE, *_SRM, *_VCENTER)
)
_READ_OF_DISKS: Final = frozenset(
    (*_NAME, *_MOREF, *_VCENTER, *_DISK, *_RAW, *_RAW_MODE, *_MODE, *_SHARING, *_BUS)
)
#: Headings that only RVTools writes, beside `VM`; and those of ours that it never does.
_RVTOOLS: Final = frozenset(
    {"powerstate", "srm placeholder", "config status", "connection state", "guest state", "vm uuid"}
    | {"vi sdk server", "vi sdk server type", "vi sdk api version", "vi sdk uuid", "disk key", "disk mode"}
    | {"os according to the configuration file", "os according to the vmware tools", "in use mib"}
)
_OURS: Final = (
    *(name for name in (*_NAME, *_MOREF) if name not in (*_RVTOOLS_NAME, *_RVTOOLS_ID)),
    *(*_GROUP, *_REGION, *_INSTANCE, *_VSWITCH, *_BANDWIDTH, "vcenter"),
)
_GUARDED: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
_NOT_SHARED: Final = ("none", "nosharing", "sharingnone")


@dataclass(frozen=True, slots=True)
class Imported:
    """A manifest as text, with notes for the person who checks it."""

    text: str
    machines: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Machine:
    """The machine of a row. `id` and `server` may be empty."""

    line: int
    row: Mapping[str, str] = field(repr=False)
    name: str
    id: str
    server: str
    ours: bool  # the columns of our headings are ours

    @property
    def identity(self) -> tuple[str, str]:
        return self.id, self.server

    @property
    def exported(self) -> bool:
        """Whether the vCenter is named by its instance UUID, as by `connector vm list --csv`: nobody spells it otherwise."""
        return bool(self.server) and not self.server.startswith("https://")


def read(content: bytes, file: str) -> Sheet:
    """Raises `ManifestRefused`."""
    return table.read(content, file, _READ | _READ_OF_DISKS | _RVTOOLS)


def manifest(sheet: Sheet, wave: str, region: str, disks: Sheet | None = None) -> Imported:
    """A manifest with one entry for each row. `disks`: RVTools' vDisk sheet. Raises `ManifestRefused`."""
    if not sheet.has(_NAME) and not sheet.has(_MOREF):
        shown = plain(", ".join(sheet.headings[:8])) or "none"
        remedy = "give a column VM (or name), or VM ID (or moref)"
        raise refused(sheet.file, 1, f"no column names a machine; the headings are {shown}", remedy)
    sheet.require_single(_read_of(sheet, _READ))
    notes = [*sheet.notes, *_attributes(sheet)]
    machines = list(_machines(sheet, notes))
    entries = _entries(machines)
    if not entries:
        raise refused(sheet.file, 1, "no row is a machine that can be migrated", "; ".join(notes[:3]))
    if len(entries) > MAX_MACHINES:
        raise refused(
            sheet.file, 1, f"more than {MAX_MACHINES} machines", "split the sheet into several waves"
        )
    if disks is not None:
        disks.require_single(_read_of(disks, _READ_OF_DISKS))
        notes += [*disks.notes, *_disk_notes(disks, machines)]
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
    return Imported(f"# From {plain(sheet.file)}: check it, then `connector batch validate`.\n{remarks}{text}",
                    len(entries), tuple(notes))  # fmt: skip


def _is_rvtools(sheet: Sheet) -> bool:
    return "vm" in sheet.headings and not _RVTOOLS.isdisjoint(sheet.headings)


def _read_of(sheet: Sheet, names: frozenset[str]) -> frozenset[str]:
    return names - frozenset(_OURS) if _is_rvtools(sheet) else names


def _attributes(sheet: Sheet) -> Iterator[str]:
    """One note for the columns with our headings that are custom attributes here."""
    columns = [name for name in dict.fromkeys(sheet.headings) if name in _OURS]
    if columns and _is_rvtools(sheet):
        are = "is a custom attribute" if len(columns) == 1 else "are custom attributes"
        remedy = "write groups and the like into the manifest, or into a sheet of your own"
        yield f"{plain(sheet.file)}: this is RVTools' sheet: {', '.join(columns)} {are} here, not taken; {remedy}"


def _machines(sheet: Sheet, notes: list[str]) -> Iterator[_Machine]:
    """The rows that are machines. Each other row gets a note."""
    ids: dict[tuple[str, str], _Machine] = {}
    alike: dict[str, _Machine] = {}
    readable = [_machine(sheet, line, row) for line, row in sheet.rows]
    names = Counter(machine.name.lower() for machine in readable)
    for machine in readable:
        where = f"{plain(sheet.file)}:{machine.line}: {plain(machine.name or machine.id or 'a row')}"
        if why := _left_out(machine, names):
            notes.append(f"{where} {why}, left out")
            continue
        first = ids.setdefault(machine.identity, machine) if machine.id else machine
        if first is not machine:
            note = f" there, {plain(first.name)}" if first.name != machine.name else ""
            notes.append(f"{where} has the VM ID of line {first.line}{note}: the ID counts, left out")
            continue
        near = alike.setdefault(skeleton(machine.name), machine) if machine.name else machine
        if near.name != machine.name and near.name.lower() != machine.name.lower():
            notes.append(f"{where} looks like line {near.line}, {plain(near.name)}, and is another name")
        yield machine


def _machine(sheet: Sheet, line: int, row: Mapping[str, str]) -> _Machine:
    names, ids = (_RVTOOLS_NAME, _RVTOOLS_ID) if _is_rvtools(sheet) else (_NAME, _MOREF)
    text = next((row[name] for name in names if row.get(name, "").strip()), "")
    if _is_export(sheet):
        name = text[1:] if text[:1] == "'" and text[1:].startswith(_GUARDED) else text
    else:
        name = unescaped(text.strip(" \t\r\n"))
    server = _server(row, _VCENTER[:1] if _is_rvtools(sheet) else _VCENTER)
    return _Machine(line, row, name, _cell(row, ids), server, ours=not _is_rvtools(sheet))


def _is_export(sheet: Sheet) -> bool:
    """Whether `connector vm list --csv` wrote the sheet: then names that look like formulas have a guard."""
    return {"name", "moref"} <= set(sheet.headings) and "vm" not in sheet.headings


def _left_out(machine: _Machine, names: Mapping[str, int]) -> str:
    """Why a row becomes no entry; empty if it becomes one."""
    if not machine.name.strip() and not machine.id:
        return "names no machine"
    for columns in (_TEMPLATE, _SRM):
        word = _cell(machine.row, columns)
        answer = truth(word)
        if answer is None:
            return f"says {plain(word)!r} in the column {columns[0]}, which is no known word for yes or no"
        if answer:
            return "is a template or a placeholder"
    if names[machine.name.lower()] > 1 and not machine.id:
        return "comes twice and has no VM ID"
    return ""


def _entries(machines: Sequence[_Machine]) -> list[dict[str, Any]]:
    names = Counter(machine.name.lower() for machine in machines)
    several = len({machine.server for machine in machines if machine.server}) > 1
    return [
        _entry(machine, with_server=several or machine.exported or names[machine.name.lower()] > 1)
        for machine in machines
    ]


def _entry(machine: _Machine, *, with_server: bool) -> dict[str, Any]:
    """The entry, with name and id: the id counts, and the name is compared."""
    entry: dict[str, Any] = {}
    if machine.name and (not machine.id or re.fullmatch(r"[^\x00-\x1f\x7f]{1,400}", machine.name)):
        entry["name"] = machine.name
    if machine.id:
        entry["moref"] = machine.id
    if machine.id and machine.server and (with_server or "name" not in entry):
        entry["vcenter"] = machine.server
    return entry | _choices(machine)


def _choices(machine: _Machine) -> dict[str, Any]:
    """The choices in our own columns."""
    row, choices = machine.row, dict[str, Any]()
    if not machine.ours:
        return choices
    if group := _cell(row, _GROUP):
        choices["group"] = group
    target: dict[str, Any] = {}
    if region := _cell(row, _REGION):
        target["region"] = region
    if instance := _cell(row, _INSTANCE):
        target["instanceType"] = instance
    if vswitch := _cell(row, _VSWITCH):
        target["network"] = {"mode": "vpc", "vswitch": vswitch}
    if target:
        choices["target"] = target
    if bandwidth := _cell(row, _BANDWIDTH):
        choices["bandwidth"] = bandwidth
    return choices


def _disk_notes(disks: Sheet, machines: Sequence[_Machine]) -> Iterator[str]:
    """Notes about disks that snapshots do not contain or that several machines write to: they can block a migration."""
    if (not disks.has(_NAME) and not disks.has(_MOREF)) or not disks.has(_DISK):
        raise refused(disks.file, 1, "this is no vDisk sheet", "it has columns VM and Disk")
    conflicts: set[str] = set()
    for line, row in disks.rows:
        disk = _machine(disks, line, row)
        owners = [machine for machine in machines if _is_of(disk, machine)]
        if not owners:
            continue
        where = f"{plain(disks.file)}:{line}: {plain(owners[0].name or disk.id)}: {plain(_cell(row, _DISK))}"
        if (
            disk.id
            and disk.name
            and disk.name not in {machine.name for machine in owners}
            and disk.id not in conflicts
        ):
            conflicts.add(disk.id)
            yield f"{where}: this sheet calls {disk.id} {plain(disk.name)}: the VM ID counts"
        yield from (f"{where} {fact}" for fact in _facts(row))


def _is_of(disk: _Machine, machine: _Machine) -> bool:
    if disk.server and machine.server and disk.server != machine.server:
        return False
    return disk.id == machine.id if disk.id and machine.id else bool(disk.name) and disk.name == machine.name


def _facts(row: Mapping[str, str]) -> Iterator[str]:
    if "independent" in _cell(row, _MODE).lower():
        yield "is independent: no snapshot contains it"
    raw, mode = truth(_cell(row, _RAW)), _cell(row, _RAW_MODE).lower()
    if raw or (mode and truth(mode) is not False and mode != "none"):
        yield "is a raw device mapping: only virtual compatibility can be read"
    elif raw is None:
        yield f"may be a raw device mapping: {plain(_cell(row, _RAW))!r} is no known word for yes or no"
    ways = [
        f"{how} ({plain(_cell(row, columns))})"
        for how, columns in (("by its bus", _BUS), ("by multi-writer", _SHARING))
        if _shares(_cell(row, columns))
    ]
    if ways:
        yield f"is shared {' and '.join(ways)}: other machines write to it"


def _shares(cell: str) -> bool:
    return "".join(cell.lower().split()) not in _NOT_SHARED and truth(cell) is not False


def _server(row: Mapping[str, str], columns: Sequence[str] = _VCENTER) -> str:
    server = _cell(row, columns)
    return server_url(server) if server else ""


def _cell(row: Mapping[str, str], names: Sequence[str]) -> str:
    return next((row[name].strip() for name in names if row.get(name, "").strip()), "")
