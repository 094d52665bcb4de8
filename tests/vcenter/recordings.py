"""Recorded conversations of any client with any vCenter, held against our reader value for value.

Cassettes of vcrpy (YAML or JSON) and what resembles them; whatever cannot be read is listed, nothing here raises.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from connector.errors import ConnectorError
from connector.vcenter.answer import PropertyRow, read_page
from connector.vcenter.eligibility import check
from connector.vcenter.machines import Context, machine
from connector.vcenter.reading import UnreadableValue, value_of
from connector.vcenter.sound import sound
from connector.vcenter.values import DataObject, Reference, Unread, each
from connector.vcenter.vmomi import SoapResponseDeserializer, support

_ANSWER = re.compile(
    rb"<(?:\w+:)?((?:Continue)?RetrieveProperties(?:Ex)?|WaitForUpdates(?:Ex)?|CheckForUpdates)Response\b"
)
_RESPONSE = re.compile(rb"<(?:\w+:)?\w+Response\b[^>]*?>|</(?:\w+:)?\w+Response\s*>")
_UPDATE = re.compile(rb"<((?:\w+:)?)objectSet\b.*?</(?:\w+:)?objectSet\s*>", re.S)
_OPTIONAL = 4
_ODD = (
    LookupError,
    AttributeError,
    TypeError,
    ValueError,
    ArithmeticError,
    ConnectorError,
    OSError,
    RecursionError,
)


@dataclass(frozen=True)
class Answer:
    """A recorded answer of a property collector: where it stands, whose it is, and its document."""

    where: str
    call: str
    document: bytes


@dataclass
class Report:
    """What came of it. `differs` are our mistakes; `odd` is what was not understood, by us or by pyVmomi."""

    answers: int = 0
    values: int = 0
    machines: int = 0
    findings: int = 0
    differs: list[str] = None  # type: ignore[assignment]
    odd: list[str] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.differs, self.odd = [], []

    def lines(self) -> list[str]:
        head = (
            f"{self.answers} answers, {self.values} values, {self.machines} machines, {self.findings} findings,"
            f" {len(self.differs)} differ, {len(self.odd)} not understood"
        )
        return [
            head,
            *(f"differs: {one}" for one in self.differs),
            *(f"not understood: {one}" for one in self.odd),
        ]


class _Tolerant(yaml.SafeLoader):
    """Any tag is what its node is: recorders of Python 2 tag every string."""


def _construct(loader: Any, _suffix: str, node: Any) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


_Tolerant.add_multi_constructor("tag:yaml.org,2002:python/", _construct)
_Tolerant.add_multi_constructor("!", _construct)


def judged(directory: Path) -> Report:
    """Every answer of every recording below `directory`."""
    report = Report()
    files = [directory] if directory.is_file() else sorted(directory.rglob("*"))
    for file in files:
        if file.suffix.lower() in (".yaml", ".yml", ".json") and file.is_file():
            for answer in _answers(file, report):
                report.answers += 1
                try:
                    _judge(answer, report)
                except _ODD as odd:
                    report.differs.append(f"{answer.where}: {type(odd).__name__} {_short(odd)}")
    return report


def _answers(file: Path, report: Report) -> Iterator[Answer]:
    try:
        told = _load(file)
        said = (
            told.get("interactions") or told.get("http_interactions") or ()
            if isinstance(told, dict)
            else told
        )
    except (*_ODD, yaml.YAMLError) as odd:
        report.odd.append(f"{file.name}: no recording ({_short(odd)})")
        return
    for number, one in enumerate(said if isinstance(said, list) else ()):
        try:
            document = _body((one.get("response") or {}) if isinstance(one, dict) else {})
        except _ODD as odd:
            report.odd.append(f"{file.name} {number}: {_short(odd)}")
            continue
        if found := _ANSWER.search(document):
            yield Answer(f"{file.name} {number}", found[1].decode(), document)


def _load(file: Path) -> Any:
    data = file.read_bytes()
    if file.suffix.lower() == ".json":
        return json.loads(data)
    return yaml.load(data, _Tolerant)


def _body(response: dict[str, Any]) -> bytes:
    """The plain document, whichever way it was written down."""
    held = response.get("body")
    if isinstance(held, dict):
        packed = held.get("base64_string")
        held = base64.b64decode(packed) if packed else held.get("string")
    if held is None:
        held = response.get("content") or b""
    data = held if isinstance(held, bytes) else _octets(str(held))
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    if data[:1] == b"x" and b"<" not in data[:64]:
        return zlib.decompress(data)
    if b"<" not in data[:200] and data[:5] in (b"H4sIA", b"PD94b", b"PHNvY"):
        return _body({"body": base64.b64decode(data)})
    return data


def _octets(text: str) -> bytes:
    if text[:2] == "\x1f\x8b":
        return text.encode("latin-1", errors="replace")
    return text.encode("utf-8", errors="surrogatepass")


def _judge(answer: Answer, report: Report) -> None:
    ours = {}
    for row in _by_us(answer):
        ours.setdefault((row.kind, row.moref), []).append(row)
        _understood(answer, row, report)
    theirs = _by_pyvmomi(answer, report)
    for kind, moref, values in theirs:
        rows = ours.get((kind, moref))
        if not rows:
            report.differs.append(f"{answer.where} {moref}: we do not see the object")
            continue
        row = rows.pop(0)
        for path in sorted(values.keys() | row.values.keys()):
            report.values += 1
            for what in _differences(row.values.get(path), values.get(path), path):
                report.differs.append(f"{answer.where} {moref} {what}")


def _by_us(answer: Answer) -> list[PropertyRow]:
    rows: list[PropertyRow] = []
    document = _as_page(answer)
    read_page(io.BytesIO(document), rows.append, lambda _: None)
    return rows


def _as_page(answer: Answer) -> bytes:
    """The document in the form of the one answer that our reader takes."""
    if answer.call in ("RetrievePropertiesEx", "ContinueRetrievePropertiesEx"):
        return answer.document
    frame = list(_RESPONSE.finditer(answer.document))
    head, tail = answer.document[: frame[0].start()], answer.document[frame[-1].end() :]
    opening = re.sub(rb"(\w+)Response\b", b"RetrievePropertiesExResponse", frame[0][0], count=1)
    closing = b"</" + re.match(rb"<((?:\w+:)?\w+)", opening)[1] + b">"  # type: ignore[index]
    if opening.endswith(b"/>"):
        return head + opening + tail
    inner = answer.document[frame[0].end() : frame[-1].start()]
    if answer.call == "RetrieveProperties":
        inner = re.sub(rb"<(/?(?:\w+:)?)returnval\b", rb"<\1objects", inner)
    else:
        updates = b"".join(one[0] for one in _UPDATE.finditer(inner))
        inner = re.sub(rb"<(/?(?:\w+:)?)objectSet\b", rb"<\1objects", updates)
        inner = re.sub(rb"<(/?(?:\w+:)?)changeSet\b", rb"<\1propSet", inner)
    return head + opening + b"<returnval>" + inner + b"</returnval>" + closing + tail


def _understood(answer: Answer, row: PropertyRow, report: Report) -> None:
    """What the tables say of it; a machine is made of it, and judged."""
    held = sound(row)
    report.odd += [f"{answer.where} {row.moref} {one.path} {one.what}" for one in held.doubts]
    report.odd += [
        f"{answer.where} {row.moref} {path} may not be read ({getattr(why, 'kind', '?')})"
        for path, why in row.refused.items()
    ]
    if row.kind == "VirtualMachine":
        report.machines += 1
        report.findings += len(check(machine(held, Context())))


def _by_pyvmomi(answer: Answer, report: Report) -> list[tuple[str, str, dict[str, Any]]]:
    result = support.GetWsdlMethod("urn:vim25", answer.call).info.result
    try:
        value = SoapResponseDeserializer(None).Deserialize(answer.document, result)
    except Exception as odd:  # noqa: BLE001 - whatever pyVmomi fails with is listed
        report.odd.append(f"{answer.where}: pyVmomi gives up ({type(odd).__name__} {_short(odd)})")
        value = value_of(io.BytesIO(answer.document).read, result, None)
    return [(one.obj._wsdlName, one.obj._moId, _values(one)) for one in _objects(value)]


def _objects(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, list):
        return list(value)
    if hasattr(value, "filterSet"):
        return [one for held in value.filterSet or () for one in held.objectSet or ()]
    return list(value.objects or ())


def _values(content: Any) -> dict[str, Any]:
    held = getattr(content, "propSet", None) or getattr(content, "changeSet", None) or ()
    return {one.name: one.val for one in held if one.val is not None}


def _differences(ours: Any, theirs: Any, where: str) -> Iterator[str]:
    """Where two values are not the same; pyVmomi's class decides how they are compared."""
    if isinstance(theirs, UnreadableValue):
        return
    if _blank(theirs) or _blank(ours):
        if not (_blank(theirs) and _blank(ours)):
            yield f"{where}: we have {_short(ours)}, pyVmomi {_short(theirs)}"
    elif isinstance(theirs, list):
        yield from _lists([one for one in each(ours) if not _blank(one)], theirs, where)
    elif isinstance(theirs, Exception):
        held = ours.fault if isinstance(ours, DataObject) and "fault" in ours.parts else ours
        if not isinstance(held, DataObject) or held.kind != theirs._wsdlName:
            yield f"{where}: we have {_short(ours)}, pyVmomi the fault {theirs._wsdlName}"
    elif isinstance(theirs, support.DataObject):
        yield from _objects_differ(ours, theirs, where)
    elif not _scalar(ours, theirs):
        yield f"{where}: we have {_short(ours)}, pyVmomi {_short(theirs)}"


def _lists(ours: list[Any], theirs: list[Any], where: str) -> Iterator[str]:
    theirs = [one for one in theirs if not _blank(one)]
    if len(ours) != len(theirs):
        yield f"{where}: we have {len(ours)}, pyVmomi {len(theirs)}"
        return
    for at, (left, right) in enumerate(zip(ours, theirs, strict=True)):
        yield from _differences(left, right, f"{where}[{at}]")


def _objects_differ(ours: Any, theirs: Any, where: str) -> Iterator[str]:
    if not isinstance(ours, DataObject) or ours.kind not in ("", theirs._wsdlName):
        yield f"{where}: we have {_short(ours)}, pyVmomi {theirs._wsdlName}"
        return
    for info in theirs._GetPropertyList():
        left, right = ours.parts.get(info.name), getattr(theirs, info.name)
        if left is None and not info.flags & _OPTIONAL and isinstance(right, int | str) and not right:
            continue  # pyVmomi's own default of what must be there
        yield from _differences(left, right, f"{where}.{info.name}")


def _blank(value: Any) -> bool:
    """Unset, or an object all of whose parts are."""
    if value is None or (isinstance(value, str | list) and not value):
        return True
    if isinstance(value, list):
        return all(map(_blank, value))
    if isinstance(value, DataObject):
        return not isinstance(value, Unread) and all(map(_blank, value.parts.values()))
    if isinstance(value, support.DataObject) and type(value)._GetPropertyList():
        return (
            False
            if isinstance(value, Exception)
            else not any(_stated(value, info) for info in value._GetPropertyList())
        )
    return False


def _stated(value: Any, info: Any) -> bool:
    part = getattr(value, info.name)
    return not (_blank(part) or (not info.flags & _OPTIONAL and isinstance(part, int) and not part))


def _scalar(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, support.ManagedObject):
        return isinstance(ours, Reference) and (ours.kind, ours.value) == (theirs._wsdlName, theirs._moId)
    if not isinstance(ours, str):
        return False
    if isinstance(theirs, bool):
        return ours.lower() in (("true", "1") if theirs else ("false", "0"))
    if isinstance(theirs, datetime):
        return _moment(datetime.fromisoformat(ours)) == _moment(theirs)
    if isinstance(theirs, int | float):
        return float(ours) == float(theirs) if isinstance(theirs, float) else int(ours) == int(theirs)
    if isinstance(theirs, bytes):
        try:
            return base64.b64decode(ours) == theirs
        except binascii.Error:
            return False
    if isinstance(theirs, str):
        return ours == theirs
    named = ((getattr(theirs, "info", None), "wsdlName"), (theirs, "_wsdlName"), (theirs, "name"))
    name = next((said for one, word in named if (said := getattr(one, word, None))), str(theirs))
    return ours.rpartition(":")[2] in (name, getattr(theirs, "__name__", name))


def _moment(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _short(value: object) -> str:
    return ascii(str(value))[:160]
