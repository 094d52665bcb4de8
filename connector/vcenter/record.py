"""Records a conversation with a real vCenter, scrubbed, for tests to replay. It only reads."""

from __future__ import annotations

import io
import secrets
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from connector import files
from connector.errors import BadInput, ConnectorError, VCenterFault
from connector.model import Machine
from connector.settings import VCenterSettings
from connector.vcenter import inventory, tracking
from connector.vcenter.bodies import LARGEST, PACKINGS, Body, strange
from connector.vcenter.scrub import SCRUBBED, Scrubber, vocabulary
from connector.vcenter.session import Session
from connector.vcenter.trust import PinnedConnection

NOWHERE = "https://vcenter.invalid"
FILE = "conversation.yaml"
_CONTENT_TYPES = {"text/xml", "application/xml", "application/soap+xml", "text/html", "text/plain"}


@dataclass
class Tape:
    """The recorded calls and answers, scrubbed before they are kept. Connections of several threads may add to it."""

    scrubber: Scrubber
    interactions: list[dict[str, Any]] = field(default_factory=list)
    machines: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, method: str, path: str, body: bytes, answer: RecordedAnswer) -> None:
        interaction = {
            "request": {
                "method": method,
                "uri": NOWHERE + path,
                "headers": {},
                "body": self.scrubber.message(body) or None,
            },
            "response": {
                "status": {"code": answer.status, "message": ""},  # a proxy may put names into the message
                "headers": answer.kept,
                "body": {"string": self.scrubber.message(answer.unpacked)},
            },
        }
        with self.lock:
            self.interactions.append(interaction)

    @property
    def text(self) -> str:
        """The file that vcrpy reads."""
        return yaml.safe_dump({"interactions": self.interactions, "version": 1}, allow_unicode=True)


class RecordedAnswer(io.BytesIO):
    """An answer that was read to its end, to be recorded and then read by the client."""

    def __init__(self, answer: Any) -> None:
        self.text: bytes = answer.read(LARGEST)
        if answer.read(1):
            raise strange("it never ends")
        super().__init__(self.text)
        self.status: int = answer.status
        self.reason: str = answer.reason
        self.length: int | None = answer.length  # bytes that were promised and did not come
        self._headers: Mapping[str, str] = {name.lower(): value for name, value in answer.getheaders()}

    @property
    def kept(self) -> dict[str, list[str]]:
        """The headers that a client reads, without the session's secret."""
        content_type = self._headers.get("content-type", "text/xml").partition(";")[0].strip().lower()
        headers = {
            "content-type": [content_type if content_type in _CONTENT_TYPES else "application/octet-stream"]
        }
        if "set-cookie" in self._headers:
            headers["set-cookie"] = [f"vmware_soap_session={SCRUBBED}; Path=/; HttpOnly; Secure"]
        return headers

    @property
    def unpacked(self) -> bytes:
        """The body as a client reads it. A proxy may pack it although nobody asked for that; one that is damaged is empty."""
        if self._headers.get("content-encoding", "").strip().lower() not in PACKINGS:
            return self.text
        body = Body(io.BytesIO(self.text), packed=True)
        try:
            return b"".join(iter(body.read, b""))
        except (ConnectionResetError, VCenterFault):
            return b""

    def getheader(self, name: str, default: str | None = None) -> str | None:
        return self._headers.get(name.lower(), default)


class _RecordingConnection(PinnedConnection):
    """A connection that records its calls and answers. The certificate is checked as always."""

    def __init__(self, *words: Any, tape: Tape, **named: Any) -> None:
        super().__init__(*words, **named)
        self._tape = tape
        self._request: tuple[str, str, bytes] = ("", "", b"")

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **more: Any) -> None:
        content = body.encode() if isinstance(body, str) else bytes(body or b"")
        self._request = (method, url, content)
        plain = {name: value for name, value in (headers or {}).items() if name.lower() != "accept-encoding"}
        super().request(method, url, content or None, plain, **more)

    def getresponse(self) -> Any:
        answer = RecordedAnswer(super().getresponse())
        self._tape.add(*self._request, answer)
        return answer


@dataclass(frozen=True, slots=True)
class Recording:
    """What was recorded, and in which file."""

    file: Path
    calls: int
    machines: int


def record(settings: VCenterSettings, directory: Path, wanted: str = "") -> Recording:
    """Record a conversation into a new file. Raises `BadInput` before the login when `directory` already has a recording."""
    require_new(directory, FILE)
    tape = converse(settings, new_scrubber(), wanted)
    write(directory, {FILE: tape.text})
    return Recording(directory / FILE, len(tape.interactions), tape.machines)


def new_scrubber() -> Scrubber:
    """The pseudonyms of one recording. Takes some seconds."""
    return Scrubber(secrets.token_bytes(32), vocabulary())


def converse(settings: VCenterSettings, scrubber: Scrubber, wanted: str = "") -> Tape:
    """Log in, read the inventory, and of one machine (`wanted`) what a pass reads without changing anything."""
    tape = Tape(scrubber)
    with Session(settings, connection=partial(_RecordingConnection, tape=tape)) as session:
        tape.machines = len(inventory.whole(session).machines)
        if wanted:
            _look_closely(session, inventory.find(session, wanted))
    return tape


def require_new(directory: Path, *names: str) -> None:
    """Raises `BadInput` when the directory has one of these files."""
    if any((directory / name).exists() for name in names):
        raise BadInput("there is a recording already", on=str(directory), remedy="choose a new directory")


def write(directory: Path, texts: Mapping[str, str]) -> None:
    """Write new files, which only their owner may read. Raises `BadInput` when one exists or cannot be written."""
    for name, text in texts.items():
        file = directory / name
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with files.new(file) as out:
                out.write(text.encode())
        except OSError as problem:
            raise BadInput(
                f"the recording cannot be written ({problem.strerror})",
                on=str(file),
                remedy="choose a new directory",
            ) from problem


def _look_closely(session: Session, machine: Machine) -> None:
    """Ask for the areas in use of each disk. A fault is recorded like any other answer."""
    view = machine.snapshots[-1].moref if machine.snapshots else None
    for disk in machine.disks:
        with suppress(ConnectorError):
            tracking.in_use(session, machine.moref, view, disk)
