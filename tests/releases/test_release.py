"""What earlier releases left is opened by the present code; see fixtures/releases/README.md."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.appliance import configuration as appliance
from connector.batch.parse import parse
from connector.cli.main import main
from connector.control import configuration as control
from connector.control.domain import definition
from connector.control.domain.jobs import BusinessStatus, JobStatus
from connector.control.store import Store
from connector.instance.store import DiskStore
from connector.transfer import evidence
from tests.integration.command import Outcome
from tests.integration.house import MIB, house
from tests.releases.release import RELEASES, Release

ORDERS = {"web-01": [2000, 2001], "mix-01": [2000, 2001], "db-01": [2000, 2001]}
"""Of the disks of each machine's job, by device key: as the release has them, whatever later ones think."""


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest, tmp_path: Path) -> Release:
    return Release(request.param, tmp_path)


def test_the_database_opens_and_its_jobs_are_there_with_their_disks_in_order(release: Release) -> None:
    store = Store(release.database)
    jobs = {job.name: job for job in store.jobs.all()}
    assert {name: job.status for name, job in jobs.items()} == {
        "web-01": JobStatus.WAITING,
        "mix-01": JobStatus.WAITING,
        "db-01": JobStatus.RUNNING,
    }
    assert jobs["db-01"].business is BusinessStatus.SYNCING
    for name, job in jobs.items():
        assert not job.run_once
        disks = definition.disks(job.definition, store.sources.of(job).disks)
        assert [disk.key for disk in disks] == ORDERS[name]
        assert len(store.runs.of(job.id)) == 1
        assert len(store.passes.of(job.id)) == 1
        assert len(store.evidence.of(job.id)) == (0 if name == "db-01" else 1)
    assert [run.job_id for run in store.runs.open()] == [jobs["db-01"].id]
    store.close()


def test_targets_open_with_what_is_durable_and_are_left_as_they_are(release: Release) -> None:
    """An older journal has no roots: it may be compared once, or its root adopted; it is never begun anew."""
    bases = attempts = 0
    for data in sorted(release.root.glob("out/instances/*/data")):
        before = {file: file.read_bytes() for file in data.rglob("disk.raw")}
        disks = DiskStore(data)
        for disk in disks.all():
            about = disk.describe()
            assert (about["capacity"], about["touched"], about["root"]) == (2 * MIB, True, "")
            assert bool(about["doubt"]) is (about["base"] is not None), "a base without roots is compared"
            bases += about["base"] is not None and about["settled"] is True
            attempts += bool(about["attempts"])
        disks.close()
        assert before == {file: file.read_bytes() for file in before}
    assert (bases, attempts) == (4, 2)


@pytest.mark.parametrize("name", ["web-01", "mix-01"])
def test_images_verify_by_the_evidence_beside_them(release: Release, name: str) -> None:
    image = release.images / f"{name}_CYCLE_1"
    key = release.root / "out" / ".connector" / "appliance" / "evidence-key.pub"
    order = ["verify", str(image / "evidence.json"), "--key", str(key), "--json"]
    assert main(order) == 0
    (disk, *_) = sorted(image.glob("*.raw"))
    content = bytearray(disk.read_bytes())
    content[MIB // 3] ^= 1
    disk.write_bytes(content)
    assert main(order) == 10


def test_evidence_is_read_and_any_damage_of_it_found(release: Release) -> None:
    for file in release.images.glob("*/evidence.json"):
        manifest = evidence.read(file.read_bytes())
        assert set(manifest.disks) == {"2000", "2001"}
        damaged = json.loads(file.read_bytes())
        damaged["sections"]["machine"]["name"] = "another"
        file.write_text(json.dumps(damaged))
        assert main(["verify", str(file)]) == 4


def test_configuration_and_manifests_load(release: Release) -> None:
    assert appliance.from_yaml(release.documents / "appliance.yaml").name
    assert control.load(release.documents / "control-plane.yaml").options()
    manifests = sorted(release.documents.glob("manifest*.yaml"))
    assert manifests
    for file in manifests:
        parse(file.read_bytes(), str(file))


@pytest.mark.slow
@pytest.mark.xdist_group("release")  # its instances come back where they were
def test_an_upgrade_between_two_runs_and_in_the_middle_of_the_first(
    release: Release, run: Callable[..., Outcome]
) -> None:
    release.refresh()
    names = ("web-01", "mix-01", "db-01")
    with house(release.root) as made:
        assert {name: made.digests(name) for name in names} == _by_key(release.truth["now"])
        done = run(made.migration(*names, "--incremental"))
        assert done.code == 0, done.stderr
        cycles = {"web-01": 2, "mix-01": 2, "db-01": 1}
        for name, cycle in cycles.items():
            assert made.image(f"{name}_CYCLE_{cycle}") == made.digests(name)
        for name in ("web-01", "mix-01"):
            assert made.image(f"{name}_CYCLE_1") == _by_key(release.truth["copied"])[name]
        for name in names:
            made.write(name)
        done = run(made.migration(*names, "--cutover"))
        assert done.code == 0, done.stderr
        for name in names:
            assert made.image(name) == made.digests(name)
        assert not made.snapshots()


def _by_key(digests: dict[str, dict[str, str]]) -> dict[str, dict[int, str]]:
    return {name: {int(key): value for key, value in disks.items()} for name, disks in digests.items()}
