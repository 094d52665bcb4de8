"""A row is held against the API's own tables: what fits stays, what does not is left out and told as a doubt.

After this every value has the shape that its property declares, so that nothing about one machine can trip a reader.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, Final

from connector.model import UnclearData
from connector.vcenter.answer import PropertyRow
from connector.vcenter.characters import REPLACEMENT
from connector.vcenter.values import DataObject, Reference, Unread
from connector.vcenter.vmomi import support, vim, vmodl

LONGEST: Final = 64 << 10  # characters of a text of a machine; extraConfig and notes stay far below
LONGEST_NAME: Final = 512  # characters; vCenter itself allows 80
DEEPEST: Final = 100  # parts within parts; chains of disks and trees of snapshots stay below
MOST: Final = 20  # doubts told of one object

_NAMES: Final = frozenset({"name"})
_RANGES: Final = {"byte": 8, "short": 16, "int": 32, "long": 64}
_KNOWN: Final = 2000  # properties of one kind whose judges are kept
_URN: Final = "urn:vim25"

Judge = Callable[[Any, "_Judgement"], Any]
"""The value as it may be used; None when it is unset or left out."""


def sound(row: PropertyRow) -> PropertyRow:
    """The row without what cannot be understood, which its doubts name."""
    judges = _properties(row.kind)
    doubts = list(row.doubts)
    changed: dict[str, Any] = {}
    judgement = _Judgement(row.replaced)
    for path, value in row.values.items():
        judge = judges.get(path) or _learn(judges, row.kind, path)
        kept = judge(value, judgement)
        if path in _NAMES and isinstance(kept, str) and len(kept) > LONGEST_NAME:
            kept = kept[:LONGEST_NAME]
            judgement.say(f"is longer than {LONGEST_NAME} characters")
        if kept is not value:
            changed[path] = kept
        if judgement.said:
            doubts += [UnclearData(path, what, lost) for what, lost in judgement.said]
            judgement.said.clear()
    if not doubts and not changed:
        return row
    values = {path: kept for path, kept in {**row.values, **changed}.items() if kept is not None}
    return replace(row, values=values, doubts=tuple(doubts[:MOST]))


@dataclass(slots=True)
class _Judgement:
    """What is said about one property; `where` leads to the part that is looked at now."""

    replaced: bool
    where: list[str] = field(default_factory=list)
    said: list[tuple[str, bool]] = field(default_factory=list)

    def say(self, what: str, lost: bool = False) -> None:
        if len(self.said) <= MOST:
            self.said.append((f"{'.'.join(self.where)} {what}".strip(), lost))

    def lose(self, what: str) -> None:
        self.say(what, True)


def _shown(value: object) -> str:
    """A value in a sentence: on one line, and not all of it."""
    return (
        ascii(value if len(value) < 40 else f"{value[:40]}...")
        if isinstance(value, str)
        else "more than a text"
    )


@lru_cache(1024)
def _properties(_kind: str) -> dict[str, Judge]:
    """The judges by path of one kind of managed object, as far as they were needed."""
    return {}


def _learn(judges: dict[str, Judge], kind: str, path: str) -> Judge:
    judge = _judge(_named(kind) or vim.ManagedEntity, path)
    if len(judges) < _KNOWN:
        judges[path] = judge
    return judge


@lru_cache(4096)
def _named(name: str) -> Any:
    """The API's type of that name; None for one that its tables do not know."""
    try:
        return support.GetWsdlType(_URN, name)
    except KeyError:
        return None


def _judge(kind: Any, path: str) -> Judge:
    for name in path.split("."):
        try:
            kind = kind._GetPropertyInfo(name).type
        except AttributeError:
            return _anything
    return _of(kind)


@cache
def _of(kind: Any) -> Judge:
    """The judge of a declared type."""
    if kind is object or kind is vmodl.MethodFault or kind is vmodl.LocalizedMethodFault:
        return _anything
    if issubclass(kind, list):
        return _list_of(kind.Item)
    for base, make in _JUDGES:
        if issubclass(kind, base):
            return make(kind)
    return _text


def _anything(value: Any, judgement: _Judgement) -> Any:
    if isinstance(value, Unread):
        judgement.lose(value.kind)
        return None
    return _text(value, judgement) if isinstance(value, str) else value


def _text(value: Any, judgement: _Judgement) -> Any:
    if type(value) is not str:
        if value is not None:
            judgement.lose(_misfit(value, "a text"))
        return None
    if len(value) > LONGEST:
        judgement.lose(f"is longer than {LONGEST} characters")
        return None
    if judgement.replaced and REPLACEMENT in value:
        judgement.say("holds characters that cannot be read")
    return value


def _misfit(value: Any, wanted: str) -> str:
    if isinstance(value, Unread):
        return value.kind
    seen = "a reference" if isinstance(value, Reference) else "a list" if isinstance(value, list) else ""
    seen = seen or (value.kind if isinstance(value, DataObject) else "")
    return f"is no {wanted.partition(' ')[2]} but {seen or _shown(value)}"


def _bare(value: Any, judgement: _Judgement, wanted: str) -> str | None:
    """The text of a value that is written as one word; None when it is unset."""
    if type(value) is str:
        return value.strip() or None
    if value is not None:
        judgement.lose(_misfit(value, wanted))
    return None


def _number(kind: Any) -> Judge:
    bits = _RANGES.get(kind.__name__, 64)

    def judge(value: Any, judgement: _Judgement) -> Any:
        if bits >= 32 and type(value) is str and len(value) < 10 and value.isdecimal():
            return value
        if (word := _bare(value, judgement, "a whole number")) is None:
            return None
        try:
            fits = -(1 << bits - 1) <= int(word) < 1 << bits - 1
        except ValueError:
            judgement.lose(f"is no whole number but {_shown(word)}")
            return None
        if not fits:
            judgement.lose(f"is beyond every number of {bits} bits ({_shown(word)})")
        return value if fits else None

    return judge


def _fraction(_kind: Any) -> Judge:
    def judge(value: Any, judgement: _Judgement) -> Any:
        word = _bare(value, judgement, "a number")
        try:
            return None if word is None or float(word) is None else value
        except ValueError:
            judgement.lose(f"is no number but {_shown(word)}")
            return None

    return judge


def _switch(_kind: Any) -> Judge:
    def judge(value: Any, judgement: _Judgement) -> Any:
        if value in ("true", "false"):
            return value
        if (word := _bare(value, judgement, "a yes or no")) is None:
            return None
        if (known := {"true": "true", "1": "true", "false": "false", "0": "false"}.get(word.lower())) is None:
            judgement.lose(f"is neither true nor false but {_shown(word)}")
        return known

    return judge


def _word(kind: Any) -> Judge:
    known = frozenset(kind.values)

    def judge(value: Any, judgement: _Judgement) -> Any:
        if value in known if type(value) is str else False:
            return value
        if (word := _bare(value, judgement, "a word")) is None:
            return None
        if word not in known:
            judgement.say(f"is a word that is not known here: {_shown(word)}")
        return _text(word, judgement)

    return judge


def _moment(_kind: Any) -> Judge:
    def judge(value: Any, judgement: _Judgement) -> Any:
        if (word := _bare(value, judgement, "a time")) is None:
            return None
        try:
            datetime.fromisoformat(word)
        except ValueError:
            judgement.lose(f"is no time but {_shown(word)}")
            return None
        return word

    return judge


def _reference(_kind: Any) -> Judge:
    def judge(value: Any, judgement: _Judgement) -> Any:
        if isinstance(value, Reference):
            return value
        if value is not None and value != "":
            judgement.lose(_misfit(value, "a reference"))
        return None

    return judge


def _object(kind: Any) -> Judge:
    known: dict[str, dict[str, Judge]] = {}  # by the class that was sent

    def judge(value: Any, judgement: _Judgement) -> Any:
        if type(value) is not DataObject:
            if value is not None and not (type(value) is str and not value.strip()):
                judgement.lose(_misfit(value, f"a {kind._wsdlName}"))
            return None
        fields = known.get(value.kind)
        return _parts(fields, value, judgement) if fields is not None else first(value, judgement)

    def first(value: DataObject, judgement: _Judgement) -> Any:
        actual = _named(value.kind) if value.kind else kind
        if actual is None:
            judgement.say(f"is of a kind that is not known here: {_shown(value.kind)}", _matters(kind, value))
            return _parts(_below(kind), value, judgement)
        if not issubclass(actual, kind):
            judgement.lose(f"is no {kind._wsdlName} but {_shown(value.kind)}")
            return None
        known[value.kind] = _fields(actual)
        return _parts(known[value.kind], value, judgement)

    return judge


def _matters(kind: Any, value: DataObject) -> bool:
    """Whether an unknown device may be a disk: such a one must not be passed over."""
    return kind is vim.vm.device.VirtualDevice and bool(value.capacityInKB or value.capacityInBytes)


def _parts(judges: dict[str, Judge], value: DataObject, judgement: _Judgement) -> DataObject:
    """The node itself when nothing had to be left out."""
    if len(judgement.where) > DEEPEST:
        judgement.where, deep = judgement.where[:3], judgement.where
        judgement.lose("is nested too deeply")
        judgement.where = deep
        return DataObject(value.kind, {})
    changed: dict[str, Any] = {}
    where, easy = judgement.where, not judgement.replaced
    for name, part in value.parts.items():
        judge = judges.get(name)
        if part is None or (judge is _text and easy and type(part) is str and len(part) <= LONGEST):
            continue
        where.append(name)
        kept = (judge or (_anything if len(name) < 256 else _dropped))(part, judgement)
        where.pop()
        if kept is not part:
            changed[name] = kept
    return DataObject(value.kind, {**value.parts, **changed}) if changed else value


def _dropped(_value: Any, _judgement: _Judgement) -> None:
    return None


@cache
def _fields(kind: Any) -> dict[str, Judge]:
    return {info.name: _of(info.type) for info in kind._GetPropertyList()}


@cache
def _below(kind: Any) -> dict[str, Judge]:
    """The parts of a type, and of those below it that are read, for a newer type whose own parts nobody knows."""
    device = vim.vm.device
    disk, card, boot = device.VirtualDisk, device.VirtualEthernetCard, vim.vm.BootOptions
    read = (
        *(
            disk,
            card,
            device.VirtualSCSIController,
            disk.FlatVer2BackingInfo,
            disk.RawDiskMappingVer1BackingInfo,
        ),
        *(disk.SeSparseBackingInfo, card.NetworkBackingInfo, card.OpaqueNetworkBackingInfo),
        *(card.DistributedVirtualPortBackingInfo, boot.BootableDiskDevice, boot.BootableEthernetDevice),
    )
    found: dict[str, Judge] = {}
    for other in read:
        if issubclass(other, kind):
            found |= _fields(other)
    return found | _fields(kind)


def _list_of(item: Any) -> Judge:
    inner = _of(item)

    def judge(value: Any, judgement: _Judgement) -> Any:
        if value is None or (type(value) is str and not value.strip()):
            return None
        if not isinstance(value, list):
            return inner(value, judgement)
        changed, kept = False, []
        for one in value:
            sound_one = inner(one, judgement)
            changed = changed or sound_one is None or sound_one is not one
            if sound_one is not None:
                kept.append(sound_one)
        return kept if changed else value

    return judge


_JUDGES: Final[tuple[tuple[Any, Callable[[Any], Judge]], ...]] = (
    (bool, _switch),
    (int, _number),
    (float, _fraction),
    (support.Enum, _word),
    (datetime, _moment),
    (support.ManagedObject, _reference),
    (support.DataObject, _object),
)
