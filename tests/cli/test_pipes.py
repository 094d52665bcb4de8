"""A pipe that nobody writes into, named where a file is expected: one line at once, never a wait."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from connector import readable
from connector.cli.main import main
from connector.errors import BadInput
from connector.transfer.image import RawImage, open_image
from connector.transfer.source import FileSource

VCENTER = ("--vcenter", "https://127.0.0.1:9")
PIN = ("--thumbprint", "AA:" * 31 + "AA")
CONTROL = ("--endpoint", "https://127.0.0.1:9", "--access-key-id", "k")
COMMANDS = {
    "manifest": ("verify", "PIPE"),
    "wave": ("batch", "validate", "PIPE"),
    "sheet": ("batch", "import", "PIPE", "--wave", "w", "--region", "r"),
    "password": ("vm", "list", *VCENTER, *PIN, "--password-file", "PIPE"),
    "authority": ("vm", "list", *VCENTER, "--ca", "PIPE"),
    "secret": ("job", "list", *CONTROL, "--access-key-secret-file", "PIPE"),
    "settings": ("job", "list", "--settings", "PIPE"),
}


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe", 0o600)
    return tmp_path / "pipe"


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_pipe_is_refused_in_one_line(
    words: tuple[str, ...], pipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONNECTOR_VCENTER_PASSWORD", "x")
    assert main([str(pipe) if word == "PIPE" else word for word in words]) != 0
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert str(pipe) in said
    assert "no regular file" in said or "no certificate" in said


@pytest.mark.parametrize("program", ["connector.control", "connector.appliance"])
def test_a_service_refuses_a_pipe_as_its_configuration(program: str, pipe: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", program, "--config", str(pipe)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "no regular file" in done.stdout + done.stderr


def test_a_pipe_is_no_image(pipe: Path) -> None:
    with pytest.raises(BadInput, match="no regular file"):
        open_image(pipe)
    with pytest.raises(BadInput, match="no regular file"):
        RawImage(pipe)
    with pytest.raises(BadInput, match="no regular file"):
        FileSource(pipe)


def test_only_what_ends_is_read(tmp_path: Path, pipe: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert readable.content(tmp_path / "file") == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        readable.content(tmp_path / "file", 4)
    with pytest.raises(OSError, match="it is a directory"):
        readable.content(tmp_path)
    for never in (pipe, Path("/dev/zero"), Path("/dev/tty0"), Path("/dev/null")):
        with pytest.raises(OSError):
            readable.content(never)
        with pytest.raises(OSError):
            readable.opened(never, devices=True)


def test_what_a_shell_hands_over_is_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"secret\n")
    os.close(writing)
    try:
        assert readable.text(Path(f"/dev/fd/{reading}")) == "secret\n"
    finally:
        os.close(reading)
