"""The user data of a booting instance: its credential for mutual TLS in one job, as JSON.

    {"version": 1, "credential": {"authority": PEM, "certificate": PEM, "key": PEM}}

The metadata service is asked in its hardened mode, with a token that lives for one minute, and never through a proxy.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from connector import readable
from connector.backoff import METADATA_SERVICE, retrying
from connector.errors import BadInput, ConnectorError, TargetFailed
from connector.model import Credential

if TYPE_CHECKING:  # only an instance in a cloud asks a metadata service
    import requests

#: Where an ECS instance finds its user data.
METADATA: Final = "http://100.100.100.200/latest/user-data"
LIMIT: Final = 32 << 10  # bytes
_TIMEOUT: Final = 5.0
_TOTAL: Final = 30.0  # seconds for one answer
_LARGEST: Final = 2 * LIMIT
_PATIENCE: Final = 120.0  # seconds: the network of a booting instance comes up late


def credential(source: str) -> Credential:
    """The credential from a file or an http address. Raises BadInput when it is not ours, TargetFailed without an answer."""
    content = _fetched(source) if source.startswith("http://") else _read(Path(source))
    try:
        body = json.loads(content[: LIMIT + 1])
        fields = body["credential"]
        if body["version"] != 1:
            raise BadInput(
                f"version {body['version']!r} of the user data is not known", remedy="use a newer image"
            )
        return Credential(*(_text(fields, name) for name in ("authority", "certificate", "key")))
    except ConnectorError:
        raise
    except (ValueError, KeyError, TypeError):
        raise BadInput(
            "the user data holds no credential", on=source, remedy="let the control plane create it"
        ) from None


def _text(fields: dict[str, object], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def _read(path: Path) -> bytes:
    try:
        return readable.content(path)
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", on=str(path)) from None


def _fetched(url: str) -> bytes:
    """The user data. A service that answers with an error, or not yet, is asked again."""
    import requests

    session = requests.Session()
    session.trust_env = False
    try:
        for attempt in retrying(METADATA_SERVICE, requests.RequestException, timeout=_PATIENCE):
            with attempt:
                return _answer(session, "GET", url, _token(session, url))
    except requests.RequestException as failed:
        raise TargetFailed(
            f"the metadata service gave no user data ({type(failed).__name__})",
            on=url,
            remedy="check the instance",
        ) from None
    raise AssertionError("unreachable: the last attempt raises")


def _token(session: requests.Session, url: str) -> dict[str, str]:
    root = url.partition("/latest/")[0]
    lifetime = {"X-aliyun-ecs-metadata-token-ttl-seconds": "60"}
    token = _answer(session, "PUT", f"{root}/latest/api/token", lifetime)
    return {"X-aliyun-ecs-metadata-token": token.decode("ascii", "replace")}


def _answer(session: requests.Session, method: str, url: str, headers: dict[str, str]) -> bytes:
    """The content of an answer, bounded in size and time: user data has 32 KiB at most."""
    from requests.exceptions import ReadTimeout

    until, content = time.monotonic() + _TOTAL, bytearray()
    with session.request(method, url, headers=headers, timeout=_TIMEOUT, stream=True) as answer:
        answer.raise_for_status()
        for piece in answer.iter_content(1):  # byte by byte, because iter_content waits until a piece is full
            content += piece
            if len(content) > _LARGEST or time.monotonic() > until:
                raise ReadTimeout("the answer does not end")
    return bytes(content)
