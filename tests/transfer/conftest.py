"""Real parts: a job's authority, an instance as a child process, disks with data, zeros and holes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from connector.clients.endpoint import InstanceEndpoint
from connector.model import Credential, InstanceAddress
from connector.transfer.certificates import Authority, CertificateRole
from tests.waiting import PATIENCE

MIB = 1 << 20
CELL = 1 << 16
SIZE = 24 * MIB + 5 * 512  # of the disk that most tests read


@dataclass(frozen=True)
class Job:
    """The credentials of one job."""

    authority: Authority
    appliance: Credential
    control: Credential
    instance: Credential


def make_job(name: str) -> Job:
    authority = Authority.create(name)
    issued = {role: authority.issue(role) for role in CertificateRole}
    return Job(
        authority,
        issued[CertificateRole.APPLIANCE],
        issued[CertificateRole.CONTROL],
        issued[CertificateRole.INSTANCE],
    )


@pytest.fixture(scope="session")
def job() -> Job:
    return make_job("one")


@pytest.fixture(scope="session")
def other_job() -> Job:
    return make_job("two")


class Instance:
    """An instance as a process of its own."""

    def __init__(
        self,
        directory: Path,
        job: Job,
        *,
        preexec: Callable[[], None] | None = None,
        words: Sequence[str] = ("--credential-stdin",),
        module: str = "connector.instance",
    ) -> None:
        self.directory, self._job = directory, job
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                module,
                "--directory",
                str(directory),
                "--control-port",
                "0",
                "--block-port",
                "0",
                "--exit-with-stdin",
                *words,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=preexec,
        )
        assert self.process.stdin and self.process.stdout
        if "--credential-stdin" in words:
            self.process.stdin.write(json.dumps(asdict(job.instance)) + "\n")
            self.process.stdin.flush()
        ready = json.loads(self.process.stdout.readline())
        self.address = InstanceAddress("127.0.0.1", ready["control_port"], ready["block_port"])
        self.endpoint = InstanceEndpoint(self.address, job.appliance)

    def disk(self, key: str) -> Path:
        return self.directory / "disks" / key / "disk.raw"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            assert self.process.stdin
            self.process.stdin.close()
        code = self.process.wait(PATIENCE)
        if self.process.stdout:
            self.process.stdout.close()
        return code


@pytest.fixture
def start(job: Job, tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    """Starts instances on one directory; they are stopped at the end."""
    made: list[Instance] = []

    def begin(directory: Path | None = None, **options: object) -> Instance:
        made.append(Instance(directory or tmp_path / "instance", job, **options))  # type: ignore[arg-type]
        return made[-1]

    yield begin
    for instance in made:
        instance.stop()


@pytest.fixture
def instance(start: Callable[..., Instance]) -> Instance:
    return start()


def make_disk(path: Path, capacity: int, seed: int = 1) -> Path:
    """About half of it random data, some compressible, some written zeros, the rest holes."""
    rng = random.Random(seed)
    with path.open("wb") as out:
        out.truncate(capacity)
        at = 0
        while at < capacity:
            length = min(rng.choice([4096, CELL, 3 * CELL + 512, MIB, 5 * MIB]), capacity - at)
            kind = rng.random()
            if kind < 0.4:
                os.pwrite(out.fileno(), rng.randbytes(length), at)
            elif kind < 0.6:
                os.pwrite(out.fileno(), (b"configuration line %d\n" % at * (length // 16 + 1))[:length], at)
            elif kind < 0.75:
                os.pwrite(out.fileno(), bytes(length), at)
            at += length
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return make_disk(tmp_path / "source.raw", SIZE)
