"""A disk is opened again with a session that is alive; what does not pass is not tried again."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from connector.appliance.passes import opening
from connector.appliance.passes.opening import TRIES, Opening
from connector.appliance.progress import PassProgress
from connector.appliance.snapshot_care.governor import Thresholds
from connector.appliance.snapshot_care.guard import Guard
from connector.backoff import Backoff
from connector.errors import AuthenticationFailed, Interrupted, SessionExpired
from connector.model import DiskAccess, Extent, Pressure
from connector.settings import TransferSettings
from connector.sources.vddk import VddkReader
from tests.transfer.conftest import MIB, make_disk
from tests.transfer.test_sources import disk_access, vddk_installation

GOOD = disk_access()
STALE = replace(GOOD, secret="52-session-that-ended", secret_is_cookie=True)
WRONG = replace(GOOD, secret="changed-meanwhile")


class Desk:
    """Answers with these accesses in turn, the last one again and again."""

    def __init__(self, home: Path, *accesses: DiskAccess) -> None:
        self._accesses, self.asked, self.stop = list(accesses), 0, threading.Event()
        vddk = vddk_installation(home, make_disk(home / "disk.raw", 4 * MIB))
        context: Any = SimpleNamespace(vcenter=self, reader=VddkReader(vddk), transfer=TransferSettings())
        order: Any = SimpleNamespace(moref="vm-1", name="web-01")
        snapshot: Any = None
        disk: Any = SimpleNamespace(key=2000)
        board = PassProgress()
        guard = Guard(lambda: Pressure(()), Thresholds(), board, running=True, disks=4 * MIB)
        self.open = Opening(context, order, snapshot, disk, board, guard, self.stop)

    def disk_access(self, *_: object) -> DiskAccess:
        self.asked += 1
        return self._accesses.pop(0) if len(self._accesses) > 1 else self._accesses[0]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "OPENING", Backoff(0.01, 5.0))


def test_a_session_that_expired_before_the_opening_is_asked_for_anew(tmp_path: Path) -> None:
    desk = Desk(tmp_path, STALE, STALE, GOOD)
    source = desk.open()
    try:
        assert desk.asked == 3 and source.capacity == 4 * MIB
        assert source.allocated(Extent(0, MIB))
    finally:
        source.close()


def test_sessions_that_are_never_alive_end_it_and_no_cookie_is_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path, STALE)
    with pytest.raises(SessionExpired) as raised:
        desk.open()
    assert desk.asked == TRIES and STALE.secret not in str(raised.value)


def test_a_wrong_password_is_not_tried_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path, WRONG)
    with pytest.raises(AuthenticationFailed):
        desk.open()
    assert desk.asked == 1


def test_a_stop_ends_the_pause_before_the_next_opening(tmp_path: Path) -> None:
    desk = Desk(tmp_path, STALE)
    desk.stop.set()
    with pytest.raises(Interrupted):
        desk.open()
    assert desk.asked == 1
