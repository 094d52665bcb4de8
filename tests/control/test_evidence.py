"""Evidence at the control plane: only what is signed and of the pass comes in, and comes out byte for byte."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from connector.clients.agents import Membership
from connector.errors import BadInput, Conflict, EvidenceDamaged, NotFound
from connector.transfer import evidence
from tests.control.conftest import Plane, machine
from tests.waiting import eventually


@pytest.fixture
def vm() -> str:
    return f"vm-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def member(shared_plane: Plane, vm: str) -> Membership:
    found: Membership = shared_plane.enrol(vm, f"https://{vm}")
    return found


@pytest.fixture
def order(shared_plane: Plane, member: Membership, vm: str) -> Iterator[dict[str, Any]]:
    """A pass that this test's appliance carries."""
    client = shared_plane.client(member)
    client.put_sources([machine("vm-1", vm)], {})
    shared_plane.jobs.create(vm, vm, audit=0.5, accept_removed_disks=True)
    shared_plane.jobs.start(vm, audit=1.0)
    found = eventually(lambda: client.take(0.2), "a pass is offered")
    yield found
    shared_plane.done(member, found)
    shared_plane.reach(vm, "Finished")
    client.close()


def test_it_is_kept_and_exported(
    shared_plane: Plane, member: Membership, order: dict[str, Any], vm: str
) -> None:
    assert (order["audit"], order["accept_removed_disks"]) == (1.0, True)
    jobs, pass_id = shared_plane.jobs, order["pass_id"]
    assert jobs.evidence(vm) == []
    signer = shared_plane.members[member.appliance_id][1]
    made = shared_plane.evidence(member, order, note="größer")
    for _ in range(2):
        shared_plane.client(member).evidence(pass_id, made)
    (entry,) = jobs.evidence(vm)
    assert (entry["pass_id"], entry["size"]) == (pass_id, len(made))
    assert entry["fingerprint"] == evidence.fingerprint(signer.public)
    assert evidence.from_pem(entry["key"].encode()) == signer.public
    assert jobs.manifest(vm, pass_id) == made
    assert jobs.job(vm)["evidence"] == [entry]
    for job, wanted, error in ((vm, "p-none", BadInput), ("no-such-job", pass_id, NotFound)):
        with pytest.raises(error):
            jobs.manifest(job, wanted)


def test_what_is_no_evidence_of_this_pass_is_refused(
    shared_plane: Plane, member: Membership, order: dict[str, Any], vm: str
) -> None:
    client, pass_id = shared_plane.client(member), order["pass_id"]
    made = shared_plane.evidence(member, order, note="größer")
    with pytest.raises(EvidenceDamaged, match="section pass"):
        client.evidence(pass_id, made.replace(b"\\u00f6", b"\\u00f7"))
    with pytest.raises(EvidenceDamaged):
        client.evidence(pass_id, b"{}")
    stranger = shared_plane.enrol(f"{vm}-x", f"https://{vm}")
    with pytest.raises(Conflict, match="not yours"):
        shared_plane.client(stranger).evidence(pass_id, made)
    assert shared_plane.jobs.evidence(vm) == []


@pytest.mark.parametrize("share", ["-10%", "110%", "all"])
def test_a_share_that_is_none_is_refused(
    shared_plane: Plane, member: Membership, vm: str, share: object
) -> None:
    shared_plane.client(member).put_sources([machine("vm-1", vm)], {})
    with pytest.raises(BadInput, match="Audit"):
        shared_plane.jobs.create(vm, vm, audit=share)
