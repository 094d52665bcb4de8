from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.cloud.local import LocalProvider
from connector.cloud.provider import InstanceRequest, Provider, TargetDisk
from connector.transfer.certificates import Authority, Role

AUTHORITY = Authority.create("contract")


def request_for(token: str) -> InstanceRequest:
    """What the control plane asks for."""
    disks = (TargetDisk(2000, "Hard disk 1", 1 << 30),)
    return InstanceRequest(token, f"job-{token}", disks, AUTHORITY.issue(Role.INSTANCE))


@pytest.fixture(params=["local"])
def provider_factory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Provider]]:
    """Makes providers that see the same cloud, as one process after another would."""
    made: list[Provider] = []

    def make() -> Provider:
        assert request.param == "local"
        made.append(LocalProvider(tmp_path / "cloud"))
        return made[-1]

    yield make
    for provider in made:
        provider.close()
