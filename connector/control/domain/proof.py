"""What an appliance says is compared with what was ordered, with its registered key, and with what the instance shows. Pure.

Every check answers a sentence about the first thing that is wrong, and "" when everything agrees.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from connector.control.domain.entities import ApplianceKey, Job, Pass, Source
from connector.transfer.evidence import LineageHead, Manifest, fingerprint, heads

#: What an instance says of its disks, by key.
Shown = Mapping[str, Mapping[str, Any]]


def signed_by(manifest: Manifest, keys: Collection[ApplianceKey], taken: float) -> str:
    """The key is one of the appliance's own, and was so when the pass was taken."""
    print_ = fingerprint(manifest.key)
    if not keys:
        return "this appliance has registered no key for evidence"
    known = [key for key in keys if key.fingerprint == print_]
    if not known:
        return f"the evidence is signed with {print_}, which is no key of this appliance"
    if all(key.replaced is not None and key.replaced < taken for key in known):
        return f"the evidence is signed with {print_}, which was replaced before this pass was taken"
    return ""


def of_this_pass(
    manifest: Manifest, found: Pass, source: Source, job: Job, readings: Collection[str], vcenter: str
) -> str:
    """The evidence is of this pass and machine. `readings`: the attempts whose snapshot may have been read."""
    made, machine = manifest.sections["pass"], manifest.sections["machine"]
    expected = (
        (made.get("id"), found.id, "the evidence is of another pass"),
        (made.get("job"), job.id, "the evidence is of another job"),
        (machine.get("vcenter"), vcenter, "the evidence is of another vCenter"),
        (machine.get("moref"), source.moref, "the evidence is of another machine"),
        (machine.get("instance_uuid"), source.instance_uuid, "the evidence is of another machine"),
    )
    for said, right, wrong in expected:
        if said != right:
            return f"{wrong} ({str(said)[:80]})"
    if made.get("reading") not in readings:
        return f"the evidence is of another reading ({str(made.get('reading'))[:80]})"
    return ""


def complete(manifest: Manifest, wanted: Iterable[int], *, may_lack: bool) -> str:
    """Every disk that the pass was about is named. With `may_lack` the machine may have lost some, by consent."""
    dropped = manifest.sections["pass"].get("dropped") if may_lack else None
    rows = dropped if isinstance(dropped, list) else []
    gone = {str(row.get("key")) for row in rows if isinstance(row, dict)}
    lacking = [str(key) for key in wanted if str(key) not in manifest.disks.keys() | gone]
    return f"the evidence names no disk {', '.join(lacking)}" if lacking else ""


_LINEAGE: Final = ("target", "generation", "root")


def expected(manifest: Manifest, shown: Shown) -> dict[str, dict[str, object]]:
    """What the disks of an image must show, by key. What evidence of version 1 does not know is as it is `shown`."""
    found: dict[str, dict[str, object]] = {}
    for key, head in heads(manifest).items():
        lineage = {"target": head.target, "generation": head.generation, "root": head.root}
        now = {name: shown[key][name] for name in _LINEAGE if name in shown.get(key, {})}
        found[key] = {"reading": head.reading} | (lineage if head.target else now)
    return found


def knows_targets(manifest: Manifest) -> bool:
    """Whether the evidence says which targets it is about."""
    return all(head.target for head in heads(manifest).values())


def confirmed(manifest: Manifest, shown: Shown) -> str:
    """The instance shows the disks of the evidence and no other, each at the end of the pass that was proved."""
    reading = manifest.sections["pass"].get("reading")
    if not manifest.disks:
        return "the evidence names no disk"
    for key in sorted(shown.keys() - manifest.disks.keys()):
        return f"the instance has disk {key}, which the evidence does not name"
    known = heads(manifest)
    for key, said in sorted(manifest.disks.items()):
        if key not in shown:
            return f"the instance has no disk {key}"
        if wrong := _differs(said, reading, shown[key]) or _another(known[key], shown[key]):
            return f"disk {key}: {wrong}"
    return ""


def _another(head: LineageHead, shown: Mapping[str, Any]) -> str:
    """Another target, generation or root than what was signed."""
    for name, said in (("target", head.target), ("generation", head.generation), ("root", head.root)):
        if (now := shown.get(name, said)) != said:
            return f"the instance shows {name} {now}, the evidence says {said or 'none'}"
    return ""


def _differs(said: Mapping[str, Any], reading: object, shown: Mapping[str, Any]) -> str:
    base = shown.get("base")
    if not isinstance(base, dict):
        return "the instance shows no finished pass"
    if not shown.get("settled") or shown.get("spoiled"):
        return "the instance is in the middle of a pass, or knows parts of it to be wrong"
    if base.get("pass_id") != reading:
        return f"the instance shows reading {base.get('pass_id')}, the evidence is of {reading}"
    if (base.get("change_id") or "") != (said.get("change_id") or ""):
        return (
            f"the instance has change id {base.get('change_id')}, the evidence says {said.get('change_id')}"
        )
    return ""
