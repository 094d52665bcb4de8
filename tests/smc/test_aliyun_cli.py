"""The vendor's command line, and the Go SDK that it is built on, unmodified: list sources, create and start a job.

The command line is used where it is installed: its metadata is a submodule of its repository, which no module archive
holds, so `go install` alone does not make it. The SDK's own request, under the same words, is made by .ci/run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Protocol

import pytest

from connector.control.domain.access import Role
from tests.control.conftest import machine
from tests.smc.conftest import REGION, Cloud, fresh
from tests.waiting import PATIENCE, eventually

_HOMES = (Path.home() / "go" / "bin", Path("/usr/local/bin"))
#: Both take the same words.
PROGRAMS = {
    "aliyun": "the vendor's command line, github.com/aliyun/aliyun-cli",
    "smc-goclient": "go build in tests/smc/goclient, as .ci/run does",
}


class Smc(Protocol):
    def __call__(self, operation: str, *words: str, secret: str = ..., code: int = ...) -> Any: ...


def found(program: str) -> str | None:
    at_home = (str(home / program) for home in _HOMES if (home / program).exists())
    return shutil.which(program) or next(at_home, None)


@pytest.fixture(params=PROGRAMS)
def smc(request: pytest.FixtureRequest, cloud: Cloud, tmp_path: Path) -> Smc:
    """`smc("DescribeSourceServers", "--SourceId.1", "s-1")`; answers the JSON, or what was said on failure."""
    program = found(request.param)
    if program is None:
        pytest.skip(f"needs {request.param} ({PROGRAMS[request.param]})")
    key, known = cloud.keys[Role.OPERATOR]

    def call(operation: str, *words: str, secret: str = known, code: int = 0) -> Any:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "SSL_CERT_FILE": str(cloud.certificate),
            "ALIBABA_CLOUD_ACCESS_KEY_ID": key,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": secret,
        }
        _profile(tmp_path, key, secret)
        command = [program, "smc", operation, "--endpoint", cloud.host, "--region", REGION, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
        assert (done.returncode != 0) == bool(code), done.stdout + done.stderr
        return done.stdout + done.stderr if code else json.loads(done.stdout)

    return call


def _profile(home: Path, key: str, secret: str) -> None:
    (home / ".aliyun").mkdir(exist_ok=True)
    profile = {"name": "default", "mode": "AK", "access_key_id": key, "access_key_secret": secret}
    profile |= {"region_id": REGION, "output_format": "json", "language": "en"}
    (home / ".aliyun" / "config.json").write_text(json.dumps({"current": "default", "profiles": [profile]}))


def test_sources_are_listed_and_a_job_is_created_and_started(cloud: Cloud, smc: Smc) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name))
    (row,) = smc("DescribeSourceServers", "--SourceId.1", ids[name])["SourceServers"]["SourceServer"]
    assert (row["Name"], row["State"]) == (name, "Available")
    new_job = {
        "SourceId": ids[name],
        "RegionId": REGION,
        "JobType": "3",
        "Name": f"{name}:a",
        "Description": "one job ~ä",
    }
    with robot:
        job = smc("CreateReplicationJob", *(w for k, v in new_job.items() for w in (f"--{k}", v)))["JobId"]
        smc("StartReplicationJob", "--JobId", job)

        def status() -> str:
            (shown,) = smc("DescribeReplicationJobs", "--JobId.1", job)["ReplicationJobs"]["ReplicationJob"]
            assert shown["Description"] == new_job["Description"]
            return str(shown["Status"])

        eventually(lambda: status() == "Finished", "the job is finished")


def test_a_refusal_arrives_with_its_code_and_what_to_do(cloud: Cloud, smc: Smc) -> None:
    said = smc("StartReplicationJob", "--JobId", "j-nobody", code=1)
    assert "ReplicationJob.NotFound" in said
    assert "list the jobs" in said
    said = smc("DescribeSourceServers", secret="wrong", code=1)
    assert "SignatureDoesNotMatch" in said or "InvalidAccessKeySecret" in said
