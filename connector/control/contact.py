"""What the control plane and an instance tell each other whenever they meet: how far each knows the other to be."""

from __future__ import annotations

import logging
from typing import Final

from connector.clients.endpoint import InstanceEndpoint
from connector.control.epoch import Keeper
from connector.control.store import Store
from connector.control.store.counting import refusal
from connector.control.store.rows import Job
from connector.errors import NotFound, TransferFailed
from connector.model import Credential, InstanceAddress
from connector.patience import Patience

_LOG: Final = logging.getLogger(__name__)
_PATIENCE: Final = 5.0  # seconds that an instance which is being started may need


class Contact:
    """Thread-safe."""

    def __init__(self, store: Store, keeper: Keeper) -> None:
        self._store = store
        self._keeper = keeper

    def meet(self, job: Job, address: InstanceAddress, credential: Credential) -> None:
        """Raises `StateRestored` when the instance knows more than our database. One that cannot be reached says nothing.

        If the next pass of the job shall compare, every disk of the instance is told so.
        """
        endpoint = InstanceEndpoint(address, credential, Patience(_PATIENCE, (TransferFailed,)))
        try:
            known = endpoint.put_epoch(self._keeper.now())
            if known:
                self._keeper.hear(known, f"the instance of job {job.name}")
            if why := self._store.epochs.current().restored:
                raise refusal(why)
            if job.compare_reason:
                for disk in endpoint.disks():
                    if not disk.get("doubt"):
                        endpoint.doubt(str(disk["key"]), job.compare_reason)
        except NotFound:  # it is of an earlier release
            _LOG.info("the instance of job %s keeps no epoch", job.name)
        except TransferFailed as silent:
            _LOG.warning("the instance of job %s was not asked what it knows: %s", job.name, silent)
