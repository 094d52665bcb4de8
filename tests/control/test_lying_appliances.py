"""Appliances that lie: what they call done is not, and what they call evidence is another's. Each is refused, and said."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from connector.clients.agents import ControlClient, Membership
from connector.errors import BadInput, Conflict, ConnectorError, ControlFailed
from tests.control.conftest import Plane, machine
from tests.control.honest import change_id, manifest, new_signer, put_shown
from tests.waiting import eventually


class Liar:
    """An appliance with an order, which it may or may not carry out."""

    def __init__(self, plane: Plane) -> None:
        self.plane, self.vm = plane, f"vm-{uuid.uuid4().hex[:12]}"
        self.vcenter = f"https://{self.vm}"
        self.member: Membership = plane.enrol(self.vm, self.vcenter)
        self.client: ControlClient = plane.client(self.member)
        self.client.put_sources([machine("vm-1", self.vm)], {})
        plane.jobs.create(self.vm, self.vm, run_once=False)
        self.order = self.begin()

    def begin(self) -> dict[str, Any]:
        """A run, and its pass is taken."""
        self.plane.jobs.start(self.vm)
        found: dict[str, Any] = eventually(lambda: self.client.take(0.2), "a pass is offered")
        self.order = found
        return found

    @property
    def pass_id(self) -> str:
        return str(self.order["pass_id"])

    def sign(self, **changes: Any) -> bytes:
        return self.plane.evidence(self.member, self.order, **changes)

    def says_done(self) -> ConnectorError:
        """The refusal; the job has failed, its log says why, and there is no image of this run."""
        before = len(self.plane.jobs.job(self.vm)["images"])
        with pytest.raises(ControlFailed) as refused:
            self.client.finish(self.pass_id, "done", None, {})
        assert not refused.value.retryable
        job = self.plane.reach(self.vm, "InError")
        assert refused.value.what in job["error"]["what"]
        assert any(entry["kind"] == "refused" for entry in job["events"])
        assert len(job["images"]) == before
        return refused.value


@pytest.fixture
def liar(shared_plane: Plane) -> Liar:
    return Liar(shared_plane)


def test_done_without_evidence(liar: Liar) -> None:
    liar.plane.show(liar.order)
    assert "no evidence of this pass" in liar.says_done().what


def test_done_without_a_byte(liar: Liar) -> None:
    liar.client.evidence(liar.pass_id, liar.sign())
    assert "the instance has no disk 2000" in liar.says_done().what


def test_done_with_the_bytes_of_the_run_before(liar: Liar) -> None:
    liar.plane.done(liar.member, liar.order)
    liar.plane.reach(liar.vm, "Waiting")
    before = liar.pass_id
    liar.begin()
    liar.client.evidence(liar.pass_id, liar.sign())
    said = liar.says_done().what
    assert f"the instance shows reading {before}, the evidence is of {liar.pass_id}" in said


def test_a_change_id_that_was_not_read(liar: Liar) -> None:
    liar.plane.show(liar.order)
    liar.client.evidence(liar.pass_id, liar.sign(change_ids={2001: "52 aa/99"}))
    said = liar.says_done().what
    assert f"has change id {change_id(liar.pass_id, 2001)}, the evidence says 52 aa/99" in said


@pytest.mark.parametrize("accepts", [False, True])
def test_a_disk_that_is_not_named(shared_plane: Plane, accepts: bool) -> None:
    """By consent a disk may have gone from the machine; not one that the instance still holds."""
    liar = Liar(shared_plane)
    if accepts:
        liar.plane.done(liar.member, liar.order)
        liar.plane.reach(liar.vm, "Waiting")
        liar.plane.jobs.start(liar.vm, accept_removed_disks=True)
        liar.order = eventually(lambda: liar.client.take(0.2), "a pass is offered")
    put_shown(liar.order, [2000, 2001])
    signer = liar.plane.members[liar.member.appliance_id][1]
    dropped = [{"key": "2001", "label": "", "capacity": 1}]
    liar.client.evidence(liar.pass_id, manifest(signer, liar.order, liar.vcenter, [2000], dropped=dropped))
    said = liar.says_done().what
    assert ("the instance has disk 2001" if accepts else "names no disk 2001") in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": "p-other"}, "of another pass"),
        ({"job": "j-other"}, "of another job"),
        ({"reading": "p-other"}, "of another reading"),
        ({"machine": {"vcenter": "50-other"}}, "of another vCenter"),
        ({"machine": {"moref": "vm-2"}}, "of another machine"),
        ({"machine": {"instance_uuid": "50-other"}}, "of another machine"),
    ],
)
def test_evidence_of_something_else(liar: Liar, changes: dict[str, Any], said: str) -> None:
    liar.plane.show(liar.order)
    with pytest.raises(BadInput, match=said):
        liar.client.evidence(liar.pass_id, liar.sign(**changes))
    assert "no evidence of this pass" in liar.says_done().what


def test_evidence_of_the_run_before(liar: Liar) -> None:
    old = liar.sign()
    liar.plane.done(liar.member, liar.order)
    liar.plane.reach(liar.vm, "Waiting")
    liar.begin()
    with pytest.raises(BadInput, match="of another pass"):
        liar.client.evidence(liar.pass_id, old)
    assert "no evidence of this pass" in liar.says_done().what


def test_evidence_signed_with_any_key(liar: Liar) -> None:
    forged = manifest(new_signer(), liar.order, liar.vcenter, [2000, 2001])
    with pytest.raises(BadInput, match="no key of this appliance"):
        liar.client.evidence(liar.pass_id, forged)


def test_evidence_signed_by_another_appliance(liar: Liar) -> None:
    other = liar.plane.enrol("other", liar.vcenter)
    with pytest.raises(BadInput, match="no key of this appliance"):
        liar.client.evidence(liar.pass_id, liar.plane.evidence(other, liar.order))


def test_two_at_once(liar: Liar) -> None:
    """The second one has no part in the pass, whatever it says."""
    other = liar.plane.enrol("second", liar.vcenter)
    second = liar.plane.client(other)
    for call in (
        lambda: second.evidence(liar.pass_id, liar.plane.evidence(other, liar.order)),
        lambda: second.finish(liar.pass_id, "done", None, {}),
    ):
        with pytest.raises(Conflict, match="not yours"):
            call()
    liar.plane.done(liar.member, liar.order)
    liar.plane.reach(liar.vm, "Waiting")


def test_what_a_finished_pass_left_stays(liar: Liar) -> None:
    kept = liar.sign()
    liar.plane.done(liar.member, liar.order)
    liar.client.evidence(liar.pass_id, kept)  # the same again is harmless
    with pytest.raises(Conflict, match="this pass has ended"):
        liar.client.evidence(liar.pass_id, liar.sign(note="another"))
    assert liar.plane.jobs.manifest(liar.vm, liar.pass_id) == kept


def test_another_key_is_not_taken_over(liar: Liar) -> None:
    own = liar.plane.members[liar.member.appliance_id][1]
    liar.client.register_key(own.public_pem)
    with pytest.raises(Conflict, match="another evidence key is registered"):
        liar.client.register_key(new_signer().public_pem)
    with pytest.raises(BadInput, match="evidence_key"):
        liar.client.register_key("no key")
