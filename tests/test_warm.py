"""What is started through the stand-in behaves as what the real interpreter starts."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE, eventually


@pytest.mark.parametrize("words", [["--version"], ["frob"], ["verify", "nowhere"]])
def test_it_says_and_ends_the_same(stub: Path, words: list[str]) -> None:
    real, stand_in = (
        subprocess.run(
            [python, "-m", "connector.cli.main", *words], capture_output=True, text=True, timeout=PATIENCE
        )
        for python in (sys.executable, stub)
    )
    assert (stand_in.returncode, stand_in.stdout, stand_in.stderr) == (
        real.returncode,
        real.stdout,
        real.stderr,
    )


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGKILL])
def test_a_signal_ends_it_and_is_seen_to_have_ended_it(stub: Path, number: signal.Signals) -> None:
    waiting = [str(stub), "-m", "connector.appliance", "--exit-with-stdin"]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        handed_over = f"/proc/{process.pid}/fd/0"  # the stand-in closes it when its order is out
        eventually(lambda: not os.path.lexists(handed_over), "the order is out")
        os.kill(process.pid, number)
        assert process.wait(PATIENCE) == -number
        assert process.stdout is not None
        assert process.stdout.read() == b""  # nobody holds its end of the pipe any more


@pytest.mark.parametrize("first", [b"10", b"", b"{", None], ids=["signal", "nothing", "nonsense", "silence"])
def test_who_gives_no_order_hinders_nobody(stub: Path, first: bytes | None) -> None:
    """Such as a stand-in that was signalled or stopped before its order was out."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as way:
        way.connect(str(stub.parent / "socket"))
        if first:
            way.send(first)
        if first is not None:
            way.shutdown(socket.SHUT_WR)
            assert way.recv(16) == b""
        said = [stub, "-m", "connector.cli.main", "--version"]
        assert subprocess.run(said, capture_output=True, timeout=PATIENCE, check=True).stdout


def test_a_process_that_ends_while_it_is_signalled_hinders_nobody(stub: Path) -> None:
    """Its parent learns of both at once when it is slow."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as way:
        way.connect(str(stub.parent / "socket"))
        parent = struct.unpack("3i", way.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    children = Path(f"/proc/{parent}/task/{parent}/children")
    before = set(children.read_text().split())  # of other tests of this worker
    with subprocess.Popen(
        [stub, "-m", "connector.appliance", "--exit-with-stdin"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as waiting:
        (child,) = eventually(lambda: set(children.read_text().split()) - before, "the process has begun")
        os.kill(parent, signal.SIGSTOP)
        try:
            assert waiting.stdin is not None
            waiting.stdin.close()
            eventually(lambda: " Z " in Path(f"/proc/{child}/stat").read_text(), "the process has ended")
            for _ in range(3):
                os.kill(waiting.pid, signal.SIGUSR1)
        finally:
            os.kill(parent, signal.SIGCONT)
        assert waiting.wait(PATIENCE) == 12
    said = [stub, "-m", "connector.cli.main", "--version"]
    assert subprocess.run(said, capture_output=True, timeout=PATIENCE, check=True).stdout
    os.kill(parent, 0)


def test_without_a_parent_the_real_interpreter_runs_it(stub: Path, tmp_path: Path) -> None:
    orphan = tmp_path / "python"
    orphan.write_text(stub.read_text().replace(str(stub.parent / "socket"), str(tmp_path / "socket")))
    orphan.chmod(0o700)
    said = [orphan, "-m", "connector.cli.main", "--version"]
    assert subprocess.run(said, capture_output=True, timeout=PATIENCE, check=True).stdout


def test_what_is_not_ours_is_run_by_the_real_interpreter(stub: Path) -> None:
    said = subprocess.run([stub, "-c", "print(6 * 7)"], capture_output=True, timeout=PATIENCE, check=True)
    assert said.stdout == b"42\n"
