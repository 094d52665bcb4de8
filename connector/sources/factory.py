"""Chooses the reader by configuration. A new reader is a module beside this one and a line in `READERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connector.sources.reader import Reader
from connector.sources.vddk import VddkReader


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    """Settings of readers. `vddk` is the unpacked library; `transports` are tried from left to right."""

    vddk: Path
    transports: str = "nbdssl"
    kind: str = "vddk"


READERS: Final[Mapping[str, Callable[[ReaderSettings], Reader]]] = {
    "vddk": lambda settings: VddkReader(settings.vddk, settings.transports),
}


def reader(settings: ReaderSettings) -> Reader:
    """The reader of this kind."""
    return READERS[settings.kind](settings)
