"""The hand-over: the instance's control port turns its settled disks into image files."""

from __future__ import annotations

import time
from typing import Final

from connector.control.store.rows import Json
from connector.errors import NotFound, TargetFailed, from_json
from connector.model import Credential, InstanceAddress
from connector.transfer.endpoint import InstanceEndpoint

_PACE: Final = 0.3  # seconds between looks


def make_image(address: InstanceAddress, credential: Credential, name: str, form: str, run: str) -> Json:
    """Order the image and wait for it. Idempotent: the same name and run answer the same image.

    An instance that was started again has forgotten the order; it gets the order again.
    """
    endpoint = InstanceEndpoint(address, credential)
    made: Json = dict(endpoint.make_image(name, form, run, wait=False))
    while made["state"] == "making":
        time.sleep(_PACE)
        try:
            made = dict(endpoint.image(name))
        except NotFound:
            made = dict(endpoint.make_image(name, form, run, wait=False))
    if made["state"] != "ready":
        raise from_json(made["error"], TargetFailed)
    disks = [{"disk": f["disk"], "file": f["file"], "capacity": f["capacity"]} for f in made["files"]]
    files = [*(str(f["path"]) for f in made["files"]), *map(str, made.get("beside", ()))]
    return {"files": files, "disks": disks, "format": made["format"], "note": made["note"]}
