"""State that others could read is closed; state that others could change, or that is somebody else's, is refused."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest

from connector import private
from connector.errors import BadInput


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_directory_is_ours_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private.directory(tmp_path / "a" / "state")
        private.file(tmp_path / "a" / "state" / "control.sqlite")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a" / "state") == 0o700
    assert mode(tmp_path / "a" / "state" / "control.sqlite") == 0o600


@pytest.mark.parametrize("given", [0o755, 0o750, 0o711, 0o701])
def test_what_others_could_read_is_closed_and_said(
    given: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    for name in ("control.sqlite", "control.sqlite-wal"):
        (state / name).touch(0o644)
        (state / name).chmod(0o644)
    state.chmod(given)
    with caplog.at_level(logging.WARNING):
        private.directory(state)
    assert mode(state) == 0o700
    assert {mode(entry) for entry in state.iterdir()} == {0o600}
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"others could look into {state}; it is closed now (mode 0700)",
        f"others could read files in {state}; closed now: control.sqlite, control.sqlite-wal",
    ]
    caplog.clear()
    private.directory(state)
    assert not caplog.records


@pytest.mark.parametrize("given", [0o777, 0o770, 0o722, 0o1777])
def test_where_others_can_write_nothing_is_trusted(given: int, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(given)
    with pytest.raises(
        BadInput, match=rf"others can write in this directory \(mode {given:04o}\).*chmod 700"
    ):
        private.directory(state)
    assert mode(state) == given


def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(state, 65534, 65534)
    else:
        state = Path("/usr")
    with pytest.raises(BadInput, match="belongs to the user with the id"):
        private.directory(state)


def test_a_file_that_is_there_keeps_its_content_and_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("kept")
    (tmp_path / "x").chmod(0o644)
    private.file(tmp_path / "x")
    assert ((tmp_path / "x").read_text(), mode(tmp_path / "x")) == ("kept", 0o600)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="no regular file"):
        private.file(tmp_path / "pipe")


def test_state_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot use this directory"):
        private.directory(tmp_path / "file" / "state")
