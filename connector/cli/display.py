"""What a person or a program sees while machines migrate: bars on a terminal, lines in a log, JSON objects for programs.

All three are fed by the same calls; none of them decides anything.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol

import click
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from connector.errors import one_line

_WIDEST = 10_000  # columns
_STACKED = 4  # a table of fewer columns is folded inside its cells
LINE_EVERY = 5.0  # seconds between two progress lines of one machine where there is no terminal


class Display(Protocol):
    """Thread rule: one thread feeds it."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def say(self, message: str) -> None:
        """One sentence about the whole command."""

    def phase(self, machine: str, phase: str) -> None:
        """A machine entered a phase."""

    def disk(self, machine: str, disk: Mapping[str, Any]) -> None:
        """`disk` has the fields of `appliance.progress.DiskProgress`."""


class _Quiet:
    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class JsonDisplay(_Quiet):
    """One JSON object per line on stdout, with the time and an `event`."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int], Mapping[str, Any]] = {}

    def say(self, message: str) -> None:
        self._print(event="message", message=message)

    def phase(self, machine: str, phase: str) -> None:
        self._print(event="phase", machine=machine, phase=phase)

    def disk(self, machine: str, disk: Mapping[str, Any]) -> None:
        place = (machine, disk["key"])
        if self._last.get(place) != disk:
            self._last[place] = dict(disk)
            self._print(event="disk", machine=machine, **disk)

    def _print(self, **fields: Any) -> None:
        click.echo(json.dumps({"time": round(time.time(), 3), **fields}))


class LineDisplay(_Quiet):
    """For logs and pipes: a line per phase, and one now and then per disk."""

    def __init__(self) -> None:
        self._next: dict[tuple[str, int], float] = {}

    def say(self, message: str) -> None:
        click.echo(one_line(message), err=True)

    def phase(self, machine: str, phase: str) -> None:
        click.echo(one_line(f"{machine}: {phase}"), err=True)

    def disk(self, machine: str, disk: Mapping[str, Any]) -> None:
        place, now = (machine, disk["key"]), time.monotonic()
        if not disk["wanted"] or now < self._next.setdefault(place, now + LINE_EVERY):
            return
        self._next[place] = now + LINE_EVERY
        share = 100 * disk["done"] / disk["wanted"]
        click.echo(
            one_line(
                f"{machine}: {disk['label']}: {share:.0f} % of {decimal(disk['wanted'])}, "
                f"{decimal(int(disk['rate']))}/s, {eta(disk)}, limited by {disk['bottleneck'] or '-'}"
            ),
            err=True,
        )


class BarDisplay:
    """For terminals: one bar per disk with rate, time left and bottleneck."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f} %"),
            _Facts(),
            console=self._console,
        )
        self._tasks: dict[tuple[str, int], TaskID] = {}
        self._unwind = ExitStack()

    def __enter__(self) -> Display:
        self._unwind.enter_context(self._progress)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unwind.close()

    def say(self, message: str) -> None:
        self._console.print(Text(one_line(message)))

    def phase(self, machine: str, phase: str) -> None:
        self._console.print(Text.assemble((one_line(machine), "bold"), ": ", one_line(phase)))

    def disk(self, machine: str, disk: Mapping[str, Any]) -> None:
        place = (machine, disk["key"])
        if place not in self._tasks:
            self._tasks[place] = self._progress.add_task(
                escape(one_line(f"{machine} {disk['label']}")), total=None
            )
        self._progress.update(
            self._tasks[place],
            total=disk["wanted"] or None,
            completed=disk["done"],
            rate=disk["rate"],
            left=eta(disk),
            limit=disk["bottleneck"],
        )


class _Facts(ProgressColumn):
    """Bytes, rate, time left, bottleneck."""

    def render(self, task: Task) -> Text:
        done, wanted = decimal(int(task.completed)), decimal(int(task.total or 0))
        rate = decimal(int(task.fields.get("rate", 0)))
        limit = task.fields.get("limit") or "-"
        return Text(f"{done} of {wanted}  {rate}/s  {task.fields.get('left', '')}  limited by {limit}")


def eta(disk: Mapping[str, Any]) -> str:
    """Time left at the present rate, or a dash when nothing moves."""
    left = disk["wanted"] - disk["done"]
    if left <= 0:
        return "done"
    if disk["rate"] <= 0:
        return "--:--"
    seconds = int(left / disk["rate"]) + 1
    return f"{seconds // 3600}:{seconds % 3600 // 60:02}:{seconds % 60:02} left"


def choose(as_json: bool) -> Display:
    """JSON when asked for; bars on a terminal; lines otherwise."""
    if as_json:
        return JsonDisplay()
    return BarDisplay() if Console(stderr=True).is_terminal else LineDisplay()


def wide_console() -> Console:
    """Stdout; where it is no terminal, nobody is helped by folding a table at 80 columns."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def print_table(table: Table, console: Console | None = None) -> None:
    """A table as wide as it is; one that a terminal has no room for is stacked: a block of lines for each row.

    Nothing is cut. Where there is no terminal, a row is one line however long it is.
    """
    console = console or Console()
    natural = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    if not console.is_terminal:
        Console(width=max(console.width, natural), file=console.file).print(table)
    elif natural <= console.width or len(table.columns) < _STACKED:
        console.print(table)
    else:
        for line in _stacked(table):
            console.print(line, soft_wrap=False)


def _stacked(table: Table) -> Iterator[Text]:
    """Each row as its first cell, and below it a line for each other cell that says something."""
    titles = [str(column.header) for column in table.columns]
    room = max(map(len, titles[1:]))
    for row in zip(*(list(column.cells) for column in table.columns), strict=True):
        yield Text(str(row[0]), style="bold")
        for title, cell in zip(titles[1:], row[1:], strict=True):
            text = cell if isinstance(cell, Text) else Text.from_markup(str(cell))
            if text.plain not in ("", "-"):
                yield Text(f"  {title:<{room}}  ") + text
