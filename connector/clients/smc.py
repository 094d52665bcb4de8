"""The client of the public API signs every request (ACS3-HMAC-SHA256) and checks the server's certificate.

It works with any control plane that has the API of 2019-06-01.
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from connector.clients import signature
from connector.clients.failures import Peer
from connector.clients.https import LIMITS, Answer, Https, RequestLimits
from connector.clients.refusal import refused
from connector.clients.trust import Authorities, Pinned, Trust, thumbprint_of
from connector.errors import BadInput, ControlFailed
from connector.patience import Patience

VERSION: Final = "2019-06-01"
OUTAGE: Final = 2.0  # seconds in which a replica usually restarts
_SAFE: Final = ("Describe", "List")
PEER: Final = Peer(
    "the control plane",
    ControlFailed,
    trust="compare the thumbprint with the one that it prints at start; give the right one with --thumbprint,"
    " CONNECTOR_CONTROL_THUMBPRINT or `thumbprint` in the settings file, or its authority with --ca",
    insist=False,  # a person waits
)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Access:
    """Address, access key and trust: a pinned certificate, an authority, or the public authorities."""

    host: str  # with its port, as it is signed
    key_id: str
    secret: str = field(repr=False)
    thumbprint: str = ""
    authority: Path | None = None

    @classmethod
    def of(cls, url: str, key_id: str, secret: str, thumbprint: str, authority: Path | None) -> Self:
        """Check what people typed. Raises BadInput."""
        host = _host(url)
        if thumbprint and authority:
            raise BadInput("a thumbprint and an authority are given", on=host, remedy="give one of them")
        if thumbprint and not thumbprint_of(thumbprint):
            raise BadInput(
                "this is no SHA-256 thumbprint", on=host, remedy="use the one that the control plane printed"
            )
        if authority is not None:
            Authorities(authority).context()
        if re.fullmatch(r"[\x21-\x2b\x2d-\x7e]{1,128}", key_id) is None:
            raise BadInput("this is no access key id", on="--access-key-id")
        if not secret or not _encodable(secret):
            raise BadInput("the secret is empty, or not UTF-8", on=key_id)
        return cls(host, key_id, secret, thumbprint_of(thumbprint), authority)

    @property
    def trust(self) -> Trust:
        return Pinned(self.thumbprint) if self.thumbprint else Authorities(self.authority)


class SmcClient:
    """Calls operations. Errors of the API arrive as our own. Each thread has its own client."""

    def __init__(
        self, access: Access, clock: Callable[[], float] = time.time, limits: RequestLimits = LIMITS
    ) -> None:
        self._access, self._clock, self._limits = access, clock, limits
        self.on = f"https://{access.host}"
        self._https = Https(self.on, access.trust, PEER, limits, Patience(OUTAGE))

    def call(self, action: str, /, **parameters: Any) -> Json:
        """Call one operation. Lists and dictionaries are flattened, None is left out.

        After an outage it is repeated if that is harmless: it only reads, or it has a ClientToken.
        """
        flat = dict(_flat(parameters))
        harmless = action.startswith(_SAFE) or "ClientToken" in flat
        return self._https.repeated(lambda: self._once(action, flat), harmless=harmless)

    def another(self) -> SmcClient:
        """A client of the same access, for another thread."""
        return SmcClient(self._access, self._clock, self._limits)

    def close(self) -> None:
        self._https.close()

    def _once(self, action: str, flat: Mapping[str, str]) -> Json:
        query = "&".join(f"{signature.encode(name)}={signature.encode(flat[name])}" for name in sorted(flat))
        doubt = "" if action.startswith(_SAFE) else f"look whether {action} was done before repeating it"
        return self._read(
            action, self._https.ask("POST", f"/?{query}", self._signed(action, flat), doubt=doubt)
        )

    def _signed(self, action: str, flat: Mapping[str, str]) -> dict[str, str]:
        headers = {
            "accept": "application/json",
            "host": self._access.host,
            "x-acs-action": action,
            "x-acs-content-sha256": hashlib.sha256(b"").hexdigest(),
            "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock())),
            "x-acs-signature-nonce": uuid.uuid4().hex,
            "x-acs-version": VERSION,
        }
        return headers | {
            "authorization": signature.authorization(
                signature.Request("POST", "/", flat, {}, headers), self._access.key_id, self._access.secret
            )
        }

    def _read(self, action: str, answer: Answer) -> Json:
        body = answer.json()
        if answer.status == 200 and isinstance(body, dict):
            return body
        if isinstance(body, dict) and body.get("Code"):
            raise refused(action, answer.status, body, answer.headers.get("date", ""), on=self.on)
        raise self._https.foreign(answer)


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in parameters.items():
        if value is None:
            continue
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield from _flat({str(n): item for n, item in enumerate(value, 1)}, f"{prefix}{name}.")
        elif isinstance(value, bool):
            yield f"{prefix}{name}", "true" if value else "false"
        elif _encodable(str(value)):
            yield f"{prefix}{name}", str(value)
        else:
            raise BadInput("the value is not UTF-8", on=f"{prefix}{name}")


def _encodable(text: str) -> bool:
    """Whether the text can be encoded. An argument or variable that is not UTF-8 arrives as text that cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _host(url: str) -> str:
    """The host of a URL. A bad URL is not shown in errors: people have written passwords into URLs."""
    form = "https://HOST[:PORT]"
    try:
        address = urlsplit(url if "://" in url else f"https://{url}")
        port = address.port
    except ValueError:
        raise BadInput("this is no URL", on="--endpoint", remedy=form) from None
    if address.scheme != "https" or not address.hostname or "@" in address.netloc:
        raise BadInput("the control plane speaks HTTPS only", on="--endpoint", remedy=form)
    if address.path not in ("", "/") or address.query or address.fragment:
        raise BadInput("signatures cover the path, so the API is at the root", on="--endpoint", remedy=form)
    try:
        host = address.hostname.encode("idna").decode()  # as it goes over the wire, and is signed
    except UnicodeError:
        raise BadInput("this is no name of a host", on="--endpoint", remedy=form) from None
    name = f"[{host}]" if ":" in host else host
    return name if port in (None, 443) else f"{name}:{port}"
