"""The ledger of providers, kept with the things of jobs: what an instance's token owns belongs to its job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connector.cloud.provider import LedgerEntry
from connector.control.store.tracked_resources import TrackedResources

_PREFIX: Final = "instance-"


def instance_token(job_id: str) -> str:
    """The name by which a provider knows this job's instance for ever."""
    return f"{_PREFIX}{job_id}"


class StoreLedger:
    """Thread-safe; shared by all processes on one database."""

    def __init__(self, resources: TrackedResources) -> None:
        self._resources = resources

    def intend(self, owner: str, kind: str, token: str) -> None:
        self._record(owner, kind, token)

    def made(self, owner: str, kind: str, token: str, reference: str) -> None:
        self._record(owner, kind, token, reference=reference)

    def gone(self, owner: str, kind: str, token: str) -> None:
        self._record(owner, kind, token, removed=True)

    def entries(self, owner: str) -> Sequence[LedgerEntry]:
        return [
            LedgerEntry(resource.token, resource.kind, resource.reference, resource.removed, resource.created)
            for resource in self._resources.of(owner.removeprefix(_PREFIX), "cloud")
            if resource.token.startswith(owner)
        ]

    def _record(
        self, owner: str, kind: str, token: str, *, reference: str | None = None, removed: bool = False
    ) -> None:
        job_id = owner.removeprefix(_PREFIX)
        self._resources.record(job_id, token, place="cloud", kind=kind, reference=reference, removed=removed)
