"""Many jobs at once: what is ticked is named, confirmed once, and done as one by one; what is refused stops no other."""

from __future__ import annotations

import json
import sqlite3

import pytest

from connector.control.console import actions as actions
from connector.control.console.bulk import MOST
from connector.control.domain import jobs
from connector.control.domain.access import Role
from connector.control.domain.jobs import JobStatus
from connector.model import PowerState
from tests.console.conftest import Console
from tests.console.reading import Element
from tests.console.test_pages import put
from tests.console.visitor import Answer, Visitor

JOBS = "/console/jobs"


def tick(visitor: Visitor, action: str, *ids: str, back: str = JOBS) -> Answer:
    """The boxes before these jobs, and the button below the list."""
    return visitor.post(f"/console/bulk/{action}", {"back": back} | {f"job-{job}": "1" for job in ids})


def confirm(visitor: Visitor, asked: Answer, action: str) -> Answer:
    """The button of the page that asks."""
    form = asked.page.one("form", action=f"/console/bulk/{action}/confirmed")
    return visitor.post(form["action"], {field["name"]: field["value"] for field in form.all("input")})


def lines(page: Element, id: str) -> dict[str, str]:
    """What a list says of each job, by name."""
    if not page.has("ul", id=id):
        return {}
    return {found.one("a", class_="name").text: found.text for found in page.one("ul", id=id).all("li")}


def waiting(console: Console, name: str) -> str:
    job = console.house.incremental(name)
    console.house.service.start(job)
    console.house.run(job)
    return job


def test_a_cutover_of_many_names_each_and_says_that_its_source_will_be_shut_down(console: Console) -> None:
    first, second, unfit = waiting(console, "web"), waiting(console, "db"), console.house.job("app")
    visitor = console.visitor(Role.OPERATOR)
    page = visitor.get(f"{JOBS}?part=job").page
    names = {box["name"] for box in page.one("tbody").all("input", type="checkbox", form="ticked")}
    assert names == {f"job-{job}" for job in (first, second, unfit)}
    assert page.one("form", id="ticked").one("input", name="back")["value"] == f"{JOBS}?part=job"

    asked = tick(visitor, "cutover", first, second, unfit, back=f"{JOBS}?part=job")
    assert "2 SOURCES WILL BE SHUT DOWN" in asked.banner
    wanted = lines(asked.page, "wanted")
    assert set(wanted) == {"job-web", "job-db"}
    for name, text in wanted.items():
        assert f"SOURCE WILL BE SHUT DOWN: {name.removeprefix('job-')}" in text
        assert "the last image is made" in text
    assert "cutover is not possible while Ready" in lines(asked.page, "refused")["job-app"]
    assert console.house.status(first) == "Waiting"

    done = confirm(visitor, asked, "cutover")
    results = lines(done.page, "results")
    assert done.banner == "Cut over: 2 of 3 jobs done, 1 refused."
    assert results["job-web"].startswith("done") and results["job-db"].startswith("done")
    assert results["job-app"].startswith("refused") and "not possible while Ready" in results["job-app"]
    assert done.page.one("a", class_="button")["href"] == f"{JOBS}?part=job"
    assert [console.store.jobs.get(job).cutover for job in (first, second, unfit)] == [True, True, False]
    for job in (first, second):
        actions = [entry.action for entry in console.store.audit.page(subject=job).rows]
        assert actions == ["CutOverReplicationJob"]


def test_what_is_refused_in_the_middle_stops_no_other(console: Console) -> None:
    first, second, third = (console.house.job(name) for name in ("a", "b", "c"))
    visitor = console.visitor(Role.OPERATOR)
    put(console, second, jobs.READY, valid_until=1.0)  # which the transition table does not know
    done = confirm(visitor, tick(visitor, "start", first, second, third), "start")
    results = lines(done.page, "results")
    assert [results[f"job-{name}"].split()[0] for name in "abc"] == ["done", "refused", "done"]
    assert "the valid time of this job has passed" in results["job-b"]
    assert "create a new job" in results["job-b"]
    assert console.house.status(third) == "Running/Preparing"


def test_what_has_changed_since_it_was_asked_about_is_not_done(console: Console) -> None:
    job, other = waiting(console, "web"), waiting(console, "db")
    visitor = console.visitor(Role.OPERATOR)
    asked = tick(visitor, "stop", job, other)
    console.house.service.cutover(job, last_sync=True, changes={})
    console.house.turn()
    assert console.house.status(job) == "Running/Syncing"  # where a stop is possible, too
    results = lines(confirm(visitor, asked, "stop").page, "results")
    assert "it has changed since the question" in results["job-web"]
    assert "Now it is Syncing" in results["job-web"]
    assert results["job-db"].startswith("done")
    assert console.house.status(job) == "Running/Syncing"
    again = lines(confirm(visitor, asked, "stop").page, "results")  # the page is sent once more
    assert [text.split()[0] for text in again.values()] == ["refused", "refused"]
    assert console.store.audit.page(subject=other).total == 1


def test_many_may_be_asked_exactly_what_one_may_in_every_state(console: Console) -> None:
    visitor = console.visitor(Role.OPERATOR)
    states = [state for state in jobs.STATES if state.status is not JobStatus.DELETED]
    ids = {}
    for number, state in enumerate(states):
        ids[f"job-{number}"] = job = console.house.incremental(str(number))
        put(console, job, state, cutover=number % 2)
    single = {}
    for name, job in ids.items():
        buttons = visitor.get(f"{JOBS}/{job}").page.one("div", id="actions").all("button", form="act")
        single[name] = {found["formaction"].rpartition("/")[2] for found in buttons}
    assert set().union(*single.values()) == {action.word for action in actions.ACTIONS}
    for action in actions.ACTIONS:
        page = tick(visitor, action.word, *ids.values()).page
        assert set(lines(page, "wanted")) == {name for name, words in single.items() if action.word in words}
        assert set(lines(page, "wanted")) | set(lines(page, "refused")) == set(ids)
        for text in lines(page, "wanted").values():
            assert text.endswith("."), "it says what will happen"


def test_a_source_that_is_down_is_said_and_a_resumed_cutover_says_whether_it_shuts_down(
    console: Console,
) -> None:
    house, visitor = console.house, console.visitor(Role.OPERATOR)
    job = waiting(console, "web")
    house.service.cutover(job, last_sync=True, changes={})
    house.turn()
    taken = house.take()
    assert taken is not None
    early = tick(visitor, "stop", job)
    house.store.cutovers.going_down(job, taken.id)
    assert "SOURCE IS DOWN since" in lines(tick(visitor, "stop", job).page, "wanted")["job-web"]
    late = lines(confirm(visitor, early, "stop").page, "results")
    assert late["job-web"].startswith("refused"), "a stop that would leave it down asks first"
    put(console, job, jobs.STOPPED)
    resumed = tick(visitor, "start", job)
    assert "Resume the cutover: The source is down" in lines(resumed.page, "wanted")["job-web"]
    assert "WILL BE SHUT DOWN" not in resumed.text
    put(console, job, jobs.STOPPED, down_since=None)
    resumed = tick(visitor, "start", job)
    assert "SOURCE WILL BE SHUT DOWN: web" in lines(resumed.page, "wanted")["job-web"]


def test_a_source_that_cannot_be_read_is_refused_before_anything_is_asked(console: Console) -> None:
    job = console.house.job("web")
    console.house.watch.look()
    console.house.clock.advance(120)
    console.house.watch.look()
    asked = tick(console.visitor(Role.OPERATOR), "start", job)
    assert "no appliance of its vCenter is online" in lines(asked.page, "refused")["job-web"]
    assert not asked.page.one("main").has("button")


def test_a_member_of_an_application_and_what_runs_once_say_why_not(console: Console) -> None:
    member, once = waiting(console, "web"), console.house.job("db")
    put(console, member, jobs.WAITING, application="shop")
    put(console, once, jobs.WAITING)
    page = tick(console.visitor(Role.OPERATOR), "cutover", member, once).page
    refused = lines(page, "refused")
    assert "its application shop is cut over and rolled back as a whole" in refused["job-web"]
    assert "this job runs once" in refused["job-db"]


def test_nothing_ticked_too_much_ticked_and_what_is_gone(console: Console) -> None:
    job, visitor = console.house.job("web"), console.visitor(Role.OPERATOR)
    console.house.job("db")
    nothing = visitor.post("/console/bulk/start", {"back": f"{JOBS}?part=web"})
    assert (nothing.status, "No job is ticked. Tick the boxes of the jobs." in nothing.banner) == (400, True)
    assert [link.text for link in nothing.page.all("a", class_="name")] == ["job-web"]
    many = tick(visitor, "start", *(f"j-{number}" for number in range(MOST + 1)))
    assert (many.status, "51 jobs are ticked, 50 can be" in many.banner) == (400, True)
    asked = tick(visitor, "delete", job, "j-gone")
    assert "There is no such job" in asked.page.one("ul", id="refused").text
    done = confirm(visitor, asked, "delete")
    assert "There is no job j-gone" in done.page.one("ul", id="results").text
    assert console.house.status(job) == "Deleting"
    assert visitor.post("/console/bulk/fly", {f"job-{job}": "1"}).status == 404


@pytest.mark.parametrize(
    "back", ["https://evil.example", "//evil.example/console/jobs", "/console/audit", ""]
)
def test_the_way_back_leads_to_the_list_and_nowhere_else(console: Console, back: str) -> None:
    job = console.house.job("web")
    page = tick(console.visitor(Role.OPERATOR), "start", job, back=back).page
    assert page.one("form", action="/console/bulk/start/confirmed").one("a")["href"] == JOBS


def test_every_action_says_what_it_began(console: Console) -> None:
    states = {
        action.word: next(t.sources[0] for t in jobs.TRANSITIONS if t.event is action.event)
        for action in actions.ACTIONS
    }
    for word, state in states.items():
        job = console.house.incremental(word)
        put(console, job, state, cutover=word == "rollback", last_sync=word == "rollback")
        if word == "stop":
            put(console, job, jobs.WAITING)
        visitor = console.visitor(Role.OPERATOR)
        done = confirm(visitor, tick(visitor, word, job), word)
        assert (done.status, done.page.one("ul", id="results").text.split()[0]) == (200, "done"), word
        assert visitor.get(f"{JOBS}/{job}?said={word}").banner, word


def test_a_source_that_is_off_is_not_announced_as_going_down(console: Console) -> None:
    job = waiting(console, "web")
    source = console.store.jobs.get(job).source_id
    with sqlite3.connect(console.house.folder / "console-0.sqlite") as database:
        facts = console.store.sources.get(source).facts | {"power": str(PowerState.OFF)}
        database.execute("UPDATE sources SET facts = ? WHERE id = ?", (json.dumps(facts), source))
    asked = tick(console.visitor(Role.OPERATOR), "cutover", job)
    assert "SHUT DOWN" not in asked.text
    assert "The source is off, as its appliance last saw it" in lines(asked.page, "wanted")["job-web"]
