"""The public API as a client sees it: every request signed (ACS3-HMAC-SHA256) and its server's certificate checked.

Works against any control plane that speaks the API of 2019-06-01.
"""

from __future__ import annotations

import hashlib
import re
import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import requests
import stamina

from connector import __version__, readable
from connector.clients import signature
from connector.clients.https import ANSWER_TIMEOUT, CONNECT_TIMEOUT, Bounded, Pinned
from connector.clients.refusal import refused
from connector.errors import BadInput, ConnectorError, ControlFailed, TrustFailed

VERSION: Final = "2019-06-01"
ATTEMPTS: Final = 4  # within about two seconds: a replica that restarts is back by then, or it takes longer
_PACE: Final = {"wait_initial": 0.2, "wait_max": 1.0, "wait_jitter": 0.2}  # seconds
_SAFE: Final = ("Describe", "List")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Access:
    """Where to call, as whom, and whom to trust: a pinned certificate, an authority, or the public authorities."""

    host: str  # with its port, as it is signed
    key_id: str
    secret: str = field(repr=False)
    thumbprint: str = ""
    authority: Path | None = None

    @classmethod
    def of(cls, url: str, key_id: str, secret: str, thumbprint: str, authority: Path | None) -> Self:
        """Checks what people wrote. Raises BadInput."""
        host = _host(url)
        if thumbprint and authority:
            raise BadInput("a thumbprint and an authority are given", on=host, remedy="give one of them")
        digest = "".join(thumbprint.split()).replace(":", "").lower()
        if digest and (len(digest) != 64 or set(digest) - set("0123456789abcdef")):
            raise BadInput(
                "this is no SHA-256 thumbprint", on=host, remedy="use the one that the control plane printed"
            )
        if authority is not None:
            _check_authority(authority)
        if re.fullmatch(r"[\x21-\x2b\x2d-\x7e]{1,128}", key_id) is None:
            raise BadInput("this is no access key id", on="--access-key-id")
        if not secret or not _encodable(secret):
            raise BadInput("the secret is empty, or not UTF-8", on=key_id)
        return cls(host, key_id, secret, digest, authority)


class SmcClient:
    """Calls operations. Errors of the API arrive as our own. One per thread."""

    def __init__(self, access: Access, clock: Callable[[], float] = time.time) -> None:
        self._access = access
        self._clock = clock
        self.on = f"https://{access.host}"
        self._session = requests.Session()
        self._session.headers["user-agent"] = f"connector/{__version__}"
        self._session.trust_env = False  # a .netrc would replace our signature
        self._session.verify = str(access.authority) if access.authority else True
        self._session.mount("https://", Bounded())
        if access.thumbprint:
            self._session.verify = False  # the thumbprint decides, checked in every handshake
            self._session.mount("https://", Pinned(access.thumbprint))

    def call(self, action: str, /, **parameters: Any) -> Json:
        """One operation; lists and dictionaries are flattened, None is left out.

        Repeated after an outage when that is harmless: it only looks, or it carries a ClientToken.
        """
        given = dict(_flat(parameters))
        if not action.startswith(_SAFE) and "ClientToken" not in given:
            return self._once(action, given)
        for attempt in stamina.retry_context(on=_passing, attempts=ATTEMPTS, **_PACE):
            with attempt:
                return self._once(action, given)
        raise AssertionError("unreachable")

    def another(self) -> SmcClient:
        """A client of the same access, for another thread."""
        return SmcClient(self._access, self._clock)

    def close(self) -> None:
        self._session.close()

    def _once(self, action: str, given: Mapping[str, str]) -> Json:
        query = "&".join(
            f"{signature.encode(name)}={signature.encode(given[name])}" for name in sorted(given)
        )
        try:
            answer = self._session.post(
                f"{self.on}/?{query}",
                headers=self._signed(action, given),
                timeout=(CONNECT_TIMEOUT, ANSWER_TIMEOUT),
                allow_redirects=False,
            )
        except requests.exceptions.SSLError as error:
            raise TrustFailed(
                "the certificate of the control plane is not the trusted one",
                on=self.on,
                remedy="give its SHA-256 thumbprint with --thumbprint, or its authority with --ca",
            ) from error
        except requests.exceptions.RequestException as error:
            raise self._silent(action, error) from error
        return self._read(action, answer)

    def _signed(self, action: str, given: Mapping[str, str]) -> dict[str, str]:
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
                signature.Request("POST", "/", given, {}, headers), self._access.key_id, self._access.secret
            )
        }

    def _read(self, action: str, answer: requests.Response) -> Json:
        try:
            body = answer.json()
        except ValueError:
            body = None
        if answer.status_code == 200 and isinstance(body, dict):
            return body
        if isinstance(body, dict) and body.get("Code"):
            raise refused(action, answer.status_code, body, answer.headers.get("date", ""), on=self.on)
        kind = answer.headers.get("content-type", "").partition(";")[0] or "nothing"
        raise ControlFailed(
            f"it answered {answer.status_code} with {kind[:40]} instead of the API's JSON",
            on=self.on,
            remedy="check the URL: another server, or a proxy, answers there",
            retryable=answer.status_code in (502, 503, 504),
        )

    def _silent(self, action: str, error: requests.exceptions.RequestException) -> ControlFailed:
        sure = action.startswith(_SAFE) or isinstance(error, requests.exceptions.ConnectTimeout)
        check = "check that it runs, and the network"
        return ControlFailed(
            f"no answer ({_cause(error)})",
            on=self.on,
            remedy=check if sure else f"{check}; look whether {action} was done before repeating it",
        )


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
    """An argument or a variable that is not UTF-8 arrives as text that cannot be encoded."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _passing(error: Exception) -> bool:
    return isinstance(error, ConnectorError) and error.retryable


def _cause(error: BaseException) -> str:
    """The operating system's word for it, when there is one below."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        reason = getattr(found, "reason", None) or next(
            (argument for argument in found.args if isinstance(argument, BaseException)), None
        )
        found = reason if isinstance(reason, BaseException) else found.__cause__ or found.__context__
    return type(error).__name__


def _host(url: str) -> str:
    """The URL is not repeated: people have written passwords into URLs."""
    form = "https://HOST[:PORT]"
    try:
        found = urlsplit(url if "://" in url else f"https://{url}")
        port = found.port
    except ValueError:
        raise BadInput("this is no URL", on="--endpoint", remedy=form) from None
    if found.scheme != "https" or not found.hostname or "@" in found.netloc:
        raise BadInput("the control plane speaks HTTPS only", on="--endpoint", remedy=form)
    if found.path not in ("", "/") or found.query or found.fragment:
        raise BadInput("signatures cover the path, so the API is at the root", on="--endpoint", remedy=form)
    name = f"[{found.hostname}]" if ":" in found.hostname else found.hostname
    return name if port in (None, 443) else f"{name}:{port}"


def _check_authority(file: Path) -> None:
    try:
        readable.require(file)
        ssl.create_default_context(cafile=str(file))
    except (OSError, ssl.SSLError) as failed:
        why = (
            failed.strerror
            if isinstance(failed, FileNotFoundError | PermissionError)
            else "no certificate in it"
        )
        raise BadInput(f"cannot use it as an authority: {why}", on=str(file)) from None
