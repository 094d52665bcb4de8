"""What tests ask of processes that may be gone."""

from __future__ import annotations

import subprocess
import sys

import psutil

from tests.processes import addresses, children, command_line, kill, lives, present


def test_a_process_that_ended_after_it_was_listed_is_just_gone() -> None:
    started = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    [listed] = [child for child in children() if child.pid == started.pid]
    assert lives(listed)
    assert "input()" in command_line(listed)
    started.communicate(b"\n")
    assert not lives(listed)
    assert (command_line(listed), addresses(listed), present(listed.pid), children(listed.pid)) == (
        "",
        [],
        [],
        [],
    )
    kill(listed)
    assert not psutil.pid_exists(started.pid)
