"""The control plane asks an instance for its disks, tells it which certificates are revoked, and exchanges epoch marks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from connector.clients.endpoint import InstanceEndpoint
from connector.cloud.provider import Instance
from connector.control.domain.entities import Job
from connector.control.state.epoch import RestoreDetector
from connector.control.store import Store
from connector.control.store.write_count import refusal
from connector.errors import NotFound, TransferFailed
from connector.model import Credential, InstanceAddress
from connector.patience import Patience

_LOG: Final = logging.getLogger(__name__)
#: Seconds that an instance may need while it starts. An appliance may be waiting for the answer.
_PATIENCE: Final = 5.0

#: Answers all disks as the instance describes them. Raises ConnectorErrors.
Ask = Callable[[Instance, Credential], list[dict[str, Any]]]


#: Tells an instance which appliances' certificates to refuse. Raises ConnectorErrors.
Tell = Callable[[Instance, Credential, Sequence[str]], None]


def tell_instance(instance: Instance, credential: Credential, revoked: Sequence[str]) -> None:
    """Send the whole list of revoked appliances, over mutual TLS."""
    InstanceEndpoint(instance.address, credential, Patience(_PATIENCE)).put_revoked(revoked)


def ask_instance(instance: Instance, credential: Credential) -> list[dict[str, Any]]:
    """The disks of an instance, over mutual TLS."""
    return InstanceEndpoint(instance.address, credential, Patience(_PATIENCE)).disks()


class InstanceContact:
    """Exchanges epoch marks with instances. Thread-safe."""

    def __init__(self, store: Store, restore_detector: RestoreDetector) -> None:
        self._store = store
        self._restore_detector = restore_detector

    def meet(self, job: Job, address: InstanceAddress, credential: Credential) -> None:
        """Raise `StateRestored` if the instance knows more than our database. An instance that is out of reach is skipped.

        If the next pass of the job compares, every disk of the instance is told so.
        """
        endpoint = InstanceEndpoint(address, credential, Patience(_PATIENCE, (TransferFailed,)))
        try:
            peer_mark = endpoint.put_epoch(self._restore_detector.now())
            if peer_mark:
                self._restore_detector.hear(peer_mark, f"the instance of job {job.name}")
            if why := self._store.epochs.current().restored:
                raise refusal(why)
            if job.compare_reason:
                for disk in endpoint.disks():
                    if not disk.get("doubt"):
                        endpoint.doubt(str(disk["key"]), job.compare_reason)
        except NotFound:  # an instance of an earlier release
            _LOG.info("the instance of job %s keeps no epoch", job.name)
        except TransferFailed as silent:
            _LOG.warning("the instance of job %s was not asked what it knows: %s", job.name, silent)
