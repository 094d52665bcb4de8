"""An outage is two lines of the log, however many calls fail in it and whoever makes them."""

from __future__ import annotations

import logging

import pytest

from connector.amounts import span
from connector.errors import ConnectorError, ControlFailed, Unreachable, VCenterFault
from connector.outages import Outages

PEERS: dict[type[ConnectorError], str] = {ControlFailed: "the control plane", Unreachable: "vCenter"}


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def told() -> tuple[Outages, list[str], list[float]]:
    log, lines, now = logging.Logger("connector.test"), _Lines(), [1000.0]
    log.addHandler(lines)
    return Outages(log, PEERS, clock=lambda: now[0]), lines.lines, now


def test_an_outage_is_said_at_its_beginning_and_at_its_end(
    told: tuple[Outages, list[str], list[float]],
) -> None:
    outages, lines, now = told
    for number in range(107):
        now[0] += 1.0
        outages.missed(f"call {number}", ControlFailed("no answer", on="https://control", remedy="start it"))
    outages.heard(ControlFailed, Unreachable)
    outages.heard(ControlFailed)
    first, last = lines
    assert first.startswith("call 0: https://control: no answer; start it")
    assert "it is tried again, and logged when the control plane answers" in first
    assert last == "the control plane answers again after 2 min; calls that failed: 107"


def test_two_peers_have_outages_of_their_own(told: tuple[Outages, list[str], list[float]]) -> None:
    outages, lines, _ = told
    outages.missed("a", ControlFailed("no answer"))
    outages.missed("b", Unreachable("no answer"))
    outages.heard(Unreachable)
    outages.missed("c", Unreachable("no answer"))
    assert [line.partition(":")[0].partition(" ")[0] for line in lines] == ["a", "b", "vCenter", "c"]


def test_what_does_not_pass_by_itself_is_said_each_time(
    told: tuple[Outages, list[str], list[float]],
) -> None:
    outages, lines, _ = told
    for _ in range(3):
        outages.missed("a", VCenterFault("refused"))
        outages.missed("b", ControlFailed("another server answers", retryable=False))
    assert len(lines) == 6


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (12_000, "3 h 20 min")]
)
def test_how_long(seconds: float, said: str) -> None:
    assert span(seconds) == said
