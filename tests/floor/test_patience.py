"""The contract of patience: as long as it says, not a moment after a stop, and only for what may pass."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import pytest

from connector.errors import ConnectorError, ControlFailed, Interrupted, TargetFailed, TransferFailed
from connector.patience import Patience
from tests.waiting import PATIENCE


class Peer:
    """Fails in the given ways, then answers."""

    def __init__(self, *failures: ConnectorError, then: Callable[[], None] = lambda: None) -> None:
        self._failures, self._then, self.calls = list(failures), then, 0

    def __call__(self) -> str:
        self.calls += 1
        if self._failures:
            self._then()
            raise self._failures.pop(0)
        return "answer"


def test_what_passes_is_outlasted() -> None:
    peer = Peer(TransferFailed("down"), TransferFailed("still down"))
    assert Patience(30.0).outlast(peer) == "answer"
    assert peer.calls == 3


@pytest.mark.parametrize(
    "failure",
    [
        TargetFailed("full"),  # not retryable
        ControlFailed("away", retryable=True),  # not of the kinds
        TransferFailed("for good", retryable=False),
        Interrupted("stopped"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_what_does_not_pass_is_raised_as_it_is_at_the_first_time(failure: ConnectorError) -> None:
    peer = Peer(failure)
    with pytest.raises(type(failure)) as raised:
        Patience(30.0, (TransferFailed, TargetFailed, Interrupted)).outlast(peer)
    assert raised.value is failure and peer.calls == 1


def test_a_defect_is_not_outlasted() -> None:
    def broken() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        Patience(30.0).outlast(broken)


def test_without_seconds_there_is_one_call_and_the_last_error_is_raised() -> None:
    peer = Peer(TransferFailed("first"), TransferFailed("second"))
    with pytest.raises(TransferFailed, match="first"):
        Patience(0.0).outlast(peer)
    assert peer.calls == 1


def test_a_call_that_took_long_before_it_failed_is_repeated() -> None:
    now = [0.0]
    peer = Peer(TransferFailed("late"), then=lambda: now.__setitem__(0, now[0] + 60.0))
    assert Patience(2.0, clock=lambda: now[0]).outlast(peer) == "answer"
    assert peer.calls == 2


def test_the_end_comes_on_time_with_the_last_error() -> None:
    failures = [TransferFailed(f"failure {number}") for number in range(100)]
    peer, began = Peer(*failures), time.monotonic()
    with pytest.raises(TransferFailed) as raised:
        Patience(1.0).outlast(peer)
    took = time.monotonic() - began
    assert raised.value is failures[peer.calls - 1]
    assert took >= 1.0 and 1 < peer.calls < 8


@pytest.mark.parametrize("before", [True, False], ids=["before", "meanwhile"])
def test_a_stop_ends_it_at_once(before: bool) -> None:
    halt = threading.Event()
    failure = TransferFailed("down")
    peer = Peer(failure, then=halt.set)
    if before:
        halt.set()
    with pytest.raises(TransferFailed) as raised:
        Patience(3600.0, halt=halt).outlast(peer)
    assert raised.value is failure and peer.calls == 1


def test_a_stop_ends_a_pause() -> None:
    halt = threading.Event()
    peer = Peer(*(TransferFailed("down") for _ in range(100)))
    ended: list[ConnectorError] = []

    def wait() -> None:
        try:
            Patience(3600.0, halt=halt).outlast(peer)
        except TransferFailed as failed:
            ended.append(failed)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while peer.calls < 3:
        assert not halt.wait(0.01)
    halt.set()
    waiting.join(PATIENCE)
    assert ended and peer.calls <= 4


def test_the_last_pause_does_not_go_beyond_the_end() -> None:
    times = [0.0]

    class Clocked(threading.Event):
        """Nobody waits: the hours pass by themselves."""

        def wait(self, timeout: float | None = None) -> bool:
            times.append(times[-1] + (timeout or 0.0))
            return False

    peer = Peer(*(TransferFailed("down") for _ in range(1000)))
    with pytest.raises(TransferFailed):
        Patience(20.0, halt=Clocked(), clock=lambda: times[-1]).outlast(peer)
    assert times[-1] == pytest.approx(20.0)
    assert max(after - before for before, after in itertools.pairwise(times)) <= 5.0
    assert peer.calls < 20
