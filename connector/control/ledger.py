"""The ledger of providers, kept with the things of jobs: what an instance's token owns belongs to its job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connector.cloud.provider import Entry
from connector.control.store.things import Things

_PREFIX: Final = "instance-"


def instance_token(job_id: str) -> str:
    """The name by which a provider knows this job's instance for ever."""
    return f"{_PREFIX}{job_id}"


class StoreLedger:
    """Thread-safe; shared by all processes on one database."""

    def __init__(self, things: Things) -> None:
        self._things = things

    def intend(self, owner: str, kind: str, token: str) -> None:
        self._record(owner, kind, token)

    def made(self, owner: str, kind: str, token: str, reference: str) -> None:
        self._record(owner, kind, token, reference=reference)

    def gone(self, owner: str, kind: str, token: str) -> None:
        self._record(owner, kind, token, removed=True)

    def entries(self, owner: str) -> Sequence[Entry]:
        return [
            Entry(thing.token, thing.kind, thing.reference, thing.removed, thing.created)
            for thing in self._things.of(owner.removeprefix(_PREFIX), "cloud")
            if thing.token.startswith(owner)
        ]

    def _record(
        self, owner: str, kind: str, token: str, *, reference: str | None = None, removed: bool = False
    ) -> None:
        job_id = owner.removeprefix(_PREFIX)
        self._things.record(job_id, token, place="cloud", kind=kind, reference=reference, removed=removed)
