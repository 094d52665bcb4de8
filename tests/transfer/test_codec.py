"""The level follows from measured rates; conveyors bound and end."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import BadInput
from connector.transfer.codec import LEVELS, SPEED, Choice, Packer, Unpacker
from connector.transfer.conveyor import Closed, Conveyor
from connector.transfer.wire import Codec
from tests.transfer.conftest import MIB
from tests.waiting import PATIENCE


def seasoned(saving: float = 0.7, speed: float = 1.0) -> Choice:
    choice = Choice()
    for level in LEVELS[1:] * 30:
        choice.compressed(level, MIB, int(MIB * (1 - saving)), MIB / (SPEED[level] * speed))
    return choice


@pytest.mark.parametrize(
    ("link", "level"),
    [(1.25e6, 3), (12.5e6, 3), (25e6, 3), (50e6, 1), (125e6, -1), (300e6, -5), (3e9, 0), (1e9, 0)],
)
def test_the_slower_the_link_the_higher_the_level(link: float, level: int) -> None:
    assert seasoned().decide(link) == level


def test_what_does_not_compress_goes_plain() -> None:
    assert seasoned(saving=0.01).decide(12.5e6) == 0


def test_a_peer_that_waits_for_a_processor_is_not_taken_for_a_slow_link() -> None:
    assert seasoned(0.5).decide(250e6, strain=4.0) == 0


def test_a_really_slow_link_is_compressed_for_even_on_a_busy_machine() -> None:
    assert seasoned(0.5).decide(5e6, strain=4.0) != 0


def test_without_a_waiting_network_the_level_goes_back_to_none() -> None:
    choice = seasoned()
    assert choice.decide(12.5e6) == 3
    assert [choice.decide(None) for _ in range(20)][-1] == 0


def test_fixed_levels_stay_and_nonsense_is_refused() -> None:
    assert (
        Choice("none").decide(1.0) == 0
        and Choice("19").decide(1e12) == 19
        and Choice("-5").decide(None) == -5
    )
    for mode in ("fast", "", "--3", "3.5", "99", "-99"):
        with pytest.raises(BadInput):
            Choice(mode)


@given(st.binary(min_size=1, max_size=5000), st.sampled_from(["none", "-5", "3"]))
def test_what_is_packed_is_unpacked(plain: bytes, mode: str) -> None:
    codec, payload = Packer(Choice(mode)).pack(memoryview(plain))
    assert Unpacker().unpack(codec, payload, len(plain)) == plain
    assert codec == Codec.NONE or len(payload) < len(plain)


def test_conveyor_bounds_bytes_and_lets_one_large_item_in() -> None:
    lane: Conveyor[int] = Conveyor(10, lambda _: None)
    lane.put(1, 100)
    blocked = threading.Thread(target=lambda: lane.put(2, 1))
    blocked.start()
    blocked.join(0.05)
    assert blocked.is_alive()
    assert lane.take() == 1
    blocked.join(PATIENCE)
    assert lane.take() == 2
    lane.finish()
    assert lane.take() is None and lane.ended


def test_conveyor_abort_wakes_everybody_and_drops_everything() -> None:
    dropped: list[int] = []
    lane: Conveyor[int] = Conveyor(1, dropped.append)
    lane.put(1, 1)
    failed: list[type] = []

    def put() -> None:
        try:
            lane.put(2, 1)
        except Closed:
            failed.append(Closed)

    thread = threading.Thread(target=put)
    thread.start()
    thread.join(0.05)
    lane.abort()
    thread.join(PATIENCE)
    with pytest.raises(Closed):
        lane.put(3, 1)
    with pytest.raises(Closed):
        lane.take()
    assert sorted(dropped) == [1, 2, 3] and failed == [Closed]


def test_conveyor_take_gives_up_after_its_timeout() -> None:
    lane: Conveyor[int] = Conveyor(1, lambda _: None)
    assert lane.take(0.01) is None and not lane.ended and lane.starved > 0
