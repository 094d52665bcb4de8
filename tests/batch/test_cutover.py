"""The cutover's order, its windows, its hooks, and what happens when a machine fails: against the real operations."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from connector.batch import quantities
from connector.batch.apply import Apply
from connector.batch.cutover import CutOver, CutoverResult
from connector.batch.hooks import HookFailed, HookRunner
from connector.batch.manifest import Happening, Phase
from connector.batch.plane import JobView
from connector.batch.problems import FilePosition, ManifestRefused, Problem
from connector.batch.report import report
from connector.batch.resolve import resolve
from connector.batch.smc_plane import SmcPlane
from connector.batch.status import MachineStatus, WaveStatus, counting, status
from connector.cli.batch import cutover_code
from connector.cli.batch_view import print_cutover, print_report, print_status
from connector.control.domain.entities import Outcome as Ended
from connector.control.domain.entities import Task
from connector.errors import BadInput, Conflict, ControlFailed, Interrupted, NotFound
from tests.batch.conftest import HEAD, Estate, wave

WAVE = (
    HEAD
    + """  incremental: {every: 6h, keep: 3}
groups:
  - {name: web, after: [db]}
  - {name: db}
machines:
  - {name: web-01, group: web}
  - {name: web-02, group: web}
  - {name: db-01, group: db}
schedule: {start: now}
"""
)


class Cut:
    """One cutover of `WAVE`, with a runner and an appliance that work whenever it waits."""

    def __init__(self, estate: Estate, text: str = WAVE) -> None:
        self.estate, self.text = estate, text
        self.said: list[str] = []
        self.warned: list[str] = []
        self.fail: set[str] = set()
        self.power_tasks: list[str] = []  # machines whose power was dealt with
        self.pace = 1.0  # seconds that pass while the cutover waits

    def ready(self) -> None:
        """All first runs are done."""
        self.estate.has("web-01", "web-02", "db-01")
        found = self.estate.plan(wave(self.text))
        assert not Apply(self.estate.plane, found, clock=self.estate.house.clock).run().failures
        for _ in range(6):
            self.work()

    def work(self, _seconds: float = 0.0) -> None:
        house = self.estate.house
        house.later(self.pace)
        while (errand := house.take(self.estate.appliance, power_tasks=True)) is not None:
            self.power_tasks.append(house.store.sources.get(house.get(errand.job_id).source_id).machine)
            if errand.task is Task.SHUTDOWN:
                house.store.cutovers.going_down(errand.job_id, errand.id)
            house.finish(errand.id, self.estate.appliance, Ended.DONE, None, {})
            house.turn()
        while (found := house.take(self.estate.appliance)) is not None:
            machine = self.estate.house.store.sources.get(house.get(found.job_id).source_id).machine
            outcome = Ended.FAILED if machine in self.fail else Ended.DONE
            error = {"error": "ReaderFailed", "what": "broken", "on": "", "remedy": "", "retryable": False}
            house.finish(
                found.id, self.estate.appliance, outcome, error if outcome is Ended.FAILED else None, {}
            )
            house.turn()

    def run(self, **options: Any) -> CutoverResult:
        found = wave(self.text)
        cut = CutOver(
            self.estate.plane, found, HookRunner(found, self.warned.append), self.said.append,
            clock=self.estate.house.clock, pause=self.work,
        )  # fmt: skip
        return cut.run(**options)

    def states(self) -> dict[str, str]:
        found = status("w1", self.estate.plane.jobs("w1"), self.estate.plane.sources())
        return {row.machine: row.status for row in found.rows}


@pytest.fixture
def cut(estate: Estate) -> Cut:
    found = Cut(estate)
    found.ready()
    assert set(found.states().values()) == {"Waiting"}
    return found


def windowed(estate: Estate, begin: float, end: float) -> str:
    now = estate.house.clock()
    window = f"start: {quantities.written(now + begin)}, end: {quantities.written(now + end)}"
    return WAVE + f"cutover: {{window: {{{window}}}}}\n"


def test_a_wave_that_begins_later_is_not_settled(estate: Estate) -> None:
    estate.has("web-01")
    for start, settled in (("manual", True), (quantities.written(estate.house.clock() + 3600), False)):
        text = HEAD + f"schedule: {{start: {start}}}\nmachines:\n  - name: web-01\n"
        Apply(estate.plane, estate.plan(wave(text)), clock=estate.house.clock).run()
        shown = status("w1", estate.plane.jobs("w1"), estate.plane.sources())
        assert shown.settled is settled
    assert shown.rows[0].note == f"begins at {start}"


def test_groups_are_cut_over_in_their_order(cut: Cut) -> None:
    assert cut.run(regardless=True).finished == ("group db", "group web")
    assert set(cut.states().values()) == {"Finished"}
    finished = [line.partition(":")[0] for line in cut.said if "finished, image" in line]
    assert finished[0] == "db-01"
    assert sorted(finished[1:]) == ["web-01", "web-02"]
    assert cut.said.count("db-01: Preparing") == 1  # a state is said when it is reached
    assert cut.run(regardless=True).failed == ()  # again: nothing is left to do


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [(3600, 7200, "opens in 60 min"), (-7200, -3600, "closed at"), (None, None, "sets no cutover window")],
)
def test_outside_of_the_window_nothing_begins(cut: Cut, begin: Any, end: Any, words: str) -> None:
    cut.text = WAVE if begin is None else windowed(cut.estate, begin, end)
    cut.estate.desk.changing()
    with pytest.raises(Conflict, match=words) as refused:
        cut.run()
    assert "--now" in refused.value.remedy
    assert cut.estate.desk.changing() == []


def test_a_group_does_not_begin_after_the_window(cut: Cut) -> None:
    cut.text, cut.pace = windowed(cut.estate, -10, 60), 90.0
    done = cut.run()
    assert done == CutoverResult(("group db",), (), ("group web",))
    assert cut.states() == {"db-01": "Finished", "web-01": "Waiting", "web-02": "Waiting"}
    assert "window closed" in cut.said[-1]
    assert cut.run(regardless=True).finished == ("group db", "group web")


def beside(estate: Estate, begin: float) -> str:
    """`web` and `db` wait for nobody; `late` waits for `db`, whose own window opens `begin` seconds from now."""
    now = estate.house.clock()
    window = f"start: {quantities.written(now + begin)}, end: {quantities.written(now + begin + 7200)}"
    return (
        windowed(estate, -10, 7200)
        .replace("{name: web, after: [db]}", "{name: web}")
        .replace("{name: db}", f"{{name: db, window: {{{window}}}}}\n  - {{name: late, after: [db]}}")
        .replace("web-02, group: web", "web-02, group: late")
    )


def test_a_group_whose_window_is_closed_stops_only_those_that_wait_for_it(estate: Estate) -> None:
    cut = Cut(estate, beside(estate, 86400))
    cut.ready()
    done = cut.run()
    assert done == CutoverResult(("group web",), (), ("group db", "group late"))
    assert cutover_code(done) == 11
    assert cut.states() == {"db-01": "Waiting", "web-01": "Finished", "web-02": "Waiting"}
    assert "group db: the cutover window opens in" in cut.said[-1]
    with pytest.raises(Conflict, match="opens in"):
        cut.run()
    assert cut.run(regardless=True).finished == ("group web", "group db", "group late")


def test_a_group_whose_window_opens_while_another_is_cut_over_begins_then(estate: Estate) -> None:
    cut = Cut(estate, beside(estate, 900))
    cut.ready()
    cut.pace = 1000.0
    assert cut.run() == CutoverResult(("group web", "group db", "group late"))
    assert set(cut.states().values()) == {"Finished"}


def test_a_machine_that_is_not_ready_stops_its_group_and_those_that_wait_for_it(estate: Estate) -> None:
    cut = Cut(estate, beside(estate, 86400))
    cut.ready()
    names = {source.id: source.name for source in estate.plane.sources()}
    (late,) = [job.id for job in estate.plane.jobs("w1") if names[job.source] == "db-01"]
    estate.house.service.stop(late)
    done = cut.run(regardless=True)
    assert done == CutoverResult(("group web",), (), ("group db", "group late"))
    assert cut.said[-1].startswith("db-01: it is Stopped")


def test_a_group_that_is_finished_ends_although_its_neighbour_fails(estate: Estate, tmp_path: Path) -> None:
    cut = Cut(estate, beside(estate, -10) + hook("after-cutover", ["touch", str(tmp_path / "ended")]))
    cut.ready()
    cut.fail = {"db-01"}
    done = cut.run()
    assert (done.finished, [machine for machine, _ in done.failed]) == (("group web",), ["db-01"])
    assert done.not_begun == ("group late",)
    assert "group web: finished" in cut.said and (tmp_path / "ended").exists()


def test_a_failure_stops_what_waits_for_it_and_can_be_repeated(cut: Cut) -> None:
    cut.fail = {"db-01"}
    done = cut.run(regardless=True)
    assert [machine for machine, _ in done.failed] == ["db-01"]
    assert "group web" in done.not_begun
    assert cut.states() == {"db-01": "InError", "web-01": "Waiting", "web-02": "Waiting"}
    with pytest.raises(Conflict, match="InError") as refused:
        cut.run(regardless=True)
    assert "start it again" in refused.value.remedy
    cut.fail = set()
    (job,) = [job.id for job in cut.estate.plane.jobs("w1") if job.status == "InError"]
    cut.estate.plane.start(job)
    assert cut.run(regardless=True).failed == ()
    assert set(cut.states().values()) == {"Finished"}


@pytest.mark.parametrize("silent", [False, True])
def test_an_interrupt_says_what_goes_on_in_the_control_plane_and_how_to_take_it_back(
    cut: Cut, silent: bool
) -> None:
    house = cut.estate.house

    def interrupt(_seconds: float) -> None:
        house.turn()
        final = house.take(cut.estate.appliance)
        assert final is not None and final.final
        house.store.cutovers.going_down(final.job_id, final.id)
        if silent:
            cut.estate.desk.refuse = lambda _action, _given: ControlFailed("it does not answer")
        raise KeyboardInterrupt

    wave_of_it = wave(cut.text)
    hooks = HookRunner(wave_of_it, cut.warned.append)
    with pytest.raises(Interrupted) as stopped:
        CutOver(cut.estate.plane, wave_of_it, hooks, pause=interrupt).run(regardless=True)
    (name,) = [job.name for job in house.store.jobs.all() if job.cutover]
    watch = "watch: connector batch status wave.yaml --watch"
    if silent:
        assert "no longer watching; what was asked for goes on" in stopped.value.what
        assert stopped.value.remedy == watch
        return
    assert stopped.value.what.startswith(
        "no longer watching; the cutover of db-01 goes on in the control plane; db-01: SOURCE IS DOWN since "
    )
    way_back = f"connector job stop {name}, then connector job rollback {name}"
    assert stopped.value.remedy == f"{watch}; take back: {way_back}"


def test_an_interrupt_before_a_cutover_was_asked_for_says_that_none_is_under_way(cut: Cut) -> None:
    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    wave_of_it = wave(cut.text)
    hooks = HookRunner(wave_of_it, cut.warned.append)
    with pytest.raises(Interrupted, match="no cutover of the wave is under way"):
        CutOver(cut.estate.plane, wave_of_it, hooks, interrupt).run(regardless=True)
    assert set(cut.states().values()) == {"Waiting"}


def test_a_wave_that_was_not_applied_has_nothing_to_cut_over(estate: Estate) -> None:
    with pytest.raises(NotFound, match="has no jobs"):
        Cut(estate).run(regardless=True)


def hook(phase: str, command: list[str], more: str = "") -> str:
    return f"hooks:\n  - {{name: h, phase: {phase}, command: {json.dumps(command)}{more}}}\n"


def test_a_hook_that_fails_stops_the_group_before_it_begins(cut: Cut) -> None:
    cut.text = WAVE + hook("before-cutover", ["sh", "-c", "echo no >&2; exit 3"], ", groups: [web]")
    with pytest.raises(HookFailed, match="hook h: ended with 3: no"):
        cut.run(regardless=True)
    assert cut.states() == {"db-01": "Finished", "web-01": "Waiting", "web-02": "Waiting"}
    cut.text = cut.text.replace("groups: [web]", "groups: [web], onFailure: continue")
    assert cut.run(regardless=True).failed == ()
    assert cut.warned == ["hook h: ended with 3: no"]


def test_a_program_gets_no_secret_but_those_it_names(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    text = WAVE + hook("before-cutover", ["sh", "-c", f"env > {seen}"], ", environment: [CHAT_PASSWORD]")
    text += "notifications:\n  - {name: n, webhook: {url: http://h/, headersFromEnvironment: {A: HEADER}}}\n"
    given = {
        "PATH": os.environ["PATH"],
        "PLAIN": "kept",
        "CHAT_PASSWORD": "meant for it",
        "CONNECTOR_VCENTER_PASSWORD": "hidden-1-of-4",
        "CONNECTOR_ACCESS_KEY_SECRET": "hidden-2-of-4",
        "HTTPS_PROXY": "http://me:hidden-3-of-4@proxy:3128",
        "HEADER": "hidden-4-of-4",
    }
    with pytest.raises(ManifestRefused, match="the variable CHAT_PASSWORD is not set; export CHAT_PASSWORD"):
        HookRunner(wave(text), print, {"HEADER": "x"}).check()
    around = HookRunner(wave(text), print, given)
    around.check()
    around.run(Phase.BEFORE_CUTOVER, "db", ["db-01"])
    lines = set(seen.read_text().splitlines())
    assert {"PLAIN=kept", "CHAT_PASSWORD=meant for it"} <= lines
    assert not any("-of-4" in line for line in lines)


def test_a_hook_gets_the_event_and_ends_with_all_it_started(tmp_path: Path) -> None:
    told, child = tmp_path / "told", tmp_path / "child"
    good = wave(WAVE + hook("before-cutover", ["sh", "-c", f"cat > {told}"]))
    HookRunner(good, print).run(Phase.BEFORE_CUTOVER, "db", ["db-01"])
    event = {"wave": "w1", "what": "before-cutover", "group": "db", "machines": ["db-01"], "detail": ""}
    assert json.loads(told.read_text()) == event
    HookRunner(good, print).run(Phase.AFTER_CUTOVER, "db")  # not its phase
    slow = f"sleep 600 & echo $! > {child}; wait"
    with pytest.raises(HookFailed, match="did not end within 1 s"):
        HookRunner(wave(WAVE + hook("after-apply", ["sh", "-c", slow], ", timeout: 1s")), print).run(
            Phase.AFTER_APPLY
        )
    with pytest.raises(ProcessLookupError):
        for _ in range(200):
            os.kill(int(child.read_text()), 0)
            threading.Event().wait(0.02)
    with pytest.raises(HookFailed, match="cannot be started: No such file"):
        HookRunner(wave(WAVE + hook("after-apply", ["/no/such"])), print).run(Phase.AFTER_APPLY)


def test_a_hook_runs_no_word_of_a_name(tmp_path: Path) -> None:
    """Names are text on standard input, never part of a command line."""
    told = tmp_path / "told"
    traps = [
        f"$(touch {tmp_path}/a)",
        f"`touch {tmp_path}/b`",
        f"'; touch {tmp_path}/c; '",
        f"x\ntouch {tmp_path}/d",
    ]
    noted = wave(WAVE + hook("before-cutover", ["sh", "-c", f"cat > {told}"]))
    HookRunner(noted, print).run(Phase.BEFORE_CUTOVER, "db", traps)
    assert json.loads(told.read_text())["machines"] == traps
    assert [file.name for file in tmp_path.iterdir()] == ["told"]


def test_no_name_forges_a_line_of_what_people_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    name = "web\nfinished: everything\x9b2J"
    print_cutover(CutoverResult(finished=(name,), failed=((name, name),), not_begun=(name,)), as_json=False)
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1 and len(said.err.splitlines()) == 2
    assert "\x9b" not in said.out + said.err
    assert Problem(f"no {name}", FilePosition()).line("wave.yaml").isprintable()


@pytest.fixture
def listener() -> Iterator[tuple[str, list[Any]]]:
    heard: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.append((self.headers.get("Authorization"), body))
            self.send_response(500 if self.path == "/broken" else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", heard
    server.shutdown()
    server.server_close()


def test_webhooks_carry_a_secret_that_is_not_in_the_file(listener: tuple[str, list[Any]]) -> None:
    url, heard = listener
    text = (
        WAVE
        + f"""notifications:
  - name: chat
    webhook: {{url: {url}/ok, headersFromEnvironment: {{Authorization: HOOK_TOKEN}}}}
    events: [wave-finished]
  - {{name: broken, webhook: {{url: {url}/broken}}}}
"""
    )
    warned: list[str] = []
    with pytest.raises(
        ManifestRefused, match=r"wave.yaml:\d+:\d+: the variable HOOK_TOKEN is not set; export HOOK_TOKEN"
    ):
        HookRunner(wave(text), warned.append, {}).check()
    around = HookRunner(wave(text), warned.append, {"HOOK_TOKEN": "hush"})
    around.check()
    around.notify(Happening.WAVE_FINISHED)
    around.notify(Happening.FAILED, "web", ["web-01"], "broken")
    assert [(token, body["what"]) for token, body in heard] == [
        ("hush", "wave-finished"), (None, "wave-finished"), (None, "failed"),
    ]  # fmt: skip
    assert warned == ["notification broken: it answered 500"] * 2
    http = WAVE + f"hooks:\n  - {{name: h, phase: before-apply, http: {{url: {url}/broken}}}}\n"
    with pytest.raises(HookFailed, match="hook h: it answered 500"):
        HookRunner(wave(http), warned.append).run(Phase.BEFORE_APPLY)
    gone = http.replace(url, "http://127.0.0.1:9")
    with pytest.raises(HookFailed, match="hook h: no answer"):
        HookRunner(wave(gone), warned.append).run(Phase.BEFORE_APPLY)


def test_a_report_is_safe_for_browsers_and_spreadsheets(estate: Estate) -> None:
    estate.has("<b>web</b>\u202e", "=cmd()")
    found = estate.plan(wave(HEAD + "machines:\n  - selector: name:*\n"))
    Apply(estate.plane, found, clock=estate.house.clock).run()
    made = report("w1", estate.plane.jobs("w1"), estate.plane.sources(), {}, estate.house.clock())
    assert "<b>web" not in made.to_html()
    assert "&lt;b&gt;web" in made.to_html()
    assert "&lt;U+202E&gt;" in made.to_html()
    assert "'=cmd()" in made.to_csv()
    assert made.totals["machines"] == 2
    rows = list(csv.DictReader(io.StringIO(made.to_csv())))
    assert {(row["seconds"], row["downtime"]) for row in rows} == {("", "")}  # not yet
    assert made.totals["longest_downtime"] is None
    assert sys.getsizeof(made.to_html()) < 20_000


def test_a_report_says_which_machines_of_the_manifest_have_no_job(
    estate: Estate, capsys: pytest.CaptureFixture[str]
) -> None:
    estate.has("web-01", "web-02")
    applied = estate.plan(wave(HEAD + "machines:\n  - name: web-01\n"))
    Apply(estate.plane, applied, clock=estate.house.clock).run()
    jobs, sources = estate.plane.jobs("w1"), estate.plane.sources()
    mine = [source for source in sources if source.vcenter == estate.vcenter]
    placements = resolve(wave(HEAD + "machines:\n  - name: web-01\n  - name: web-02\n"), mine).placements
    made = report("w1", jobs, sources, {}, estate.house.clock(), placements)
    assert [(line.machine, line.state) for line in made.lines if not line.job] == [("web-02", "missing")]
    assert made.totals["machines"] == 2
    assert "Without a job" in made.to_html()
    print_report(made, as_json=False)
    assert "w1: 0 of 2 finished, 0 failed, 1 has no job, " in capsys.readouterr().out


class Resources:
    """A control plane that has two images of a job: one is files, the other is in a cloud."""

    def call(self, action: str, /, **_: Any) -> dict[str, Any]:
        assert action == "DescribeReplicationJobResources"
        images = {"m-1": "/srv/images/web-01", "m-2": "m-2"}
        rows = [{"ImageId": key, "Location": place} for key, place in images.items()]
        return {"Resources": {"Resource": [*rows, {"ImageId": "", "Location": ""}]}}

    def close(self) -> None:
        pass


def test_a_report_names_the_directory_of_an_image_that_is_files() -> None:
    with SmcPlane(Resources) as plane:
        files = plane.image_files("j-1")
    assert files == {"m-1": "/srv/images/web-01", "m-2": "m-2"}
    made = report("w1", [replace(_job("j-1", "Finished"), image="m-1")], [], {}, 0.0, files=files)
    assert [line.image for line in made.lines] == ["/srv/images/web-01"]


class Paged:
    """A control plane that has more passes and resources of a job than one page holds."""

    def call(self, action: str, /, *, PageNumber: int, PageSize: int, **_: Any) -> dict[str, Any]:
        first = (PageNumber - 1) * PageSize
        numbers = range(first, min(first + PageSize, 120))
        if action == "DescribeReplicationJobPasses":
            passes = [{"PassId": f"p-{n}", "Outcome": "done", "Disks": {"Disk": []}} for n in numbers]
            return {"TotalCount": 120, "Passes": {"Pass": passes}}
        resources = [{"Token": f"t-{n}", "ImageId": f"m-{n}", "Location": f"/srv/{n}"} for n in numbers]
        return {"TotalCount": 120, "Resources": {"Resource": resources}}

    def close(self) -> None:
        pass


def test_a_report_counts_every_pass_and_finds_every_image() -> None:
    with SmcPlane(Paged) as plane:
        assert len(plane.passes("j-1")) == 120
        assert plane.image_files("j-1")["m-119"] == "/srv/119"


def _row(machine: str, state: str, progress: float = 0.0) -> MachineStatus:
    return MachineStatus(machine, "", f"j-{machine}", state.partition("/")[0], state, progress, "", "")


def test_who_watches_a_wave_reads_what_changed_and_no_line_twice(capsys: pytest.CaptureFixture[str]) -> None:
    first = WaveStatus("w1", (_row("app-01", "Running/Syncing", 43.2), _row("db-01", "Running/Preparing")))
    print_status(first, as_json=False)
    assert "app-01" in capsys.readouterr().out
    for rows, lines in (
        ((_row("app-01", "Running/Syncing", 43.4), first.rows[1]), []),
        ((_row("app-01", "Running/Syncing", 44.0), first.rows[1]), ["app-01: Syncing 44 %"]),
        ((first.rows[0], _row("db-01", "Finished")), ["db-01: Finished"]),
    ):
        print_status(WaveStatus("w1", rows), as_json=False, last=first)
        assert capsys.readouterr().out.splitlines() == lines


ORDERED = WAVE.replace(
    "{name: web, after: [db]}", '{name: web, after: [db], shutdownOrder: ["*-02", web-01]}'
)


def test_a_group_with_an_order_goes_down_in_it_and_finishes_as_one(cut: Cut) -> None:
    cut.text = ORDERED
    assert cut.run(regardless=True).finished == ("group db", "group web")
    assert set(cut.states().values()) == {"Finished"}
    assert cut.power_tasks == ["web-02", "web-01"]
    assert "group web: cutover asked for, all or none" in cut.said
    assert cut.run(regardless=True).failed == ()


def test_a_group_with_an_order_of_which_one_fails_is_running_again_and_says_who(cut: Cut) -> None:
    cut.text, cut.fail = ORDERED, {"web-01"}
    done = cut.run(regardless=True)
    assert cut.states() == {"db-01": "Finished", "web-01": "Stopped", "web-02": "Stopped"}
    assert {machine for machine, _ in done.failed} == {"web-01", "web-02"}
    assert all("web-01 failed (broken)" in why for _, why in done.failed)
    assert cut.power_tasks == ["web-02", "web-01", "web-01", "web-02"]
    cut.fail = set()
    for job in cut.estate.plane.jobs("w1"):
        if job.status == "Stopped":
            cut.estate.plane.start(job.id)
    assert cut.run(regardless=True).failed == ()
    assert set(cut.states().values()) == {"Finished"}


def test_a_group_that_lost_its_order_is_cut_over_machine_by_machine(cut: Cut) -> None:
    """Its application was made by an earlier cutover, which was rolled back."""
    cut.text, cut.fail = ORDERED, {"web-01"}
    assert cut.run(regardless=True).failed
    cut.text, cut.fail = WAVE, set()
    for job in cut.estate.plane.jobs("w1"):
        if job.status == "Stopped":
            cut.estate.plane.start(job.id)
    assert cut.run(regardless=True).failed == ()
    assert set(cut.states().values()) == {"Finished"}
    assert "group web: cutover asked for, all or none" in cut.said  # in the first run
    assert sum("cutover asked for" in line for line in cut.said if line.startswith("web-")) == 2


def test_a_refusal_that_no_waiting_ends_is_a_failure_of_its_machine(
    cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {source.id: source.name for source in cut.estate.plane.sources()}
    machines = {job.id: names[job.source] for job in cut.estate.plane.jobs("w1")}
    cut_over = cut.estate.plane.cut_over

    def refuse_one(job: str, *, final_sync: bool) -> None:
        if machines[job] == "web-01":
            raise BadInput("its disk is too large", on="web-01", remedy="choose another format")
        cut_over(job, final_sync=final_sync)

    monkeypatch.setattr(cut.estate.plane, "cut_over", refuse_one)
    done = cut.run(regardless=True)
    assert done.failed == (("web-01", "web-01: its disk is too large; choose another format"),)
    assert cut.states() == {"db-01": "Finished", "web-02": "Finished", "web-01": "Waiting"}
    assert sum("too large" in line for line in cut.said) == 1


def test_what_is_waited_for_is_said_once(cut: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_over, left = cut.estate.plane.cut_over, [10]

    def full(job: str, *, final_sync: bool) -> None:
        left[0] -= 1
        if left[0] > 0:
            raise Conflict(
                "the limit of running jobs is reached: 1", remedy="start it when another has ended"
            )
        cut_over(job, final_sync=final_sync)

    monkeypatch.setattr(cut.estate.plane, "cut_over", full)
    assert cut.run(regardless=True).failed == ()
    waits = [line for line in cut.said if "limit of running jobs" in line]
    assert waits == [
        "db-01: not yet: the limit of running jobs is reached: 1 - start it when another has ended"
    ]


def test_after_a_rollback_a_cutover_says_how_to_go_on_and_a_later_one_ends_well(cut: Cut) -> None:
    assert cut.run(regardless=True).finished == ("group db", "group web")
    house, plane = cut.estate.house, cut.estate.plane
    names = {source.id: source.name for source in plane.sources()}
    back = next(job for job in plane.jobs("w1") if names[job.source] == "web-01")
    house.service.rollback(back.id)
    for _ in range(3):
        cut.work()
    (row,) = [row for row in status("w1", plane.jobs("w1"), plane.sources()).rows if row.status == "Stopped"]
    assert row.note.startswith("rolled back, its source runs")
    with pytest.raises(Conflict, match="its cutover was rolled back, and its source runs") as refused:
        cut.run(regardless=True)  # although the other group is finished already
    assert refused.value.on == "web-01"
    assert "connector batch start" in refused.value.remedy
    plane.start(back.id)
    for _ in range(6):
        cut.work()
    assert cut.run(regardless=True) == CutoverResult(("group db", "group web"))
    assert set(cut.states().values()) == {"Finished"}


def test_a_rollback_while_a_cutover_is_followed_is_the_reason_that_is_given(cut: Cut) -> None:
    house, work = cut.estate.house, cut.work
    names = {source.id: source.name for source in cut.estate.plane.sources()}

    def work_and_take_back(seconds: float) -> None:
        work(seconds)
        for job in cut.estate.plane.jobs("w1"):
            if names[job.source] == "db-01" and job.status == "Finished" and not job.rolled_back:
                house.service.rollback(job.id)
                work(seconds)
                work(seconds)

    cut.work = work_and_take_back  # type: ignore[method-assign]
    done = cut.run(regardless=True)
    assert done.failed == (("db-01", "its cutover was rolled back, and its source runs"),)
    assert done.not_begun == ("group web",)


class _Away:
    """A plane that is silent for some looks, once a cutover is under way."""

    def __init__(self, plane: Any, looks: int) -> None:
        self._plane, self.looks, self._begun = plane, looks, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plane, name)

    def cut_over(self, job: str, *, final_sync: bool) -> None:
        self._begun = True
        self._plane.cut_over(job, final_sync=final_sync)

    def jobs(self, wave_: str) -> Any:
        if self._begun and self.looks:
            self.looks -= 1
            raise ControlFailed("no answer", on="https://control")
        return self._plane.jobs(wave_)


def test_a_silent_control_plane_does_not_end_a_cutover_and_is_said_once(cut: Cut) -> None:
    cut.estate.plane = _Away(cut.estate.plane, 20)  # type: ignore[assignment]
    assert cut.run(regardless=True) == CutoverResult(("group db", "group web"))
    assert sum("still trying" in line for line in cut.said) == 1
    assert "the control plane answers again after 20 s" in cut.said


def test_a_silence_that_does_not_end_is_a_failure(cut: Cut) -> None:
    cut.estate.plane = _Away(cut.estate.plane, 1000)  # type: ignore[assignment]
    with pytest.raises(ControlFailed):
        cut.run(regardless=True)


@pytest.mark.parametrize(
    ("done", "code"),
    [
        (CutoverResult(("group db",)), 0),
        (CutoverResult((), (), ("group web",)), 11),
        (CutoverResult((), (("web-01", "broken"),), ("group web",)), 12),
    ],
    ids=["finished", "not ready", "failed"],
)
def test_the_exit_code_of_a_cutover(done: CutoverResult, code: int) -> None:
    assert cutover_code(done) == code


def test_the_newest_job_counts_beside_one_whose_validity_is_over() -> None:
    made = [_job("j-2", "Finished"), _job("j-1", "Expired")]
    assert counting(made)["s-1"].id == "j-2"
    assert counting([_job("j-2", "Finished"), _job("j-1", "Waiting")])["s-1"].id == "j-1"


def _job(key: str, status_: str) -> JobView:
    return JobView(key, key, "s-1", status_, "", 0.0, {}, {})


def test_a_machine_that_no_line_of_the_order_names_is_refused_before_anything_begins(cut: Cut) -> None:
    cut.text = WAVE.replace("{name: db}", "{name: db, shutdownOrder: [other]}")
    with pytest.raises(Conflict, match="shutdownOrder of group db does not say when") as refused:
        cut.run(regardless=True)
    assert refused.value.on == "db-01"
    assert set(cut.states().values()) == {"Waiting"}


def test_an_order_of_shutdown_needs_a_shutdown() -> None:
    window = "window: {start: 2030-01-01 10:00, end: 2030-01-01 12:00}"
    with pytest.raises(ManifestRefused, match=r"only with cutover\.finalSync"):
        wave(ORDERED + f"timeZone: UTC\ncutover: {{finalSync: false, {window}}}\n")
