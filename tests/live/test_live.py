"""The facts hold in the simulator, which was written from them; and where it is made to differ, that is found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from connector.vcenter.client import VCenter
from simulator.nfc import Switches
from tests.live import other_facts
from tests.live.__main__ import rows
from tests.live.facts import Fact, Outcome, Site, every
from tests.live.nfc_facts import FACTS as NFC
from tests.vcenter.imaginary import MIB, World, world
from tests.vcenter.ledger import Memory

OTHER = other_facts.facts(None, "nbdssl")
#: Not shown by the simulator: it serves files of hosts at its own port, and no VDDK is named.
ELSEWHERE = {"H2", "V1"}


@pytest.fixture(scope="module")
def lab() -> Iterator[tuple[World, Site]]:
    with (
        world() as place,
        VCenter(place.settings(), owner="site-a", ledger=Memory()) as vcenter,
    ):
        disk = place.estate.storage.disk(place.estate.inventory.vm(place.vm).disks[1].storage)
        disk.write(0, Random(3).randbytes(3 * MIB))
        vcenter.ensure_tracking(place.vm, "p0")
        with vcenter.snapshot(place.vm, "p1") as snapshot:
            yield place, Site(vcenter, vcenter.find(place.vm), snapshot, snapshot.disks[1])


@pytest.mark.parametrize("fact", every(NFC, OTHER), ids=lambda fact: fact.id)
def test_the_simulator_shows_it(lab: tuple[World, Site], fact: Fact) -> None:
    (row,) = rows(lab[1], [fact])
    if fact.id in ELSEWHERE:
        assert row.seen.outcome is not Outcome.HOLDS
    else:
        assert row.seen.outcome is Outcome.HOLDS, row.seen.words


@pytest.mark.parametrize(
    ("switches", "refuted"),
    [
        ({"nfc_version": 10}, "N8"),
        ({"second_certificate": "other", "digest_of": "first"}, "N5"),
        ({"first_certificate": "other"}, "N4"),
        ({"lock_live": False}, "N11"),
        ({"capacity_added": 512}, "N10"),
        ({"session_memory": 64 * MIB}, "N9"),
        ({"banner": "220 somebody else"}, "N2"),
    ],
    ids=str,
)
def test_a_site_that_differs_is_found(
    lab: tuple[World, Site], switches: dict[str, Any], refuted: str
) -> None:
    place, site = lab
    hosts = place.server.center.nfc
    assert hosts is not None
    hosts.switches = replace(Switches(), **switches)
    try:
        (row,) = rows(site, [fact for fact in NFC if fact.id == refuted])
    finally:
        hosts.switches = Switches()
    assert row.seen.outcome is Outcome.REFUTED and row.seen.words


def test_no_id_stands_for_two_facts() -> None:
    ids = [fact.id for fact in every(NFC, OTHER)]
    assert len(set(ids)) == len(ids)
