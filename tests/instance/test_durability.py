"""What is on stable storage when a range becomes durable in name."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from connector.instance.disk import Disk
from connector.instance.records import PassBegin
from connector.kinds import RangeState
from connector.model import Extent
from connector.transfer import digest
from tests.transfer.conftest import CELL, MIB


def test_invariant_1_target_then_journal_then_digests_are_flushed_before_a_range_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []
    journal, flush = tmp_path / "journal", os.fdatasync

    def witness(file: int) -> None:
        seen.append((Path(f"/proc/self/fd/{file}").readlink().name, journal.stat().st_size))
        flush(file)

    with closing(Disk(tmp_path, "2000", MIB)) as disk:
        disk.begin(PassBegin("pass-1", "full", "snapshot-1", "id/1", "", ""))
        before = journal.stat().st_size
        monkeypatch.setattr(os, "fdatasync", witness)
        with closing(disk.open_session("pass-1", MIB, lambda: None)) as session:
            data = memoryview(b"x" * CELL)
            session.write(0, data, digest.cells(data))
            assert seen == []
            session.commit([(Extent(0, CELL), RangeState.DATA)])
        after = journal.stat().st_size
        assert seen == [("disk.raw", before), ("journal", after), ("digests", after)] and after > before
        assert disk.finish("pass-1", [Extent(0, CELL)], []) == []
        assert seen[3:] == [("journal", journal.stat().st_size)]
