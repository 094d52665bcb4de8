"""An image is ordered at the instance's control port, which makes image files of the settled disks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from connector.clients.endpoint import InstanceEndpoint, objects
from connector.cloud.provider import ImageRequest
from connector.errors import NotFound, TargetFailed, TransferFailed, from_json
from connector.model import InstanceAddress
from connector.patience import Patience

#: Seconds that an instance may need while it starts. The caller starts a dead instance again after the failure.
PATIENCE: Final = 5.0
_PACE: Final = 0.3  # seconds between looks


@dataclass(frozen=True, slots=True)
class Made:
    """The result of an order. `files`: paths below the instance's directory. `details`: for the image's description."""

    files: tuple[str, ...]
    details: Mapping[str, object]


#: Orders the files of an image at an instance.
Order = Callable[[InstanceAddress, ImageRequest], Made]


def _type(place: int) -> str:
    """The cloud's word for a disk of an image. The machine boots from the first."""
    return "data" if place else "system"


def order_image(address: InstanceAddress, request: ImageRequest) -> Made:
    """Order the image and wait for it. Idempotent: the same name and run answer the same image.

    An instance that was started again has forgotten the order and gets it again.
    """
    endpoint = InstanceEndpoint(address, request.control, Patience(PATIENCE, (TransferFailed,)))
    order = (request.name, request.format, request.run)
    answer = endpoint.make_image(*order, wait=False, expect=request.expect or None)
    while answer["state"] == "making":
        time.sleep(_PACE)
        try:
            answer = endpoint.image(request.name)
        except NotFound:
            answer = endpoint.make_image(*order, wait=False, expect=request.expect or None)
    if answer["state"] != "ready":
        raise from_json(answer["error"], TargetFailed)
    files = objects(answer, "files", request.name)
    places = {str(disk.key): place for place, disk in enumerate(request.disks)}
    files = sorted(files, key=lambda file: places.get(str(file["disk"]), len(places)))
    disks = [
        {"disk": f["disk"], "file": f["file"], "capacity": f["capacity"], "type": _type(n)}
        for n, f in enumerate(files)
    ]
    details = {"disks": disks, "format": answer["format"], "note": answer["note"]}
    beside = answer.get("beside") or []
    names = map(str, beside) if isinstance(beside, list) else ()
    return Made((*(str(f["path"]) for f in files), *names), details)
