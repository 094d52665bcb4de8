"""`connector batch` migrates a wave of machines by one manifest, from the check to the report."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import ChainMap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from connector import amounts, readable
from connector.batch import sheets
from connector.batch.apply import Applied, Apply
from connector.batch.begin import begin
from connector.batch.cutover import CutOver, CutoverResult
from connector.batch.document import MAX_BYTES
from connector.batch.drills import drill_all, wanted
from connector.batch.earlier import finished_elsewhere
from connector.batch.hooks import HookRunner
from connector.batch.manifest import Happening, Phase
from connector.batch.owed import OwedHooks, owes
from connector.batch.parse import Wave, check_time, parse
from connector.batch.plan import WavePlan, plan
from connector.batch.plane import Plane
from connector.batch.problems import ManifestRefused
from connector.batch.report import report
from connector.batch.resolve import resolve
from connector.batch.schema import schema_text
from connector.batch.smc_plane import PARALLEL, SmcPlane
from connector.batch.status import WaveStatus, status
from connector.cli import batch_view as view
from connector.cli import watching
from connector.cli.access import with_client
from connector.cli.options import JSON
from connector.cli.tables import plain
from connector.clients.smc import SmcClient
from connector.errors import BadInput, BootFailed, Conflict, ControlFailed, NotFound
from connector.outages import Silence

REFUSED: Final = 2  # exit code when a manifest has problems
FAILED: Final = 12  # exit code when a call was refused or lost, a hook failed, or a machine's job failed
_LATEST: Final = 3600.0  # seconds; a pause between two looks is never longer

_FILE = click.argument("file", type=click.Path(path_type=Path), metavar="FILE")


@click.group(name="batch")
def batch() -> None:
    """Waves: many machines by one manifest.

    \b
    connector batch import vinfo.csv --wave w1 --region cn-hangzhou --out w1.yaml
    connector batch validate w1.yaml        check the manifest
    connector batch plan     w1.yaml        show what apply would change
    connector batch apply    w1.yaml        make the control plane equal to the manifest
    connector batch start    w1.yaml        start the jobs that do not start by themselves
    connector batch status   w1.yaml --watch
    connector batch drill    w1.yaml        rehearse the cutovers, without touching a source
    connector batch cutover  w1.yaml        inside its window, group by group
    connector batch report   w1.yaml --html w1.html
    """


@batch.command()
@_FILE
@JSON
def validate(file: Path, as_json: bool) -> None:
    """Check a manifest without a control plane. Each problem is one line: FILE:LINE:COLUMN: what; remedy.

    \b
    connector batch validate wave.yaml
    """
    with _told(as_json):
        wave = _wave(file)
        check_time(wave, time.time())
    entries = len(wave.manifest.machines)
    view.said(
        f"{file}: wave {wave.name}, {amounts.plural(entries, 'entry', 'entries')}, nothing wrong",
        {"wave": wave.name, "problems": []},
        as_json,
    )


@batch.command(name="plan")
@_FILE
@click.option("--verbose", "-v", is_flag=True, help="Print every call that apply would make.")
@with_client
@JSON
def plan_(client: SmcClient, file: Path, verbose: bool, as_json: bool) -> None:
    """Show what apply would create, change and leave, with bytes, snapshots, time and cost. It changes nothing.

    \b
    connector batch plan wave.yaml
    connector batch plan wave.yaml --verbose
    connector batch plan wave.yaml --json | jq .estimate
    """
    with _told(as_json):
        wave = _wave(file)
        check_time(wave, time.time())
        with _plane(client) as plane:
            plan = _planned(wave, plane)
    view.print_plan(plan, verbose=verbose, as_json=as_json)
    if plan.problems:
        raise click.exceptions.Exit(REFUSED)


@batch.command()
@_FILE
@with_client
@JSON
def apply(client: SmcClient, file: Path, as_json: bool) -> None:
    """Make the control plane equal to the manifest, completely or not at all. A second apply changes nothing.

    \b
    connector batch apply wave.yaml
    """
    with _told(as_json):
        wave = _wave(file)
        check_time(wave, time.time())
        around = HookRunner(wave, _warn)
        around.check()
        with _plane(client) as plane:
            plan = _planned(wave, plane)
            if plan.problems:
                raise ManifestRefused(wave.file, plan.problems)
            applied = carry_out_plan(plane, plan, around, as_json)
    view.print_applied(plan, applied, as_json)
    if applied.failures:
        raise click.exceptions.Exit(FAILED)


@batch.command(name="status")
@_FILE
@click.option("--watch", is_flag=True, help="Go on until nothing is under way.")
@click.option("--every", type=click.FloatRange(0.1, _LATEST), default=5.0, show_default=True, help="Seconds.")
@with_client
@JSON
def status_(client: SmcClient, file: Path, watch: bool, every: float, as_json: bool) -> None:
    """Show how far each machine of the wave is. The exit code is 12 if one has failed.

    \b
    connector batch status wave.yaml
    connector batch status wave.yaml --watch --json
    """
    with _told(as_json), watching.left_alone("the wave"):
        wave = _wave(file)
        with _plane(client) as plane:
            sources = plane.sources()
            last: WaveStatus | None = None
            silence = Silence(lambda line: click.echo(plain(line), err=True))
            while last is None or (watch and not last.settled):
                if last is not None:
                    _pause(every)
                resolved = resolve(wave, sources)
                placements = resolved.placements
                if last is None:
                    view.print_problems(wave.file, resolved.problems, "warning: ")
                try:
                    jobs = plane.jobs(wave.name)
                    elsewhere = finished_elsewhere(plane, placements, jobs)
                    drills = plane.drills([job.id for job in jobs])
                    silence.heard()
                except ControlFailed as silent:
                    if last is None:
                        raise
                    silence.bear(silent)
                    continue
                now = status(wave.name, jobs, sources, placements, elsewhere, drills)
                if now != last:
                    view.print_status(now, as_json, last)
                last = now
    if last.failed:
        raise click.exceptions.Exit(FAILED)


@batch.command()
@_FILE
@with_client
@JSON
def start(client: SmcClient, file: Path, as_json: bool) -> None:
    """Start the jobs that do not start by themselves, and resume stopped jobs. No source is shut down.

    It does not resume a stopped cutover: use `connector batch cutover`.

    \b
    connector batch start wave.yaml
    """
    with _told(as_json):
        wave = _wave(file)
        with _plane(client) as plane:
            say = _quiet if as_json else (lambda machine, what: click.echo(plain(f"{machine}: {what}")))
            started = begin(plane, wave.name, say)
    view.print_begun(wave.name, started, as_json)
    if started.failed:
        raise click.exceptions.Exit(FAILED)


@batch.command()
@_FILE
@with_client
@JSON
def drill(client: SmcClient, file: Path, as_json: bool) -> None:
    """Rehearse the cutover of each machine with `drill` in the manifest, one after the other. No source is touched.

    The control plane converts a copy of the machine's newest image, starts it and throws it away. When the command is
    interrupted, the drill under way goes on.

    \b
    connector batch drill wave.yaml

    \b
    Exit codes: 0 all boot; 13 one does not; 12 one could not be tried.
    """
    with _told(as_json), watching.left_alone("the drill"):
        wave = _wave(file)
        with _plane(client) as plane:
            resolved = resolve(wave, plane.sources())
            view.print_problems(wave.file, resolved.problems, "warning: ")
            drills = wanted(resolved.placements, plane.jobs(wave.name))
            if not drills:
                raise NotFound(
                    "no machine of the wave wants a drill", on=wave.name, remedy="write drill: true"
                )
            results = drill_all(plane, drills, _on_the_way, _pause)
    view.print_drills(wave.name, results, as_json)
    if any(result.boots is False for result in results):
        raise click.exceptions.Exit(BootFailed.exit_code)
    if any(result.boots is None for result in results):
        raise click.exceptions.Exit(FAILED)


@batch.command()
@_FILE
@click.option("--now", "regardless", is_flag=True, help="Do not wait for the window.")
@click.option("--every", type=click.FloatRange(0.1, _LATEST), default=2.0, show_default=True, help="Seconds.")
@with_client
@JSON
def cutover(client: SmcClient, file: Path, regardless: bool, every: float, as_json: bool) -> None:
    """Shut sources down, copy the last changes and make the last images: group after group, inside the window.

    If it is interrupted, running jobs go on. Run it again to continue.

    \b
    connector batch cutover wave.yaml
    connector batch cutover wave.yaml --now
    """
    with _told(as_json):
        wave = _wave(file)
        around = HookRunner(wave, _warn)
        around.check()
        with _plane(client) as plane:
            say = _quiet if as_json else (lambda line: click.echo(plain(line)))
            result = CutOver(plane, wave, around, say, pause=_pause).run(regardless=regardless, poll=every)
    view.print_cutover(result, as_json)
    if code := cutover_code(result):
        raise click.exceptions.Exit(code)


@batch.command(name="report")
@_FILE
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), help="Write one self-contained page."
)
@click.option(
    "--csv", "table", type=click.Path(path_type=Path, dir_okay=False), help="Write a row per machine."
)
@with_client
@JSON
def report_(client: SmcClient, file: Path, html: Path | None, table: Path | None, as_json: bool) -> None:
    """Report what the wave did, per machine and in total: times, bytes, downtime, images, digests.

    \b
    connector batch report wave.yaml --html wave.html --csv wave.csv
    connector batch report wave.yaml --json
    """
    with _told(as_json):
        wave = _wave(file)
        with _plane(client) as plane, ThreadPoolExecutor(PARALLEL) as pool:
            jobs, sources = plane.jobs(wave.name), plane.sources()
            ids = [job.id for job in jobs]
            passes = dict(zip(ids, pool.map(plane.passes, ids), strict=True))
            files = ChainMap(*map(dict, pool.map(plane.image_files, ids)))
        if not jobs:
            raise NotFound("the wave has no jobs", on=wave.name, remedy="apply it first")
        wave_report = report(
            wave.name, jobs, sources, passes, time.time(), resolve(wave, sources).placements, files
        )
        _write(html, wave_report.to_html)
        _write(table, wave_report.to_csv)
    view.print_report(wave_report, as_json)
    for written in (html, table):
        if written is not None and not as_json:
            click.echo(f"{plain(str(written))} is written")


@batch.command(name="import")
@click.argument("sheet", type=click.Path(path_type=Path), metavar="CSV")
@click.option(
    "--disks",
    type=click.Path(path_type=Path),
    help="RVTools' vDisk sheet as CSV, to find disks that block a migration.",
)
@click.option("--wave", required=True, help="Name of the wave.")
@click.option("--region", required=True, help="Region of the images.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write. Default: standard output."
)
@JSON
def import_(sheet: Path, disks: Path | None, wave: str, region: str, out: Path | None, as_json: bool) -> None:
    """Make a manifest from a spreadsheet, or from RVTools' vInfo sheet (ExportvInfo2csv).

    Columns, in any order: VM or name, VM ID or moref, vcenter, group, region, instance type, vswitch, bandwidth.

    \b
    connector batch import RVTools_tabvInfo.csv --disks RVTools_tabvDisk.csv --wave w1 --region cn-hangzhou --out w1.yaml
    """
    with _told(as_json):
        rows = sheets.read(_content(sheet, sheets.MAX_BYTES), str(sheet))
        below = sheets.read(_content(disks, sheets.MAX_BYTES), str(disks)) if disks else None
        import_result = sheets.manifest(rows, wave, region, below)
        parse(import_result.text.encode(), str(out or "the manifest made of it"))
        _write(out, lambda: import_result.text)
    if as_json:
        record = {
            "machines": import_result.machines,
            "notes": list(import_result.notes),
            "manifest": import_result.text,
        }
        click.echo(json.dumps(record))
        return
    for note in import_result.notes:
        click.echo(note, err=True)
    click.echo(
        f"{amounts.plural(import_result.machines, 'machine')} in {out}" if out else import_result.text,
        nl=out is not None,
    )


@batch.command()
def schema() -> None:
    """Print the JSON Schema of manifests, for editors.

    \b
    connector batch schema > manifest.schema.json
    """
    click.echo(schema_text(), nl=False)


def cutover_code(result: CutoverResult) -> int:
    """The exit code. A failure counts more than a machine that was not ready to begin."""
    if result.failed:
        return FAILED
    return Conflict.exit_code if result.not_begun else 0


def carry_out_plan(plane: Plane, plan: WavePlan, around: HookRunner, as_json: bool) -> Applied:
    """Apply the plan, with its hooks if there is something to do. After-apply hooks that are owed run too."""
    owed = OwedHooks(plane, around)
    owing = {s.job.id: s.machine for s in plan.steps if s.job and owes(s.job, Phase.AFTER_APPLY)}
    if plan.empty:
        if owing:
            owed.run(Phase.AFTER_APPLY, list(owing), list(owing.values()))
        return Applied()
    machines = [step.machine for step in plan.pending]
    around.run(Phase.BEFORE_APPLY, machines=machines)
    say = _quiet if as_json else (lambda machine, what: click.echo(plain(f"{machine}: {what}")))
    applied = Apply(plane, plan, say, marks=owed.marks(Phase.AFTER_APPLY)).run()
    if applied.failures:
        around.notify(Happening.FAILED, machines=machines, detail=applied.failures[0].what)
        return applied
    jobs = list(dict.fromkeys([*applied.created, *applied.changed, *owing]))
    owed.run(Phase.AFTER_APPLY, jobs, list(dict.fromkeys([*machines, *owing.values()])))
    around.notify(Happening.APPLIED, machines=machines)
    return applied


def _planned(wave: Wave, plane: Plane) -> WavePlan:
    with ThreadPoolExecutor(2) as pool:
        sources = pool.submit(plane.sources)
        jobs = pool.submit(plane.jobs, wave.name)
    resolved = resolve(wave, sources.result())
    elsewhere = finished_elsewhere(plane, resolved.placements, jobs.result())
    return plan(wave, resolved, sources.result(), jobs.result(), time.time(), elsewhere)


def _wave(file: Path) -> Wave:
    return parse(_content(file, MAX_BYTES), str(file))


def _content(file: Path, most: int) -> bytes:
    """The file's content, at most one byte more than allowed, so that the reader can refuse it as too large."""
    try:
        with open(readable.opened(file), "rb") as opened:
            return opened.read(most + 1)
    except OSError as failed:
        raise BadInput(f"cannot read it: {failed.strerror}", on=str(file), remedy="check the path") from None


def _write(file: Path | None, text: view.Made) -> None:
    if file is None:
        return
    try:
        file.write_text(text(), encoding="utf-8")
    except OSError as failed:
        raise BadInput(f"cannot write it: {failed.strerror}", on=str(file), remedy="check the path") from None


@contextmanager
def _plane(client: SmcClient) -> Iterator[Plane]:
    with SmcPlane(client.another) as plane:
        yield plane


@contextmanager
def _told(as_json: bool) -> Iterator[None]:
    """Print all problems of a manifest, one line each. Other errors go to the outermost handler."""
    try:
        yield
    except ManifestRefused as refused:
        for problem in refused.problems:
            if as_json:
                click.echo(json.dumps(problem.to_json(refused.file)))
            else:
                click.echo(problem.line(refused.file), err=True)
        raise click.exceptions.Exit(REFUSED) from None


def _warn(line: str) -> None:
    click.echo(plain(f"warning: {line}"), err=True)


def _on_the_way(machine: str, line: str) -> None:
    """On standard error, so that it does not mix with the result."""
    click.echo(plain(f"{machine}: {line}"), err=True)


def _quiet(*_: str) -> None:
    pass


def _pause(seconds: float) -> None:
    sys.stdout.flush()
    threading.Event().wait(seconds)
