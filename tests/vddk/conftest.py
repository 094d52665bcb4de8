import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vddk.estate import Estate, build, mapped_blocks
from tests.vddk.oddity import Oddity
from vddk.spec import Installation


@pytest.fixture(scope="session")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Estate:
    return build(tmp_path_factory.mktemp("estate") / "root")


@pytest.fixture(scope="session")
def installation(estate: Estate, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return estate.installation(tmp_path_factory.mktemp("vddk"))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("oddity")


@pytest.fixture
def oddity(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> Oddity:
    return Oddity(compiled, monkeypatch)


@pytest.fixture
def no_leaks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing may remain of what a test did: no open file, no mapping, no temporary directory."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    gc.collect()  # what an earlier test of this process left in cycles is not this one's
    before, mapped = _open_files(), mapped_blocks()
    yield
    left = Counter(_open_files()) - Counter(before)  # what was open before may have been closed meanwhile
    assert not left
    assert list(scratch.iterdir()) == []
    assert mapped_blocks() <= mapped


def _open_files() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:  # the descriptor of this very listing
            continue
    return sorted(name for name in found if not name.startswith("/proc"))
