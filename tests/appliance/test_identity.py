"""What an appliance keeps of itself, against a real control plane: kept, lost, revoked, renewed, broken off in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.appliance.configuration import ApplianceConfiguration, parse
from connector.appliance.identity import KEY, NEXT, ApplianceIdentity
from connector.appliance.membership import MEMBERSHIP
from connector.clients.agents import ControlClient
from connector.control.store import Store
from connector.errors import AuthenticationFailed, Conflict, NotPermitted
from connector.transfer.evidence import Signer
from tests.control.conftest import Plane, shared_plane

__all__ = ["shared_plane"]

VCENTER = "50-identity"


class Site:
    """A state directory, and the control plane that it is enrolled at."""

    def __init__(self, plane: Plane, state: Path) -> None:
        self.plane, self.state = plane, state
        state.mkdir()
        file = plane.ready["activation_code_file"]
        document: dict[str, Any] = {
            "vcenter": {"url": "https://x", "password": "x"},
            "control": {"url": plane.url, "thumbprint": plane.thumbprint, "activation_code_file": file},
            "vddk": "/nowhere",
            "state": str(state),
        }
        self.with_code: ApplianceConfiguration = parse(document, "test")
        document["control"] |= {"activation_code_file": None}
        self.without: ApplianceConfiguration = parse(document, "test")
        self.store = Store(f"sqlite:///{plane.root / 'state' / 'control.sqlite'}")

    def start(self, *, code: bool = True) -> ApplianceIdentity:
        return ApplianceIdentity(self.with_code if code else self.without, f"{VCENTER}-{self.state.name}")

    def client(self, identity: ApplianceIdentity) -> ControlClient:
        return ControlClient(self.plane.url, self.plane.thumbprint, lambda: identity.membership)

    def key(self, identity: ApplianceIdentity) -> str:
        """The one that is good at the control plane."""
        keys = self.store.appliances.keys(identity.membership.appliance_id)
        (good,) = [key.key for key in keys if key.replaced is None]
        return good


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    made = Site(request.getfixturevalue("shared_plane"), tmp_path / tmp_path.name)
    yield made
    made.store.close()


def test_it_is_the_same_at_every_start(site: Site) -> None:
    first = site.start()
    assert site.key(first) == first.signer.public_pem
    second = site.start(code=False)
    assert second.membership == first.membership


@pytest.mark.parametrize("lost", [KEY, MEMBERSHIP])
def test_what_is_lost_is_bought_again_with_the_code(site: Site, lost: str) -> None:
    first = site.start()
    (site.state / lost).unlink()
    second = site.start()
    assert second.membership.appliance_id != first.membership.appliance_id
    assert site.key(second) == second.signer.public_pem
    site.client(second).take(0.0)


def test_without_a_code_another_key_is_refused(site: Site) -> None:
    site.start()
    (site.state / KEY).unlink()
    with pytest.raises(Conflict, match="another evidence key is registered"):
        site.start(code=False)


def test_a_revoked_one_does_not_come_back_by_itself(site: Site) -> None:
    first = site.start()
    site.store.appliances.revoke(first.membership.appliance_id)
    with pytest.raises(NotPermitted, match="revoked"):
        site.start()
    (site.state / MEMBERSHIP).unlink()
    assert site.client(site.start()).heartbeat([]).waiting


def test_an_appliance_from_before_registers_its_key_once(site: Site) -> None:
    signer = Signer.load(site.state / KEY)
    first = site.start()
    with site.store._database.write() as connection:
        connection.exec_driver_sql("DELETE FROM appliance_keys")
    assert site.start(code=False).membership == first.membership
    assert site.key(first) == signer.public_pem


def test_a_rotation(site: Site) -> None:
    identity = site.start()
    before, old_key = identity.membership, identity.signer.public_pem
    site.store.appliances.ask_rotation(before.appliance_id)
    client, signed = site.client(identity), []
    assert client.heartbeat([]).rotate
    identity.renew(lambda: site.client(identity), signed.append)
    assert identity.membership.secret != before.secret
    assert site.key(identity) == identity.signer.public_pem == signed[0].public_pem != old_key
    assert not client.heartbeat([]).rotate  # the same client: it asks for the secret at every call
    client.heartbeat([])
    with pytest.raises(AuthenticationFailed):
        ControlClient(site.plane.url, site.plane.thumbprint, before).heartbeat([])
    assert site.start(code=False).membership == identity.membership
    assert not (site.state / NEXT).exists()


@pytest.mark.parametrize("answered", [False, True])
def test_a_rotation_that_is_broken_off_is_done_again(site: Site, answered: bool) -> None:
    """The process dies before the call, or before the answer is kept."""
    identity = site.start()
    site.store.appliances.ask_rotation(identity.membership.appliance_id)
    fresh = Signer.load(site.state / NEXT)
    if answered:
        site.client(identity).rotate(fresh.public_pem)
    again = site.start(code=False)
    assert again.membership == identity.membership
    assert site.key(again) == again.signer.public_pem
    assert (again.signer.public_pem == fresh.public_pem) is answered
    assert site.client(again).heartbeat([]).rotate
    again.renew(lambda: site.client(again), lambda _: None)
    assert site.key(again) == again.signer.public_pem == site.start(code=False).signer.public_pem
