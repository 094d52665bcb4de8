"""`python -m simulator.cloud` as a program: one ready line, a region, and an end that takes everything along."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from alibabacloud_ecs20140526.client import Client
from alibabacloud_ecs20140526.models import DescribeImagesRequest
from alibabacloud_tea_openapi.models import Config
from Tea.exceptions import TeaException

from tests.waiting import PATIENCE


def start(*words: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    command = [sys.executable, "-m", "simulator.cloud", *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def client(ready: dict[str, Any], secret: str = "") -> Client:
    config = Config(
        access_key_id=ready["access_key_id"],
        access_key_secret=secret or Path(ready["secret_file"]).read_text().strip(),
        endpoint=ready["endpoint"],
        ca=ready["certificate"],
    )
    return Client(config)


@pytest.mark.parametrize("end", ["stdin", "signal"])
def test_ready_line_then_a_region_then_an_end(tmp_path: Path, end: str) -> None:
    words = [
        "--directory",
        str(tmp_path / "region"),
        "--exit-with-stdin",
        "--region",
        "eu-central-1",
        "--zone",
        "a",
    ]
    process, ready = start(*words, "--deny", "Delete*")
    try:
        assert (ready["region"], ready["zones"]) == ("eu-central-1", ["a"])
        told = client(ready).describe_images(DescribeImagesRequest(region_id="eu-central-1"))
        assert {row.image_id for row in told.body.images.image} == set(ready["images"])
        with pytest.raises(TeaException, match="SignatureDoesNotMatch"):
            client(ready, "wrong").describe_images(DescribeImagesRequest(region_id="eu-central-1"))
        assert Path(ready["secret_file"]).stat().st_mode & 0o077 == 0
        assert all("secret" not in word for word in psutil.Process(process.pid).cmdline())
        if end == "stdin":
            process.stdin.close()  # type: ignore[union-attr]
        else:
            process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
        if not process.stdin.closed:  # type: ignore[union-attr]
            process.stdin.close()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--image", "m=sparc"], "architecture"),
        (["--faults", "FILE"], "action"),
        (["--faults", "MISSPELT"], "did you mean RunInstances"),
    ],
)
def test_what_it_cannot_do_is_one_line(tmp_path: Path, words: list[str], says: str) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('[{"call": "*", "action": "explode"}]')
    misspelt = tmp_path / "misspelt.json"
    misspelt.write_text('[{"call": "RunInstance", "action": "cut"}]')
    files = {"FILE": str(rules), "MISSPELT": str(misspelt)}
    command = [
        sys.executable,
        "-m",
        "simulator.cloud",
        *(files.get(word, word) for word in words),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr
