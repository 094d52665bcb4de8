"""Running proofs: at most one for each disk, joined by whoever asks again, kept until the next pass
begins.

A proof goes on when nobody waits for it any more: whoever reads under the same snapshot again joins it, or takes its
result. As soon as another reading begins, or the disk is changed otherwise, it is ended: its result would speak of what the
disk no longer shows. What it had found wrong until then is kept, and the next reading delivers it.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field

from connector.errors import ConnectorError, ProofFailed, TargetFailed, TransferFailed
from connector.instance.disk import Disk
from connector.instance.proof import Proof, prove
from connector.instance.records import PassBegin
from connector.transfer.account import Account, parts_of

log = logging.getLogger(__name__)
NAMED = 5  # places in a message, at most
WAY = 20.0  # seconds that a block of a proof may take which is ended


@dataclass(slots=True)
class RunningProof:
    """One proof of one pass. Its results are there when it is `done`; `account` and `lineage` when nothing differed."""

    base: PassBegin
    at: float = field(default_factory=time.time)
    done: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    proof: Proof | None = None
    account: Account | None = None
    lineage: dict[str, object] = field(default_factory=dict)
    error: ConnectorError | None = None

    @property
    def pass_id(self) -> str:
        return self.base.pass_id


class Proofs:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, RunningProof] = {}  # by disk, the newest
        self._closed = False

    def ask(self, disk: Disk, patience: float, fresh: bool) -> RunningProof | None:
        """The proof of what the disk shows; None when it still runs after `patience` seconds. `fresh` reads
        again even when there is a result. Raises Conflict in the middle of a pass, ProofFailed when a cell
        differs."""
        base = disk.hold()
        with self._lock:
            run = self._runs.get(disk.key)
            if run is not None and run.pass_id == base.pass_id and (not run.done.is_set() or not fresh):
                disk.release()
            else:
                run = self._runs[disk.key] = RunningProof(base)
                if self._closed:
                    run.stop.set()
                threading.Thread(
                    target=self._prove, args=(disk, run), name=f"proof {disk.key}", daemon=True
                ).start()
        if not run.done.wait(patience):
            return None
        if run.error is not None:
            with self._lock:
                self._runs.pop(disk.key, None)
            raise run.error
        return run

    def make_way(self, key: str, reading: str = "") -> None:
        """The disk is about to change: end its proof, unless it is of this reading. Returns when the disk is let go of, or
        after some seconds: then a block of it cannot be read, and the change is refused.
        """
        with self._lock:
            run = self._runs.get(key)
        if run is not None and run.pass_id != reading:
            run.stop.set()
            run.done.wait(WAY)

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
                run.error = _differs(proof, disk.key)
            elif not proof.root:  # what was not read proves nothing; the caller asks again
                run.error = TransferFailed("its proof was ended before it was done", on=f"disk {disk.key}")
            else:
                disk.adopt(bytes.fromhex(proof.root))
                run.lineage = disk.lineage()
                whole = (bytes.fromhex(proof.source_root), bytes.fromhex(proof.root))
                ends = (proof.source, proof.target)
                run.account = Account(disk.capacity, tuple(pieces), tuple(parts), *ends, whole)
        except ConnectorError as error:
            run.error = error
        except (
            Exception
        ) as defect:  # The outermost handler of this thread: whoever waits for the proof must hear of it
            log.exception("the proof of disk %s failed", disk.key)
            what = (
                str(defect) if isinstance(defect, OSError) else f"the proof failed ({type(defect).__name__})"
            )
            run.error = TargetFailed(what, on=f"disk {disk.key}", remedy="see the instance's log")
        finally:
            disk.release()
            run.done.set()


def _differs(proof: Proof, key: str) -> ProofFailed:
    places = [f"[{start}, {start + length})" for start, length in proof.mismatches[:NAMED]]
    more = len(proof.mismatches) - len(places)
    return ProofFailed(
        f"{proof.mismatched} bytes differ from what was sent, in {', '.join(places)}"
        + (f" and {more} more places" if more else ""),
        on=f"disk {key}",
        remedy="check the storage; the next pass reads them again",
    )
