"""A pass continues from a target only if the instance and the newest evidence agree about it (invariant 13). Pure.

The control plane sends with each order what its evidence says, and the instance describes the target. Somebody may have
restored a backup of either of them. Where they disagree, the disk is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from connector.transfer.evidence import LineageHead


@dataclass(frozen=True, slots=True)
class Lineage:
    """What the control plane knows about a job's disks. `heads`: the end of each disk's lineage, by the disk's key.

    The heads come from the newest evidence, which `previous` names. `readings` are the ids of the passes that were handed
    out after it.
    `compare`: why the control plane wants every disk compared; empty when it does not.
    """

    heads: Mapping[str, LineageHead] = field(default_factory=dict)
    previous: Mapping[str, str] | None = None
    readings: frozenset[str] = frozenset()
    compare: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "heads": {key: head.to_json() for key, head in self.heads.items()},
            "previous": None if self.previous is None else dict(self.previous),
            "readings": sorted(self.readings),
            "compare": self.compare,
        }

    def disagreement(self, key: str, state: Mapping[str, Any]) -> str:
        """Why a pass must not continue from the target of a disk; empty when it may.

        `state` is the target as its instance describes it. It may be one reading ahead of the head: that reading ended on
        the target, and its evidence was never stored. It is recognised by its id and by the root before it.
        """
        if self.compare:
            return self.compare
        head, base = self.heads.get(key), state["base"]
        if base is None:
            return (
                "" if head is None else f"its target has no finished pass, the evidence names {head.reading}"
            )
        if head is None:
            return "" if base["pass_id"] in self.readings else _unknown(base["pass_id"])
        if _is(head, state) or self._is_next(head, state):
            return ""
        return _difference(head, state)

    def _is_next(self, head: LineageHead, state: Mapping[str, Any]) -> bool:
        follows = state["base"]["pass_id"] in self.readings
        if not head.target:  # evidence of version 1 names neither target nor root
            return follows
        next_pass = (state["target"], state["generation"], state["previous_root"])
        return follows and next_pass == (head.target, head.generation + 1, head.root)


def from_json(body: Mapping[str, Any]) -> Lineage:
    """The reverse of `to_json`; missing fields are unknown.

    Raises KeyError, TypeError, ValueError or AttributeError when it is no lineage.
    """
    previous = body.get("previous")
    return Lineage(
        heads={str(key): _head(head) for key, head in (body.get("heads") or {}).items()},
        previous=None if previous is None else {"id": str(previous["id"]), "digest": str(previous["digest"])},
        readings=frozenset(str(reading) for reading in body.get("readings", ())),
        compare=str(body.get("compare", "")),
    )


def _head(body: Mapping[str, Any]) -> LineageHead:
    return LineageHead(
        reading=str(body["reading"]),
        change_id=str(body["change_id"]),
        target=str(body["target"]),
        generation=int(body["generation"]),
        root=str(body["root"]),
    )


def _is(head: LineageHead, state: Mapping[str, Any]) -> bool:
    base = state["base"]
    if (base["pass_id"], base["change_id"]) != (head.reading, head.change_id):
        return False
    target = (state["target"], state["generation"], state["root"])
    return not head.target or target == (head.target, head.generation, head.root)


def _unknown(reading: str) -> str:
    return f"its target shows {reading}, of which the control plane has no evidence"


def _difference(head: LineageHead, state: Mapping[str, Any]) -> str:
    base = state["base"]
    if state["target"] != head.target and head.target:
        return f"its target is not the one that the evidence of {head.reading} names"
    if base["pass_id"] != head.reading:
        return f"its target shows {base['pass_id']}, the evidence names {head.reading}"
    if base["change_id"] != head.change_id:
        return f"its target shows {base['pass_id']} under another change id than the evidence"
    return f"its target shows {base['pass_id']} with another root or generation than the evidence"
