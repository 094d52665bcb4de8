"""vCenter's times are compared with vCenter's clock: one that is days apart from ours changes nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence

import pytest

from connector.appliance.inventory import Rescan
from connector.model import Finding, Machine
from connector.vcenter.client import VCenter
from simulator.estate.estate import Timing
from tests.vcenter.imaginary import World, world
from tests.vcenter.ledger import Memory

DAYS = 3 * 24 * 3600.0


@pytest.fixture(params=[-DAYS, DAYS], ids=["behind", "ahead"])
def place(request: pytest.FixtureRequest) -> Iterator[World]:
    timing = Timing(snapshot_stun=0, switch_stun=0, guest_shutdown=0.01, clock_ahead=request.param)
    with world(timing=timing) as made:
        yield made


def test_the_time_is_vcenters(place: World) -> None:
    with VCenter(place.settings(), owner="a", ledger=Memory()) as vcenter:
        assert abs(vcenter.now() - time.time() - place.estate.timing.clock_ahead) < 600


def test_a_backup_that_works_now_is_seen(place: World) -> None:
    place.estate.snapshots.create(place.vm, "VEEAM BACKUP TEMPORARY SNAPSHOT")
    with VCenter(place.settings(), owner="a", ledger=Memory()) as vcenter:
        assert vcenter.occupied(place.vm) == "a backup holds its snapshot VEEAM BACKUP TEMPORARY SNAPSHOT"


def test_a_snapshot_of_today_is_not_old(place: World) -> None:
    place.estate.snapshots.create(place.vm, "before the update")
    told: list[Mapping[str, Sequence[Finding]]] = []

    class Registry:
        def put_sources(
            self, _machines: Sequence[Machine], findings: Mapping[str, Sequence[Finding]], _url: str
        ) -> dict[str, str]:
            told.append(findings)
            return {}

        def close(self) -> None:
            """Nothing to close."""

    with VCenter(place.settings(), owner="a", ledger=Memory()) as vcenter:
        Rescan(vcenter, Registry, 3600.0, threading.Event(), watch=False).once()
    assert not [f for findings in told[-1].values() for f in findings if "days old" in f.message]
