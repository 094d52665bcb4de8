"""Files that several threads write at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from connector import files

CONTENTS = [bytes([number]) * 20_000 for number in range(65, 73)]


@pytest.mark.parametrize("write", [files.replace, files.make_once])
def test_threads_that_write_the_same_file_leave_one_whole_content(
    tmp_path: Path, write: Callable[[Path, bytes], None]
) -> None:
    with ThreadPoolExecutor(len(CONTENTS)) as threads:
        for number in range(30):
            path = tmp_path / str(number)
            list(threads.map(lambda content, path=path: write(path, content), CONTENTS))  # type: ignore[misc]
            assert path.read_bytes() in CONTENTS
    assert {path.name for path in tmp_path.iterdir()} == {str(number) for number in range(30)}
