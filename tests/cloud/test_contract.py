"""What every provider must do, with real instances: idempotent by token, disks and images that persist."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.clients.endpoint import InstanceEndpoint
from connector.cloud import factory
from connector.cloud.provider import INSTANCE_NAME, Health, Placement, Provider
from connector.errors import Conflict
from connector.transfer.certificates import CertificateRole
from tests.cloud.conftest import AUTHORITY, image_for, request_for

T1, T2 = (f"t-{uuid.uuid4().hex}" for _ in range(2))  # other tests use the same loopback addresses
Factory = Callable[[], Provider]


def _endpoint(provider: Provider, token: str) -> InstanceEndpoint:
    found = provider.find(token)
    assert found is not None
    return InstanceEndpoint(found.address, AUTHORITY.issue(CertificateRole.CONTROL))


def test_an_unknown_token_has_no_instance_and_releasing_it_is_harmless(provider_factory: Factory) -> None:
    provider = provider_factory()
    assert provider.find("nobody") is None
    provider.release("nobody", keep_disks=False)
    provider.release("nobody", keep_disks=True)
    assert list(provider.describe()) == []


def test_create_twice_is_one_instance_that_answers(provider_factory: Factory) -> None:
    provider = provider_factory()
    first, second = provider.create_instance(request_for(T1)), provider.create_instance(request_for(T1))
    assert first == second
    assert (first.name, first.health) == (INSTANCE_NAME, Health.RUNNING)
    assert (first.address.control_port, first.address.block_port) == (8080, 8703)
    _endpoint(provider, T1).health()
    assert list(provider.describe()) == [first]


def test_where_nothing_is_asked_for_nothing_is_refused(provider_factory: Factory) -> None:
    provider_factory().check(Placement())


def test_its_limits_are_those_that_are_known_without_it(provider_factory: Factory) -> None:
    assert provider_factory().limits in factory.LIMITS.values()


def test_two_instances_have_two_addresses(provider_factory: Factory) -> None:
    provider = provider_factory()
    hosts = {provider.create_instance(request_for(token)).address.host for token in (T1, T2)}
    assert len(hosts) == 2


def test_disks_outlive_a_released_instance_until_they_are_not_kept(provider_factory: Factory) -> None:
    provider = provider_factory()
    first = provider.create_instance(request_for(T1))
    _endpoint(provider, T1).put_disk("2000", 1 << 20, "Hard disk 1")
    provider.release(T1, keep_disks=True)
    stopped = provider.find(T1)
    assert stopped is not None
    assert stopped.health is Health.STOPPED
    again = provider.create_instance(request_for(T1))
    assert again == first
    assert _endpoint(provider, T1).disk("2000")["capacity"] == 1 << 20
    provider.release(T1, keep_disks=False)
    provider.release(T1, keep_disks=False)
    assert provider.find(T1) is None


def test_an_instance_that_was_released_can_be_created_again(provider_factory: Factory) -> None:
    """A job that was finished, rolled back and started again."""
    provider = provider_factory()
    provider.create_instance(request_for(T1))
    provider.release(T1, keep_disks=False)
    again = provider.create_instance(request_for(T1))
    assert provider.find(T1) == again == provider.create_instance(request_for(T1))
    assert list(provider.describe()) == [again]
    provider.release(T1, keep_disks=True)
    assert (stopped := provider.find(T1)) is not None
    assert stopped.health is Health.STOPPED
    provider.release(T1, keep_disks=False)
    assert list(provider.describe()) == []


def test_the_next_process_finds_the_instance_at_the_same_address(provider_factory: Factory) -> None:
    before = provider_factory()
    first = before.create_instance(request_for(T1))
    _endpoint(before, T1).put_disk("2000", 1 << 20, "Hard disk 1")
    before.close()
    after = provider_factory()
    assert after.create_instance(request_for(T1)) == first
    assert _endpoint(after, T1).disk("2000")["capacity"] == 1 << 20


def finish_a_pass(endpoint: InstanceEndpoint, pass_id: str = "p1") -> None:
    """A source whose disk is all zeros."""
    endpoint.put_disk("2000", 1 << 20, "Hard disk 1")
    begin = {"pass_id": pass_id, "kind": "full", "snapshot": "s", "change_id": "52/1", "base_change_id": ""}
    endpoint.begin_pass("2000", begin | {"identity": {"uuid": "disk-1"}})
    endpoint.finish_pass("2000", pass_id, [])


def test_images_outlive_their_instance(provider_factory: Factory) -> None:
    provider = provider_factory()
    provider.create_instance(request_for(T1))
    finish_a_pass(_endpoint(provider, T1))
    kept = provider.make_image(image_for(T1, "web"))
    again = provider.make_image(image_for(T1, "web"))
    assert (again.name, again.location, again.files) == (kept.name, kept.location, kept.files)
    assert kept.name == "web"
    provider.release(T1, keep_disks=False)
    assert [image.name for image in provider.list_images()] == ["web"]
    assert len([file for file in kept.files if not Path(file).name.startswith("machine.")]) == 1
    provider.delete_image("web")
    provider.delete_image("web")
    assert list(provider.list_images()) == []


def test_invariant_10_no_image_is_made_in_the_middle_of_a_pass(provider_factory: Factory) -> None:
    provider = provider_factory()
    provider.create_instance(request_for(T1))
    endpoint = _endpoint(provider, T1)
    finish_a_pass(endpoint)
    begin = {"pass_id": "p2", "kind": "full", "snapshot": "s", "change_id": "52/2", "base_change_id": ""}
    endpoint.begin_pass("2000", begin | {"identity": {"uuid": "disk-1"}})
    with pytest.raises(Conflict, match="last pass is not finished"):
        provider.make_image(image_for(T1, "web"))
    assert list(provider.list_images()) == []


def test_an_instance_is_described_with_its_token(provider_factory: Factory) -> None:
    provider = provider_factory()
    made = provider.create_instance(request_for(T1))
    assert (made.token, [one.token for one in provider.describe()]) == (T1, [T1])
