"""The operator's settings for the target account: networks, images, disks and reachability of instances."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from connector.errors import BadInput

#: Keys of tags that the provider sets itself.
RESERVED: Final = "connector-"
_Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,127}$")]
_Seconds = Annotated[float, Field(gt=0, le=86400)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageSettings(_Section):
    """The prepared images that intermediate instances boot, by processor architecture."""

    x86_64: _Id
    arm64: _Id | None = None

    def of(self, architecture: str) -> str | None:
        """The image for an architecture. A 64-bit instance copies 32-bit machines."""
        return self.arm64 if architecture == "arm64" else self.x86_64


class AlibabaSettings(_Section):
    """The settings. `config/control-plane.yaml` explains each of them. Sizes are GiB, times seconds."""

    region: _Id
    images: ImageSettings
    reachable_from: Annotated[tuple[str, ...], Field(min_length=1, max_length=50)]
    zones: tuple[_Id, ...] = ()
    vswitches: tuple[_Id, ...] = ()
    security_group: _Id | None = None
    network: str = "172.16.0.0/12"
    bandwidth: Annotated[int, Field(ge=1, le=100)] = 100
    disk_categories: Annotated[tuple[_Id, ...], Field(min_length=1)] = (
        *("cloud_essd", "cloud_auto", "cloud_ssd", "cloud_efficiency"),
    )
    performance_level: Literal["PL0", "PL1", "PL2", "PL3"] | None = "PL1"
    stopped_mode: Literal["KeepCharging", "StopCharging"] = "KeepCharging"
    target_instances: bool = False
    conversion: bool = False
    resource_group: _Id | None = None
    tags: dict[str, str] = {}
    access_key_file: Path | None = None
    endpoint: str | None = None
    vpc_endpoint: str | None = None
    authority: Path | None = None
    boot_patience: _Seconds = 600.0
    patience: _Seconds = 1800.0
    consistency: Annotated[float, Field(ge=0, le=3600)] = 60.0
    poll: _Seconds = 3.0
    attempts: Annotated[int, Field(ge=1, le=20)] = 5

    @field_validator("reachable_from")
    @classmethod
    def _blocks(cls, blocks: tuple[str, ...]) -> tuple[str, ...]:
        """CIDR blocks of IPv4. Only 0.0.0.0/0, written out, allows everything."""
        return tuple(str(_block(block)) for block in dict.fromkeys(blocks))

    @field_validator("network")
    @classmethod
    def _network(cls, network: str) -> str:
        block = _block(network)
        if not 8 <= block.prefixlen <= 20:
            raise ValueError("a network of 8 to 20 bits has room for a vSwitch in each zone")
        return str(block)

    @field_validator("tags")
    @classmethod
    def _tags(cls, tags: dict[str, str]) -> dict[str, str]:
        if len(tags) > 12 or any(key.startswith(RESERVED) for key in tags):
            raise ValueError(f"at most 12 tags, none of them beginning with {RESERVED}")
        return tags


def _block(text: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(text)
    except ValueError:
        raise ValueError("CIDR blocks of IPv4 are needed, such as 198.51.100.7/32") from None


def parse(document: Any, name: str) -> AlibabaSettings:
    """Validate a section of a file. Raises BadInput, which names every wrong field and shows no value."""
    try:
        return AlibabaSettings.model_validate(document)
    except ValidationError as broken:
        faults = (
            f"{'.'.join(map(str, fault['loc'])) or 'section'}: {fault['msg']}"
            for fault in broken.errors(include_input=False, include_url=False, include_context=False)
        )
        raise BadInput("; ".join(faults), on=name, remedy="compare with config/control-plane.yaml") from None
