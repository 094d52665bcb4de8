"""Every page: what holds for all of them, whoever looks and whatever is typed."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from urllib.parse import quote

import pytest

from connector.control.console import actions, lists
from connector.control.domain import jobs
from connector.control.domain.access import Role
from connector.control.domain.jobs import JobState, JobStatus
from connector.control.store import NewJob, Quotas
from connector.names import visible
from tests.console.conftest import Console
from tests.console.everything import Everything
from tests.console.reading import Element

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}


@pytest.fixture
def everything(console: Console) -> Everything:
    return Everything(console)


def test_every_answer_holds_the_browser_to_what_is_ours(everything: Everything) -> None:
    visitor = everything.console.visitor()
    others = ["/console/login", "/console/nowhere", "/console/static/console.css", "/console/static/nothing"]
    for path in [*everything.pages, *others]:
        answer = visitor.get(path)
        policy = dict(rule.split(" ", 1) for rule in answer.header("content-security-policy").split("; "))
        assert policy == POLICY, path
        assert answer.header("strict-transport-security") == "max-age=31536000"
        assert answer.header("x-frame-options") == "DENY"
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("referrer-policy") == "same-origin"
        kept = "immutable" in answer.header("cache-control")
        assert kept == path.endswith(".css"), path
        assert kept or answer.header("cache-control") == "no-store"


def test_nothing_is_inline_and_nothing_comes_from_elsewhere(everything: Everything) -> None:
    visitor = everything.console.visitor()
    for path in everything.pages:
        page = visitor.get(path).page
        for element in page.all():
            assert "style" not in element, path
            assert not any(name.startswith("on") for name in element.attributes), path
            for name in ("src", "href", "action", "formaction"):
                assert name not in element or element[name].startswith(("/console", "#")), element.attributes
        for script in page.all("script"):
            assert script["src"]
            assert not script.text


def test_pages_are_well_made(everything: Everything) -> None:
    """Labels, one heading of the first order, no id twice, and a proof in every form that changes something."""
    visitor = everything.console.visitor()
    for path in everything.pages:
        page = visitor.get(path).page
        assert page.one("html")["lang"] == "en"
        assert len(list(page.all("h1"))) == 1, path
        ids = [element["id"] for element in page.all() if "id" in element]
        assert len(ids) == len(set(ids)), path
        labels = {label["for"] for label in page.all("label")}
        for field in [*page.all("input"), *page.all("select")]:
            if field["type"] in ("hidden", "radio") or "aria-label" in field or field.parent.tag == "label":  # type: ignore[union-attr]
                continue
            assert field["id"] in labels, (path, field.attributes)
        for form in page.all("form", method="post"):
            assert form.has("input", name="csrf"), path


def test_no_page_calls_a_workgroup_a_wave(everything: Everything) -> None:
    visitor = everything.console.visitor()
    for path in everything.pages:
        assert "wave" not in visitor.get(path).page.text.lower(), path


def test_a_key_that_may_only_look_sees_no_button(everything: Everything) -> None:
    visitor = everything.console.visitor(Role.READER)
    for path in everything.pages:
        answer = visitor.get(path)
        if path.startswith("/console/new-job"):
            assert answer.status == 403
            continue
        page = answer.page
        assert answer.status == 200
        assert [found.text for found in page.all("button", form="act")] == [], path
        forms = {form["action"] for form in page.all("form", method="post") if form["id"] != "act"}
        assert forms == {"/console/theme", "/console/logout"}, path
        assert not page.has("a", class_="button"), path


def test_a_key_that_may_only_look_is_refused_by_the_server(everything: Everything) -> None:
    console = everything.console
    visitor = console.visitor(Role.READER)
    before = console.store.audit.page().total
    for path in everything.changes:
        answer = visitor.post(path, {"Name": "other-name", f"source-{everything.source}": "1"})
        assert answer.status == 403, path
        assert "has the role read-only" in answer.banner, path
    assert console.store.audit.page().total == before
    assert console.house.status(everything.job) == "Ready"


def test_only_an_administrator_makes_activation_codes(everything: Everything) -> None:
    visitor = everything.console.visitor(Role.OPERATOR)
    page = visitor.get("/console/codes").page
    assert not page.has("input", name="Count")
    for path in everything.changes[-3:]:
        assert visitor.post(path, {"Name": "mine"}).status == 403
    assert [token.id for token in everything.console.store.tokens.all()] == [everything.token]


#: As markup, and with what nobody sees: a mark that turns the text around, blanks of other kinds, a loose accent, ESC.
HOSTILE = "<script>alert(1)</script>\"'&{{7*7}} web\u202e10\u00a0e\u0301\u200b\x1b[31m"
UNSEEN = "\u202e\u00a0\u0301\u200b\x1b"


def unseen(page: Element) -> list[str]:
    """What a page holds of it. A form sends a value back as it is."""
    shown = [value for e in page.all() for name, value in e.attributes.items() if name != "value"]
    return [text for text in (page.text, *shown) if set(text) & set(UNSEEN)]


def test_what_people_and_machines_are_called_is_text_and_nothing_in_it_is_unseen(console: Console) -> None:
    hostile = HOSTILE
    (source,) = console.house.register(hostile)
    console.store.sources.modify(source, description=hostile)
    job = console.house.service.create(NewJob(source, "job-web-01")).id
    console.store.jobs.note(job, "note", hostile)
    console.store.jobs.mark(job, waiting=hostile)
    console.store.audit.add(hostile, "", hostile, hostile, {hostile: hostile})
    console.house.enrol(hostile, f"https://{hostile}")
    visitor = console.visitor()
    assert visitor.get(f"/console/sources/{source}").page.one("input", name="Name")["value"] == hostile
    for path in (
        "/console/sources",
        f"/console/sources/{source}",
        f"/console/jobs/{job}",
        "/console/jobs",
        "/console/audit",
        "/console/appliances",
    ):
        answer = visitor.get(path)
        assert "<script>alert" not in answer.text, path
        assert visible(hostile) in answer.page.text, path
        assert "<U+202E>10<U+00A0>e<U+0301><U+200B>" in visible(hostile)
        assert not unseen(answer.page), path
        assert "&amp;lt;" not in answer.text, path
        assert len(list(answer.page.all("script"))) == 1, path


def test_lists_come_in_pages(console: Console) -> None:
    names = [f"vm-{number:03d}" for number in range(45)]
    console.house.register(*names)
    visitor = console.visitor(Role.READER)
    seen: list[str] = []
    path = "/console/sources"
    while path:
        page = visitor.get(path).page
        seen += [found.text for found in page.all("a", class_="name")]
        path = next((found["href"] for found in page.all("a", rel="next")), "")
    assert sorted(seen) == names
    assert len(list(visitor.get("/console/sources?size=50").page.all("a", class_="name"))) == 45
    assert "no more pages" in visitor.get("/console/sources?page=99").page.text
    for nonsense in ("page=-1", "page=x", "page=0", "size=7", "size=9999", "page=٣", "page=1e9"):
        assert len(list(visitor.get(f"/console/sources?{nonsense}").page.all("a", class_="name"))) == 20


def test_pages_keep_the_search(console: Console) -> None:
    console.house.register(*(f"vm-{number:03d}" for number in range(25)))
    page = console.visitor().get("/console/sources?item=state&value=Available").page
    following = page.one("a", rel="next")["href"]
    assert "item=state" in following
    assert "value=Available" in following


@pytest.mark.parametrize(
    "path", ["", "/", "/jobs/j-none", "/sources/s-none", "/groups/wg-none", "/jobs/a/b/c"]
)
def test_what_is_not_there_is_said_on_a_page(console: Console, path: str) -> None:
    answer = console.visitor().get(f"/console{path}")
    if path in ("", "/"):
        assert answer.moved == "/console/jobs"
    else:
        assert (answer.status, answer.page.one("h1").text) == (404, "Not found")


def test_empty_lists_say_what_comes_first(console: Console) -> None:
    visitor = console.visitor()
    for path in ("jobs", "sources", "groups", "codes"):
        assert visitor.get(f"/console/{path}").page.has("div", class_="empty"), path


def test_light_or_dark_is_chosen_once(console: Console) -> None:
    visitor = console.visitor()
    assert "data-theme" not in visitor.get("/console/jobs").page.one("html")
    assert (
        visitor.post("/console/theme", {"theme": "dark", "back": "/console/audit"}).moved == "/console/audit"
    )
    assert visitor.get("/console/audit").page.one("html")["data-theme"] == "dark"
    assert visitor.get("/console/login").page.one("html")["data-theme"] == "dark"
    visitor.get("/console/audit")
    assert (
        visitor.post("/console/theme", {"theme": "", "back": "https://evil.example"}).moved == "/console/jobs"
    )
    assert "data-theme" not in visitor.get("/console/jobs").page.one("html")


def test_workgroups_are_made_filled_emptied_and_deleted(console: Console) -> None:
    first, second = console.house.register("web-01", "web-02")
    visitor = console.visitor(Role.OPERATOR)
    made = visitor.post("/console/groups", {"Name": "wave-1", "ClientToken": "t"}).moved
    again = visitor.post("/console/groups", {"Name": "wave-1", "ClientToken": "t"}).moved
    assert made == again
    group = made.split("/")[-1].split("?")[0]
    refused = visitor.post("/console/groups", {"Name": "wave-1"})
    assert (refused.status, refused.page.one("input", name="Name")["value"]) == (400, "wave-1")
    assert "another workgroup has this name" in refused.banner
    boxes = {f"source-{first}": "1", f"source-{second}": "1", "WorkgroupId": group}
    assert visitor.get(visitor.post("/console/put-into-group", boxes).moved).page.text.count("web-0") >= 2
    none = visitor.post("/console/put-into-group", {"WorkgroupId": group})
    assert (none.status, "No source is ticked" in none.banner) == (400, True)
    full = visitor.post(f"/console/groups/{group}/delete")
    assert (full.status, "the workgroup has sources" in full.banner) == (400, True)
    visitor.post(f"/console/groups/{group}/take-out", {f"source-{first}": "1", f"source-{second}": "1"})
    visitor.post(f"/console/groups/{group}/modify", {"Name": "wave-2", "Description": "later"})
    assert console.store.workgroups.get(group).name == "wave-2"
    assert visitor.post(f"/console/groups/{group}/delete").moved == "/console/groups?said=dissolved"


def test_a_full_workgroup_refuses_the_choice_and_keeps_it(make_console: Callable[..., Console]) -> None:
    console = make_console(Quotas(workgroup_sources=1))
    first, second = console.house.register("web-01", "web-02")
    group = console.store.workgroups.create("wave-1", "").id
    visitor = console.visitor()
    boxes = {f"source-{first}": "1", f"source-{second}": "1", "WorkgroupId": group}
    refused = visitor.post("/console/put-into-group", boxes)
    assert (refused.status, "at most 1 sources" in refused.banner) == (400, True)
    assert refused.page.has("input", name=f"source-{first}")


def test_an_activation_code_is_shown_once(console: Console) -> None:
    visitor = console.visitor()
    given = {"Name": "north", "Count": "5", "TimeToLiveInDays": "7"}
    made = visitor.post("/console/codes", given)
    code = made.page.one("code", id="made").text
    assert console.store.tokens.redeem(code).name == "north"
    assert made.header("cache-control") == "no-store"
    assert code not in visitor.get("/console/codes").text
    assert code not in visitor.get("/console/audit").text
    token = console.store.tokens.all()[0].id
    assert visitor.post(f"/console/codes/{token}/disable").moved.endswith("said=disabled")
    assert visitor.get("/console/codes").states == ["unactivated"]
    assert visitor.post(f"/console/codes/{token}/delete").moved.endswith("said=forgotten")
    wrong = visitor.post("/console/codes", given | {"Count": "0"})
    assert (wrong.status, wrong.page.one("input", name="Count")["aria-invalid"]) == (400, "true")
    assert wrong.page.one("input", name="TimeToLiveInDays")["value"] == "7"


def test_appliances_are_online_while_they_are_heard_of(console: Console) -> None:
    console.house.register("web-01")
    visitor = console.visitor()
    assert visitor.get("/console/appliances").states == ["Online"]
    console.house.clock.advance(61)
    assert visitor.get("/console/appliances").states == ["Offline"]


def test_the_audit_log_shows_its_head(console: Console) -> None:
    visitor = console.visitor()
    console.store.audit.add("AK1", "::1", "create", "x")
    head = console.store.audit.head()
    text = visitor.get("/console/audit").page.text
    assert f"The log ends at line {head.number}, digest {head.digest}" in text


def test_every_change_is_in_the_audit_log_with_key_and_address(console: Console) -> None:
    job, visitor = console.house.job(), console.visitor(Role.OPERATOR, "198.51.100.4")
    visitor.post(f"/console/jobs/{job}/start")
    page = visitor.get(f"/console/audit?item=subject&value={job}").page
    row = next(page.one("tbody").all("tr"))
    key = console.people[Role.OPERATOR][0]
    when, who, what, subject, origin, _ = (cell.text for cell in row.all("td"))
    assert (who, what, subject, origin) == (
        f"{key.name} {key.id}",
        "StartReplicationJob",
        f"job-j {job}",
        "198.51.100.4",
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", when)
    assert [link["href"] for link in row.all("a")] == [
        f"/console/audit?item=who&value={key.id}",
        f"/console/audit?item=subject&value={job}",
    ]
    assert "No change matches" in visitor.get("/console/audit?item=who&value=nobody").page.text


def test_a_change_of_many_things_is_one_line_with_the_rest_in_its_details(console: Console) -> None:
    first, second = console.house.register("web-01", "web-02")
    group = console.store.workgroups.create("shop", "").id
    visitor = console.visitor(Role.OPERATOR)
    boxes = {f"source-{first}": "1", f"source-{second}": "1", "WorkgroupId": group}
    visitor.post("/console/put-into-group", boxes)
    console.store.audit.add("local user ops", "this machine", "CreateKey", "no id of ours", {})
    rows = list(visitor.get("/console/audit").page.one("tbody").all("tr"))
    assert "local user ops CreateKey no id of ours" in rows[0].text
    assert not rows[0].has("details")
    assert "AssociateSourceServers" in rows[1].text
    assert {first, second} <= set(rows[1].one("details").text.replace(",", "").split())


@pytest.mark.parametrize(
    "state", [state for state in jobs.STATES if state.status is not JobStatus.DELETED], ids=str
)
def test_a_job_offers_exactly_what_the_table_allows(console: Console, state: JobState) -> None:
    job = console.house.incremental()
    put(console, job, state)
    _must_offer(
        console,
        job,
        {action.word for action in actions.ACTIONS if action.event in jobs.events(state)} - {"rollback"},
    )


def test_what_was_cut_over_can_be_rolled_back_and_a_member_of_an_application_not_alone(
    console: Console,
) -> None:
    job = console.house.incremental()
    put(console, job, JobState(JobStatus.FINISHED), cutover=1)
    _must_offer(console, job, {"rollback", "delete"})
    put(console, job, JobState(JobStatus.FINISHED), cutover=1, application="shop")
    _must_offer(console, job, {"delete"})
    put(console, job, JobState(JobStatus.WAITING), application="shop")
    _must_offer(console, job, {"start", "stop", "delete"})


def _must_offer(console: Console, job: str, allowed: set[str]) -> None:
    page = console.job_page(job).page
    offered = {
        found["formaction"].rpartition("/")[2]
        for found in page.one("div", id="actions").all("button", form="act")
    }
    assert offered == allowed
    in_list = console.visitor(Role.OPERATOR).get("/console/jobs").page.one("tr", id=f"line-{job}")
    shown = {found["formaction"].rpartition("/")[2] for found in in_list.all("button")}
    assert shown == allowed & {"start", "stop", "cutover"}


def put(console: Console, job: str, state: JobState, **columns: object) -> None:
    """As if the job had come there."""
    with sqlite3.connect(console.house.folder / "console-0.sqlite") as database:
        values = {"status": str(state.status), "business": str(state.business), **columns}
        names = ", ".join(f"{name} = ?" for name in values)
        database.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*values.values(), job))


def test_numbers_of_pages_are_bounded() -> None:
    assert lists.wanted_page({"page": "9" * 7})[0] == 1_000_000
    assert lists.wanted_page({"page": "9" * 8}) == (1, 20)


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        ("SHOP", {"shop-web", "shop-db"}),
        ("-db", {"shop-db", "crm-db"}),
        ("%", set()),
        ("_", set()),
        ("p-w", {"shop-web"}),
    ],
)
def test_a_list_is_narrowed_by_a_part_of_the_name_in_whatever_case(
    console: Console, part: str, shown: set[str]
) -> None:
    names = {"shop-web", "shop-db", "crm-db"}
    for name in sorted(names):
        console.house.job(name)
    visitor = console.visitor()
    for place, prefix in (("jobs", "job-"), ("sources", "")):
        page = visitor.get(f"/console/{place}?part={quote(part)}").page
        found = {link.text.strip().removeprefix(prefix) for link in page.all("a", **{"class": "name"})}
        assert found == shown, place
        exact = visitor.get(f"/console/{place}?item=name&value={prefix}{part}").page
        assert not list(exact.all("a", **{"class": "name"})), "the search stays exact"
