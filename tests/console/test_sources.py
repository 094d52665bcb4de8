"""Migration sources as people find and see them: requirements by number."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict
from typing import Any

from connector.control.domain.access import Role
from connector.control.store import JobFilter, NewJob
from connector.model import Finding, Severity
from tests.console.conftest import Console
from tests.console.visitor import Answer
from tests.control.conftest import VCENTER, machine

SOURCES = "/console/sources"


def register(console: Console, *machines: Any, findings: dict[str, list[Finding]] | None = None) -> list[str]:
    """The whole inventory, as an appliance reports it."""
    found = findings or {}
    bodies = [asdict(m) | {"findings": [asdict(f) for f in found.get(m.moref, [])]} for m in machines]
    ids = console.store.sources.put(VCENTER, bodies, console.house.appliance)
    return [ids[m.moref] for m in machines]


def names(answer: Answer) -> list[str]:
    return sorted(found.text for found in answer.page.all("a", class_="name"))


def search(console: Console, item: str, value: str) -> list[str]:
    visitor = console.visitor(Role.READER)
    return names(visitor.get(f"{SOURCES}?item={item}&value={value}"))


def test_r2_sources_are_searched_by_exactly_four_items(console: Console) -> None:
    options = console.visitor(Role.READER).get(SOURCES).page.one("select", id="search-item").all("option")
    assert [option.text for option in options] == [
        "Migration Source Name",
        "Migration Source ID",
        "Status",
        "Last Migration Job ID",
    ]


def test_r2_each_item_finds_what_it_names(console: Console) -> None:
    job = console.house.job("web-01")
    console.house.register("web-01", "web-02")
    source = console.house.sources["vm-web-01"]
    assert search(console, "name", "web-01") == ["web-01"]
    assert search(console, "id", source) == ["web-01"]
    assert search(console, "state", "InUse") == ["web-01"]
    assert search(console, "state", "Available") == ["web-02"]
    assert search(console, "job", job) == ["web-01"]


def test_r3_a_search_matches_exactly_or_not_at_all(console: Console) -> None:
    job = console.house.job("web-01")
    source = console.house.sources["vm-web-01"]
    for item, right in (("name", "web-01"), ("id", source), ("state", "InUse"), ("job", job)):
        assert search(console, item, right) == ["web-01"]
        for wrong in (
            right[:-1],
            right[1:],
            right.upper(),
            right + "x",
            "%25",
            "_" * len(right),
            f"{right}' OR 1=1--",
        ):
            assert search(console, item, wrong) == [], (item, wrong)
    for other in ("id", "state", "job"):
        assert search(console, other, "web-01") == []


def test_r3_a_pasted_id_may_have_spaces_around_it_and_a_name_may_not(console: Console) -> None:
    (source,) = console.house.register("web-01")
    assert search(console, "id", f"+{source}%20") == ["web-01"]
    assert search(console, "name", "web-01%20") == []


def test_r4_pick_an_item_type_a_value_press_enter(console: Console) -> None:
    console.house.register("web-01", "web-02")
    visitor = console.visitor(Role.READER)
    form = visitor.get(SOURCES).page.one("form", role="search")
    assert (form["method"], form["action"]) == ("get", SOURCES)
    fields = [found["name"] for found in form.all() if "name" in found]
    assert fields == ["item", "value", "part"]
    assert form.has("button")  # which is what Enter presses
    found = visitor.get(f"{form['action']}?item=name&value=web-02").page
    assert found.one("option", selected="")["value"] == "name"
    assert found.one("input", name="value")["value"] == "web-02"


def test_r4_nothing_found_is_said_with_what_would_be_found(console: Console) -> None:
    console.house.register("web-01")
    page = console.visitor().get(f"{SOURCES}?item=state&value=available").page
    assert "No source matches exactly" in page.text
    assert "Available, InUse, Unavailable or Deleting" in page.text


def test_r9_r10_all_sources_are_one_list_of_virtual_machines(console: Console) -> None:
    console.house.register("web-01")
    register(console, machine("vm-1", "web-02"))
    page = console.visitor().get(SOURCES).page
    assert "Virtual machines of VMware" in page.text
    assert "ECS" not in page.text


def test_r12_an_empty_console_says_how_a_migration_goes(console: Console) -> None:
    text = console.visitor().get(SOURCES).page.one("div", class_="empty").text
    assert "No migration source yet" in text
    for step in ("registered no machine", "appliance"):
        assert step in text


def test_r67_r75_only_an_available_source_is_offered_a_job(console: Console) -> None:
    first, second, third = register(console, *(machine(f"vm-{n}", f"web-{n}") for n in (1, 2, 3)))
    console.house.service.create(NewJob(first, "job-1"))
    register(console, machine("vm-1", "web-1"), machine("vm-2", "web-2"))  # the third is gone
    visitor = console.visitor(Role.OPERATOR)
    offers = {found["href"] for found in visitor.get(SOURCES).page.all("a", class_="button")}
    assert offers == {f"/console/new-job?source={second}"}
    for source, word in ((first, "InUse"), (third, "Unavailable")):
        dialog = visitor.get(f"/console/new-job?source={source}")
        assert f"is {word}" in dialog.banner
        assert "disabled" in dialog.page.one("form", class_="dialog").one("button")
        refused = visitor.post("/console/new-job", {"SourceId": source, "RegionId": "r"})
        assert refused.status == 400, word
    assert console.store.jobs.page(JobFilter(), 1, 9).total == 1


def test_r68_r69_r89_an_offline_source_says_why_and_what_to_do(console: Console) -> None:
    (source,) = console.house.register("web-01")
    console.house.watch.look()
    console.house.clock.advance(120)
    console.house.watch.look()
    answer = console.visitor().get(f"{SOURCES}/{source}")
    assert answer.states[0] == "Unavailable"
    assert "no appliance of its vCenter is online" in answer.banner
    assert f"Start the appliance of {VCENTER} again" in answer.banner
    assert "SourceServer.Offline" in answer.banner
    assert "its log says why" in answer.banner


def test_r72_r73_a_page_shows_the_disks_as_the_last_scan_found_them(console: Console) -> None:
    (source,) = register(console, machine("vm-1", "web-01", disks=1))
    visitor = console.visitor(Role.OPERATOR)
    dialog = visitor.get(f"/console/new-job?source={source}").page
    assert dialog.has("input", name="SystemDiskSize")
    assert not dialog.has("h3", id="data-disks")
    assert not any(field["name"].startswith("DataDisk") for field in dialog.all("input"))
    register(console, machine("vm-1", "web-01", disks=3))
    dialog = visitor.get(f"/console/new-job?source={source}").page
    assert dialog.has("h3", id="data-disks")
    sizes = [field["name"] for field in dialog.all("input") if field["name"].startswith("DataDisk")]
    assert sizes == ["DataDisk.1.Size", "DataDisk.2.Size"]
    assert "Hard disk 3" in visitor.get(f"{SOURCES}/{source}").page.text
    assert "reload to see a disk that was added" in visitor.get(f"{SOURCES}/{source}").page.text


def test_findings_are_shown_and_the_grave_ones_stand_in_the_way(console: Console) -> None:
    shared = Finding("D1", Severity.BLOCK, "web-01", "its disk is shared", "detach the shared disk")
    warm = Finding("V7", Severity.WARM_BLOCK, "web-02", "no CBT", "migrate it powered off")
    slow = Finding("V15", Severity.WARN, "web-03", "a deep chain", "consolidate")
    machines = [machine(f"vm-{n}", f"web-0{n}") for n in (1, 2, 3)]
    findings = {"vm-1": [shared], "vm-2": [warm], "vm-3": [slow]}
    first, second, third = register(console, *machines, findings=findings)
    visitor = console.visitor(Role.OPERATOR)
    assert {f["href"] for f in visitor.get(SOURCES).page.all("a", class_="button")} == {
        f"/console/new-job?source={third}"
    }
    page = visitor.get(f"{SOURCES}/{first}").page
    assert page.one("span", class_="block").text == "blocks"
    assert "detach the shared disk" in page.text
    refused = visitor.post("/console/new-job", {"SourceId": second, "RegionId": "r"})
    assert (refused.status, "no CBT" in refused.banner) == (400, True)
    off = [dataclasses.replace(m, power="poweredOff") for m in machines]
    register(console, *off, findings=findings)
    assert visitor.post("/console/new-job", {"SourceId": second, "RegionId": "r"}).status == 303


def test_a_source_is_renamed_and_vcenter_keeps_its_name(console: Console) -> None:
    first, _ = console.house.register("web 01 (old)", "web-02")
    visitor = console.visitor(Role.OPERATOR)
    kept = visitor.post(f"{SOURCES}/{first}/modify", {"Name": "web 01 (old)", "Description": "the shop"})
    assert "the shop" in visitor.get(kept.moved).page.text
    visitor.post(f"{SOURCES}/{first}/modify", {"Name": "web-01", "Description": ""})
    found = console.store.sources.get(first)
    assert (found.name, found.machine, found.description) == ("web-01", "web 01 (old)", "")
    taken = visitor.post(f"{SOURCES}/{first}/modify", {"Name": "web-02"})
    assert (taken.status, "another source has this name" in taken.banner) == (400, True)
    wrong = visitor.post(f"{SOURCES}/{first}/modify", {"Name": "1 2"})
    assert (wrong.status, wrong.page.one("input", name="Name")["aria-invalid"]) == (400, "true")


def test_r7_r8_a_source_is_deleted_after_its_job_or_with_it(console: Console) -> None:
    job = console.house.job("web-01")
    source = console.house.sources["vm-web-01"]
    visitor = console.visitor(Role.OPERATOR)
    refused = visitor.post(f"{SOURCES}/{source}/delete")
    assert (refused.status, "job" in refused.banner) == (400, True)
    console.house.service.start(job)
    running = visitor.post(f"{SOURCES}/{source}/delete", {"Force": "true"})
    assert (running.status, "running job" in running.banner) == (400, True)
    console.house.run(job)
    assert visitor.post(f"{SOURCES}/{source}/delete", {"Force": "true"}).moved.endswith("said=removed")
    console.house.turn()
    console.house.turn()
    assert names(visitor.get(SOURCES)) == []
    assert visitor.get(f"{SOURCES}/{source}").status == 404


GUESTS = [
    ("windows7Server64Guest", "Microsoft Windows Server 2008 R2 (64-bit)", "Windows Server 2008"),
    ("winNetStandardGuest", "", "Windows Server 2003"),
    ("windows9_64Guest", "Microsoft Windows 10 (64-bit)", "no licence for Windows:"),
    ("windows8Server64Guest", "", ""),
    ("windows9Server64Guest", "Microsoft Windows Server 2016 or later (64-bit)", ""),
    ("windows2019srv_64Guest", "", ""),
    ("windows2019srvNext_64Guest", "", ""),
    ("windows2022srvNext_64Guest", "", "Windows Server 2025"),
    ("debian12_64Guest", "Debian 12", ""),
    ("", "", ""),
]


def test_r29_a_windows_that_the_cloud_does_not_license_is_warned_of(console: Console) -> None:
    guests = [
        dataclasses.replace(machine(f"vm-{n}", f"web-{n}"), guest_id=guest, guest_name=name)
        for n, (guest, name, _) in enumerate(GUESTS)
    ]
    visitor = console.visitor(Role.OPERATOR)
    for source, (guest, _, warned) in zip(register(console, *guests), GUESTS, strict=True):
        said = visitor.get(f"{SOURCES}/{source}").banner
        assert (warned in said) if warned else said == "", (guest, said)
        assert said in visitor.get(f"/console/new-job?source={source}").banner
        made = visitor.post("/console/new-job", {"SourceId": source, "RegionId": "r"}).moved
        kinds = [entry.kind for entry in console.store.jobs.history(job_of(made))]
        assert ("warning" in kinds) == bool(warned)


def job_of(address: str) -> str:
    """The job whose page this is."""
    return address.split("/")[-1].split("?")[0]
