"""The thread around the policy: it acts on what it sees, survives what it cannot see, and ends with its block."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

import vddk.errors
from connector.appliance.progress import PassProgress
from connector.appliance.snapshot_care.governor import Thresholds
from connector.appliance.snapshot_care.guard import Guard
from connector.errors import ConnectorError, Unreachable
from connector.model import DatastoreLoad, Pressure
from connector.sources.reader import ServerBusy
from connector.sources.vddk import explain
from tests.waiting import PATIENCE, eventually

ROOM = Pressure((DatastoreLoad("ds", 100, 50),))
FULL = Pressure((DatastoreLoad("ds", 100, 1),))


def guard(look: Callable[[], Pressure], every: float = 0.01) -> tuple[Guard, PassProgress]:
    board = PassProgress()
    return Guard(look, Thresholds(every=every), board, running=True, disks=1 << 30), board


def refusal() -> ConnectorError:
    """A read that the host refused for want of memory, as a source raises it."""
    cause = vddk.errors.from_value(2, "ReadAsync", "x.vmdk")
    error = explain(cause, "x.vmdk")
    error.__cause__ = cause
    return error


def test_it_gives_back_what_fills_the_datastore_and_says_why() -> None:
    looks = iter([ROOM, ROOM, FULL])
    watched, board = guard(lambda: next(looks, FULL))
    with watched:
        assert watched.given_back.wait(PATIENCE)
        assert watched.pace(8) == 0
    assert board.read()[0].startswith("giving the snapshot back: datastore ds has 1.0% free")
    assert [change["pace"] for change in watched.history] == ["give back"]
    assert not watched._thread.is_alive()


@pytest.mark.parametrize("running", [True, False])
def test_a_datastore_that_may_not_be_read_is_told_once_and_changes_nothing(
    running: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A machine that is off needs no protection: its delta does not grow."""
    looks = iter([1 << 30, 2 << 30, 3 << 30])
    look_ended = threading.Event()

    def look() -> Pressure:
        delta = next(looks, 0)
        if not delta:
            look_ended.set()
        return Pressure((), delta or 4 << 30, unread=("datastore-1",))

    watched = Guard(look, Thresholds(every=0.01), PassProgress(), running=running, disks=1 << 40)
    with watched:
        assert look_ended.wait(PATIENCE)
        assert watched.pace(8) == 8 and not watched.given_back.is_set()
    told = [record.message for record in caplog.records if "datastore-1" in record.message]
    assert len(told) == running


def test_a_vcenter_that_does_not_answer_changes_nothing() -> None:
    asked = threading.Semaphore(0)

    def look() -> Pressure:
        asked.release()
        raise Unreachable("away")

    watched, board = guard(look)
    with watched:
        assert asked.acquire(timeout=PATIENCE) and asked.acquire(timeout=PATIENCE)
        assert watched.pace(8) == 8 and not watched.given_back.is_set()
    assert board.read()[0] == "copying"


def test_a_refusal_of_the_host_slows_at_once_and_other_errors_do_not() -> None:
    looked = threading.Event()

    def look() -> Pressure:
        looked.set()
        return ROOM

    watched, _ = guard(look, every=3600.0)
    with watched:
        assert looked.wait(PATIENCE)
        watched.failed(ConnectorError("something else"))
        assert watched.pace(8) == 8
        watched.failed(refusal())
        for _ in range(500):
            if watched.pace(8) == 4:
                break
            threading.Event().wait(0.01)
        assert watched.pace(8) == 4


@pytest.mark.parametrize(
    ("error", "by"),
    [
        (refusal(), "the host, which had no NFC memory or connections left"),
        (
            ServerBusy("the server is busy (HTTP 503)", retryable=True),
            "the server of its files, which was busy",
        ),
    ],
)
def test_the_reason_says_who_refused_and_why(error: ConnectorError, by: str) -> None:
    watched, _ = guard(lambda: ROOM)
    with watched:
        watched.failed(error)
        reason = eventually(lambda: watched.verdict.reason, "a reason")
    assert reason == f"1 read was refused within a minute by {by}"


def test_a_delta_that_vcenter_does_not_show_now_is_as_large_as_it_was() -> None:
    grown = Pressure(ROOM.stores, delta=1 << 30)
    looks = iter([grown, Pressure(ROOM.stores, measured=False), Pressure(ROOM.stores)])
    watched, _ = guard(lambda: next(looks))
    for _ in range(3):
        watched.once()
    assert [sample.pressure.delta for sample in watched._samples] == [1 << 30, 1 << 30, 0]
