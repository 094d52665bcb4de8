"""`python -m simulator` as a child process: the ready line, a client, a restart, clean ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyVim.connect import Disconnect, SmartConnect

from tests.waiting import PATIENCE

SMALL = ("--vms", "0", "--fillers", "2", "--no-vddk")


@contextmanager
def running(*arguments: str, **options: Any) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    environment = {name: value for name, value in os.environ.items() if name != "SIMULATOR_PASSWORD"}
    child = subprocess.Popen(
        [sys.executable, "-m", "simulator", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment | options.pop("env", {}),
    )
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        assert line, child.stderr.read() if child.stderr else ""
        yield child, json.loads(line)
    finally:
        child.terminate()
        child.wait(PATIENCE)
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()


def names(ready: dict[str, Any]) -> list[str]:
    """Log in as the ready line says, with a verified certificate."""
    context = ssl.create_default_context(cafile=ready["certificate"])
    password = Path(ready["password_file"]).read_text()
    host, _, port = ready["url"].removeprefix("https://").removesuffix("/sdk").partition(":")
    instance = SmartConnect(host=host, port=int(port), user=ready["user"], pwd=password, sslContext=context)
    try:
        folder = instance.content.rootFolder.childEntity[0].vmFolder
        return [vm.name for vm in folder.childEntity]
    finally:
        Disconnect(instance)


def test_a_temporary_estate_is_served_and_removed() -> None:
    with running(*SMALL) as (child, ready):
        assert names(ready) == ["idle-00001", "idle-00002"]
        assert ready["pid"] == child.pid
        assert len(ready["thumbprint"].split(":")) == 20
        assert len(ready["thumbprint_sha256"].split(":")) == 32
        assert stat.S_IMODE(Path(ready["password_file"]).stat().st_mode) == 0o600
        access = Path(ready["directory"]) / "export" / "access"
        assert stat.S_IMODE(access.stat().st_mode) == 0o600
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE) == 0
        assert child.stderr is not None
        said = child.stderr.read()
        assert "GOVC_URL" in said
        assert Path(ready["password_file"]).exists() is Path(ready["directory"]).exists() is False


@pytest.mark.parametrize("how", ["kill", "stdin"])
def test_a_kept_estate_keeps_password_thumbprint_and_machines(tmp_path: Path, how: str) -> None:
    arguments = (*SMALL, "--directory", str(tmp_path / "kept"), "--exit-with-stdin")
    with running(*arguments) as (child, first):
        before, password = names(first), Path(first["password_file"]).read_text()
        if how == "kill":
            child.kill()
            child.wait(PATIENCE)
        else:
            assert child.stdin is not None
            child.stdin.close()
            assert child.wait(PATIENCE) == 0
    with running(*arguments) as (_, second):
        assert names(second) == before
        assert second["thumbprint"] == first["thumbprint"]
        assert Path(second["password_file"]).read_text() == password


def test_password_faults_and_denials_come_from_outside(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('[{"call": "Login", "action": "fault", "fault": "InvalidLogin", "times": 1}]')
    with running(*SMALL, "--faults", str(rules), env={"SIMULATOR_PASSWORD": "from outside"}) as (_, ready):
        assert Path(ready["password_file"]).read_text() == "from outside"
        with pytest.raises(Exception, match="injected"):
            names(ready)
        assert len(names(ready)) == 2


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('"call": "Login", "action": "explode"', "fault rule for Login: action 'explode'"),
        ('"call": "CreateSnapshot", "action": "delay"', "there is no such call; did you mean "),
        ('"call": "task:RemoveSnapshot", "action": "fault"', "task:RemoveSnapshot_Task"),
        ('"call": "estate.trak", "action": "answer"', "did you mean estate.track"),
        ('"call": "estate.consolidate", "action": "cut"', "nothing carries out the action 'cut' there"),
        ('"call": "done:RemoveSnapshot_Task", "action": "cut"', "nothing carries out the action 'cut' there"),
        ('"call": "task:RemoveSnapshot_Task", "action": "answer"', "the action 'answer' there"),
        ('"call": "estate.freeze", "action": "answer"', "the action 'answer' there"),
        ('"call": "folder.read", "action": "fault"', "the action 'fault' there"),
        ('"call": "estat.*", "action": "delay"', "fault rule for estat.*: there is no such call"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, rule: str, said: str) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text(f"[{{{rule}}}]")
    done = subprocess.run(
        [sys.executable, "-m", "simulator", *SMALL, "--faults", str(rules)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: fault rule for ") and said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["--vms", "1", "--no-vddk", "--no-guest", "--directory", str(tmp_path), "--port", str(port)]
        done = subprocess.run(
            [sys.executable, "-m", "simulator", *words],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode != 0
    assert f"port {port} of 127.0.0.1 is taken" in done.stderr and "--port" in done.stderr
