"""A conversation with a real vCenter, written down scrubbed, for tests to replay. It only reads."""

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
    """What was said, scrubbed before it is kept. Thread rule: many connections may write, one at a time each."""

    scrubber: Scrubber
    interactions: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, method: str, path: str, body: bytes, answer: RecordedAnswer) -> None:
        spoken = {
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
            self.interactions.append(spoken)

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
    """An answer that was read whole, to be written down and then read by the client."""

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
        told = {"content-type": [self._headers.get("content-type", "text/xml")]}
        if "set-cookie" in self._headers:
            told["set-cookie"] = [f"vmware_soap_session={SCRUBBED}; Path=/; HttpOnly; Secure"]
        return told

    def getheader(self, name: str, default: str | None = None) -> str | None:
        return self._headers.get(name.lower(), default)


class _Listening(PinnedConnection):
    """A connection that writes down what passes. The certificate is checked as ever."""

    def __init__(self, *words: Any, tape: Tape, **named: Any) -> None:
        super().__init__(*words, **named)
        self._tape = tape
        self._asked: tuple[str, str, bytes] = ("", "", b"")

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **more: Any) -> None:
        said = body.encode() if isinstance(body, str) else bytes(body or b"")
        self._asked = (method, url, said)
        plain = {name: value for name, value in (headers or {}).items() if name.lower() != "accept-encoding"}
        super().request(method, url, said or None, plain, **more)

    def getresponse(self) -> Any:
        answer = RecordedAnswer(super().getresponse())
        self._tape.add(*self._asked, answer)
        return answer


@dataclass(frozen=True, slots=True)
class Recording:
    """What was written where."""

    file: Path
    calls: int
    machines: int


def record(settings: VCenterSettings, directory: Path, wanted: str = "") -> Recording:
    """Log in, read the inventory, and of one machine (`wanted`) what a pass reads without changing anything.

    Raises `BadInput` before anything is asked when `directory` already has a recording.
    """
    if (directory / FILE).exists():
        raise BadInput("there is a recording already", on=str(directory), remedy="choose a new directory")
    tape = Tape(Scrubber(secrets.token_bytes(32), vocabulary()))
    with Session(settings, connection=partial(_Listening, tape=tape)) as session:
        seen = inventory.whole(session)
        if wanted:
            _look_closely(session, inventory.find(session, wanted))
    return Recording(tape.write(directory), len(tape.interactions), len(seen.machines))


def _look_closely(session: Session, machine: Machine) -> None:
    """The areas in use of each disk; a fault is as good an answer as any."""
    view = machine.snapshots[-1].moref if machine.snapshots else None
    for disk in machine.disks:
        with suppress(ConnectorError):
            tracking.in_use(session, machine.moref, view, disk)
