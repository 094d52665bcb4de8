"""`connector job former-disks`: shown, put back and let go; nothing is done without a yes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from connector.control.domain.entities import HandOverState
from connector.control.store import Store
from tests.cli.conftest import Connector
from tests.control.conftest import machine
from tests.smc.conftest import Cloud, fresh
from tests.smc.test_requirements import existing_machine


@pytest.fixture
def handed_over(cloud: Cloud) -> Callable[[], str]:
    """A job whose image is on the disks of a machine, by the database: nothing of it is in the target."""

    def make() -> str:
        name = fresh("vm")
        _, ids = cloud.sources(machine("vm-1", name, 1))
        cloud.plane.jobs.create(ids[name], name)
        store = Store(cloud.database)
        job = store.jobs.get(name).id
        store.hand_overs.begin(job, existing_machine(cloud, name="app-01"))
        store.resources.record(
            job, f"former-{job}", place="cloud", kind="former disk", reference="/former/app-01"
        )
        store.hand_overs.end(job, HandOverState.DONE, of=HandOverState.BEGUN)
        store.close()
        return name

    return make


def test_a_job_without_a_target_instance_says_so(cloud: Cloud, connector: Connector) -> None:
    name = fresh("vm")
    _, ids = cloud.sources(machine("vm-1", name, 1))
    cloud.plane.jobs.create(ids[name], name)
    ended = connector("job", "former-disks", name, code=3)
    assert "has put no image onto a target instance" in ended.err


def test_they_are_shown(handed_over: Callable[[], str], connector: Connector) -> None:
    name = handed_over()
    ended = connector("job", "former-disks", name)
    assert "target instance app-01: the image is on its disks; the former disks are kept" in ended.out
    assert "/former/app-01" in ended.out
    row = connector("job", "former-disks", name, "--json").json
    assert (row["State"], row["Disks"]["Disk"][0]["Reference"]) == ("Done", "/former/app-01")


def test_two_ways_at_once_are_refused_and_nothing_is_done(
    handed_over: Callable[[], str], connector: Connector
) -> None:
    name = handed_over()
    for words in (("--put-back", "--release"), ("--release", "--put-back")):
        refused = connector("job", "former-disks", name, *words, "--yes", code=2)
        assert "--put-back and --release exclude each other; give one of them" in refused.err
    assert connector("job", "former-disks", name, "--json").json["State"] == "Done"


def test_what_the_target_refuses_is_said_and_can_be_repeated(
    handed_over: Callable[[], str], cloud: Cloud, connector: Connector
) -> None:
    """The machine is gone, and with it what could be put back."""
    name = handed_over()
    machine_of = cloud.plane.root / "store" / "machines" / "app-01"
    elsewhere = machine_of.rename(machine_of.with_name("elsewhere"))
    refused = connector("job", "former-disks", name, "--put-back", "--yes", code=9)
    assert "target instance app-01: does not exist here" in refused.err
    assert "then run the same command again" in refused.err
    elsewhere.rename(machine_of)
    assert (
        "it has its former disks again" in connector("job", "former-disks", name, "--put-back", "--yes").out
    )


@pytest.mark.parametrize(
    ("option", "question", "outcome"),
    [
        (
            "--put-back",
            "put the former disks of app-01 back?",
            "it has its former disks again, and is stopped",
        ),
        ("--release", "remove the former disks of app-01?", "the former disks are removed"),
    ],
)
def test_nothing_is_done_without_a_yes(
    handed_over: Callable[[], str], connector: Connector, option: str, question: str, outcome: str
) -> None:
    name = handed_over()
    refused = connector("job", "former-disks", name, option, code=2)
    assert question in refused.err
    assert "add --yes" in refused.err
    kept = connector("job", "delete", name, "--yes", code=None)
    assert (kept.code != 0, "the former disks of its target instance are kept" in kept.err) == (True, True)
    ended = connector("job", "former-disks", name, option, "--yes")
    assert outcome in ended.out
    assert "/former/app-01" not in ended.out
    other = "--release" if option == "--put-back" else "--put-back"
    refused = connector("job", "former-disks", name, other, "--yes", code=None)
    assert refused.code != 0
    assert "the former disks are" in refused.err
