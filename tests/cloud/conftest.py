from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.cloud.local import LocalProvider
from connector.cloud.provider import ImageRequest, InstanceRequest, Placement, Provider, TargetDisk
from connector.transfer.certificates import Authority, Role

AUTHORITY = Authority.create("contract")
DISKS = (TargetDisk(2000, "Hard disk 1", 1 << 20),)


def request_for(token: str, disks: tuple[TargetDisk, ...] = DISKS, **placement: Any) -> InstanceRequest:
    """What the control plane asks for."""
    inside, ours = AUTHORITY.issue(Role.INSTANCE), AUTHORITY.issue(Role.CONTROL)
    return InstanceRequest(token, f"job-{token}", disks, inside, ours, Placement(**placement))


def image_for(
    token: str, name: str, run: str = "r1", disks: tuple[TargetDisk, ...] = DISKS, **more: Any
) -> ImageRequest:
    """What the control plane asks for when the passes of a run are done."""
    ours = AUTHORITY.issue(Role.CONTROL)
    return ImageRequest(token, f"job-{token}", run, name, "raw", ours, disks, **more)


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
