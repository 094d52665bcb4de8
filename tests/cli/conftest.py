"""The commands, run as people run them: against a real control plane, or against a server that says what a test wants."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from connector.cli.main import main
from connector.control.domain.access import Role
from connector.control.state import identity
from tests.smc.conftest import Cloud, cloud

__all__ = ["cloud"]


@dataclass(frozen=True)
class Ran:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


#: `connector("job", "list")`; `code` is what is expected, None is anything.
Connector = Callable[..., Ran]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those of the test."""
    for name in [name for name in os.environ if name.startswith("CONNECTOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def variables(cloud: Cloud, role: Role = Role.ADMIN) -> dict[str, str]:
    """How a person would be set up."""
    key, secret = cloud.keys[role]
    return {
        "CONNECTOR_CONTROL_URL": cloud.plane.url,
        "CONNECTOR_CONTROL_THUMBPRINT": cloud.plane.thumbprint,
        "CONNECTOR_ACCESS_KEY_ID": key,
        "CONNECTOR_ACCESS_KEY_SECRET": secret,
    }


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Connector:
    """The command in this process, with whatever environment the test has made."""

    def ran(*words: str, code: int | None = 0) -> Ran:
        capsys.readouterr()
        ended = main(list(words))
        said = capsys.readouterr()
        assert code is None or ended == code, f"{words}: {ended}\n{said.out}\n{said.err}"
        return Ran(ended, said.out, said.err)

    return ran


@pytest.fixture
def connector(cloud: Cloud, run: Connector, monkeypatch: pytest.MonkeyPatch) -> Connector:
    """The command, set up for the shared control plane as an administrator."""
    for name, value in variables(cloud).items():
        monkeypatch.setenv(name, value)
    return run


def process(cloud: Cloud, *words: str, role: Role = Role.ADMIN, **options: Any) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    command = [sys.executable, "-m", "connector.cli.main", *words]
    return subprocess.Popen(command, env=dict(os.environ) | variables(cloud, role), text=True, **options)


@dataclass
class Speaker:
    """A server that is no control plane: it answers what `say` was given, in turn, the last one for ever."""

    url: str
    thumbprint: str
    answers: list[tuple[int, str, bytes, Mapping[str, str]]] = field(default_factory=list)
    asked: list[Mapping[str, str]] = field(default_factory=list)

    def say(
        self, status: int, body: Any, kind: str = "application/json", headers: Mapping[str, str] | None = None
    ) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.answers.append((status, kind, content, headers or {}))

    def next(self) -> tuple[int, str, bytes, Mapping[str, str]]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def speaker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Speaker]:
    (tmp_path / "speaker").mkdir()
    mine = identity.load(tmp_path / "speaker", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.asked.append({name.lower(): value for name, value in self.headers.items()})
            status, kind, content, headers = found.next()
            if status == 0:
                self.close_connection = True
                return
            self.send_response_only(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(mine.certificate_file)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    found = Speaker(f"https://127.0.0.1:{server.server_address[1]}", mine.thumbprint)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    monkeypatch.setenv("CONNECTOR_CONTROL_URL", found.url)
    monkeypatch.setenv("CONNECTOR_CONTROL_THUMBPRINT", found.thumbprint)
    monkeypatch.setenv("CONNECTOR_ACCESS_KEY_ID", "AKtest")
    monkeypatch.setenv("CONNECTOR_ACCESS_KEY_SECRET", "secret")
    yield found
    server.shutdown()
    server.server_close()
