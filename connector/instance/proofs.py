"""Running proofs: at most one for each disk, joined by whoever asks again, kept until the next pass
begins.
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


@dataclass(slots=True)
class Run:
    """One proof of one pass. Its results are there when it is `done`; `account` and `lineage` when nothing differed."""

    base: PassBegin
    at: float = field(default_factory=time.time)
    done: threading.Event = field(default_factory=threading.Event)
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
        self._runs: dict[str, Run] = {}  # by disk, the newest
        self._stop = threading.Event()

    def ask(self, disk: Disk, patience: float, fresh: bool) -> Run | None:
        """The proof of what the disk shows; None when it still runs after `patience` seconds. `fresh` reads
        again even when there is a result. Raises Conflict in the middle of a pass, ProofFailed when a cell
        differs."""
        base = disk.hold()
        with self._lock:
            run = self._runs.get(disk.key)
            if run is not None and run.pass_id == base.pass_id and (not run.done.is_set() or not fresh):
                disk.release()
            else:
                run = self._runs[disk.key] = Run(base)
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

    def close(self) -> None:
        self._stop.set()
        for run in list(self._runs.values()):
            run.done.wait(30)

    def _prove(self, disk: Disk, run: Run) -> None:
        try:
            contents, pieces = disk.contents, disk.account()
            parts = parts_of(pieces, disk.capacity)
            proof = run.proof = prove(contents.target, contents.table, self._stop, parts, disk.node)
            if proof.mismatched:
                disk.spoil(proof.mismatches)
                run.error = _differs(proof, disk.key)
            elif self._stop.is_set():  # what was not read proves nothing; the caller asks again
                run.error = TransferFailed("stops before its proof is done", on=f"disk {disk.key}")
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
        ) as defect:  # the outer door of this thread: whoever waits for the proof must hear of it
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
