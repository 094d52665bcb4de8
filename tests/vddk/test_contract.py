"""One contract, two homes of the library, with old and new versions of it."""

import json
import pickle
import subprocess
import sys

import pytest

from tests.vddk.contract import CHECKS, DEPTH
from tests.vddk.estate import Estate
from tests.waiting import PATIENCE
from vddk.spec import Installation
from vddk.worker import open_in_worker

COMPLETION = ("threaded", "sync", "mixed")


@pytest.fixture(
    scope="module",
    params=[*(("8.0.3", c) for c in COMPLETION), ("6.7.3", "sync"), ("9.0.1", "mixed")],
    ids="-".join,
)
def in_process(
    request: pytest.FixtureRequest, estate: Estate, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    version, completion = request.param
    tmp = tmp_path_factory.mktemp("in-process")
    (tmp / "estate").write_bytes(pickle.dumps(estate))
    used = estate.installation(
        tmp / "vddk", version=version, completion=completion, main_thread=1, query_thread=1
    )
    run = subprocess.run(
        [sys.executable, "-m", "tests.vddk.in_process", str(tmp / "estate"), str(used.directory)],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    outcome: dict[str, str] = json.loads(run.stdout)
    return outcome


@pytest.mark.parametrize("name", CHECKS)
def test_in_process(name: str, in_process: dict[str, str]) -> None:
    assert in_process[name] == ""


@pytest.fixture(scope="module", params=[("8.0.3", "mixed"), ("6.7.3", "sync")], ids="-".join)
def worker_installation(
    request: pytest.FixtureRequest, estate: Estate, tmp_path_factory: pytest.TempPathFactory
) -> Installation:
    version, completion = request.param
    return estate.installation(
        tmp_path_factory.mktemp("vddk"), version=version, completion=completion, main_thread=1, query_thread=1
    )


@pytest.mark.parametrize("name", CHECKS)
def test_in_worker(name: str, worker_installation: Installation, estate: Estate, no_leaks: None) -> None:
    with open_in_worker(worker_installation, estate.spec(), DEPTH) as disk:
        CHECKS[name](disk, estate)
