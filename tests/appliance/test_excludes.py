"""Lists of files to leave out, as a file-copying client keeps them: an appliance does not start beside one."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.appliance import excludes
from connector.errors import BadInput


@pytest.mark.parametrize(
    "name",
    ["rsync_excludes_linux.txt", "rsync_excludes_win.txt", "rsync_excludes_win_disk1.txt"],
)
def test_r15_r16_r17_r19_r20_r21_r22_a_list_that_names_something_is_refused(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "Excludes").mkdir()
    file = tmp_path / "Excludes" / name
    file.write_text("# what shall stay\n\n/MyDirs/Docs/Words/\n")
    with pytest.raises(BadInput, match="nothing can be left out") as refused:
        excludes.refuse(tmp_path)
    assert refused.value.on == str(file)
    assert "MyDirs" not in str(refused.value)


def test_r18_a_missing_or_empty_list_is_fine(tmp_path: Path) -> None:
    excludes.refuse(tmp_path)
    (tmp_path / "Excludes").mkdir()
    excludes.refuse(tmp_path)
    (tmp_path / "Excludes" / "rsync_excludes_linux.txt").write_text("# nothing\n\n")
    (tmp_path / "Excludes" / "rsync_excludes_win.txt").write_bytes(b"")
    excludes.refuse(tmp_path)
