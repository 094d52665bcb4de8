"""The ledger of providers is kept among the tracked resources of jobs. The owner in it is the token of a job's instance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connector.cloud.provider import LedgerEntry
from connector.cloud.target_instance import target_token
from connector.control.store.tracked_resources import TrackedResources

_PREFIX: Final = "instance-"


def instance_token(job_id: str) -> str:
    """The token by which a provider always knows this job's instance."""
    return f"{_PREFIX}{job_id}"


def job_of(owner: str) -> str:
    """The job of an owner: of its instance, of a conversion or a drill of its image, or of its target instance."""
    return owner.rpartition(_PREFIX)[2].removeprefix(target_token(""))


class StoreLedger:
    """The provider's ledger in the store. Thread-safe; all processes on one database share it."""

    def __init__(self, resources: TrackedResources) -> None:
        self._resources = resources

    def intend(self, owner: str, kind: str, token: str) -> None:
        self._resources.record(job_of(owner), token, place="cloud", kind=kind)

    def made(self, owner: str, kind: str, token: str, reference: str) -> None:
        job_id = job_of(owner)
        self._resources.record(job_id, token, place="cloud", kind=kind, reference=reference, made_again=True)

    def gone(self, owner: str, kind: str, token: str) -> None:
        job_id = job_of(owner)
        self._resources.record(job_id, token, place="cloud", kind=kind, removed=True)

    def entries(self, owner: str) -> Sequence[LedgerEntry]:
        return [
            LedgerEntry(resource.token, resource.kind, resource.reference, resource.removed, resource.created)
            for resource in self._resources.of(job_of(owner), "cloud")
            if resource.token.startswith(owner)
        ]
