"""The two vCenters of these tests: vcsim, which we did not write, and the simulator, which knows CBT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.vcenter.session import Session
from tests.vcenter.ledger import Memory
from tests.vcenter.witness import Witness, vcsim


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--recordings",
        metavar="DIR",
        help="hold our reader against the conversations with vCenters that are recorded below DIR",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What `--recordings` found."""
    from tests.vcenter.test_recordings import REPORT

    if told := config.stash.get(REPORT, None):
        terminalreporter.section("recordings")
        for line in told:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    with vcsim(
        tmp_path_factory.mktemp("vcsim"), "-api-version", "8.0.3.0", "-vm", "3", "-app", "1"
    ) as running:
        yield running


@pytest.fixture
def session(witness: Witness) -> Iterator[Session]:
    with Session(witness.settings()) as opened:
        yield opened


@pytest.fixture
def ledger() -> Memory:
    return Memory()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path
