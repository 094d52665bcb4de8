"""What a form refuses is called as its box is: the label that the person reads, never the public API's name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import pytest

from connector.control.console.form_fields import LABELS, label, spoken
from connector.control.domain.access import Role
from connector.control.smc.catalogue import Denied
from tests.console.conftest import Console
from tests.console.everything import Everything
from tests.console.reading import Element
from tests.console.test_sources import register
from tests.control.conftest import machine

#: Breaks the rule of every kind of box.
NONSENSE = "http://" + "x" * 500


def forms(everything: Everything) -> dict[str, str]:
    """Where each form is sent, and the page that it is on."""
    return {
        "/console/new-job": f"/console/new-job?source={everything.free}",
        f"/console/jobs/{everything.job}/modify": f"/console/jobs/{everything.job}",
        f"/console/sources/{everything.source}/modify": f"/console/sources/{everything.source}",
        "/console/groups": "/console/groups",
        f"/console/groups/{everything.group}/modify": f"/console/groups/{everything.group}",
        "/console/codes": "/console/codes",
    }


def boxes(form: Element) -> Iterator[tuple[str, str]]:
    """Name and label of what can be filled in."""
    labels = {found["for"]: found.text.removesuffix(" (required)") for found in form.all("label")}
    for field in [*form.all("input"), *form.all("select")]:
        if field["id"] and field["id"] in labels:
            yield field["name"], labels[field["id"]]


def test_a_refusal_names_the_box_as_it_is_labelled(console: Console) -> None:
    everything = Everything(console)
    visitor = console.visitor(Role.ADMIN)
    tried = 0
    for action, page in forms(everything).items():
        form = visitor.get(page).page.one("form", method="post", action=action)
        filled = {f["name"]: f["value"] for f in form.all("input") if f["type"] not in ("radio", "checkbox")}
        filled |= {"RegionId": "r", "RunOnce": "false"} if action == "/console/new-job" else {}
        filled |= {name: "sound" for name in ("Name", "VCenter") if filled.get(name) == ""}
        for name, shown in boxes(form):
            refused = visitor.post(action, filled | {name: NONSENSE})
            assert refused.status == 400, (action, name)
            assert f"“{shown}” is not valid" in refused.banner, (action, name, refused.banner)
            assert shown == name or not re.search(rf"\b{re.escape(name)}\b", refused.banner), refused.banner
            (box,) = [f for f in refused.page.all(name=name) if "id" in f]
            assert box["aria-invalid"] == "true", (action, name)
            tried += 1
    assert tried > 25


@pytest.mark.parametrize("form, shown", [
    ({"RunOnce": "false"}, "“Hours between two runs” is missing. Fill it in."),
    ({"DataDisk.1.Size": "3"}, "“Data disk 1, GiB” is not valid"),
    ({"DataDisk.1.Size": "20"}, "“Data disk, GiB” is not valid: at least 30 GiB, the size of data disk 1"),
])  # fmt: skip
def test_what_is_missing_or_too_small_is_named_by_its_label(
    console: Console, form: dict[str, str], shown: str
) -> None:
    found = machine("vm-1", "web-01", disks=2)
    large = [dataclasses.replace(disk, capacity=30 << 30) for disk in found.disks]
    (source,) = register(console, dataclasses.replace(found, disks=tuple(large)))
    refused = console.visitor().post("/console/new-job", {"SourceId": source, "RegionId": "r"} | form)
    assert refused.status == 400
    assert shown in refused.banner


def test_every_name_with_a_label_is_replaced_wherever_it_stands() -> None:
    for name, shown in LABELS.items():
        what, _ = spoken(
            Denied("ReplicationJob.InvalidStatus", f"j-1: {name} cannot be changed while Running.")
        )
        assert what == f"j-1: {name if shown == name else f'“{shown}”'} cannot be changed while Running"
    assert label("DataDisk.12.Size") == "Data disk 12, GiB"
    assert label("Nothing") == "Nothing"
