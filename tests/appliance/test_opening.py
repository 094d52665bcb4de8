"""A disk is opened again with a session that is alive; what does not pass is not tried again."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from connector.appliance.passes import opening
from connector.appliance.passes.opening import TRIES, Opening
from connector.appliance.progress import DiskProgress, PassProgress
from connector.appliance.snapshot_care.governor import Thresholds
from connector.appliance.snapshot_care.guard import Guard
from connector.backoff import Backoff
from connector.errors import (
    AuthenticationFailed,
    ConnectorError,
    Interrupted,
    ReaderFailed,
    SessionExpired,
    TrustFailed,
)
from connector.model import DiskAccess, Extent, Pressure
from connector.settings import TransferSettings
from connector.sources.factory import Readers
from connector.sources.reader import HostClosed, HostOverloaded, HostUnavailable, SourceChanged
from connector.sources.vddk import VddkReader
from tests.transfer.conftest import MIB, make_disk
from tests.transfer.test_sources import disk_access, vddk_installation

GOOD = disk_access()
STALE = replace(GOOD, secret="52-session-that-ended", secret_is_cookie=True)
WRONG = replace(GOOD, secret="changed-meanwhile")


class Other(VddkReader):
    """Another reader for these tests: it reads as VDDK does."""

    name = "nfc"


class Desk:
    """Answers with these accesses in turn, the last one again and again."""

    def __init__(
        self,
        home: Path,
        *accesses: DiskAccess,
        broken: Path | None = None,
        choice: str = "auto",
        read_by: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """`broken`: a library that a first reader tries to load, before the one that reads."""
        self._accesses, self.asked, self.stop = list(accesses), 0, threading.Event()
        vddk = vddk_installation(home, make_disk(home / "disk.raw", 4 * MIB))
        first = {} if broken is None else {"vddk": VddkReader(broken)}
        readers = Readers(first | {"nfc": Other(vddk)})
        context: Any = SimpleNamespace(vcenter=self, readers=readers, transfer=TransferSettings())
        order: Any = SimpleNamespace(moref="vm-1", name="web-01", reader=choice, read_by=read_by or {})
        snapshot: Any = None
        disk: Any = SimpleNamespace(key=2000, label="Hard disk 1")
        self.board = PassProgress()
        self.board.add(DiskProgress(2000, "Hard disk 1", 4 * MIB))
        guard = Guard(lambda: Pressure(()), Thresholds(), self.board, running=True, disks=4 * MIB)
        self.open = Opening(context, order, snapshot, disk, self.board, guard, self.stop)

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


def test_another_reader_goes_on_where_one_cannot_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path, GOOD, broken=tmp_path / "nothing")
    with closing(desk.open()) as source:
        assert source.allocated(Extent(0, MIB))
    assert desk.open.read_by == ["nfc"]
    assert desk.board.read()[1][0]["reader"] == "nfc"
    assert "the reader vddk cannot go on, nfc is tried" in caplog.text
    with closing(desk.open()):  # and it stays
        assert desk.open.read_by == ["nfc"]


def test_a_reader_that_the_job_names_is_not_replaced(tmp_path: Path) -> None:
    desk = Desk(tmp_path, GOOD, broken=tmp_path / "nothing", choice="vddk")
    with pytest.raises(ConnectorError, match="nothing"):
        desk.open()


def test_a_reader_that_fails_while_it_reads_is_replaced_for_good(tmp_path: Path) -> None:
    """The last one is not replaced."""
    failed = ReaderFailed("the host's answer is malformed")
    desk = Desk(tmp_path, GOOD, broken=tmp_path / "nothing")
    assert desk.open.next_reader(failed)
    assert not desk.open.next_reader(failed)


@pytest.mark.parametrize(
    "error",
    [
        TrustFailed("another certificate"),
        AuthenticationFailed("refused"),
        HostOverloaded("no memory", retryable=True),
        HostUnavailable("maintenance", retryable=True),
        SourceChanged("the machine's snapshots changed"),
        Interrupted("stopped"),
    ],
    ids=repr,
)
def test_no_reader_is_replaced_after_what_another_one_would_meet_too(
    tmp_path: Path, error: ConnectorError
) -> None:
    assert not Desk(tmp_path, GOOD, broken=tmp_path / "nothing").open.next_reader(error)


def test_readers_of_earlier_attempts_are_kept(tmp_path: Path) -> None:
    desk = Desk(tmp_path, GOOD, read_by={"2000": ("vddk",), "2001": ("https",)})
    with closing(desk.open()):
        assert desk.open.read_by == ["vddk", "nfc"]
    assert desk.board.read()[1][0]["reader"] == "vddk, nfc"


class Waiting(Desk):
    """The disk cannot be opened the first times."""

    state: object = None  # of the disk, when it is opened again
    failed: ConnectorError = HostUnavailable("is in maintenance mode", retryable=True)
    times = 1

    def disk_access(self, *details: object) -> DiskAccess:
        access = super().disk_access(*details)
        if self.asked <= self.times:
            raise self.failed
        self.state = self.board.read()[1][0]["state"]
        return access


def test_while_no_host_serves_the_machine_the_disk_waits_and_then_is_what_it_was(tmp_path: Path) -> None:
    desk = Waiting(tmp_path, GOOD)
    desk.board.update(2000, state="delta")
    with closing(desk.open()):
        assert desk.state == "waiting for the machine's host"
        assert desk.board.read()[1][0]["state"] == "delta"


def test_a_host_without_room_for_one_more_disk_is_waited_for(tmp_path: Path) -> None:
    """Other passes end meanwhile. It counts as no failure, however often it says so."""
    desk = Waiting(tmp_path, GOOD)
    desk.failed, desk.times = HostOverloaded("no NFC memory is left", retryable=True), 2 * TRIES
    with closing(desk.open()):
        assert desk.asked == 2 * TRIES + 1
        assert desk.state == "waiting for the host, which had no NFC memory or connections left"


@pytest.mark.parametrize("retryable", [True, False])
def test_a_host_that_accepts_no_connection_for_a_while_is_waited_for(tmp_path: Path, retryable: bool) -> None:
    """Its agents restart: at a cutover the source is down meanwhile, and nobody else can read it."""
    desk = Waiting(tmp_path, GOOD)
    desk.failed, desk.times = HostClosed("port 902 is closed", retryable=retryable), 2 * TRIES
    with closing(desk.open()):
        assert desk.state == "waiting for the host, which accepts no connection"


def test_a_machine_that_no_host_will_serve_is_not_waited_for(tmp_path: Path) -> None:
    desk = Waiting(tmp_path, GOOD)
    desk.failed = HostUnavailable("the host left for good", retryable=False)
    with pytest.raises(HostUnavailable):
        desk.open()
    assert desk.asked == 1


def test_a_host_that_accepts_no_connection_for_long_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "CLOSED", 0.1)
    desk = Waiting(tmp_path, GOOD)
    desk.failed, desk.times = HostClosed("port 902 is closed"), 10**6
    with pytest.raises(HostClosed):
        desk.open()


def test_where_another_reader_can_go_on_a_closed_port_is_not_waited_for(tmp_path: Path) -> None:
    desk = Waiting(tmp_path, GOOD, broken=tmp_path / "nothing")
    desk.failed, desk.times = HostClosed("port 902 is closed", retryable=True), TRIES
    with closing(desk.open()):
        assert (desk.asked, desk.open.read_by) == (TRIES + 1, ["nfc"])


class Both(Waiting):
    """First no host serves the machine, for longer than a host may be busy; then the new one is busy."""

    def disk_access(self, *details: object) -> DiskAccess:
        if self.asked == 3:
            self.failed = HostOverloaded("no NFC memory is left", retryable=True)
        return super().disk_access(*details)


def test_a_wait_for_memory_does_not_begin_with_the_wait_for_a_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "BUSY", 0.5)
    monkeypatch.setattr(opening, "OPENING", Backoff(0.3, 0.3, spread=False))
    desk = Both(tmp_path, GOOD)
    desk.times = 4
    with closing(desk.open()):
        assert desk.asked == 5


def test_a_host_that_never_has_room_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "BUSY", 0.1)
    desk = Waiting(tmp_path, GOOD)
    desk.failed, desk.times = HostOverloaded("no NFC memory is left", retryable=True), 10**6
    with pytest.raises(HostOverloaded):
        desk.open()
