"""The instance itself: asked by the control plane what its disks show, and told whom to refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from connector.clients.endpoint import InstanceEndpoint
from connector.cloud.provider import Instance
from connector.model import Credential
from connector.patience import Patience

#: Seconds that an instance which is being started again may need while an appliance waits for its answer.
_PATIENCE = 5.0

#: Answers every disk as the instance describes it. Raises ConnectorErrors.
Ask = Callable[[Instance, Credential], list[dict[str, Any]]]


#: Tells an instance whose certificates to refuse. Raises ConnectorErrors.
Tell = Callable[[Instance, Credential, Sequence[str]], None]


def tell_instance(instance: Instance, credential: Credential, revoked: Sequence[str]) -> None:
    """The whole list, over mutual TLS."""
    InstanceEndpoint(instance.address, credential, Patience(_PATIENCE)).put_revoked(revoked)


def ask_instance(instance: Instance, credential: Credential) -> list[dict[str, Any]]:
    """The disks of an instance, over mutual TLS."""
    return InstanceEndpoint(instance.address, credential, Patience(_PATIENCE)).disks()
