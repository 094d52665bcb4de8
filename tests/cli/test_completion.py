"""Shells complete commands and flags with the script that `connector completion` prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from connector.cli.completion import SHELLS
from tests.cli.conftest import Connector

CONNECTOR = Path(sys.executable).parent / "connector"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_that_the_shell_can_read(shell: str, run: Connector, tmp_path: Path) -> None:
    script = run("completion", shell).out
    assert "_CONNECTOR_COMPLETE" in script
    if shutil.which(shell) is None:
        pytest.skip(f"needs the package {shell}")
    file = tmp_path / "completion"
    file.write_text(script)
    assert subprocess.run([shell, "-n", file], capture_output=True, text=True).stderr == ""


OFFERS = {
    "connector jo": {"job"},
    "connector job st": {"start", "stop"},
    "connector job cutover --sy": {"--sync"},
    "connector source list --state In": {"InUse"},
    "connector token create --co": {"--count", "--code-file"},
}


def test_bash_completes_commands_flags_and_values() -> None:
    asked = "\n".join(
        f"""COMPREPLY=(); COMP_WORDS=({line}); COMP_CWORD={len(line.split()) - 1}
        _connector_completion connector; echo "${{COMPREPLY[@]}}" """
        for line in OFFERS
    )
    script = f'eval "$({CONNECTOR} completion bash)"\n{asked}'
    path = f"{CONNECTOR.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=dict(os.environ) | {"PATH": path}
    )
    assert [set(line.split()) for line in done.stdout.splitlines()] == list(OFFERS.values()), done.stderr
