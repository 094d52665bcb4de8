"""Reads the metrics page of a service on this computer, as Prometheus would."""

from __future__ import annotations

import http.client
from typing import Final

from connector.metrics import address

_PATIENCE: Final = 5.0
_LARGEST: Final = 4 << 20


def page(listen: str) -> str:
    """The page. Raises OSError, HTTPException, BadInput."""
    where = address.parse(listen)
    host = address.LOOPBACK if where.host in ("0.0.0.0", "::", "") else where.host  # noqa: S104 # nosec B104 - it is compared
    connection = http.client.HTTPConnection(host, where.port, timeout=_PATIENCE)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read(_LARGEST).decode("utf-8", "replace")
    finally:
        connection.close()
    return text if answer.status == 200 else f"status {answer.status}\n{text}"
