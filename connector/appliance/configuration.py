"""The settings of an appliance: addresses of vCenter and control plane, whom to trust, how disks are read.

A service reads a YAML file (`config/appliance.yaml` is the commented reference); an embedded appliance reads one JSON line on
stdin. Passwords are in files of their own; only the parent of an embedded appliance passes one directly.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from connector import pasted, private, readable
from connector.appliance import bandwidth
from connector.appliance.bandwidth import BandwidthWindow
from connector.appliance.snapshot_care.governor import Thresholds
from connector.errors import BadInput
from connector.log_settings import LogSection
from connector.metrics.settings import MetricsSection
from connector.settings import CREDENTIAL, TransferSettings, VCenterSettings, credential_file
from connector.sources.factory import Readers, ReaderSettings, readers
from connector.sources.https import HttpsSettings
from connector.sources.nfc import NfcSettings
from connector.transfer.flow import Throttle

_SHA256: Final = re.compile("[0-9A-Fa-f]{64}")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VCenterSection(_Section):
    """vCenter and its user. Exactly one of `thumbprint` and `authority` must be set."""

    url: str
    user: str = "administrator@vsphere.local"
    password_file: Path | None = None
    password: SecretStr | None = None
    thumbprint: str = ""
    authority: Path | None = None

    def settings(self) -> VCenterSettings:
        """Read the password; raises BadInput when there is none."""
        secret, file = self.password, self.password_file or credential_file()
        if self.password is None and self.password_file is not None:  # a credential is guarded by systemd
            private.refuse_open(self.password_file, "password")
        if secret is None and file is not None:
            secret = SecretStr(_password(file))
        if secret is None:
            raise BadInput(
                "no password",
                on="vcenter",
                remedy=f"name a password_file, or load the credential {CREDENTIAL}",
            )
        return VCenterSettings(
            url=self.url,
            user=self.user,
            password=secret,
            thumbprint=self.thumbprint,
            authority=self.authority,
        )


class ControlSection(_Section):
    """The control plane. The activation code is needed once; the credential that it gives is kept in `state`."""

    url: str
    thumbprint: str
    activation_code_file: Path | None = None


class _HostSection(_Section):
    pins: dict[str, str] = {}

    @field_validator("pins")
    @classmethod
    def _digests(cls, pins: dict[str, str]) -> dict[str, str]:
        for host, pin in pins.items():
            if not _SHA256.fullmatch(pin.replace(":", "")):
                raise ValueError(f"the pin of {host} is not a SHA-256: 64 hexadecimal digits")
        return pins


class NfcSection(_HostSection):
    """Reading over NFC. See `NfcSettings`."""

    authority: Path | None = None
    compression: Literal["none", "zlib", "skipz"] = "none"
    buffer: Annotated[int, Field(ge=0)] = 1 << 20
    buffers: Annotated[int, Field(ge=0)] = 4

    def settings(self) -> NfcSettings:
        """The same, for the reader."""
        return NfcSettings(**self.model_dump())


class HttpsSection(_HostSection):
    """Reading files over HTTPS. See `HttpsSettings`."""

    connections: Annotated[int, Field(ge=1, le=64)] = 4
    silence: Annotated[float, Field(gt=0)] = 60.0
    every: Annotated[float, Field(gt=0)] = 30.0
    host_port: Annotated[int, Field(ge=0, le=65535)] = 0


class ApplianceConfiguration(_Section):
    """All settings. `passes` machines are copied at a time; `transports` are VDDK's, tried from left to right.

    `reader`: what jobs get that do not choose. Without `vddk`, disks are read without VMware's library.

    `bandwidth` is a calendar in the `timezone`; where its windows overlap, the smallest rate counts.
    """

    name: str = "appliance"
    vcenter: VCenterSection
    control: ControlSection
    vddk: Path | None = None
    reader: Literal["auto", "vddk", "nfc", "https"] = "auto"
    nfc: NfcSection = NfcSection()
    https: HttpsSection = HttpsSection()
    state: Path
    passes: int = Field(2, ge=1, le=64)
    transports: str = "nbdssl"
    rescan: float = Field(300.0, gt=0, description="seconds between two sweeps of the inventory")
    watch: bool = Field(True, description="vCenter tells what changes, and it is passed on at once")
    transfer: TransferSettings = TransferSettings()
    governor: Thresholds = Thresholds()
    bandwidth: tuple[BandwidthWindow, ...] = ()
    timezone: str = "UTC"
    backup_wait: float = Field(3600.0, ge=0, description="seconds that a pass waits for a backup at work")
    log: LogSection = LogSection()
    metrics: MetricsSection | None = Field(None, description="where metrics are served; without it nowhere")

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        bandwidth.zone(name)
        return name

    @property
    def metrics_listen(self) -> str:
        """Where metrics are served: [HOST:]PORT; empty: nowhere."""
        return "" if self.metrics is None else str(self.metrics.listen)

    def readers(self) -> Readers:
        """The readers that these settings allow. Raises BadInput when the chosen one is not among them."""
        return readers(self.reader_settings())

    def reader_settings(self) -> ReaderSettings:
        """The settings of readers by themselves."""
        https = HttpsSettings(**self.https.model_dump())
        return ReaderSettings(self.vddk, self.transports, self.nfc.settings(), https, self.reader)

    def link(self) -> Throttle | None:
        """The rate of all passes of this appliance together, by the calendar; None without a calendar."""
        if not self.bandwidth:
            return None
        return Throttle(bandwidth.Calendar(self.bandwidth, bandwidth.zone(self.timezone)).rate)


def from_yaml(path: Path) -> ApplianceConfiguration:
    """The settings in a service's file. Raises BadInput that names the file and the field."""
    try:
        return parse(yaml.safe_load(readable.text(path)), str(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as broken:
        raise BadInput(f"cannot be read: {broken}", on=str(path)) from None


def parse(document: Any, name: str) -> ApplianceConfiguration:
    """Validate a document. Raises BadInput with every wrong field, without its value."""
    try:
        return ApplianceConfiguration.model_validate(document)
    except ValidationError as broken:
        faults = (
            f"{'.'.join(map(str, fault['loc'])) or 'document'}: {fault['msg']}" for fault in broken.errors()
        )
        raise BadInput("; ".join(faults), on=name, remedy="compare with config/appliance.yaml") from None


def _password(file: Path) -> str:
    try:
        return pasted.password(readable.content(file), "password", str(file))
    except OSError as broken:
        raise BadInput(
            f"cannot read the password: {broken.strerror}", on=str(file), remedy="check vcenter.password_file"
        ) from None
