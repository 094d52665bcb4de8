"""The whole house from the outside: real processes, a vCenter of the test's own, images compared with its true bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.command import Command, Outcome
from tests.integration.house import House, Shape, house

Start = Callable[..., Command]
Run = Callable[..., Outcome]


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    with ExitStack() as stack:
        yield lambda *shapes: stack.enter_context(house(tmp_path, shapes))


@pytest.fixture
def web(make_house: Callable[..., House]) -> House:
    """A vCenter with one running machine, web-01, of two disks."""
    return make_house(Shape("web-01"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `connector WORDS`; further keywords are environment variables."""
    running: list[Command] = []

    def begin(words: list[str], **environment: str) -> Command:
        running.append(Command(words, tmp_path, environment))
        return running[-1]

    yield begin
    for command in running:
        command.end()


@pytest.fixture
def run(start: Start) -> Run:
    """Run `connector WORDS` to its end; afterwards no process of it is left."""

    def complete(words: list[str], **environment: str) -> Outcome:
        command = start(words, **environment)
        outcome = command.wait()
        command.gone()
        return outcome

    return complete
