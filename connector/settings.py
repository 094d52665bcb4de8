"""Settings come from flags, environment (`CONNECTOR_...`) or files; secrets are never in argv and never printed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class TransferSettings(BaseSettings):
    """How a pass moves bytes."""

    model_config = SettingsConfigDict(env_prefix="CONNECTOR_TRANSFER_", extra="forbid", frozen=True)

    depth: int = 8  # reads in flight per disk
    block: int = 1 << 20  # not used: blocks have one size; configurations of 0.1.0 name it
    in_flight: int = 64 << 20  # bytes per disk between reading and acknowledgement
    connections: int = 1
    compression: str = "adaptive"  # "none", "adaptive" or a zstd level
    audit: Annotated[float, Field(ge=0, le=1)] = (
        0.001  # share of what CBT calls unchanged that a delta looks at
    )


class VCenterSettings(BaseSettings):
    """How to reach vCenter. Exactly one of `thumbprint` and `authority` must be set."""

    model_config = SettingsConfigDict(env_prefix="CONNECTOR_VCENTER_", extra="forbid", frozen=True)

    url: str
    user: str = "administrator@vsphere.local"
    password: SecretStr = SecretStr("")
    thumbprint: str = ""
    authority: Path | None = None


CREDENTIAL = "vcenter-password"


def credential_file() -> Path | None:
    """The file with vCenter's password from systemd (`LoadCredential=vcenter-password:FILE`); None without one."""
    place = os.environ.get("CREDENTIALS_DIRECTORY")
    file = Path(place, CREDENTIAL) if place else None
    return file if file is not None and file.is_file() else None
