"""A row is checked against the API's own tables: a value that does not fit is left out, and a doubt says so.

Every value then has the type that its property declares, so that no value of one machine can break a reader.
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
MOST: Final = 20  # doubts about one property

_NAMES: Final = frozenset({"name"})
_RANGES: Final = {"byte": 8, "short": 16, "int": 32, "long": 64}
_KNOWN: Final = 2000  # properties of one kind whose judges are kept
_URN: Final = "urn:vim25"

Judge = Callable[[Any, "_Judgement"], Any]
"""The value as it may be used; None when it is unset or left out."""


def sound(row: PropertyRow) -> PropertyRow:
    """The row without the values that cannot be understood; its doubts name them."""
    judges = _properties(row.kind)
    doubts = list(row.doubts)
    changed: dict[str, Any] = {}
    judgement = _Judgement(row.replaced)
    for path, value in row.values.items():
        judge = judges.get(path) or _learn(judges, row.kind, path)
        checked = judge(value, judgement)
        if path in _NAMES and isinstance(checked, str) and len(checked) > LONGEST_NAME:
            checked = checked[:LONGEST_NAME]
            judgement.say(f"is longer than {LONGEST_NAME} characters")
        if checked is not value:
            changed[path] = checked
        if judgement.lost or judgement.strange:
            doubts += judgement.doubts(path)
    if not doubts and not changed:
        return row
    values = {path: checked for path, checked in {**row.values, **changed}.items() if checked is not None}
    return replace(row, values=values, doubts=tuple(doubts))


@dataclass(slots=True)
class _Judgement:
    """The remarks about one property; `where` is the path of the part that is checked now.

    What was lost has a list of its own, because it may block the machine: nothing harmless takes its room.
    """

    replaced: bool
    where: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)

    def say(self, what: str) -> None:
        self._add(self.strange, what)

    def lose(self, what: str) -> None:
        self._add(self.lost, what)

    def _add(self, remarks: list[str], what: str) -> None:
        if len(remarks) < MOST:
            remarks.append(f"{'.'.join(self.where)} {what}".strip())

    def doubts(self, path: str) -> list[UnclearData]:
        """The doubts about the property that was checked, what was lost first; the next one begins without any."""
        doubts = [UnclearData(path, what, True) for what in self.lost]
        doubts += [UnclearData(path, what, False) for what in self.strange]
        self.lost.clear()
        self.strange.clear()
        return doubts[:MOST]


def _shown(value: object) -> str:
    """The beginning of a value, for a message of one line."""
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
    actual = "a reference" if isinstance(value, Reference) else "a list" if isinstance(value, list) else ""
    actual = actual or (value.kind if isinstance(value, DataObject) else "")
    return f"is no {wanted.partition(' ')[2]} but {actual or _shown(value)}"


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
        if (value := {"true": "true", "1": "true", "false": "false", "0": "false"}.get(word.lower())) is None:
            judgement.lose(f"is neither true nor false but {_shown(word)}")
        return value

    return judge


def _word(kind: Any) -> Judge:
    words = frozenset(kind.values)

    def judge(value: Any, judgement: _Judgement) -> Any:
        if value in words if type(value) is str else False:
            return value
        if (word := _bare(value, judgement, "a word")) is None:
            return None
        if word not in words:
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
    fields_of: dict[str, dict[str, Judge]] = {}  # by the class in the answer

    def judge(value: Any, judgement: _Judgement) -> Any:
        if type(value) is not DataObject:
            if value is not None and not (type(value) is str and not value.strip()):
                judgement.lose(_misfit(value, f"a {kind._wsdlName}"))
            return None
        fields = fields_of.get(value.kind)
        return _parts(fields, value, judgement) if fields is not None else first(value, judgement)

    def first(value: DataObject, judgement: _Judgement) -> Any:
        actual = _named(value.kind) if value.kind else kind
        if actual is None:
            tell = judgement.lose if _matters(kind, value) else judgement.say
            tell(f"is of a kind that is not known here: {_shown(value.kind)}")
            return _parts(_below(kind), value, judgement)
        if not issubclass(actual, kind):
            judgement.lose(f"is no {kind._wsdlName} but {_shown(value.kind)}")
            return None
        fields_of[value.kind] = _fields(actual)
        return _parts(fields_of[value.kind], value, judgement)

    return judge


def _matters(kind: Any, value: DataObject) -> bool:
    """Whether a device of unknown kind may be a disk: a disk must not be ignored."""
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
        checked = (judge or (_anything if len(name) < 256 else _dropped))(part, judgement)
        where.pop()
        if checked is not part:
            changed[name] = checked
    return DataObject(value.kind, {**value.parts, **changed}) if changed else value


def _dropped(_value: Any, _judgement: _Judgement) -> None:
    return None


@cache
def _fields(kind: Any) -> dict[str, Judge]:
    return {info.name: _of(info.type) for info in kind._GetPropertyList()}


@cache
def _below(kind: Any) -> dict[str, Judge]:
    """The parts of a type and of those below it that are read. They are used for a newer type with unknown parts."""
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
    judges: dict[str, Judge] = {}
    for other in read:
        if issubclass(other, kind):
            judges |= _fields(other)
    return judges | _fields(kind)


def _list_of(item: Any) -> Judge:
    inner = _of(item)

    def judge(value: Any, judgement: _Judgement) -> Any:
        if value is None or (type(value) is str and not value.strip()):
            return None
        if not isinstance(value, list):
            return inner(value, judgement)
        changed, items = False, []
        for item_value in value:
            checked = inner(item_value, judgement)
            changed = changed or checked is None or checked is not item_value
            if checked is not None:
                items.append(checked)
        return items if changed else value

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
