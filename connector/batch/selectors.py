"""Selectors of manifests use the common grammar, over the facts that the control plane has of its sources. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connector.batch.plane import SourceView
from connector.errors import BadInput
from connector.selectors import Selector

#: The conditions that work here. A control plane does not know hosts, datastores and custom attributes.
KEYS: Final = ("name", "moref", "folder", "cluster", "tag", "power", "guest", "network")
_POWER: Final = {"poweredOn": "on", "poweredOff": "off", "suspended": "suspended"}


@dataclass(frozen=True, slots=True)
class SelectableSource:
    """A source in the form that selectors need."""

    source: SourceView

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def moref(self) -> str:
        return self.source.moref

    @property
    def folder(self) -> str:
        return self.source.folder

    @property
    def cluster(self) -> str:
        return self.source.cluster

    @property
    def host(self) -> str:
        return ""

    @property
    def datastores(self) -> Sequence[str]:
        return ()

    @property
    def networks(self) -> Sequence[str]:
        return self.source.networks

    @property
    def guests(self) -> Sequence[str]:
        return (self.source.guest,)

    @property
    def tags(self) -> Mapping[str, str]:
        return self.source.tags

    @property
    def attributes(self) -> Sequence[tuple[str, str]]:
        return ()

    @property
    def power(self) -> str:
        return _POWER.get(self.source.power, "")


def selector(text: str) -> Selector:
    """A manifest's selector. Raises BadInput."""
    return Selector.parse(text, KEYS)


def checked(text: str) -> None:
    """Check a selector. Raises ValueError, as the manifest's classes need it."""
    try:
        selector(text)
    except BadInput as wrong:
        raise ValueError(
            f"{wrong.on}: {wrong.what}" + (f"; {wrong.remedy}" if wrong.remedy else "")
        ) from None
