"""Lists of files to remove from a converted copy (R15 to R22): what they mean, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.conversion import removals
from connector.conversion.removals import RemovalEntry, RemovedFile
from connector.errors import BadInput

MOUNTS = {"/": "/dev/sda2", "/mnt/disk1": "/dev/sdb1", "/boot": "/dev/sda1"}
TREE = {
    "/var/log/app": True,
    "/home/old": True,
    "/root/dump.bin": False,
    "/mnt/disk1/cache": True,
    "/srv/link": False,
}


class Tree:
    """See `RemovableFiles`."""

    def is_directory(self, path: str) -> bool | None:
        return TREE.get(path)

    def usage(self, path: str) -> int:
        return len(path)


def lists(directory: Path, **content: str) -> Path:
    for name, text in content.items():
        (directory / f"rsync_excludes_{name}.txt").write_text(text)
    return directory


def planned(directory: Path) -> tuple[list[RemovedFile], list[str]]:
    gone, notes = removals.plan(removals.read(directory), Tree(), MOUNTS)
    return list(gone), list(notes)


def test_r15_r16_r20_the_list_of_the_system_disk(tmp_path: Path) -> None:
    text = "# logs\n/var/log/app/\n\n/root/dump.bin\n/var/log/app/yesterday\n"
    gone, notes = planned(lists(tmp_path, linux=text))
    assert gone == [RemovedFile("/var/log/app", True, 12), RemovedFile("/root/dump.bin", False, 14)]
    assert notes == []


def test_r17_r21_the_list_of_a_data_disk(tmp_path: Path) -> None:
    gone, notes = planned(lists(tmp_path, linux_disk1="/cache/\n", linux_disk2="/x\n"))
    assert [removal.path for removal in gone] == ["/mnt/disk1/cache"]
    assert "data disk 2 is not mounted at one place" in notes[0]


def test_r18_a_missing_list_and_a_missing_file_are_no_error(tmp_path: Path) -> None:
    assert removals.read(tmp_path) == ()
    assert planned(lists(tmp_path, linux="/nowhere/\n")) == ([], [])


def test_a_directory_without_its_slash_stays(tmp_path: Path) -> None:
    gone, notes = planned(lists(tmp_path, linux="/home/old\n/root/dump.bin/\n"))
    assert gone == []
    assert ["/home/old is a directory" in notes[0], "/root/dump.bin is no directory" in notes[1]] == [
        True,
        True,
    ]


def test_a_link_goes_as_a_file(tmp_path: Path) -> None:
    assert planned(lists(tmp_path, linux="/srv/link\n"))[0] == [RemovedFile("/srv/link", False, 9)]


@pytest.mark.parametrize(
    "line", ["/", "/etc/", "//usr//", "/var/.", "relative", "/a/../../etc", "/home/*", "/x[1]"]
)
def test_r22_a_line_that_cannot_be_meant_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(BadInput, match="line 1"):
        removals.read(lists(tmp_path, linux=f"{line}\n"))


def test_r19_a_list_for_windows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is no list for a Linux"):
        removals.read(lists(tmp_path, win="/MyDirs/\n"))


def test_a_list_from_an_editor_of_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / "rsync_excludes_linux.txt").write_bytes("\ufeff/home/old/\r\n".encode())
    (entry,) = removals.read(tmp_path)
    assert entry == RemovalEntry(0, "/home/old", True, f"{tmp_path}/rsync_excludes_linux.txt, line 1")
