"""Each disk has at most one running proof; a second request joins it, and its result is kept until the disk changes.

A proof goes on when nobody waits for it any more: a later attempt at the same reading joins it, or takes its result. When
another reading begins, or the disk changes otherwise, the proof is ended, because its result would be about a state that the
disk no longer has. Wrong places that it found until then are in the journal. Until they are delivered again, every request
for a proof gets them as the answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from connector.errors import ConnectorError, ProofFailed, TargetFailed, TransferFailed
from connector.instance.disk import Disk
from connector.instance.proof import Proof, prove
from connector.instance.records import PassBegin
from connector.log_context import carried, log_context
from connector.model import Extent
from connector.transfer import extents as ranges
from connector.transfer.account import Account, parts_of

log = logging.getLogger(__name__)
NAMED = 5  # places of a message, at most
WAY = 20.0  # seconds that an ended proof may need for its last block


@dataclass(slots=True)
class RunningProof:
    """One proof of one reading. Results are there when `done` is set; `account` and `lineage` only if nothing differed."""

    base: PassBegin
    at: float = field(default_factory=time.time)
    done: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    proof: Proof | None = None
    account: Account | None = None
    lineage: dict[str, object] = field(default_factory=dict)
    error: ConnectorError | None = None
    answered: bool = False  # somebody got its error: the next request proves again

    @property
    def reading_id(self) -> str:
        return self.base.reading_id

    def answers(self, base: PassBegin) -> bool:
        """Whether its result, or its failure, answers a request about this reading."""
        return self.reading_id == base.reading_id and not self.answered


class Proofs:
    """The proofs of all disks. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, RunningProof] = {}  # by disk, the newest
        self._closed = False

    def ask(self, disk: Disk, patience: float, fresh: bool) -> RunningProof | None:
        """The proof of the disk's present state; None when it still runs after `patience` seconds.

        `fresh` reads again even if there is a result. Raises Conflict in the middle of a pass, ProofFailed when a cell
        differs, or differed in an earlier proof and was not delivered since.
        """
        run = self._running(disk.key) or self._started(disk, fresh)
        if not run.done.wait(patience):
            return None
        if run.error is not None:
            run.answered = True
            raise run.error
        return run

    def _running(self, key: str) -> RunningProof | None:
        """The disk's proof if it runs. It is of the present reading, because `make_way` ends it before another begins."""
        with self._lock:
            run = self._runs.get(key)
        return None if run is None or run.done.is_set() else run

    def _started(self, disk: Disk, fresh: bool) -> RunningProof:
        """A new proof, or the one whose result is kept."""
        if wrong := disk.wrong_at_rest():
            raise _differs(ranges.covered(wrong), wrong, disk.key)
        base = disk.hold()
        with self._lock:
            run = self._runs.get(disk.key)
            if run is not None and (not run.done.is_set() or (run.answers(base) and not fresh)):
                disk.release()
                return run
            run = self._runs[disk.key] = RunningProof(base)
            if self._closed:
                run.stop.set()
        with log_context(disk=disk.key):
            work = carried(self._prove)
        threading.Thread(target=work, args=(disk, run), name=f"proof {disk.key}", daemon=True).start()
        return run

    def make_way(self, key: str, reading: str = "") -> None:
        """End the disk's proof before the disk changes, and forget its result. A proof of this reading goes on, unless it has
        already read everything.

        Returns when the proof has released the disk, or after some seconds. Then a block of it cannot be read, and the
        change is refused.
        """
        with self._lock:
            run = self._runs.get(key)
        if run is None:
            return
        if run.reading_id != reading:
            run.stop.set()
        elif run.proof is None and not run.done.is_set():
            return
        if run.done.wait(WAY):
            with self._lock:
                if self._runs.get(key) is run:
                    del self._runs[key]

    def close(self) -> None:
        with self._lock:
            self._closed = True
            runs = list(self._runs.values())
        for run in runs:
            run.stop.set()
        for run in runs:
            run.done.wait(30)

    def _prove(self, disk: Disk, run: RunningProof) -> None:
        try:
            contents, pieces = disk.contents, disk.account()
            parts = parts_of(pieces, disk.capacity)
            proof = run.proof = prove(contents.target, contents.table, run.stop, parts, disk.node)
            if proof.mismatched:
                disk.spoil(proof.mismatches)
                run.error = _differs(proof.mismatched, proof.mismatches, disk.key)
            elif not proof.root:  # an incomplete proof proves nothing; the caller asks again
                run.error = TransferFailed("its proof was ended early", on=f"disk {disk.key}")
            else:
                disk.adopt(bytes.fromhex(proof.root))
                run.lineage = disk.lineage()
                roots = (bytes.fromhex(proof.source_root), bytes.fromhex(proof.root))
                ends = (proof.source, proof.target)
                run.account = Account(disk.capacity, tuple(pieces), tuple(parts), *ends, roots)
        except ConnectorError as error:
            run.error = error
        except Exception as defect:  # the outermost handler of this thread: the proof must show the failure
            log.exception("the proof of disk %s failed", disk.key)
            message = (
                str(defect) if isinstance(defect, OSError) else f"the proof failed ({type(defect).__name__})"
            )
            run.error = TargetFailed(message, on=f"disk {disk.key}", remedy="see the instance's log")
        finally:
            disk.release()
            run.done.set()


def _differs(mismatched: int, mismatches: Sequence[Extent], key: str) -> ProofFailed:
    places = [f"[{start}, {start + length})" for start, length in mismatches[:NAMED]]
    more = len(mismatches) - len(places)
    return ProofFailed(
        f"{mismatched} bytes differ from what was sent, in {', '.join(places)}"
        + (f" and {more} more places" if more else ""),
        on=f"disk {key}",
        remedy="check the storage; the next pass reads them again",
    )
