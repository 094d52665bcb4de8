"""Plans, status and reports of waves are printed as text for people or as JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from connector import amounts
from connector.batch.apply import Applied
from connector.batch.begin import Begun
from connector.batch.cutover import CutoverResult
from connector.batch.drills import DrillResult
from connector.batch.plan import JobChange, Step, WavePlan
from connector.batch.problems import Problem
from connector.batch.report import Report
from connector.batch.status import MachineStatus, WaveStatus
from connector.cli.display import print_table
from connector.cli.tables import plain
from connector.specification import images

#: Makes the text of a file only when it is needed.
Made = Callable[[], str]

_SIGNS = {JobChange.CREATE: "+", JobChange.CHANGE: "~", JobChange.LEFT: " ", JobChange.UNTOUCHED: "?"}
_COLOURS = {
    JobChange.CREATE: "green",
    JobChange.CHANGE: "yellow",
    JobChange.LEFT: "",
    JobChange.UNTOUCHED: "dim",
}


def said(text: str, record: dict[str, Any], as_json: bool) -> None:
    click.echo(json.dumps(record) if as_json else text)


def print_plan(plan: WavePlan, *, verbose: bool, as_json: bool) -> None:
    """Print the machines that change. The others are only counted, unless `verbose`."""
    if as_json:
        click.echo(json.dumps(_plan_record(plan, verbose=verbose)))
        return
    table = Table("", "machine", "group", "what", box=None, show_header=False)
    for step in plan.steps:
        if step.change is not JobChange.LEFT or verbose:
            sign = Text(_SIGNS[step.change], style=_COLOURS[step.change])
            table.add_row(sign, plain(step.machine), plain(step.group), Text(_words(step)))
        if verbose:
            for call in step.calls:
                table.add_row("", "", "", Text(str(call), style="dim"))
    if table.row_count:
        print_table(table, lead=("", "machine"))
    counts = ", ".join(
        f"{plan.count(change)} to {change}" for change in (JobChange.CREATE, JobChange.CHANGE, JobChange.LEFT)
    )
    click.echo(f"{plan.wave.name}: {counts}, {plan.count(JobChange.UNTOUCHED)} not touched")
    _print_estimate(plan)
    print_problems(plan.wave.file, plan.warnings, "warning: ")
    print_problems(plan.wave.file, plan.problems)


def print_applied(plan: WavePlan, applied: Applied, as_json: bool) -> None:
    """Print what was done in one line, then what was not done."""
    if as_json:
        record = {name: list(getattr(applied, name)) for name in ("created", "changed", "started")}
        trouble = {
            name: [problem.to_json(plan.wave.file) for problem in getattr(applied, name)]
            for name in ("failures", "warnings")
        }
        click.echo(json.dumps({"wave": plan.wave.name} | record | {"undone": applied.undone} | trouble))
        return
    print_problems(plan.wave.file, [*plan.warnings, *applied.warnings], "warning: ")
    print_problems(plan.wave.file, applied.failures)
    if plan.empty:
        click.echo(f"{plan.wave.name}: no change")
    elif applied.failures and not applied.created and not applied.changed:
        remainder = f"{len(applied.left)} could not be" if applied.left else "nothing is left of it"
        click.echo(
            f"{plan.wave.name}: not applied, {amounts.plural(applied.undone, 'step')} undone: {remainder}",
            err=True,
        )
    else:
        figures = (
            f"{len(applied.created)} created, {len(applied.changed)} changed, {len(applied.started)} started"
        )
        click.echo(f"{plan.wave.name}: {figures}")


def print_begun(wave: str, begun: Begun, as_json: bool) -> None:
    """Print how many jobs were started, and the states of those that a start does not concern."""
    states = Counter(state for _, state in begun.others)
    rest = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    said(
        f"{wave}: {amounts.plural(len(begun.started), 'job')} started"
        + (f"; the others: {rest}" if rest else ""),
        asdict(begun),
        as_json,
    )


def print_status(status: WaveStatus, as_json: bool, last: WaveStatus | None = None) -> None:
    """Print one JSON object for each look; or a table at first and at the end, and a line for each change after `last`."""
    if as_json:
        click.echo(json.dumps(status.to_json()))
        return
    if last is not None and not status.settled:
        known = set(map(_status_line, last.rows))
        for line in filter(lambda line: line not in known, map(_status_line, status.rows)):
            click.echo(line)
        return
    drills = ["drill"] if any(row.drill for row in status.rows) else []
    table = Table("machine", "group", "job", "state", "progress", "image", *drills, "note", box=None)
    for row in status.rows:
        cells = [row.machine, row.group, row.name, row.state, f"{row.progress:.0f} %", row.image]
        cells += [row.drill, row.note] if drills else [row.note]
        table.add_row(*(Text(plain(cell)) for cell in cells))
    print_table(table)
    counts = ", ".join(f"{count} {name}" for name, count in status.counts.items())
    click.echo(f"{status.wave}: {counts or 'no jobs: apply it first'}")


def _status_line(row: MachineStatus) -> str:
    """What a person who watches is told of one machine: `app-01: Syncing 43 %`."""
    phase = row.state.rpartition("/")[2]
    progress = f" {row.progress:.0f} %" if row.status == "Running" else ""
    return plain(f"{row.machine}: {phase}{progress}" + (f", {row.note}" if row.note else ""))


def print_drills(wave: str, results: Sequence[DrillResult], as_json: bool) -> None:
    """Print a row for each machine that was rehearsed, and the count."""
    if as_json:
        click.echo(json.dumps({"wave": wave, "drills": [result.to_json() for result in results]}))
        return
    table = Table("machine", "group", "image", "result", box=None)
    for row in results:
        table.add_row(*(Text(plain(cell)) for cell in (row.machine, row.group, row.image, row.text)))
    print_table(table)
    boot = sum(result.boots is True for result in results)
    click.echo(f"{wave}: {boot} of {len(results)} boot")


def print_cutover(result: CutoverResult, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(result)))
        return
    for machine, why in result.failed:
        remedy = "see `connector job logs`, put it right, run cutover again"
        click.echo(plain(f"{machine}: {why.removeprefix(f'{machine}: ')}; {remedy}"), err=True)
    if result.not_begun:
        click.echo(plain(f"not begun: {', '.join(result.not_begun)}; run cutover again"), err=True)
    click.echo(plain(f"finished: {', '.join(result.finished) or 'nothing'}"))


def print_report(report: Report, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.to_json()))
        return
    table = Table("machine", "group", "state", "runs", "read", "sent", "downtime", "image", box=None)
    for line in report.lines:
        down = "-" if line.downtime is None else amounts.span(line.downtime)
        cells = (
            line.machine,
            line.group,
            line.state,
            str(line.runs),
            amounts.size(line.read),
            amounts.size(line.wire),
        )
        table.add_row(*(Text(plain(cell)) for cell in (*cells, down, line.image)))
    print_table(table)
    for line in report.lines:
        if line.rolled_back:
            use = f"{images.USE_THIS}: {line.image}; " if line.image else ""
            click.echo(plain(f"{line.machine}: {use}image {images.NOT_THIS}: {line.rolled_back}"))
    totals = report.totals
    lacking = totals["without_job"]
    missing = f", {lacking} {'has' if lacking == 1 else 'have'} no job" if lacking else ""
    click.echo(
        f"{report.wave}: {totals['finished']} of {totals['machines']} finished, {totals['failed']} failed{missing}, "
        f"{amounts.size(totals['read'])} read, {amounts.size(totals['wire'])} sent"
    )


def _words(step: Step) -> str:
    if step.change is JobChange.CREATE and step.specification is not None:
        fields, place = step.specification.asked, step.specification.placement
        rhythm = f"every {fields['Frequency']} h" if "Frequency" in fields else "once"
        begins = (
            "at once"
            if step.starts
            else "as scheduled"
            if step.specification.start
            else "by hand (batch start)"
        )
        disks = f"{amounts.plural(len(place.disks), 'disk')}, {amounts.size(place.size)}"
        return plain(f"create {step.specification.name}: {disks}, {rhythm}, begins {begins}")
    changes = "; ".join(map(str, step.differences))
    return plain(changes or f"{step.change}: {step.note}")


def _print_estimate(plan: WavePlan) -> None:
    figures = plan.estimate
    if not figures.machines:
        return
    click.echo(
        f"first runs: {amounts.plural(figures.machines, 'machine')}, {amounts.size(figures.first_run)}, about "
        f"{amounts.span(figures.seconds)} in all, {amounts.span(figures.longest)} for the slowest"
    )
    if figures.delta_bytes:
        click.echo(
            f"deltas: {figures.deltas} before the cutover, {amounts.size(figures.delta_bytes)} with the last ones; "
            f"the cutover takes about {amounts.span(figures.cutover)}"
        )
    cost = f", about {figures.cost:.2f} {figures.currency}" if figures.cost else ""
    click.echo(f"snapshots: {figures.snapshots}; images kept: {figures.images}{cost}")
    click.echo(f"assumed: {'; '.join(figures.assumptions)}")


def print_problems(file: str, problems: Sequence[Problem], prefix: str = "") -> None:
    """Print each problem in a line, in the file's order."""
    for problem in sorted(problems, key=lambda problem: problem.mark):
        click.echo(f"{prefix}{problem.line(file)}", err=True)


def _plan_record(plan: WavePlan, *, verbose: bool) -> dict[str, Any]:
    steps = [
        {
            "change": str(step.change),
            "machine": step.machine,
            "group": step.group,
            "job": step.job.id if step.job else "",
            "differences": [asdict(difference) for difference in step.differences],
            "note": step.note,
        }
        | (
            {"calls": [{"action": c.action, "parameters": dict(c.parameters)} for c in step.calls]}
            if verbose
            else {}
        )
        for step in plan.steps
    ]
    return {
        "wave": plan.wave.name,
        "counts": {str(change): plan.count(change) for change in JobChange},
        "steps": steps,
        "estimate": plan.estimate.to_json(),
        "problems": [problem.to_json(plan.wave.file) for problem in plan.problems],
        "warnings": [problem.to_json(plan.wave.file) for problem in plan.warnings],
    }
