"""Evidence of passes is kept as signed, packed manifests. Each job has bounded room for them."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
import zstandard

from connector.control.domain.entities import EvidenceEntry, Pass, PassState
from connector.control.store import tables
from connector.control.store.database import Database
from connector.errors import Conflict, EvidenceDamaged, NotFound
from connector.transfer.evidence import LIMIT

_EVIDENCE: Final = tables.evidence
_PASSES: Final = tables.passes
_COLUMNS: Final = [column for column in _EVIDENCE.c if column.name != "packed"]


def _of_pass(column: sa.Column[int]) -> sa.ScalarSelect[int]:
    return sa.select(column).where(tables.passes.c.id == _EVIDENCE.c.pass_id).scalar_subquery()


#: Ids say nothing about age, and the clock may have been set back.
_OLDEST_FIRST: Final = (
    sa.select(tables.runs.c.number).where(tables.runs.c.id == _EVIDENCE.c.run_id).scalar_subquery(),
    _of_pass(tables.passes.c.slot),
    _of_pass(tables.passes.c.attempt),
)

ROOM: Final = (
    64 << 20
)  # packed bytes for one job: beyond it the oldest manifests are dropped, never the newest


class EvidenceStore:
    """One manifest for each finished pass that left one. Thread-safe."""

    def __init__(self, database: Database, room: int = ROOM) -> None:
        self._database, self._room = database, room

    def put(self, attempt: Pass, manifest: bytes, key: str) -> None:
        """Keep the manifest, or replace the one that the same pass left before. Raises Conflict if the pass has finished.

        `key`: the public key (PEM) that signed it.
        """
        packed = zstandard.compress(manifest, 9)
        values: dict[str, Any] = {
            "job_id": attempt.job_id,
            "run_id": attempt.run_id,
            "created": self._database.now(),
            "size": len(manifest),
            "key": key,
            "packed": packed,
        }
        with self._database.write() as connection:
            if not _taken(connection, attempt):
                _must_be_same(connection, attempt, manifest)
                return
            connection.execute(_EVIDENCE.delete().where(_EVIDENCE.c.pass_id == attempt.id))
            connection.execute(_EVIDENCE.insert().values(pass_id=attempt.id, **values))
            for old in self._beyond(connection, attempt.job_id):
                connection.execute(_EVIDENCE.delete().where(_EVIDENCE.c.pass_id == old))

    def of(self, job_id: str) -> list[EvidenceEntry]:
        """The evidence of a job's passes, oldest first."""
        query = sa.select(*_COLUMNS).where(_EVIDENCE.c.job_id == job_id)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(*_OLDEST_FIRST))
            return [EvidenceEntry(**row._mapping) for row in rows]

    def newest(self, job_id: str) -> EvidenceEntry | None:
        """The newest evidence of a job; None if it has none."""
        entries = self.of(job_id)
        return entries[-1] if entries else None

    def manifest(self, pass_id: str) -> bytes:
        """The file, as it was signed. Raises NotFound, EvidenceDamaged."""
        manifest = self.find(pass_id)
        if manifest is None:
            raise NotFound(
                "no evidence of this pass",
                on=pass_id,
                remedy="it is kept for a job's newest passes, and beside images",
            )
        return manifest

    def find(self, pass_id: str) -> bytes | None:
        """The file, as it was signed; None when the pass left none. Raises EvidenceDamaged."""
        query = sa.select(_EVIDENCE.c.packed).where(_EVIDENCE.c.pass_id == pass_id)
        with self._database.read() as connection:
            packed = connection.execute(query).scalar_one_or_none()
        try:
            return None if packed is None else zstandard.decompress(packed, max_output_size=LIMIT)
        except zstandard.ZstdError:
            raise EvidenceDamaged(
                "cannot be unpacked from the database",
                on=pass_id,
                remedy="use the copy beside the image; the next pass compares the disks",
            ) from None

    def _beyond(self, connection: sa.Connection, job_id: str) -> list[str]:
        """Passes whose evidence exceeds the job's room."""
        size = sa.func.length(_EVIDENCE.c.packed)
        query = sa.select(_EVIDENCE.c.pass_id, size).where(_EVIDENCE.c.job_id == job_id)
        rows = connection.execute(query.order_by(*(column.desc() for column in _OLDEST_FIRST))).all()
        old, total = [], 0
        for number, (pass_id, length) in enumerate(rows):
            total += length
            if number and total > self._room:
                old.append(pass_id)
        return old


def _taken(connection: sa.Connection, attempt: Pass) -> bool:
    """Whether the appliance that took the pass still has it. Locks the row."""
    query = sa.select(_PASSES.c.id).where(
        _PASSES.c.id == attempt.id,
        _PASSES.c.state == PassState.TAKEN,
        _PASSES.c.appliance_id == attempt.appliance_id,
    )
    return connection.execute(query.with_for_update(key_share=True)).first() is not None


def _must_be_same(connection: sa.Connection, attempt: Pass, manifest: bytes) -> None:
    query = sa.select(_EVIDENCE.c.packed).where(_EVIDENCE.c.pass_id == attempt.id)
    packed = connection.execute(query).scalar_one_or_none()
    if packed is None or zstandard.decompress(packed) != manifest:
        raise Conflict(
            "this pass has ended: its evidence stays as it is", on=attempt.id, remedy="run another pass"
        )
