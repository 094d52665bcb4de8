"""A pass continues from a target only if the target shows the head of the lineage in the newest evidence (invariant 13)."""

from __future__ import annotations

from connector.control.domain.entities import EvidenceEntry, Outcome, Pass
from connector.control.store import Store
from connector.errors import BadInput, EvidenceDamaged
from connector.transfer import evidence
from connector.transfer.evidence import LineageHead
from connector.transfer.lineage import Lineage


def of(store: Store, job_id: str) -> Lineage:
    """The lineage of a job's disks. If evidence is missing or damaged, every disk is compared."""
    newest = store.evidence.newest(job_id)
    demanded = store.jobs.get(job_id).compare_reason
    passes = [attempt for attempt in store.passes.of(job_id) if attempt.task.reads]
    readings = frozenset(_since(passes, newest))
    if newest is None:
        return Lineage(readings=readings, compare=demanded or _missing(passes, newest))
    try:
        manifest = store.evidence.manifest(newest.pass_id)
        return Lineage(
            _heads(manifest, newest),
            {"id": newest.pass_id, "digest": evidence.digest(manifest)},
            readings,
            demanded or _missing(passes, newest),
        )
    except (BadInput, EvidenceDamaged) as damaged:
        return Lineage(readings=readings, compare=f"the evidence of its last pass is damaged: {damaged.what}")


def _heads(manifest: bytes, entry: EvidenceEntry) -> dict[str, LineageHead]:
    parsed = evidence.read(manifest)
    if parsed.sections["pass"].get("id") != entry.pass_id or evidence.pem(parsed.key) != entry.key:
        raise EvidenceDamaged("it is of another pass, or signed with another key")
    return evidence.heads(parsed)


def _missing(passes: list[Pass], newest: EvidenceEntry | None) -> str:
    """Which evidence is missing that must exist; empty if none is."""
    last_done = next((attempt for attempt in reversed(passes) if attempt.outcome is Outcome.DONE), None)
    if last_done is None or (newest is not None and last_done.id not in _since(passes, newest)):
        return ""
    return f"the control plane has no evidence of pass {last_done.id}, which was done"


def _since(passes: list[Pass], newest: EvidenceEntry | None) -> list[str]:
    """Ids of the passes that were taken after the pass of the newest evidence."""
    ids = [attempt.id for attempt in passes]
    first = ids.index(newest.pass_id) + 1 if newest is not None and newest.pass_id in ids else 0
    return ids[first:]
