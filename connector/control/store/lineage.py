"""What must be found at the targets of a job: the end of each disk's lineage, as the newest evidence says (invariant 13)."""

from __future__ import annotations

from connector.control.domain.entities import EvidenceEntry, Outcome, Pass
from connector.control.store import Store
from connector.errors import BadInput, EvidenceDamaged
from connector.transfer import evidence
from connector.transfer.evidence import LineageHead
from connector.transfer.lineage import Lineage


def of(store: Store, job_id: str) -> Lineage:
    """What is known of a job's disks. Evidence that is missing or damaged has every disk compared."""
    newest = store.evidence.newest(job_id)
    demanded = store.jobs.get(job_id).compare_reason
    passes = [one for one in store.passes.of(job_id) if one.task.reads]
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
    read = evidence.read(manifest)
    if read.sections["pass"].get("id") != entry.pass_id or evidence.pem(read.key) != entry.key:
        raise EvidenceDamaged("it is of another pass, or signed with another key")
    return evidence.heads(read)


def _missing(passes: list[Pass], newest: EvidenceEntry | None) -> str:
    """Why evidence must exist that is not there; empty when none lacks."""
    done = next((one for one in reversed(passes) if one.outcome is Outcome.DONE), None)
    if done is None or (newest is not None and done.id not in _since(passes, newest)):
        return ""
    return f"the control plane has no evidence of pass {done.id}, which was done"


def _since(passes: list[Pass], newest: EvidenceEntry | None) -> list[str]:
    """Ids of the passes that were handed out after the one of the newest evidence."""
    ids = [one.id for one in passes]
    first = ids.index(newest.pass_id) + 1 if newest is not None and newest.pass_id in ids else 0
    return ids[first:]
