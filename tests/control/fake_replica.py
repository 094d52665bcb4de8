"""One of several control planes on one PostgreSQL: everything is real but the cloud, which is a directory they share."""

import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from connector import child
from connector.cloud.provider import (
    INSTANCE_NAME,
    Health,
    ImageRequest,
    Instance,
    InstanceRequest,
    Placement,
    StoredImage,
)
from connector.control.plane import Options, run
from connector.control.store import Quotas
from connector.errors import ConnectorError
from connector.model import Credential, InstanceAddress, TargetLimits

HOST_DISKS = 4
PASSES = 12


class Directory:
    """A provider: an instance is a file whose content is its health, an image is a file. `made` logs every image."""

    def __init__(self, root: Path) -> None:
        self._root = root
        for name in ("instances", "images"):
            (root / name).mkdir(parents=True, exist_ok=True)

    def offers(self, ability: str) -> bool:
        return True

    @property
    def billed(self) -> bool:
        return False

    @property
    def limits(self) -> TargetLimits:
        return TargetLimits(most_disks=5)

    @property
    def target_instances(self) -> None:
        return None

    @property
    def drills(self) -> None:
        return None

    def check(self, placement: Placement) -> None:
        pass

    def create_instance(self, request: InstanceRequest) -> Instance:
        (self._root / "instances" / request.token).write_text(Health.RUNNING)
        found = self.find(request.token)
        assert found is not None
        return found

    def find(self, token: str) -> Instance | None:
        try:
            health = Health((self._root / "instances" / token).read_text() or Health.RUNNING)
        except FileNotFoundError:
            return None
        return Instance(token, INSTANCE_NAME, InstanceAddress("127.0.0.9"), health)

    def describe(self) -> Sequence[Instance]:
        return []

    def release(self, token: str, *, keep_disks: bool) -> None:
        file = self._root / "instances" / token
        if not keep_disks:
            file.unlink(missing_ok=True)
        elif file.exists():
            file.write_text(Health.STOPPED)

    def make_image(self, request: ImageRequest) -> StoredImage:
        (self._root / "images" / request.name).touch()
        return StoredImage(request.name, f"directory:{request.name}", (request.name,), 1, 0.0)

    def remove_drill(self, token: str) -> None:
        pass

    def list_images(self) -> Sequence[StoredImage]:
        return []

    def delete_image(self, name: str) -> None:
        (self._root / "images" / name).unlink(missing_ok=True)

    def close(self) -> None:
        pass

    def ask(self, instance: Instance, _credential: Credential) -> list[dict[str, Any]]:
        """What appliances have left there as the instance's answer."""
        file = self._root / f"shown-{instance.handle}"
        disks: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
        return disks


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    state, cloud, database, *more = sys.argv[1:]
    options = Options(
        Path(state),
        database=database,
        exit_with_stdin=True,
        meets_instances=False,
        grace=float(more[0]) if more else 4.0,
        interval=0.5,
        limits=Quotas(host_disks=HOST_DISKS, passes=PASSES),
        metrics="0",
    )
    try:
        directory = Directory(Path(cloud))
        run(options, lambda _: directory, ask=directory.ask, tell=lambda *_: None)
    except ConnectorError as failed:
        child.report_failure(failed)
        os._exit(1)
    os._exit(0)
