"""Settings come from flags, environment (`CONNECTOR_...`) or files; secrets are never in argv and never printed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

ZSTD_LEVELS = range(-7, 23)


def fixed_level(compression: str) -> int | None:
    """The zstd level that a value of `TransferSettings.compression` names, 0 for none; None when it adapts. Raises ValueError."""
    if compression == "adaptive":
        return None
    level = 0 if compression == "none" else int(compression)
    if level not in ZSTD_LEVELS:
        raise ValueError(compression)
    return level


def _compression(value: object) -> str:
    """The value as text: YAML makes a number of a level."""
    text = str(value) if type(value) in (int, str) else ""
    try:
        fixed_level(text)
    except ValueError:
        raise ValueError(
            f"must be none, adaptive, or a zstd level from {ZSTD_LEVELS[0]} to {ZSTD_LEVELS[-1]}"
        ) from None
    return text


class TransferSettings(BaseSettings):
    """How a pass moves bytes."""

    model_config = SettingsConfigDict(env_prefix="CONNECTOR_TRANSFER_", extra="forbid", frozen=True)

    depth: Annotated[int, Field(ge=1)] = 8  # reads in flight per disk
    block: int = 1 << 20  # not used: blocks have one size; configurations of 0.1.0 name it
    in_flight: Annotated[int, Field(ge=1)] = 64 << 20  # bytes of data per disk, sent and not acknowledged
    connections: Annotated[int, Field(ge=1)] = 1
    compression: Annotated[str, BeforeValidator(_compression)] = (
        "adaptive"  # "none", "adaptive" or a zstd level
    )
    audit: Annotated[float, Field(ge=0, le=1)] = (
        0.001  # share of what CBT calls unchanged that a delta looks at
    )

    @property
    def window(self) -> int:
        """Bytes of one connection between two acknowledgements: half of its credit is sent while the other half is written."""
        return self.in_flight // self.connections // 2


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
