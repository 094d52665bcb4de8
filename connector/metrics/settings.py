"""The section `metrics` of a service's configuration. Without it nothing is served."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class MetricsSection(BaseModel):
    """`listen`: HOST:PORT, or a port of 127.0.0.1. Who serves metrics reads it (`address.parse`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: str | int = Field(description="HOST:PORT, or a port of 127.0.0.1")
