"""HTTPS as all clients speak it: answers end, and the certificate is pinned by thumbprint or checked."""

from __future__ import annotations

from typing import Any, Final

from requests.adapters import HTTPAdapter
from urllib3.util.ssl_ import create_urllib3_context

from connector import bounded

CONNECT_TIMEOUT: Final = 10.0
ANSWER_TIMEOUT: Final = 60.0


class Bounded(HTTPAdapter):
    """HTTPS whose answers end, however slowly or largely they come."""

    def __init__(self, longest: float = bounded.LONGEST, largest: int = bounded.LARGEST) -> None:
        self._bounds = longest, largest
        super().__init__()

    def init_poolmanager(self, *args: Any, **named: Any) -> None:
        context = bounded.bound(create_urllib3_context(), *self._bounds)
        if "assert_fingerprint" in named:  # then the name says nothing
            context.check_hostname = False
        super().init_poolmanager(*args, **named, ssl_context=context)


class Pinned(Bounded):
    """Accepts the one certificate with this SHA-256 thumbprint and no other."""

    def __init__(
        self, thumbprint: str, longest: float = bounded.LONGEST, largest: int = bounded.LARGEST
    ) -> None:
        self._thumbprint = thumbprint
        super().__init__(longest, largest)

    def init_poolmanager(self, *args: Any, **named: Any) -> None:
        super().init_poolmanager(*args, **named, assert_fingerprint=self._thumbprint)
