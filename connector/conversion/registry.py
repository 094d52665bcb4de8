"""Keys and values of Windows' registry: what was read from a hive, and what a plan sets. No file is opened here.

Types and layouts of values: Microsoft's page "Registry value types". Names do not tell capitals from small letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

_SZ, _EXPAND_SZ, _BINARY, _DWORD, _MULTI_SZ = 1, 2, 3, 4, 7
_TYPES: Final = {_SZ: "REG_SZ", _EXPAND_SZ: "REG_EXPAND_SZ", _BINARY: "REG_BINARY", _DWORD: "REG_DWORD"}
_TYPES[_MULTI_SZ] = "REG_MULTI_SZ"
_MOST_SHOWN: Final = 200  # characters of one value in a report


@dataclass(frozen=True, slots=True)
class RegistryValue:
    """`kind`: the number of its type. `data`: as it is in the hive."""

    kind: int
    data: bytes

    def __str__(self) -> str:
        """For reports, such as "REG_DWORD 1"."""
        if self.kind == _DWORD:
            shown = str(self.number)
        elif self.kind in (_SZ, _EXPAND_SZ, _MULTI_SZ):
            shown = ", ".join(self.texts)
        else:
            shown = self.data.hex()
        return f"{_TYPES.get(self.kind, f'type {self.kind}')} {shown}"[:_MOST_SHOWN]

    @property
    def text(self) -> str:
        """The first text; "" for other types."""
        return self.texts[0] if self.texts else ""

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts of a list, or the only one."""
        if self.kind not in (_SZ, _EXPAND_SZ, _MULTI_SZ):
            return ()
        words = self.data.decode("utf-16-le", "replace").split("\0")
        return tuple(word for word in words if word)

    @property
    def number(self) -> int | None:
        """None when it is no 32-bit number."""
        is_number = self.kind == _DWORD and len(self.data) == 4
        return int.from_bytes(self.data, "little") if is_number else None


def sz(text: str) -> RegistryValue:
    return RegistryValue(_SZ, _utf16(text))


def expand_sz(text: str) -> RegistryValue:
    return RegistryValue(_EXPAND_SZ, _utf16(text))


def multi_sz(texts: Sequence[str]) -> RegistryValue:
    return RegistryValue(_MULTI_SZ, b"".join(map(_utf16, texts)) + b"\0\0")


def binary(data: bytes) -> RegistryValue:
    return RegistryValue(_BINARY, data)


def dword(number: int) -> RegistryValue:
    return RegistryValue(_DWORD, number.to_bytes(4, "little"))


def _utf16(text: str) -> bytes:
    return f"{text}\0".encode("utf-16-le")


@dataclass(frozen=True, slots=True)
class RegistryKey:
    """`values` by name, `subkeys` by their names, as they are written in the hive."""

    values: Mapping[str, RegistryValue] = field(default_factory=dict)
    subkeys: tuple[str, ...] = ()

    def value(self, name: str) -> RegistryValue | None:
        return next((value for key, value in self.values.items() if key.lower() == name.lower()), None)

    def text(self, name: str) -> str:
        """ "" when there is no such text."""
        value = self.value(name)
        return value.text if value is not None else ""

    def number(self, name: str) -> int | None:
        value = self.value(name)
        return value.number if value is not None else None


class RegistryReader(Protocol):
    """The hives of a guest. `hive`: its path in the guest. A key's path is a tuple of names below the hive's root."""

    def registry_keys(
        self, hive: str, paths: Sequence[tuple[str, ...]]
    ) -> dict[tuple[str, ...], RegistryKey]:
        """Those of the keys that exist. Raises UnreadableStructure for a hive that cannot be read."""


@dataclass(frozen=True, slots=True)
class RegistryChange:
    """One value that is set; keys on its way are made. `before` is None for a new value. `why`: as in `FileChange`."""

    hive: str
    key: tuple[str, ...]
    name: str  # "" is the key's default value
    before: RegistryValue | None
    after: RegistryValue
    why: str

    @property
    def path(self) -> str:
        return "\\".join((self.hive, *self.key, self.name or "(default)"))

    def to_json(self) -> dict[str, object]:
        before = None if self.before is None else str(self.before)
        row: dict[str, object] = {"path": self.path, "hive": self.hive, "why": self.why}
        return row | {"before": before, "after": str(self.after)}
