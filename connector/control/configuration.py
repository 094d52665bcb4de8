"""A control plane's configuration is a YAML file; `config/control-plane.yaml` is the commented reference.

Every setting except the sections of a cloud and of notifications is also an option of the command. The option overrides the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connector import readable
from connector.control.notifications.settings import NotificationsSection
from connector.errors import BadInput
from connector.log_settings import LogSection
from connector.metrics.settings import MetricsSection


class ControlConfiguration(BaseModel):
    """The settings of the file. The section `log` sets what is logged. `None`: the command's option or its default counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Path | None = None
    host: str | None = None
    port: Annotated[int, Field(ge=0, le=65535)] | None = None
    database: str | None = None
    provider: Literal["local", "alibaba"] | None = None
    images: Path | None = None
    instance_ports: str | None = None
    grace: Annotated[float, Field(ge=1)] | None = None
    limits: dict[str, int] = {}
    tls: Literal["1.3", "1.2"] | None = None
    log: LogSection | None = None
    metrics: MetricsSection | None = None
    notifications: NotificationsSection = NotificationsSection()
    alibaba: dict[str, Any] | None = None

    def options(self) -> dict[str, Any]:
        """The defaults for the command's options."""
        options = {
            "state": self.state,
            "host": self.host,
            "port": self.port,
            "database": self.database,
            "cloud": self.provider,
            "images": self.images,
            "instance_ports": self.instance_ports,
            "grace": self.grace,
            "tls": self.tls,
            "metrics": None if self.metrics is None else str(self.metrics.listen),
            "limits": [f"{name}={number}" for name, number in self.limits.items()] or None,
        }
        return {name: value for name, value in options.items() if value is not None}


def load(path: Path) -> ControlConfiguration:
    """Read the file. Raises BadInput, which names the file and the field and repeats no value."""
    try:
        return ControlConfiguration.model_validate(yaml.safe_load(readable.text(path)) or {})
    except (OSError, UnicodeDecodeError) as broken:
        raise BadInput(f"cannot be read: {broken}", on=str(path)) from None
    except yaml.YAMLError as broken:
        mark = getattr(broken, "problem_mark", None)
        raise BadInput(f"is no YAML{f' (line {mark.line + 1})' if mark else ''}", on=str(path)) from None
    except ValidationError as broken:
        faults = (
            f"{'.'.join(map(str, fault['loc'])) or 'document'}: {fault['msg']}"
            for fault in broken.errors(include_input=False, include_url=False, include_context=False)
        )
        raise BadInput(
            "; ".join(faults), on=str(path), remedy="compare with config/control-plane.yaml"
        ) from None
