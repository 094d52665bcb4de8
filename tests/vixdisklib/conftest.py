"""One compiled driver per run; an estate and a client factory per test."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from simulator.vixdisklib import Sanitizer, install
from tests.vixdisklib.client import Client
from tests.vixdisklib.estate import GRAIN, Estate, Layer

Start = Callable[..., Client]


def compile_driver(target: Path, *flags: str) -> Path:
    source = Path(__file__).with_name("driver.c")
    command: list[str | Path] = [
        "cc",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        *flags,
        "-o",
        target,
        source,
        "-pthread",
        "-ldl",
    ]
    subprocess.run(command, check=True)
    return target


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_driver(tmp_path_factory.mktemp("driver") / "driver")


@pytest.fixture
def estate(tmp_path: Path) -> Estate:
    return Estate(tmp_path / "estate")


@pytest.fixture
def layers(estate: Estate) -> list[Layer]:
    """Three layers, a capacity that is no multiple of a grain, published as snapshot-7."""
    capacity = 40 * GRAIN + 512
    base = estate.layer("base", capacity, mapped=False, g0=b"a" * GRAIN, g1=b"b" * GRAIN, g40=b"c" * GRAIN)
    middle = estate.layer("delta1", capacity, g1=b"d" * GRAIN, g2=b"e" * GRAIN)
    top = estate.layer("delta2", capacity, g2=b"f" * GRAIN, g33=bytes(GRAIN))
    estate.view([top, middle, base])
    return [top, middle, base]


@pytest.fixture
def start(driver: Path, estate: Estate, tmp_path: Path) -> Iterator[Start]:
    """Starts a client against an installation with the given switches."""
    with ExitStack() as stack:

        def begin(
            *,
            environment: dict[str, str] | None = None,
            sanitize: Sanitizer | None = None,
            **switches: object,
        ) -> Client:
            folder = install(tmp_path / "install", estate.root, sanitize=sanitize, **switches)
            return stack.enter_context(Client(driver, folder, tmp_path, **(environment or {})))

        yield begin
