"""Compression is chosen only where it pays: on slow links, never because the processors are busy."""

from __future__ import annotations

import pytest

from connector.transfer.codec import LEVELS, Choice

MB = 1e6


def settled(link: float, strain: float = 1.0) -> int:
    """The level after some intervals in which half of the data could be saved."""
    choice = Choice()
    for _ in range(8):
        choice.decide(link, strain)
    return choice.level


def test_a_slow_link_gets_the_best_compression() -> None:
    assert settled(12.5 * MB) == LEVELS[-1]


def test_a_gigabit_link_gets_some_compression() -> None:
    assert settled(125 * MB) != 0


def test_a_link_as_fast_as_memory_gets_none() -> None:
    assert settled(1000 * MB) == 0


def test_a_peer_that_waits_for_a_processor_is_not_taken_for_a_slow_link() -> None:
    assert settled(250 * MB, strain=4.0) == 0


def test_a_really_slow_link_is_compressed_for_even_on_a_busy_machine() -> None:
    assert settled(5 * MB, strain=4.0) != 0


def test_a_link_that_is_no_longer_the_bottleneck_gets_less_and_less() -> None:
    choice = Choice()
    choice.decide(12.5 * MB)
    assert choice.level
    for _ in range(40):
        choice.decide(None)
    assert choice.level == 0


@pytest.mark.parametrize(("mode", "level"), [("none", 0), ("3", 3), ("-5", -5)])
def test_a_fixed_level_stays(mode: str, level: int) -> None:
    choice = Choice(mode)
    choice.decide(1 * MB)
    assert choice.level == level
