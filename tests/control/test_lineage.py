"""What an order says of the targets: the end of each disk's lineage, and why the control plane wants them compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from connector.control.domain.entities import Pass
from connector.control.store import lineage, tables
from connector.transfer import evidence
from connector.transfer.evidence import LineageHead, Signer
from connector.transfer.lineage import Lineage
from tests.control.house import House

ENDS = {"target": "t-1", "generation": 7, "root": "aa", "previous_root": "bb"}


@pytest.fixture
def house(url: str, tmp_path: Path) -> Iterator[House]:
    made = House(url, tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer.load(tmp_path / "key.pem")


def offered(house: House, job: str) -> Pass:
    """The next pass of a job, taken by the appliance."""
    house.service.start(job)
    house.turn()
    taken = house.take()
    assert taken is not None
    return taken


def manifest(signer: Signer, taken: Pass, name: str | None = None) -> bytes:
    disk = {"change_id": "52/1", "lineage": ENDS | {"reading": taken.id}}
    made = {"id": name or taken.id, "reading": taken.id}
    return evidence.seal({"pass": made, "machine": {}, "versions": {}, "disks": {"2000": disk}}, signer)


def lose(house: House, taken: Pass) -> Pass:
    """Its appliance dies; the next attempt at the same pass."""
    house.store.pass_ends.lose(lambda one: one.id == taken.id, "it died")
    again = house.take()
    assert again is not None
    return again


def test_invariant_13_an_order_names_the_head_of_each_disk_and_the_passes_since(
    house: House, signer: Signer
) -> None:
    job = house.incremental()
    first = offered(house, job)
    assert lineage.of(house.store, job) == Lineage(readings=frozenset({first.id}))
    sealed = manifest(signer, first)
    house.store.evidence.put(first, sealed, signer.public_pem)
    second = lose(house, first)
    assert lineage.of(house.store, job) == Lineage(
        {"2000": LineageHead(first.id, "52/1", "t-1", 7, "aa")},
        {"id": first.id, "digest": evidence.digest(sealed)},
        frozenset({second.id}),
    )


@pytest.mark.parametrize("change", ["key", "pass", "bytes", "frame"])
def test_invariant_13_evidence_that_is_not_what_was_kept_has_every_disk_compared(
    house: House, signer: Signer, tmp_path: Path, change: str
) -> None:
    job = house.incremental()
    first = offered(house, job)
    sealed = manifest(signer, first, "p-other" if change == "pass" else None)
    key = Signer.load(tmp_path / "other.pem") if change == "key" else signer
    if change == "bytes":
        sealed = sealed.replace(b"52/1", b"52/9")
    house.store.evidence.put(first, sealed, key.public_pem)
    if change == "frame":
        engine = sa.create_engine(house.store.url)
        with engine.begin() as connection:
            connection.execute(tables.evidence.update().values(packed=b"no frame"))
        engine.dispose()
    ends = lineage.of(house.store, job)
    assert "is damaged" in ends.compare and not ends.heads


def test_invariant_13_a_pass_that_was_done_without_evidence_is_compared(house: House, signer: Signer) -> None:
    job = house.incremental()
    first = offered(house, job)
    house.store.evidence.put(first, manifest(signer, first), signer.public_pem)
    engine = sa.create_engine(house.store.url)
    with engine.begin() as connection:
        done = tables.passes.update().where(tables.passes.c.id == first.id)
        connection.execute(done.values(state="Finished", outcome="done"))
    assert lineage.of(house.store, job).compare == ""
    with engine.begin() as connection:
        connection.execute(tables.evidence.delete())
    engine.dispose()
    assert first.id in lineage.of(house.store, job).compare


def test_invariant_13_what_a_restored_control_plane_demands_reaches_the_order(
    house: House, signer: Signer
) -> None:
    job = house.incremental()
    first = offered(house, job)
    house.store.evidence.put(first, manifest(signer, first), signer.public_pem)
    house.store.jobs.demand_compare("its database was restored")
    ends = lineage.of(house.store, job)
    assert ends.compare == "its database was restored"
    assert ends.disagreement("2000", {"base": None}) == "its database was restored"


def test_an_image_that_the_database_forgot_keeps_its_name(house: House) -> None:
    """The number of a run that was forgotten is given again; its image is not replaced, and nothing is refused."""
    job = house.incremental()
    forgotten = "job-j_CYCLE_1"
    house.cloud.images.append(forgotten)
    house.service.start(job)
    assert house.run(job).error is None
    (image,) = house.store.resources.images(job)
    assert image.name.startswith(forgotten) and image.name != forgotten
