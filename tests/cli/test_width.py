"""Tables on narrow terminals and in pipes: nothing is cut, and every value can be found by its title."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from connector.cli.display import print_table

TITLES = ("name", "id", "source", "state", "progress", "image")
ROW = ("web-01", "j-0123456789abcdef0123", "s-0123456789abcdef0123", "Syncing, SOURCE IS DOWN", "71 %", "-")


def _printed(width: int, *, terminal: bool, rows: int = 2) -> list[str]:
    table = Table(*TITLES, box=None)
    for _ in range(rows):
        table.add_row(*map(Text, ROW))
    file = io.StringIO()
    print_table(table, Console(file=file, width=width, force_terminal=terminal, color_system=None))
    return file.getvalue().splitlines()


def test_a_terminal_with_room_shows_a_line_for_each_row() -> None:
    assert len(_printed(160, terminal=True)) == 3


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_stacks_the_columns_and_cuts_nothing(width: int) -> None:
    lines = _printed(width, terminal=True)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for title, value in zip(TITLES[1:], ROW[1:], strict=True):
        assert (f"{title} {value}" in text) == (value != "-"), text
    assert "…" not in text and "..." not in text


def test_a_pipe_gets_one_line_for_each_row_however_long() -> None:
    lines = _printed(30, terminal=False)
    assert len(lines) == 3
    assert all(value in lines[1] for value in ROW)
