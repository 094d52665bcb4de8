"""Where metrics are served: `[HOST:]PORT`. Without a host it is this computer alone."""

from __future__ import annotations

from typing import NamedTuple

from connector import loopback
from connector.errors import BadInput

LOOPBACK = "127.0.0.1"


class MetricsAddress(NamedTuple):
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this computer reach it."""
        return loopback.is_loopback(self.host)

    def url(self, port: int) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}/metrics"


def parse(text: str) -> MetricsAddress:
    """Raises BadInput."""
    host, separator, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isdecimal() or int(port) > 65535 or (separator and not host) or host.count(":") == 1:
        raise BadInput(
            "is no address to listen on",
            on=f"metrics {text[:80]!r}",
            remedy="give HOST:PORT, or a port alone for 127.0.0.1",
        )
    return MetricsAddress(host or LOOPBACK, int(port))
