"""Chooses readers by configuration. A new reader is a module beside this one, a line in `ORDER` and one in `_MAKERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from connector.errors import BadInput, ConnectorError, ReaderFailed
from connector.sources.https import HttpsReader, HttpsSettings
from connector.sources.nfc import NfcReader, NfcSettings
from connector.sources.reader import Reader
from connector.sources.vddk import VddkReader

AUTO: Final = "auto"
VDDK: Final = "vddk"
ORDER: Final = (VDDK, "nfc", "https")
"""The readers, the preferred one first: `auto` takes them from left to right."""


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    """Settings of readers. `vddk` is the unpacked library, None where there is none; `transports` are tried from left to right.

    `preferred`: what a job gets that does not choose a reader itself.
    """

    vddk: Path | None = None
    transports: str = "nbdssl"
    nfc: NfcSettings = field(default_factory=NfcSettings)
    https: HttpsSettings = field(default_factory=HttpsSettings)
    preferred: str = AUTO


@dataclass(frozen=True, slots=True)
class HostUse:
    """What the chosen readers need of ESXi hosts: `host`, to reach them by name at all, and `port`, their port 902.

    `without_host` and `without_port`: the reader that goes on where one of these is missing; empty: none. `files`: the port
    at which hosts serve the files that no other reader reads first; 0: none does.
    """

    host: bool = True
    port: bool = True
    without_host: str = ""
    without_port: str = ""
    files: int = 0

    @classmethod
    def of(cls, settings: ReaderSettings) -> HostUse:
        """Of the readers that serve a job which does not choose."""
        chosen = [reader.name for reader in readers(settings).chosen()]
        over_network = {"nbd", "nbdssl"} & set(settings.transports.split(":"))
        port = {"nfc", VDDK} if over_network else {"nfc"}
        host = port | ({"https"} if settings.https.host_port else set())

        def without(needy: set[str]) -> str:
            return next((name for name in chosen if name not in needy), "")

        files = settings.https.host_port if chosen[0] == "https" else 0
        return cls(
            not host.isdisjoint(chosen), not port.isdisjoint(chosen), without(host), without(port), files
        )


_MAKERS: Final[Mapping[str, Callable[[ReaderSettings], Reader | None]]] = {
    VDDK: lambda settings: VddkReader(settings.vddk, settings.transports) if settings.vddk else None,
    "nfc": lambda settings: NfcReader(settings.nfc),
    "https": lambda settings: HttpsReader(settings.https),
}


class Readers:
    """The readers that an appliance has. Thread-safe."""

    def __init__(self, by_name: Mapping[str, Reader], preferred: str = AUTO) -> None:
        """`by_name`: the readers by their names, in the order in which `auto` takes them."""
        self._by_name, self._preferred = dict(by_name), preferred
        self._unfit: dict[str, ConnectorError] = {}  # a job that chooses one is refused

    def chosen(self, choice: str = AUTO, on: str = "") -> tuple[Reader, ...]:
        """The readers that may serve a job with this choice, the first one to be tried first. `on`: whom an error names.

        Raises BadInput for a reader that is not configured here, or that does not work here.
        """
        name = self._preferred if choice == AUTO else choice
        if name == AUTO:
            return tuple(self._by_name.values())
        if name not in self._by_name:
            raise BadInput(
                f"this appliance has no reader {name}; it has {', '.join(self._by_name)}",
                on=on,
                remedy="choose another reader for the job, or configure this one (config/appliance.yaml)",
            )
        if (unfit := self._unfit.get(name)) is not None:
            what = f"the reader {name} does not work at this appliance: {unfit.what}"
            raise BadInput(what, on=on, remedy=unfit.remedy)
        return (self._by_name[name],)

    def check(self, vsphere: str) -> dict[str, str]:
        """The versions of the readers that work with this version of vSphere, by name.

        Raises ReaderFailed or BadInput when one that the preferred choice may use does not.
        """
        versions = {reader.name: reader.check(vsphere) for reader in self.chosen()}
        for name, reader in self._by_name.items():
            if name not in versions:
                try:
                    versions[name] = reader.check(vsphere)
                except (ReaderFailed, BadInput) as unfit:  # a job that chooses it is refused with this reason
                    self._unfit[name] = unfit
        return versions

    @property
    def unlocking(self) -> Reader | None:
        """The reader that can undo what a killed VDDK reader left on a machine; None where VDDK is not configured."""
        return self._by_name.get(VDDK)


def readers(settings: ReaderSettings) -> Readers:
    """Every reader that these settings allow. Raises BadInput when the preferred one is not among them."""
    readers_by_name = {name: _MAKERS[name](settings) for name in ORDER}
    configured = Readers(
        {name: reader for name, reader in readers_by_name.items() if reader is not None}, settings.preferred
    )
    configured.chosen()
    return configured
