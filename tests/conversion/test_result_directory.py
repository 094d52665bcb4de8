"""A result appears whole or not at all, and takes nobody's place."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from connector.conversion import result_directory
from connector.errors import Conflict, ConnectorError, TargetFailed, TargetFull


def test_what_is_there_stays(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="is already there"), result_directory.new(tmp_path):
        raise AssertionError("nothing may be begun")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, TargetFull),
        (errno.EDQUOT, TargetFull),
        (errno.ENOTEMPTY, Conflict),
        (errno.EACCES, TargetFailed),
    ],
)
def test_an_error_of_the_system_is_one_line(tmp_path: Path, number: int, kind: type[ConnectorError]) -> None:
    with pytest.raises(kind, match=str(tmp_path)), result_directory.new(tmp_path / "x"):
        raise OSError(number, os.strerror(number))


def test_too_little_space_is_said_with_figures(tmp_path: Path) -> None:
    with pytest.raises(TargetFull, match=r"MiB are needed, and \d+ MiB are free; make room"):
        result_directory.require_space(tmp_path, 1 << 60)
