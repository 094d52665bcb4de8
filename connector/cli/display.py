"""Progress is shown as bars on a terminal, as lines in a log, or as JSON objects for programs.

All three displays get the same calls, and none of them decides anything.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol

import click
from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.measure import Measurement
from rich.progress import Progress, ProgressColumn, Task, TaskID
from rich.table import Table
from rich.text import Text

from connector import amounts
from connector.errors import one_line
from connector.specification import limited_by

_WIDEST = 10_000  # columns
_STACKED = 4  # a table of fewer columns is folded inside its cells
_BAR, _LEAST_BAR = 28, 8  # columns of a bar, at most and at least
_LEAST_NAME, _RATE, _SIZE = 8, 10, 20  # columns of a name at least, of a rate, of "DONE of WANTED"
_LIMIT = len("limited by ") + max(map(len, limited_by.LIMITS.values()))
LINE_EVERY = 5.0  # seconds between two progress lines of one machine where there is no terminal


class Display(Protocol):
    """Shows the progress of a command. Only one thread may call it."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def say(self, message: str) -> None:
        """One sentence about the whole command."""

    def phase(self, machine: str, phase: str) -> None:
        """A machine is in a new phase."""

    def disk(self, machine: str, disk: Mapping[str, Any]) -> None:
        """New figures of a disk. `disk` has the fields of `appliance.progress.DiskProgress`."""


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
    """For logs and pipes: a line for each phase, and regularly a line for each disk."""

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
                f"{machine}: {disk['label']}: {share:.0f} % of {amounts.size(disk['wanted'])}, "
                + ", ".join(filter(None, (amounts.rate(disk["rate"]), eta(disk), limited(disk))))
            ),
            err=True,
        )


class BarDisplay:
    """For terminals: one line per disk with a bar, rate, time left and what limits the rate."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._line = _Line(self._console)
        self._progress = Progress(self._line, console=self._console)
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
            name = one_line(f"{machine} {disk['label']}")
            self._line.names = max(self._line.names, cell_len(name))
            self._tasks[place] = self._progress.add_task(name, total=None, shown=dict(disk))
        self._progress.update(
            self._tasks[place], total=disk["wanted"] or None, completed=disk["done"], shown=dict(disk)
        )


class _Line(ProgressColumn):
    """One line of the terminal for one disk. If there is too little room, the least important figures are left out."""

    max_refresh = 0.0  # its width may change at any time

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self.names = 0  # columns of the longest name

    def render(self, task: Task) -> Text:
        line, width = task.fields["shown"], self._console.width
        return bar_line(task.description, line, width, self.names)


def bar_line(name: str, disk: Mapping[str, Any], width: int, name_width: int = 0) -> Text:
    """A line of at most `width` columns: percent and time left always, then rate, bar, limit and bytes if there is room.

    `name_width`: columns of the longest name, so that the bars are aligned.
    """
    share = min(1.0, disk["done"] / disk["wanted"]) if disk["wanted"] else float(_over(disk))
    parts = [f"{100 * share:>3.0f} %", f"{eta(disk):<13}"]
    room = width - sum(map(len, parts)) - 2 * len(parts)
    name_width = max(_LEAST_NAME, min(max(name_width, cell_len(name)), room - _RATE - 2))
    room -= name_width
    if room >= _RATE + 2:
        rate = amounts.rate(disk["rate"]) if disk["wanted"] > disk["done"] else ""
        parts.insert(1, f"{rate:<{_RATE}}")
        room -= _RATE + 2
    size = f"{amounts.size(disk['done'])} of {amounts.size(disk['wanted'])}"
    for text, reserved in ((limited(disk), _LIMIT), (size, _SIZE)):
        if room - _LEAST_BAR - 2 >= reserved + 2:
            parts.append(f"{text:<{reserved}}")
            room -= reserved + 2
    bar = min(_BAR, room - 2) if room >= _LEAST_BAR + 2 else 0
    name = _shortened(name, name_width)
    line = Text(name + " " * (name_width - cell_len(name)), no_wrap=True, overflow="crop")
    if bar:
        filled = round(bar * share)
        line.append("  ").append("\u2501" * filled, "bar.complete").append(
            "\u2501" * (bar - filled), "bar.back"
        )
    line.append("  " + "  ".join(parts))
    line.rstrip()
    line.truncate(width, overflow="crop")
    return line


def _shortened(name: str, room: int) -> str:
    """The name's beginning and its end; the end tells disks apart."""
    if cell_len(name) <= room:
        return name
    tail = chop_cells(name[::-1], room // 2)[0][::-1]
    return f"{chop_cells(name, room - cell_len(tail) - 1)[0]}\u2026{tail}"


def limited(disk: Mapping[str, Any]) -> str:
    """What limits the rate, as a clause; empty if it is unknown or nothing is left to do."""
    limit = limited_by.named(str(disk["bottleneck"]))
    return f"limited by {limit}" if limit and disk["wanted"] > disk["done"] else ""


def eta(disk: Mapping[str, Any]) -> str:
    """Time left at the present rate; dashes if nothing moves or the amount is not known yet."""
    remaining = disk["wanted"] - disk["done"]
    if remaining <= 0:
        return "done" if _over(disk) else "--:--"
    if disk["rate"] <= 0:
        return "--:--"
    seconds = int(remaining / disk["rate"]) + 1
    return f"{seconds // 3600}:{seconds % 3600 // 60:02}:{seconds % 60:02} left"


def _over(disk: Mapping[str, Any]) -> bool:
    """Whether a disk with nothing left to do is done: it had something to do, or it was already as it must be."""
    return bool(disk["wanted"]) or disk.get("state") == "proved"


def choose(as_json: bool) -> Display:
    """The display: JSON if it was asked for, bars on a terminal, lines otherwise."""
    if as_json:
        return JsonDisplay()
    return BarDisplay() if Console(stderr=True).is_terminal else LineDisplay()


def wide_console() -> Console:
    """A console on stdout. If stdout is no terminal, tables are not folded at 80 columns."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def print_table(table: Table, console: Console | None = None, lead: Sequence[str] = ()) -> None:
    """Print a table. If it is wider than the terminal, each row becomes a block of lines.

    Nothing is cut. Without a terminal, a row is one line, however long it is. `lead`: the titles of the columns that head a
    block, because together they name its row. Default: the first column.
    """
    console = console or Console()
    natural = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    if not console.is_terminal:
        wide = Console(width=max(console.width, natural), file=console.file)
        with wide.capture() as captured:
            wide.print(table)
        console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    elif natural <= console.width or len(table.columns) < _STACKED:
        console.print(table)
    else:
        for line in _stacked(table, lead):
            console.print(line, soft_wrap=False)


def _stacked(table: Table, lead: Sequence[str]) -> Iterator[Text]:
    """Each row as its heading, and below it a line for each other cell that is not empty."""
    titles = [str(column.header) for column in table.columns]
    heads = set(lead or titles[:1])
    room = max(len(title) for title in titles if title not in heads)
    for row in zip(*(list(column.cells) for column in table.columns), strict=True):
        cells = [(title, _text(cell)) for title, cell in zip(titles, row, strict=True)]
        cells = [(title, text) for title, text in cells if text.plain not in ("", "-")]
        if heading := [text for title, text in cells if title in heads]:
            yield Text("  ", style="bold").join(heading)
        for title, text in cells:
            if title not in heads:
                yield Text(f"  {title:<{room}}  ") + text


def _text(cell: object) -> Text:
    return cell if isinstance(cell, Text) else Text.from_markup(str(cell))
