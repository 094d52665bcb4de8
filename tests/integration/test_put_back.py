"""State that was put back to an older copy while the source and the target went on: said loudly, compared, equal at the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.integration.conftest import Run
from tests.integration.house import MIB, House, Shape, equal

SMALL = ((2 * MIB, MIB), (MIB, MIB // 2))

#: What is put back, below `.connector`.
DATABASE = ("control/control.sqlite",)
ENGINE = ("control/engine.sqlite",)
BOTH = (*DATABASE, *ENGINE)
CONTROL = ("control",)
EVERYTHING = ("control", "appliance")
APPLIANCE = ("appliance",)


def _copy(what: Sequence[str], source: Path, target: Path) -> None:
    """These files, with what SQLite keeps beside them, or directories."""
    for name in what:
        for path in source.glob(f"{name}*"):
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, place)
            else:
                shutil.copy2(path, place)


def _put_back(what: Sequence[str], kept: Path, state: Path) -> None:
    for name in what:
        for path in state.glob(f"{name}*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    _copy(what, kept, state)


def _slow(*values: object) -> object:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("what", "last"),
    [
        (DATABASE, "--cutover"),
        _slow(CONTROL, "--cutover"),
        _slow(EVERYTHING, "--cutover"),
        _slow(BOTH, "--cutover"),
        _slow(ENGINE, "--cutover"),
        _slow(APPLIANCE, "--cutover"),
        _slow(DATABASE, "--incremental"),
        _slow(CONTROL, "--incremental"),
        _slow(EVERYTHING, "--incremental"),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(map(str, value)).replace("/", "-"),
)
def test_a_state_that_is_put_back_between_two_runs_ends_equal(
    make_house: Callable[..., House], run: Run, tmp_path: Path, what: tuple[str, ...], last: str
) -> None:
    house = make_house(Shape("web-01", SMALL))
    state, kept = house.out / ".connector", tmp_path / "kept"
    assert run(house.migration("web-01", "--incremental")).code == 0
    _copy(what, state, kept)
    house.write()
    assert run(house.migration("web-01", "--incremental")).code == 0
    before = house.images()
    _put_back(what, kept, state)
    house.write()
    done = run(house.migration("web-01", last, "--audit", "0"))
    assert done.code == 0, done.stderr
    if what != APPLIANCE:
        assert "was restored" in done.stderr
        assert any("restored" in row["note"] for row in done.disks()), done.disks()
    (image,) = done.result()["images"][-1:]
    assert image["name"] not in before or last == "--incremental"
    equal(house, "web-01", image["name"])
    assert not house.snapshots()
