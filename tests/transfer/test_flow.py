"""Rates on a clock that only moves when somebody waits for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.model import Extent
from connector.settings import TransferSettings
from connector.transfer import extents as ranges
from connector.transfer import sender
from connector.transfer.flow import BURST, PIECE, POLL_INTERVAL, Bucket, Flow, Throttle
from connector.transfer.policies import Wrapper
from connector.transfer.source import Block, FileSource
from tests.transfer.conftest import MIB, Job
from tests.transfer.test_transfer import MemorySink, hello, listening
from tests.waiting import PATIENCE

MBIT = 1e6 / 8


class VirtualClock:
    def __init__(self) -> None:
        self.at = 1000.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.at

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        self.waits.append(seconds)
        self.at += seconds


@given(
    st.floats(1e3, 1e9),
    st.lists(st.tuples(st.integers(1, 4 * MIB), st.floats(0, 3)), min_size=1, max_size=60),
)
def test_no_stretch_of_time_carries_more_than_the_rate(rate: float, sends: list[tuple[int, float]]) -> None:
    bucket, now, log = Bucket(0.0), 0.0, []
    for count, idle in sends:
        now += idle
        while (left := bucket.delay(now, rate)) > 0:
            now += left
        bucket.spend(count)
        log.append((now, count))
    for first in range(len(log)):
        sent = sum(count for _, count in log[first:-1])  # what was sent before the last one might begin
        span = log[-1][0] - log[first][0]
        assert sent <= rate * (span + BURST) + 1 + 1e-6 * sent


@given(st.floats(1e4, 1e9), st.integers(50, 200), st.integers(PIECE, MIB))
def test_who_always_has_something_to_send_gets_the_whole_rate(rate: float, times: int, count: int) -> None:
    clock = VirtualClock()
    throttle = Throttle(lambda: rate, clock)
    for _ in range(times):
        throttle.take(count)
    assert clock.at - 1000.0 == pytest.approx((times - 1) * count / rate, rel=1e-3, abs=1e-3)


def test_a_changed_rate_counts_from_the_next_look_on() -> None:
    clock, rates = VirtualClock(), [8 * MBIT]
    throttle = Throttle(lambda: rates[0], clock)
    throttle.take(60 * MIB)  # a minute at this rate
    rates.append(rates.pop() * 1000)
    throttle.take(1)
    assert clock.at - 1000.0 < POLL_INTERVAL
    rates[0] = 1.0
    throttle.take(1)
    throttle.take(100)
    rates[0] = 0.0
    before = clock.at
    throttle.take(1 << 40)
    assert clock.at == before


def test_of_two_limits_the_smaller_one_counts_and_one_that_is_shared_bounds_the_sum() -> None:
    clock, own = VirtualClock(), [100 * MBIT]
    line = Throttle(lambda: 10 * MBIT, clock)
    flows = [Flow(rate=lambda: own[0], shared=line, clock=clock) for _ in range(2)]

    def send(count: int) -> float:
        began, sent = clock.at, 0
        while sent < count:
            sent += sum(flow.take(PIECE) for flow in flows)
        return sent / (clock.at - began)

    assert send(20 * MIB) == pytest.approx(10 * MBIT, rel=0.01)
    own[0] = 2 * MBIT
    assert send(20 * MIB) == pytest.approx(4 * MBIT, rel=0.01)


def test_a_slow_line_is_cut_in_small_pieces_and_a_free_one_is_not() -> None:
    assert Throttle(lambda: 0.0).portion(MIB) == MIB
    assert Throttle(lambda: 1 * MBIT).portion(MIB) == PIECE
    assert Throttle(lambda: 40 * MBIT).portion(MIB) == int(40 * MBIT * BURST)


def test_who_gives_up_leaves_without_waiting_for_its_turn() -> None:
    clock = VirtualClock()
    throttle = Throttle(lambda: 1.0, clock)
    throttle.take(MIB)
    throttle.take(MIB, lambda: True)
    assert clock.waits == []


def test_who_waits_hears_at_once_that_its_turn_has_come() -> None:
    gone = threading.Event()
    throttle = Throttle(lambda: 1.0)
    throttle.take(1000)
    waiting = threading.Thread(target=throttle.take, args=(1, gone.is_set))
    waiting.start()
    gone.set()
    waiting.join(PATIENCE)
    assert not waiting.is_alive()


@pytest.mark.parametrize("connections", [1, 3])
def test_what_crosses_the_wire_is_what_is_limited(job: Job, tmp_path: Path, connections: int) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(2 * MIB) + bytes(range(256)) * 8192 + (tmp_path / "x").name.encode() * MIB)
    source, clock = FileSource(disk), VirtualClock()
    flow = Flow(lambda: "none", lambda: 20 * MBIT, clock=clock)
    sink = MemorySink(source.capacity)
    with listening(job, sink) as peer:
        sent = sender.send(
            source,
            peer.connect,
            hello(source.capacity),
            ranges.whole(source.capacity),
            settings=TransferSettings(connections=connections),
            flow=flow,
        )
    assert sink.content() == disk.read_bytes()
    if connections == 1:  # of several, each moves the clock when it waits
        assert clock.at - 1000.0 == pytest.approx(sent.wire / (20 * MBIT), rel=0.05)
    else:
        assert clock.at - 1000.0 >= sent.wire / (20 * MBIT) * 0.95


class _Halting(Wrapper):
    """Gives out the second half when it is told to."""

    def __init__(self, source: FileSource) -> None:
        super().__init__(source)
        self.go_on = threading.Event()

    def read(self, extents: list[Extent], halt: threading.Event | None = None) -> Iterator[Block]:  # type: ignore[override]
        for number, block in enumerate(self._source.read(extents, halt)):
            if number == 2:
                assert self.go_on.wait(PATIENCE)
            yield block


def test_the_compression_changes_while_a_disk_is_sent(job: Job, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"compressible " * (4 * MIB // 13 + 1))
    source = _Halting(FileSource(disk))
    replication_of, levels = ["none"], []

    def look(seen: sender.SendProgress) -> None:
        levels.append(seen.level)
        replication_of[0] = "9"
        if seen.level == 9:
            source.go_on.set()

    sink = MemorySink(source.capacity)
    with listening(job, sink) as peer:
        sent = sender.send(
            source,
            peer.connect,
            hello(source.capacity),
            ranges.whole(source.capacity),
            flow=Flow(lambda: replication_of[0]),
            progress=look,
        )
    assert levels == sorted(levels)
    assert (levels[0], levels[-1]) == (0, 9)
    assert MIB < sent.wire < 3 * MIB
    assert sink.content() == disk.read_bytes()
