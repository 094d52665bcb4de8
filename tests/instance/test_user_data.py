"""What a booting instance is given: from a file, or from a metadata service that wants a token and comes up late."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from connector.errors import BadInput
from connector.instance import user_data
from tests.transfer.conftest import Instance, Job


def body(job: Job) -> bytes:
    return json.dumps({"version": 1, "credential": asdict(job.instance)}).encode()


class Metadata(HTTPServer):
    """Refuses the first `late` requests, and whoever comes without a token."""

    def __init__(self, content: bytes, late: int) -> None:
        super().__init__(("127.0.0.1", 0), _Metadata)
        self.content, self.late, self.asked = content, late, list[str]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/latest/user-data"


class _Metadata(BaseHTTPRequestHandler):
    server: Metadata

    def do_PUT(self) -> None:
        fine = self.path == "/latest/api/token" and self.headers["X-aliyun-ecs-metadata-token-ttl-seconds"]
        self._answer(200 if fine else 403, b"the-token")

    def do_GET(self) -> None:
        fine = self.path == "/latest/user-data" and self.headers["X-aliyun-ecs-metadata-token"] == "the-token"
        self._answer(200 if fine else 403, self.server.content)

    def _answer(self, status: int, content: bytes) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        if self.server.late > 0:
            self.server.late -= 1
            status = 503
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def metadata() -> Iterator[Callable[..., Metadata]]:
    running: list[Metadata] = []

    def begin(content: bytes, late: int = 0) -> Metadata:
        running.append(Metadata(content, late))
        threading.Thread(target=running[-1].serve_forever, args=(0.02,), daemon=True).start()
        return running[-1]

    yield begin
    for server in running:
        server.shutdown()
        server.server_close()


def test_a_file_is_read(job: Job, tmp_path: Path) -> None:
    (tmp_path / "user-data").write_bytes(body(job))
    assert user_data.credential(str(tmp_path / "user-data")) == job.instance


def test_a_service_is_asked_with_a_token_until_it_answers(
    job: Job, metadata: Callable[..., Metadata]
) -> None:
    server = metadata(body(job), late=2)
    assert user_data.credential(server.url) == job.instance
    assert server.asked[-2:] == ["PUT /latest/api/token", "GET /latest/user-data"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no credential"),
        (b"#cloud-config\n", "no credential"),
        (b'{"version": 1, "credential": {"authority": "a", "certificate": 1, "key": "k"}}', "no credential"),
        (b'{"version": 2, "credential": {}}', "version 2"),
    ],
)
def test_what_is_not_ours_is_one_line_without_its_content(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "user-data").write_bytes(content)
    with pytest.raises(BadInput, match=says) as refused:
        user_data.credential(str(tmp_path / "user-data"))
    assert "\n" not in str(refused.value)


def test_an_instance_starts_with_it(job: Job, start: Callable[..., Instance], tmp_path: Path) -> None:
    (tmp_path / "user-data").write_bytes(body(job))
    instance = start(words=("--user-data", str(tmp_path / "user-data")))
    assert instance.endpoint.health()["disks"] == 0
