from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from connector.cloud.local import LocalProvider
from connector.cloud.provider import ImageRequest, InstanceRequest, Placement, Provider, TargetDisk
from connector.transfer.certificates import Authority, CertificateRole
from tests.cloud.alibaba import Cloud, cloud

AUTHORITY = Authority.create("contract")
DISKS = (TargetDisk(2000, "Hard disk 1", 1 << 20),)


def request_for(token: str, disks: tuple[TargetDisk, ...] = DISKS, **placement: Any) -> InstanceRequest:
    """What the control plane asks for."""
    inside, ours = AUTHORITY.issue(CertificateRole.INSTANCE), AUTHORITY.issue(CertificateRole.CONTROL)
    return InstanceRequest(token, f"job-{token}", disks, inside, ours, Placement(**placement))


def image_for(
    token: str, name: str, run: str = "r1", disks: tuple[TargetDisk, ...] = DISKS, **more: Any
) -> ImageRequest:
    """What the control plane asks for when the passes of a run are done."""
    ours = AUTHORITY.issue(CertificateRole.CONTROL)
    return ImageRequest(token, f"job-{token}", run, name, "raw", ours, disks, **more)


@pytest.fixture
def make_cloud(tmp_path: Path, certificates: Path) -> Iterator[Callable[..., Cloud]]:
    """A simulated region; `boot=""` runs nothing in its instances."""
    with ExitStack() as stack:

        def make(**more: Any) -> Cloud:
            home = tmp_path / f"cloud-{len(list(tmp_path.iterdir()))}"
            return stack.enter_context(cloud(home, certificates, **more))

        yield make


@pytest.fixture
def quiet(make_cloud: Callable[..., Cloud]) -> Cloud:
    """A region whose instances run nothing."""
    return make_cloud(boot="")


@pytest.fixture(params=["local", "alibaba"])
def provider_factory(
    request: pytest.FixtureRequest, tmp_path: Path, make_cloud: Callable[..., Cloud]
) -> Iterator[Callable[[], Provider]]:
    """Makes providers that see the same cloud, as one process after another would."""
    made: list[Provider] = []
    region = make_cloud() if request.param == "alibaba" else None

    def make() -> Provider:
        made.append(region.provider() if region is not None else LocalProvider(tmp_path / "cloud"))
        return made[-1]

    yield make
    for provider in made:
        provider.close()
