"""A pass is done only if its evidence agrees with the order, with a registered key, and with what the instance shows. Pure.

Every check answers one sentence about the first difference, and "" when everything agrees.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from connector.control.domain.entities import ApplianceKey, Job, Pass, Source
from connector.transfer.evidence import LineageHead, Manifest, fingerprint, heads

#: What an instance shows of its disks, by disk key.
Shown = Mapping[str, Mapping[str, Any]]


def signed_by(manifest: Manifest, keys: Collection[ApplianceKey], taken_at: float) -> str:
    """Check that the key belongs to the appliance, and did so when the pass was taken."""
    print_ = fingerprint(manifest.key)
    if not keys:
        return "this appliance has registered no key for evidence"
    own_keys = [key for key in keys if key.fingerprint == print_]
    if not own_keys:
        return f"the evidence is signed with {print_}, which is no key of this appliance"
    if all(key.replaced is not None and key.replaced < taken_at for key in own_keys):
        return f"the evidence is signed with {print_}, which was replaced before this pass was taken"
    return ""


def of_this_pass(
    manifest: Manifest, attempt: Pass, source: Source, job: Job, readings: Collection[str], vcenter: str
) -> str:
    """Check that the evidence is about this pass and machine. `readings`: attempts whose snapshot may have been read."""
    section, machine = manifest.sections["pass"], manifest.sections["machine"]
    expected = (
        (section.get("id"), attempt.id, "the evidence is of another pass"),
        (section.get("job"), job.id, "the evidence is of another job"),
        (machine.get("vcenter"), vcenter, "the evidence is of another vCenter"),
        (machine.get("moref"), source.moref, "the evidence is of another machine"),
        (machine.get("instance_uuid"), source.instance_uuid, "the evidence is of another machine"),
    )
    for actual, right, wrong in expected:
        if actual != right:
            return f"{wrong} ({str(actual)[:80]})"
    if section.get("reading") not in readings:
        return f"the evidence is of another reading ({str(section.get('reading'))[:80]})"
    return ""


def complete(manifest: Manifest, disk_keys: Iterable[int], *, may_lack: bool) -> str:
    """Check that the evidence names every disk of the pass. `may_lack`: the job accepts that the machine lost some."""
    dropped = manifest.sections["pass"].get("dropped") if may_lack else None
    rows = dropped if isinstance(dropped, list) else []
    dropped_keys = {str(row.get("key")) for row in rows if isinstance(row, dict)}
    lacking = [str(key) for key in disk_keys if str(key) not in manifest.disks.keys() | dropped_keys]
    return f"the evidence names no disk {', '.join(lacking)}" if lacking else ""


_LINEAGE: Final = ("target", "generation", "root")


def expected(manifest: Manifest, shown: Shown) -> dict[str, dict[str, object]]:
    """What the disks of an image must show, by key. Evidence of version 1 knows no target: then what is `shown` counts."""
    disks: dict[str, dict[str, object]] = {}
    for key, head in heads(manifest).items():
        lineage = {"target": head.target, "generation": head.generation, "root": head.root}
        now = {name: shown[key][name] for name in _LINEAGE if name in shown.get(key, {})}
        disks[key] = {"reading": head.reading} | (lineage if head.target else now)
    return disks


def knows_targets(manifest: Manifest) -> bool:
    """Whether the evidence names its targets."""
    return all(head.target for head in heads(manifest).values())


def confirmed(manifest: Manifest, shown: Shown) -> str:
    """Check that the instance shows exactly the disks of the evidence, each at the end of the pass that was proved."""
    reading = manifest.sections["pass"].get("reading")
    if not manifest.disks:
        return "the evidence names no disk"
    for key in sorted(shown.keys() - manifest.disks.keys()):
        return f"the instance has disk {key}, which the evidence does not name"
    head_of = heads(manifest)
    for key, disk in sorted(manifest.disks.items()):
        if key not in shown:
            return f"the instance has no disk {key}"
        if wrong := _differs(disk, reading, shown[key]) or _another(head_of[key], shown[key]):
            return f"disk {key}: {wrong}"
    return ""


def _another(head: LineageHead, shown: Mapping[str, Any]) -> str:
    """How target, generation or root differ from what was signed."""
    for name, signed in (("target", head.target), ("generation", head.generation), ("root", head.root)):
        if (now := shown.get(name, signed)) != signed:
            return f"the instance shows {name} {now}, the evidence says {signed or 'none'}"
    return ""


def _differs(signed: Mapping[str, Any], reading: object, shown: Mapping[str, Any]) -> str:
    base = shown.get("base")
    if not isinstance(base, dict):
        return "the instance shows no finished pass"
    if not shown.get("settled") or shown.get("spoiled"):
        return "the instance is in the middle of a pass, or knows parts of it to be wrong"
    if base.get("pass_id") != reading:
        return f"the instance shows reading {base.get('pass_id')}, the evidence is of {reading}"
    if (base.get("change_id") or "") != (signed.get("change_id") or ""):
        return (
            f"the instance has change id {base.get('change_id')}, the evidence says {signed.get('change_id')}"
        )
    return ""
