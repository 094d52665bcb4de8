"""Records a conversation with a real vCenter, scrubbed, for tests to replay. It only reads."""

from __future__ import annotations

import io
import os
import secrets
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from connector.errors import BadInput, ConnectorError
from connector.model import Machine
from connector.settings import VCenterSettings
from connector.vcenter import inventory, tracking
from connector.vcenter.bodies import LARGEST, strange
from connector.vcenter.scrub import SCRUBBED, Scrubber, vocabulary
from connector.vcenter.session import Session
from connector.vcenter.trust import PinnedConnection

NOWHERE = "https://vcenter.invalid"
FILE = "conversation.yaml"


@dataclass
class Tape:
    """The recorded calls and answers, scrubbed before they are kept. Connections of several threads may add to it."""

    scrubber: Scrubber
    interactions: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, method: str, path: str, body: bytes, answer: RecordedAnswer) -> None:
        interaction = {
            "request": {
                "method": method,
                "uri": NOWHERE + path,
                "headers": {},
                "body": self.scrubber.document(body.decode()) if body else None,
            },
            "response": {
                "status": {"code": answer.status, "message": answer.reason},
                "headers": answer.kept,
                "body": {"string": self.scrubber.document(answer.text.decode())},
            },
        }
        with self.lock:
            self.interactions.append(interaction)

    def write(self, directory: Path) -> Path:
        """Write the file that vcrpy reads. Raises `BadInput` when it exists or cannot be written."""
        file = directory / FILE
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with open(
                os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
            ) as out:
                yaml.safe_dump({"interactions": self.interactions, "version": 1}, out, allow_unicode=True)
        except OSError as problem:
            raise BadInput(
                f"the recording cannot be written ({problem.strerror})",
                on=str(file),
                remedy="choose a new directory",
            ) from problem
        return file


class RecordedAnswer(io.BytesIO):
    """An answer that was read to its end, to be recorded and then read by the client."""

    def __init__(self, answer: Any) -> None:
        self.text: bytes = answer.read(LARGEST)
        if answer.read(1):
            raise strange("it never ends")
        super().__init__(self.text)
        self.status: int = answer.status
        self.reason: str = answer.reason
        self._headers: Mapping[str, str] = {name.lower(): value for name, value in answer.getheaders()}

    @property
    def kept(self) -> dict[str, list[str]]:
        """The headers that a client reads, without the session's secret."""
        headers = {"content-type": [self._headers.get("content-type", "text/xml")]}
        if "set-cookie" in self._headers:
            headers["set-cookie"] = [f"vmware_soap_session={SCRUBBED}; Path=/; HttpOnly; Secure"]
        return headers

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
    """Log in, read the inventory, and of one machine (`wanted`) what a pass reads without changing anything.

    Raises `BadInput` before the login when `directory` already has a recording.
    """
    if (directory / FILE).exists():
        raise BadInput("there is a recording already", on=str(directory), remedy="choose a new directory")
    tape = Tape(Scrubber(secrets.token_bytes(32), vocabulary()))
    with Session(settings, connection=partial(_RecordingConnection, tape=tape)) as session:
        sweep = inventory.whole(session)
        if wanted:
            _look_closely(session, inventory.find(session, wanted))
    return Recording(tape.write(directory), len(tape.interactions), len(sweep.machines))


def _look_closely(session: Session, machine: Machine) -> None:
    """Ask for the areas in use of each disk. A fault is recorded like any other answer."""
    view = machine.snapshots[-1].moref if machine.snapshots else None
    for disk in machine.disks:
        with suppress(ConnectorError):
            tracking.in_use(session, machine.moref, view, disk)
