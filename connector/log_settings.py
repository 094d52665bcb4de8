"""The section `log` of a service's configuration. Without a format it is the journal's where systemd reads the log, else text."""

from __future__ import annotations

import logging
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, field_validator

from connector import logs

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class LogSection(BaseModel):
    """The form, the least level, and where each message goes too: udp://HOST[:PORT]."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["text", "json", "journald"] | None = None
    level: Literal["debug", "info", "warning", "error"] = "info"
    syslog: str = ""

    @field_validator("syslog")
    @classmethod
    def _udp(cls, address: str) -> str:
        parts = urlsplit(address)
        plain = parts.scheme == "udp" and parts.hostname and parts.path in ("", "/") and "@" not in address
        if address and not plain:
            raise ValueError("must be udp://HOST[:PORT]")
        _ = parts.port  # raises ValueError for a number that is none
        return address

    def apply(self, service: str, how: str | None = None) -> None:
        """Set up this process's log. `how`: the format of an option, which wins."""
        logs.set_up(how or self.format or "", _LEVELS[self.level], service=service, syslog=self.syslog)
