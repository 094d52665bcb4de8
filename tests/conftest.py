"""What every test needs to be able to rely on, wherever the suite was started."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from tests import warm

# A shell starts background jobs with the interrupt ignored, and children inherit that through exec: tests that
# interrupt a program would wait in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Readline leaves the size of a terminal in the environment of whoever loads it, for all children: none of ours is that terminal.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)

# Where bytecode is not kept, each process that a test starts would compile every module anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A busy machine makes no example wrong.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where simulated clouds keep their one certificate: SDKs keep the trust of their first connection to a port."""
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="session")
def stub() -> Iterator[Path]:
    """A stand-in for the interpreter that starts our services at once (tests/warm.py)."""
    with (
        tempfile.TemporaryDirectory(
            prefix="warm-"
        ) as folder,  # a short path: a socket's has 107 bytes at most
        warm.parent(Path(folder) / "parent") as made,
    ):
        yield made


REAL: Final = sys.executable
#: Rooms whose tests start services of ours again and again.
STARTING = frozenset({"batch", "cli", "console", "control", "integration", "smc"})


@pytest.fixture(autouse=True, scope="module")
def _started_at_once(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.path.parent.name not in STARTING:
        yield
        return
    with warm.in_place(request.getfixturevalue("stub")):
        yield


@pytest.fixture(autouse=True)
def _started_cold(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marker `cold`: with the real interpreter."""
    if request.node.get_closest_marker("cold") is not None:
        monkeypatch.setattr(sys, "executable", REAL)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a fixture of their module run in one worker: each other worker would make it once more."""
    for item in items:
        if _shares(item) and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


def _shares(item: pytest.Item) -> bool:
    """Whether it uses a fixture that its module makes once, besides the one that all modules have."""
    if not isinstance(item, pytest.Function):
        return False
    fixtures = item._fixtureinfo.name2fixturedefs.items()
    return any(name != "_started_at_once" and made[-1].scope == "module" for name, made in fixtures)
