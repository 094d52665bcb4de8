"""The doctor looks at the place of an appliance: its configuration file or options say where that is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from connector.appliance.cleanup.repair import RepairLedger
from connector.appliance.configuration import ApplianceConfiguration, ControlSection
from connector.appliance.doctor import probes
from connector.appliance.doctor.facts import Fact, FactKind, LoginFact
from connector.appliance.membership import kept_membership
from connector.clients.agents import ControlClient, ControlConnection
from connector.errors import Ambiguous, AuthenticationFailed, ConnectorError, NotFound, NotPermitted
from connector.settings import VCenterSettings
from connector.sources.factory import HostUse, ReaderSettings
from connector.sources.nfc import NfcSettings
from connector.vcenter.client import VCenter

NOBODY: Final = "c0000000000000000"  # an owner without snapshots: this only looks


@dataclass(frozen=True, slots=True)
class Site:
    """The place of an appliance. `target`: the directory of `connector migrate`. `config`: the configuration of a service.

    A part that is None is not looked at. `machines`: the only ones that will be migrated; empty: all may be.
    """

    vcenter: VCenterSettings
    config: ApplianceConfiguration | None
    target: Path | None
    vddk: Path | None
    instances: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    ports: probes.Ports = probes.Ports()  # noqa: RUF009 - frozen

    def facts(self, unwind: ExitStack) -> Iterator[Fact]:
        """All facts, one after the other. The session in vCenter ends with `unwind`."""
        yield from probes.before_login(self.vcenter)
        who = f"{self.vcenter.user} at {self.vcenter.url}"
        versions: tuple[str, ...] = ()
        try:
            vcenter = unwind.enter_context(VCenter(self.vcenter, owner=NOBODY, ledger=RepairLedger()))
            versions = (vcenter.about.version,)
            morefs = [vcenter.find(word).moref for word in self.machines]
            vcenter_facts = vcenter.facts(morefs)
        except (NotFound, Ambiguous):
            raise  # a named machine does not exist
        except ConnectorError as refused:
            yield LoginFact(FactKind.VCENTER, who, str(refused))
        else:
            yield LoginFact(FactKind.VCENTER, who)
            yield from probes.after_login(
                self.vcenter.url, vcenter_facts, self.ports, self._pins(), self._host_use()
            )
            versions = (vcenter.about.version, *(host.version for host in vcenter_facts.hosts))
        if self.vddk is not None:
            yield from probes.installation(self.vddk, versions)
        yield from self._rooms()
        for address in self.instances:
            yield from probes.instance(address, self.ports)
        if self.config is not None:
            yield from _control(self.config.control, self.config.state)

    def _host_use(self) -> HostUse:
        return HostUse.of(self.config.reader_settings() if self.config else ReaderSettings(self.vddk))

    def _pins(self) -> NfcSettings | None:
        """What knows the pins of hosts, if the appliance may read over NFC."""
        if self.config is None or not any(reader.name == "nfc" for reader in self.config.readers().chosen()):
            return None
        return self.config.nfc.settings()

    def _rooms(self) -> Iterator[Fact]:
        if self.config is not None:
            yield probes.room(FactKind.STATE, self.config.state)
        if self.target is not None:
            yield probes.room(FactKind.TARGET, self.target)


def _control(section: ControlSection, state: Path) -> Iterator[Fact]:
    yield (name := probes.resolved(FactKind.CONTROL, _host(section.url)))
    if not name.trouble:
        membership = kept_membership(state)
        known = membership is not None and membership.is_of(section.thumbprint)
        shown = (
            section.url
            if known
            else f"{section.url} (not enrolled yet: its code enrols it at its first start)"
        )
        yield probes.welcome(FactKind.CONTROL, shown, lambda: _speak(section, state))


def _speak(section: ControlSection, state: Path) -> None:
    """Make a harmless call with our credential. Without one, make a call that must be refused for that reason."""
    membership = kept_membership(state)
    if membership is not None and membership.is_of(section.thumbprint):
        with closing(ControlClient(section.url, section.thumbprint, membership.membership)) as client:
            client.remembered()
        return
    with closing(ControlConnection(section.url, section.thumbprint)) as connection:
        try:
            connection.call("POST", "/agents/v1/remembered", {})
        except AuthenticationFailed:
            if section.activation_code_file is None or not section.activation_code_file.exists():
                raise NotPermitted(
                    "this appliance is not enrolled, and has no activation code",
                    on=section.url,
                    remedy="name an activation_code_file for the first start",
                ) from None


def _host(url: str) -> str:
    """The host of a URL; of what is none the text itself, which does not resolve."""
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url
