"""A real Chromium at a real control plane: what a person does in a night, without a reload and without a complaint."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.control.domain.access import Role
from connector.control.store import Store
from tests.control.conftest import Plane, machine
from tests.smc.conftest import Cloud
from tests.waiting import eventually

playwright_api = pytest.importorskip("playwright.sync_api")
from axe_playwright_python.sync_playwright import Axe  # noqa: E402
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect  # noqa: E402

from tests.waiting import PATIENCE  # noqa: E402

#: Screenshots are for people; the folder is not kept in the repository.
ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts" / "console"
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-sandbox",
]
OPEN = "document.querySelectorAll('details').forEach((found) => { found.open = true; })"
MISSING = "/console/jobs/j-nothing"
DISK = {"key": 2000, "label": "Hard disk 1", "capacity": 10 << 30, "wanted": 10 << 30, "rate": 1.2e8}


class Lab:
    """A control plane, its appliance, a browser before it, and everything that the browser complains of."""

    def __init__(self, plane: Plane, browser: Browser) -> None:
        self.plane = plane
        self.cloud = Cloud(plane)
        self.member = plane.enrol("north", "https://vcenter.example")
        self.appliance = plane.client(self.member)
        self.browser = browser
        self.complaints: list[str] = []

    def person(self, role: Role = Role.ADMIN, **how: Any) -> Page:
        """Logged in by keyboard alone."""
        context: BrowserContext = self.browser.new_context(ignore_https_errors=True, **how)
        context.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => console.error('policy', e.violatedDirective, e.blockedURI))"
        )
        page = context.new_page()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._request)
        page.goto(self.plane.url)  # which leads to the console
        expect(page).to_have_title("Log in · Connector")
        key, secret = self.cloud.keys[role]
        page.keyboard.type(key)
        page.keyboard.press("Tab")
        page.keyboard.type(secret)
        page.keyboard.press("Enter")
        expect(page).to_have_title("Migration jobs · Connector")
        return page

    def _console(self, message: ConsoleMessage) -> None:
        expected = message.location["url"].endswith(MISSING)  # that this one is missing is the point
        if message.type in ("error", "warning") and not expected:
            self.complaints.append(f"{message.text} {message.location}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith(self.plane.url):
            self.complaints.append(f"asked elsewhere: {request.url}")

    def take(self) -> str:
        """The pass that is offered next."""
        self.order = eventually(lambda: self.appliance.take(0.2), "a pass is offered")
        return str(self.order["pass_id"])

    def report(self, pass_id: str, done: float) -> None:
        disk = DISK | {"done": int(done * DISK["wanted"]), "bottleneck": "network", "state": "full"}
        self.appliance.progress(pass_id, "copying", [disk])


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs the package chromium")
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    root = tmp_path_factory.mktemp("desk")
    (root / "gates").mkdir()
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=PATIENCE * 1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKE_GATES", str(root / "gates"))
        plane = Plane(root)
        made = Lab(plane, chromium)
        made.appliance.put_sources([machine(f"vm-{n}", f"web-0{n}") for n in range(1, 6)], {})
        yield made
        plane.kill()


def shot(page: Page, name: str) -> None:
    page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)


def search(page: Page, item: str, value: str) -> None:
    page.get_by_label("Search by").select_option(label=item)
    page.get_by_label("Value").fill(value)
    page.keyboard.press("Enter")


def create(page: Page, source: str, job: str) -> None:
    page.get_by_role("link", name="Migration sources", exact=True).click()
    search(page, "Migration Source Name", source)
    expect(page.locator("a.name")).to_have_text([source])
    page.get_by_role("link", name=f"Create a job for {source}").click()
    page.get_by_label("Name", exact=True).fill(job)
    shot(page, "new-job")
    page.get_by_role("button", name="Create job").click()
    expect(page.locator("#state .state")).to_have_text("Ready")


def test_r4_a_night_with_the_console(lab: Lab) -> None:
    page = lab.person(Role.OPERATOR)
    shot(page, "no-jobs")
    page.get_by_role("link", name="Migration sources", exact=True).click()
    search(page, "Migration Source Name", "WEB-01")
    expect(page.get_by_text("No source matches exactly")).to_be_visible()
    create(page, "web-01", "move-web-01")
    page.get_by_role("button", name="Start").click()

    expect(page.locator("#state .state")).to_have_text("Syncing")
    page.evaluate("window.untouched = true")
    pass_id = lab.take()
    lab.report(pass_id, 0.3)
    expect(page.locator("#progress .big strong")).to_have_text("30.0 %")
    expect(page.locator("#progress tbody")).to_contain_text("network")
    shot(page, "syncing")
    page.get_by_role("button", name="Stop").focus()
    lab.report(pass_id, 0.8)
    expect(page.locator("#progress .big strong")).to_have_text("80.0 %")
    expect(page.get_by_role("button", name="Stop")).to_be_focused()
    lab.plane.done(lab.member, lab.order)
    expect(page.locator("#state .state")).to_have_text("Finished")
    expect(page.locator("#state")).to_contain_text("The image move-web-01 exists")
    expect(page.locator("#resources")).to_contain_text("Nothing of it is billed: it is on this computer.")
    assert page.evaluate("window.untouched") is True
    expect(page.get_by_text("The job starts.")).to_have_count(0)
    shot(page, "finished")

    create(page, "web-02", "move-web-02")
    page.get_by_role("button", name="Start").click()
    pass_id = lab.take()
    page.get_by_role("link", name="Migration jobs", exact=True).first.click()
    row = page.locator("tr", has_text="move-web-02")
    expect(row.locator(".state")).to_have_text("Syncing")
    lab.report(pass_id, 0.5)
    expect(row).to_contain_text("50.0 %")
    shot(page, "jobs")
    row.get_by_role("button", name="Stop").click()
    expect(page.locator(".banner").first).to_contain_text("Stop is asked for")
    assert lab.appliance.heartbeat([pass_id]).stop == (pass_id,)
    lab.appliance.finish(pass_id, "stopped", None, {})
    expect(page.locator("#state .state")).to_have_text("Stopped")

    summary = page.locator("summary", has_text="Delete…")
    summary.press("Enter")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Delete: move-web-02")).to_be_hidden()
    summary.press("Enter")
    page.get_by_role("button", name="Delete: move-web-02").press("Enter")
    expect(page.locator("#state")).to_contain_text(re.compile("being released|is deleted"))
    expect(page.locator("#state")).to_contain_text("This job is deleted")
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_title("Log in · Connector")
    assert lab.complaints == []


@pytest.fixture(scope="module")
def everything(lab: Lab) -> tuple[Page, dict[str, str]]:
    """Somebody who sees one of each thing, and where each is shown."""
    page = lab.person(color_scheme="light")
    return page, _every_page(lab, page)


@pytest.mark.parametrize("scheme, rules", [("light", None), ("dark", {"runOnly": ["color-contrast"]})])
def test_axe_finds_nothing_serious_on_any_page(
    lab: Lab, everything: tuple[Page, dict[str, str]], scheme: Any, rules: dict[str, Any] | None
) -> None:
    """All rules in light; what depends on colours in dark too. Everything that opens is open."""
    page, paths = everything
    page.emulate_media(color_scheme=scheme)
    for name, path in paths.items():
        page.goto(lab.plane.url + path)
        if scheme == "light" or name in ("jobs", "job", "sources"):
            shot(page, f"{name}-{scheme}")
        page.evaluate(OPEN)
        found = Axe().run(page, options=rules).response
        assert found["passes"], name
        grave = [f for f in found["violations"] if f["impact"] in ("serious", "critical")]
        assert grave == [], (name, [(f["id"], f["nodes"][0]["html"]) for f in grave])
    assert lab.complaints == []


def test_no_page_is_wider_than_a_narrow_window(lab: Lab, everything: tuple[Page, dict[str, str]]) -> None:
    page, paths = everything
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 800})
    for name, path in paths.items():
        page.goto(lab.plane.url + path)
        page.evaluate(OPEN)
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) == 0, name
        shot(page, f"{name}-narrow")


def _every_page(lab: Lab, page: Page) -> dict[str, str]:
    create(page, "web-03", "move-web-03")
    job = page.url.removeprefix(lab.plane.url).split("?")[0]
    page.get_by_role("button", name="Start").click()
    lab.report(lab.take(), 0.4)
    for where, name in (("Workgroups", "wave-1"), ("Activation codes", "north")):
        page.get_by_role("link", name=where, exact=True).first.click()
        page.get_by_label(re.compile("^Name")).fill(name)
        page.get_by_role("button", name=re.compile("^Make")).click()
    expect(page.locator("#made")).to_be_visible()
    page.get_by_role("link", name="Migration sources", exact=True).click()
    page.get_by_label("Tick web-04").check()
    page.get_by_role("button", name="Put in").click()
    expect(page.locator("a.name")).to_have_text("web-04")
    group = page.url.removeprefix(lab.plane.url).split("?")[0]
    page.get_by_role("link", name="web-04", exact=True).click()
    source = page.url.removeprefix(lab.plane.url)
    return {
        "login": "/console/login",
        "jobs": "/console/jobs",
        "job": job,
        "sources": "/console/sources",
        "source": source,
        "new-job": f"/console/new-job?source={source.rpartition('/')[2]}",
        "groups": "/console/groups",
        "group": group,
        "codes": "/console/codes",
        "appliances": "/console/appliances",
        "audit": "/console/audit",
        "nothing-found": "/console/jobs?item=name&value=nothing",
        "not-found": MISSING,
    }


def test_light_or_dark_stays_as_chosen(lab: Lab) -> None:
    page = lab.person(color_scheme="light")

    def colour() -> str:
        """Of the page that is shown; while the next one is loaded there is no body, and it is waited for."""
        return str(page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor"))

    light = colour()
    page.get_by_role("button", name="Dark").click()
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    assert colour() != light
    page.get_by_role("link", name="Audit log").click()
    expect(page.get_by_role("heading", name="Audit log")).to_be_visible()
    assert colour() != light
    page.get_by_role("button", name="System").click()
    assert colour() == light
    assert lab.complaints == []


def test_the_dangerous_moment_reads_at_a_glance(lab: Lab) -> None:
    """A cutover that was stopped after the shutdown: on a desktop and on a phone, with both ways on."""
    job = lab.plane.jobs.create("web-05", "move-web-05", run_once=False)["id"]
    lab.plane.jobs.start(job)
    lab.take()
    lab.plane.done(lab.member, lab.order)
    lab.plane.reach(job, "Waiting")
    page = lab.person(Role.OPERATOR)
    page.get_by_label("Tick move-web-05").check()
    page.locator("#ticked").get_by_role("button", name="Cut over…").click()
    expect(page.locator("#wanted")).to_contain_text("SOURCE WILL BE SHUT DOWN: web-05")
    fit(page, "bulk-cutover")
    lab.plane.jobs.cutover(job)
    pass_id = lab.take()
    store = Store(lab.cloud.database)
    store.cutovers.going_down(job, pass_id)
    store.close()
    page.goto(f"{lab.plane.url}/console/jobs")
    page.get_by_role("link", name="move-web-05").first.click()
    expect(page.locator("#state")).to_contain_text("SOURCE IS DOWN since")
    expect(page.locator("#actions summary", has_text="Stop…")).to_be_visible()
    shot(page, "source-down-running")
    lab.plane.jobs.stop(job)
    lab.appliance.finish(pass_id, "stopped", None, {})
    expect(page.locator("#state")).to_contain_text("nothing is under way that brings it back")
    expect(page.get_by_role("button", name="Resume the cutover")).to_be_visible()
    expect(page.locator("#actions summary", has_text="Roll back…")).to_be_visible()
    for name, width in (("desktop", 1280), ("phone", 390)):
        page.set_viewport_size({"width": width, "height": 800})
        shot(page, f"source-down-job-{name}")
    found = Axe().run(page).response
    assert [v["id"] for v in found["violations"] if v["impact"] in ("serious", "critical")] == []
    page.goto(f"{lab.plane.url}/console/jobs")
    for name, width in (("desktop", 1280), ("phone", 390)):
        page.set_viewport_size({"width": width, "height": 800})
        expect(page.locator(f"#line-{job}")).to_contain_text("SOURCE IS DOWN")
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) == 0, name
        shot(page, f"source-down-jobs-{name}")
    found = Axe().run(page).response
    assert [v["id"] for v in found["violations"] if v["impact"] in ("serious", "critical")] == []
    assert lab.complaints == []


def test_many_jobs_at_once_by_keyboard_alone(lab: Lab) -> None:
    """Ticks stay while lines change; the page that asks and the one that answers are fit for everybody."""
    job = lab.plane.jobs.create("web-04", "move-web-04")["id"]
    page = lab.person(Role.OPERATOR, color_scheme="light")
    line = page.locator(f"#line-{job}")
    box = page.get_by_label("Tick move-web-04")
    box.press("Space")
    lab.plane.jobs.start(job)
    expect(line.locator(".state")).to_have_text("Syncing")
    expect(box).to_be_checked()
    expect(box).to_be_focused()
    shot(page, "jobs-ticked")
    page.locator("#ticked").get_by_role("button", name="Stop…").press("Enter")
    expect(page.get_by_role("heading", name="Stop: 1 job?")).to_be_visible()
    expect(page.locator("#wanted")).to_contain_text("move-web-04")
    fit(page, "bulk")
    page.get_by_role("button", name="Stop: 1 job").press("Enter")
    expect(page.locator(".banner.good")).to_contain_text("Stop: 1 of 1 job done.")
    fit(page, "bulk-done")
    assert lab.complaints == []


def fit(page: Page, name: str) -> None:
    """Nothing serious for Axe, and no wider than a phone."""
    for kind, width in (("desktop", 1280), ("phone", 390)):
        page.set_viewport_size({"width": width, "height": 800})
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) == 0, name
        shot(page, f"{name}-{kind}")
    found = Axe().run(page).response
    grave = [v["id"] for v in found["violations"] if v["impact"] in ("serious", "critical")]
    assert grave == [], (name, grave)
    page.set_viewport_size({"width": 1280, "height": 800})
