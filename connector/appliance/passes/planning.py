"""Decides the pass kind of a disk: delta, repair, compare or full. In doubt it is compare, and never "no changes".

Pure except for the questions to vCenter. When its answer about changes is not believed: `connector/vcenter/changes.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from connector.errors import ChangesUnknown
from connector.kinds import PassKind
from connector.model import Extent, MachineDisk

Changed = Callable[[MachineDisk], tuple[Extent, ...]]
"""The changes on the disk since an earlier state of it. Raises ChangesUnknown."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The pass kind. `changes` None means everything that is allocated. `note` says why it is no delta."""

    kind: PassKind
    base_change_id: str = ""
    changes: tuple[Extent, ...] | None = None
    note: str = ""


def decide(
    state: Mapping[str, Any] | None,
    disk: MachineDisk,
    snapshot: str,
    existing: Callable[[], Collection[str]],
    changed: Changed,
    disagreement: str = "",
) -> Decision:
    """The pass kind for a disk. `state` is the target as its instance describes it.

    `snapshot` is the token of the snapshot that is read, `existing()` the tokens of all snapshots of the machine.
    `disagreement`: why the pass must not continue from the target (see `lineage`).
    """
    if state is None or not state["touched"]:
        return Decision(PassKind.FULL, note=f"copied in full: {disagreement}" if disagreement else "")
    try:
        if disagreement:
            raise ChangesUnknown(state["doubt"] or disagreement)
        if state["base"]:
            if state["base"]["snapshot"] in existing():
                raise ChangesUnknown("the snapshot of the base was still there when the next one was taken")
            return _onward(state, disk, changed)
        return _resumed(state, disk, snapshot, changed)
    except ChangesUnknown as doubt:
        return Decision(PassKind.COMPARE, note=f"compared: {doubt.what}")


def _onward(state: Mapping[str, Any], disk: MachineDisk, changed: Changed) -> Decision:
    base = state["base"]
    if state["doubt"]:
        raise ChangesUnknown(state["doubt"])
    identity = base["identity"] or {}
    base_disk = replace(
        disk,
        capacity=int(state["capacity"]),
        change_id=base["change_id"] or None,
        uuid=identity.get("uuid") or None,
        path=identity.get("path") or disk.path,
    )
    changes = changed(base_disk)
    if not state["spoiled"]:
        return Decision(PassKind.DELTA, str(base["change_id"]), changes)
    wrong = sum(length for _, length in state["spoiled"])
    note = f"repaired: {wrong} bytes of the target were wrong, and were read again"
    return Decision(PassKind.REPAIR, str(base["change_id"]), changes, note)


def _resumed(state: Mapping[str, Any], disk: MachineDisk, snapshot: str, changed: Changed) -> Decision:
    """Without a base, an interrupted first pass continues if CBT knows what changed since each of its attempts."""
    attempts = state["attempts"]
    if not attempts or any(attempt["kind"] != "full" for attempt in attempts):
        raise ChangesUnknown(
            state["doubt"] or "the target holds no finished pass from which a delta could continue"
        )
    for attempt in attempts:
        if attempt["snapshot"] != snapshot:
            changed(replace(disk, change_id=attempt["change_id"] or None))
    return Decision(PassKind.FULL)
