"""Recorded conversations: made against the simulator and against vcsim, replayed without any network, free of secrets.

Record again with `CONNECTOR_RECORD=1 pytest tests/vcenter/test_cassettes.py`.
"""

from __future__ import annotations

import copy
import os
import re
import tempfile
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
from tests.vcenter.witness import USER as WITNESS
from tests.vcenter.witness import vcsim

FOLDER = Path(__file__).parents[2] / "fixtures" / "cassettes"
RECORDING = os.environ.get("CONNECTOR_RECORD") == "1"
NOWHERE = "https://vcenter.invalid"
VCSIM = ("-api-version", "8.0.3.0", "-vm", "1")
USERS = {"simulator": USER, "vcsim": WITNESS}

_SECRETS = tuple(
    (re.compile(pattern, re.S), replacement)
    for pattern, replacement in (
        (rb"(<password\b[^>]*>).*?(</password>)", rb"\1scrubbed\2"),
        (rb"(<sessionId\b[^>]*>).*?(</sessionId>)", rb"\1scrubbed\2"),
        (rb"(<LoginResponse.*?<key\b[^>]*>).*?(</key>)", rb"\1scrubbed\2"),
        (rb"127\.0\.0\.1(:\d+)?", b"192.0.2.1"),
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


def recorder(*, recording: bool = RECORDING) -> vcr.VCR:
    """vcrpy set up for the product's connections; without `recording` nothing is ever sent."""
    return vcr.VCR(
        cassette_library_dir=str(FOLDER),
        record_mode=RecordMode.ALL if recording else RecordMode.NONE,
        match_on=("method", "uri", "body"),
        before_record_request=request_filter,
        before_record_response=response_filter,
        decode_compressed_response=True,
        custom_patches=((trust, "PinnedConnection", _Recorded),),
    )


def asked(recorded: Any, request: Any) -> None:
    """The same question, whichever properties it names: what a recording lacks reads as unset."""
    known, wanted = (
        re.sub(rb"<pathSet>.*?</pathSet>", b"", one.body or b"", flags=re.S) for one in (recorded, request)
    )
    assert known == wanted


@contextmanager
def conversation(
    name: str, source: str = "simulator"
) -> Iterator[tuple[VCenterSettings, Callable[[int, int], None]]]:
    """Settings of a vCenter that answers from the tape, and the guest's write (only done while recording).

    `source` is "simulator" or "vcsim"; the tapes of the latter have its name in theirs.
    """
    tape = f"{name}.yaml" if source == "simulator" else f"{source}-{name}.yaml"
    if not RECORDING:
        settings = VCenterSettings(
            url=NOWHERE, user=USERS[source], password=SecretStr("not asked"), thumbprint="00" * 20
        )
        with recorder().use_cassette(tape):
            yield settings, lambda *_: None
        return
    (FOLDER / tape).unlink(missing_ok=True)
    with _live(source) as (settings, write), recorder().use_cassette(tape):
        yield settings, write


@contextmanager
def _live(source: str) -> Iterator[tuple[VCenterSettings, Callable[[int, int], None]]]:
    if source == "vcsim":
        with tempfile.TemporaryDirectory() as scratch, vcsim(Path(scratch), *VCSIM) as running:
            yield running.settings(), lambda *_: None
        return
    with world() as place:

        def write(key: int, start: int) -> None:
            place.estate.power.write(place.vm, key, start, b"x" * 512)

        yield place.settings(), write


__all__ = ["FOLDER", "MIB", "asked", "clean", "conversation", "recorder", "request_filter", "response_filter"]
