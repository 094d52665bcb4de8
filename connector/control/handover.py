"""The hand-over: the instance's control port turns its disks into image files."""

from __future__ import annotations

from connector.control.store.rows import Json
from connector.errors import ControlFailed
from connector.model import Credential, InstanceAddress


def make_image(address: InstanceAddress, credential: Credential, name: str, form: str) -> Json:
    """Ask for the image and wait for it. Idempotent: the same name answers the same image."""
    raise ControlFailed("not connected yet", on=f"{address.host} {name} {form}", retryable=False)
