"""The section `metrics` of a service's configuration. Without it nothing is served."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from connector.metrics import address
from connector.metrics.address import MetricsAddress


class MetricsSection(BaseModel):
    """`listen`: HOST:PORT, or a port of 127.0.0.1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: str | int = Field(description="HOST:PORT, or a port of 127.0.0.1")

    def address(self) -> MetricsAddress:
        """Raises BadInput."""
        return address.parse(str(self.listen))
