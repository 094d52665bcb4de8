"""What an appliance must be told: where vCenter and the control plane are, whom to trust, where VDDK is.

A YAML file for a service (`config/appliance.yaml` is the commented reference), one JSON line on stdin when embedded.
Passwords stay in files of their own; only the embedded parent passes one directly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from connector import pasted, readable
from connector.appliance import bandwidth
from connector.appliance.bandwidth import BandwidthWindow
from connector.appliance.snapshot_care.governor import Thresholds
from connector.errors import BadInput
from connector.settings import CREDENTIAL, TransferSettings, VCenterSettings, credential_file
from connector.transfer.flow import Throttle


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VCenterSection(_Section):
    """Exactly one of `thumbprint` and `authority` says whom to trust."""

    url: str
    user: str = "administrator@vsphere.local"
    password_file: Path | None = None
    password: SecretStr | None = None
    thumbprint: str = ""
    authority: Path | None = None

    def settings(self) -> VCenterSettings:
        """Read the password; raises BadInput when there is none."""
        secret, file = self.password, self.password_file or credential_file()
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
    """The control plane. The activation code is needed once; the credential it bought is kept in `state`."""

    url: str
    thumbprint: str
    activation_code_file: Path | None = None


class ApplianceConfiguration(_Section):
    """Everything. `passes` machines are copied side by side; `transports` are VDDK's, tried left to right.

    `bandwidth` is a calendar in the `timezone`; where its windows overlap the smallest counts.
    """

    name: str = "appliance"
    vcenter: VCenterSection
    control: ControlSection
    vddk: Path
    state: Path
    passes: int = Field(2, ge=1, le=64)
    transports: str = "nbdssl"
    rescan: float = Field(300.0, gt=0, description="seconds between two sweeps of the inventory")
    watch: bool = Field(True, description="vCenter tells what changes, and it is passed on at once")
    transfer: TransferSettings = TransferSettings()
    governor: Thresholds = Thresholds()
    bandwidth: tuple[BandwidthWindow, ...] = ()
    timezone: str = "UTC"

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        bandwidth.zone(name)
        return name

    def link(self) -> Throttle | None:
        """What all passes of this appliance together may send by the calendar; None without one."""
        if not self.bandwidth:
            return None
        return Throttle(bandwidth.Calendar(self.bandwidth, bandwidth.zone(self.timezone)).rate)

    backup_wait: float = Field(3600.0, ge=0, description="seconds that a pass waits for a backup at work")


def from_yaml(path: Path) -> ApplianceConfiguration:
    """Load the file of a service. Raises BadInput that names the file and the field."""
    try:
        return parse(yaml.safe_load(readable.text(path)), str(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as broken:
        raise BadInput(f"cannot be read: {broken}", on=str(path)) from None


def parse(document: Any, name: str) -> ApplianceConfiguration:
    """Validate a document. Raises BadInput with every field that is wrong, and no value."""
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
        raise BadInput(f"cannot read the password: {broken!r}", on=str(file)) from None
