"""Recorded conversations: made against the simulator, replayed without any network, free of secrets.

Record again with `CONNECTOR_RECORD=1 pytest tests/vcenter/test_cassettes.py`.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import vcr
from pydantic import SecretStr
from vcr.record_mode import RecordMode
from vcr.stubs import VCRHTTPSConnection

from connector.settings import VCenterSettings
from connector.vcenter import trust
from tests.vcenter.imaginary import MIB, USER, world

FOLDER = Path(__file__).parents[2] / "fixtures" / "cassettes"
RECORDING = os.environ.get("CONNECTOR_RECORD") == "1"
NOWHERE = "https://vcenter.invalid"

_SECRETS = tuple(
    (re.compile(pattern, re.S), replacement)
    for pattern, replacement in (
        (rb"(<password\b[^>]*>).*?(</password>)", rb"\1scrubbed\2"),
        (rb"(<sessionId\b[^>]*>).*?(</sessionId>)", rb"\1scrubbed\2"),
        (rb"(<LoginResponse.*?<key\b[^>]*>).*?(</key>)", rb"\1scrubbed\2"),
        (rb"<ipAddress>127.0.0.1</ipAddress>", b"<ipAddress>192.0.2.1</ipAddress>"),
        (rb"<userAgent>.*?</userAgent>", b"<userAgent>scrubbed</userAgent>"),
        (rb"(vmware_soap_session=)[^;]*", rb"\1scrubbed"),
    )
)


class _Recorded(VCRHTTPSConnection):
    """The product's own connection behind the recorder: recording still verifies the certificate."""

    _baseclass = trust.PinnedConnection


def clean(text: bytes) -> bytes:
    """The same bytes without passwords, session ids and cookies."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def request_filter(request: Any) -> Any:
    """A copy (the original is still to be sent) without secrets and without the simulator's address."""
    kept = copy.copy(request)
    kept.uri = re.sub(r"^https://[^/]+", NOWHERE, request.uri)
    kept.headers = {}
    if request.body:
        kept.body = clean(request.body)
    return kept


def response_filter(response: dict[str, Any]) -> dict[str, Any]:
    """A copy without secrets; of the headers only those that the client reads."""
    kept = copy.deepcopy(response)
    wanted = ("set-cookie", "content-type")
    kept["headers"] = {
        name: [clean(str(value).encode()).decode() for value in values]
        for name, values in response["headers"].items()
        if name.lower() in wanted
    }
    kept["body"]["string"] = clean(response["body"]["string"])
    return kept


def _recorder() -> vcr.VCR:
    return vcr.VCR(
        cassette_library_dir=str(FOLDER),
        record_mode=RecordMode.ALL if RECORDING else RecordMode.NONE,
        match_on=("method", "uri", "body"),
        before_record_request=request_filter,
        before_record_response=response_filter,
        decode_compressed_response=True,
        custom_patches=((trust, "PinnedConnection", _Recorded),),
    )


@contextmanager
def conversation(name: str) -> Iterator[tuple[VCenterSettings, Callable[[int, int], None]]]:
    """Settings of a vCenter that answers from the tape, and the guest's write (only done while recording)."""
    if not RECORDING:
        settings = VCenterSettings(
            url=NOWHERE, user=USER, password=SecretStr("not asked"), thumbprint="00" * 20
        )
        with _recorder().use_cassette(f"{name}.yaml"):
            yield settings, lambda *_: None
        return
    (FOLDER / f"{name}.yaml").unlink(missing_ok=True)
    with world() as place, _recorder().use_cassette(f"{name}.yaml"):

        def write(key: int, start: int) -> None:
            place.estate.power.write(place.vm, key, start, b"x" * 512)

        yield place.settings(), write


__all__ = ["FOLDER", "MIB", "clean", "conversation", "request_filter", "response_filter"]
