"""The address of a vCenter's API. It is always https and never contains credentials."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from connector.errors import BadInput

_HOW = "write https://HOST, https://HOST:PORT or https://HOST/sdk"


@dataclass(frozen=True, slots=True)
class VCenterAddress:
    """Host, port and path of one vCenter's SOAP API."""

    host: str
    port: int = 443
    path: str = "/sdk"

    @classmethod
    def parse(cls, url: str) -> VCenterAddress:
        """Accept a bare host name, an HTTPS address, IPv6 in brackets, with or without "/sdk".

        Raises `BadInput`, and never repeats user information that somebody put into the address.
        """
        text = url.strip()
        try:
            parts = urlsplit(text if "://" in text else f"https://{text}")
        except ValueError:
            raise BadInput("this is no address", on="vCenter address", remedy=_HOW) from None
        _refuse(parts.scheme != "https", "the address does not begin with https://", parts.hostname)
        _refuse(parts.username is not None, "the address must not contain a user or password", parts.hostname)
        _refuse(not parts.hostname, "the address names no host", None)
        _refuse(bool(parts.query or parts.fragment), "the address has a query or fragment", parts.hostname)
        _refuse(parts.path.rstrip("/") not in ("", "/sdk"), "the API lives under /sdk", parts.hostname)
        try:
            port = parts.port or 443
        except ValueError:
            raise BadInput(
                "the port is not a number below 65536", on=parts.hostname or "", remedy=_HOW
            ) from None
        return cls(parts.hostname or "", port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}" if self.port == 443 else f"https://{host}:{self.port}"


def _refuse(wrong: bool, what: str, host: str | None) -> None:
    if wrong:
        raise BadInput(what, on=host or "vCenter address", remedy=_HOW)
