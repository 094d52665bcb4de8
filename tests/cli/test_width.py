"""Tables on narrow terminals and in pipes: nothing is cut, and every value can be found by its title."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from connector.appliance.cleanup.repair import LeftoverFinding
from connector.cli import doctor_view, job_view
from connector.cli.display import BarDisplay, bar_line, print_table

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


def test_a_block_is_headed_by_what_names_its_row() -> None:
    table = Table("check", "", "on", "finding", box=None)
    table.add_row("A1", Text("blocks"), "esx-01", "the name does not resolve on this appliance, nor anywhere")
    file = io.StringIO()
    console = Console(file=file, width=70, force_terminal=True, color_system=None)
    print_table(table, console, lead=("check", "", "finding"))
    assert file.getvalue().splitlines() == [
        "A1  blocks  the name does not resolve on this appliance, nor anywhere",
        "  on  esx-01",
    ]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """Standard output is a terminal of 80 columns; the answer is what it shows, without colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    return lambda: re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()


def test_each_check_that_passed_is_headed_by_its_sentence(narrow: Callable[[], list[str]]) -> None:
    passed = [("A5", "vCenter accepts the login, and answers", "https://vcenter.example.com and another one")]
    assert not doctor_view.verdicts([], passed, as_json=False)
    assert narrow()[0] == "A5  ok  vCenter accepts the login, and answers"


def test_leftovers_end_with_a_sentence_also_if_there_are_none(narrow: Callable[[], list[str]]) -> None:
    doctor_view.left([], as_json=False, repair=False)
    assert narrow() == ["nothing of ours was left in vCenter"]
    found = LeftoverFinding("L1", "web-01", "a snapshot of a pass that ended", "it is removed")
    doctor_view.left([doctor_view.LeftoverRow(found, "mended", False)], as_json=False, repair=True)
    assert narrow()[-1] == "1 leftover, nothing must be done"


def test_each_pass_of_a_job_is_headed_by_its_attempt_and_its_disk(narrow: Callable[[], list[str]]) -> None:
    passes = [
        {
            "RunNumber": 2,
            "Attempt": attempt,
            "StartTime": "2026-11-29T17:00:00Z",
            "Label": "Hard disk 1",
            "Kind": "full",
        }
        | {"ErrorMessage": "x" * 60, "ApplianceName": "lab"}
        for attempt in (1, 2)
    ]
    row = {"Details": {}, "Passes": {"Pass": passes}, "Resources": {"Resource": []}}
    row |= {"Drills": {"Drill": []}}
    job_view.print_job(row)
    headings = [line for line in narrow() if line.startswith("run ")]
    assert headings == ["run 2, attempt 1  Hard disk 1", "run 2, attempt 2  Hard disk 1"]


def test_a_pipe_gets_one_line_for_each_row_however_long() -> None:
    lines = _printed(30, terminal=False)
    assert len(lines) == 3
    assert all(value in lines[1] for value in ROW)
    assert [line for line in lines if line != line.rstrip()] == []


DISK = {
    "key": 2000,
    "label": "Hard disk 1",
    "wanted": 100 << 30,
    "done": 33 << 30,
    "rate": 123456789.0,
    "bottleneck": "limit",
}
LONG = "a-very-long-machine-name-of-somebody-in-production-0001 Hard disk 12"


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("name", ["web-01 Hard disk 1", LONG, "ウェブサーバー東京本社第一 Hard disk 1"])
def test_a_bar_fits_one_line_of_any_terminal(width: int, name: str) -> None:
    line = bar_line(name, DISK, width)
    assert line.cell_len <= width
    assert "\n" not in line.plain
    if width >= 40:
        assert "33 %" in line.plain and "0:09:43 left" in line.plain
        assert line.plain.split("  ")[0].rstrip()[-1] == name[-1], "the disk's number is told"


def test_a_bar_at_80_columns_has_a_rate_and_a_wide_one_says_what_limits_it() -> None:
    assert "118 MiB/s" in bar_line("web-01 Hard disk 1", DISK, 80).plain
    wide = bar_line("web-01 Hard disk 1", DISK, 160).plain
    assert "limited by the bandwidth limit" in wide
    assert "33 GiB of 100 GiB" in wide


@pytest.mark.parametrize(
    ("wanted", "done", "state", "percent", "left"),
    [
        (0, 0, "waiting", "0 %", "--:--"),
        (0, 0, "proved", "100 %", "done"),
        (9 << 20, 9 << 20, "delta", "100 %", "done"),
    ],
    ids=["not begun", "nothing had changed", "all is there"],
)
def test_a_disk_that_has_nothing_to_do_yet_is_not_done(
    wanted: int, done: int, state: str, percent: str, left: str
) -> None:
    disk = DISK | {"wanted": wanted, "done": done, "rate": 0.0, "state": state}
    line = bar_line("web-01 Hard disk 1", disk, 80).plain
    assert f" {percent} " in line and line.endswith(left)
    assert "bytes/s" not in line


def test_the_list_of_a_job_s_disks_says_the_same() -> None:
    left = dict(job_view.DISKS)["left"]
    assert left({"RemainingSeconds": 0, "WantedBytes": 0, "State": "waiting"}) == "-"
    assert left({"RemainingSeconds": 0, "WantedBytes": 0, "State": "proved"}) == "done"
    assert left({"RemainingSeconds": 0, "WantedBytes": 1, "State": "delta"}) == "done"
    assert left({"RemainingSeconds": 61, "WantedBytes": 1, "State": "delta"}) == "0:01:01"


def test_bars_stand_below_each_other_a_line_for_each_disk() -> None:
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system=None, legacy_windows=False)
    with BarDisplay(console) as display:
        display.disk(LONG, DISK)
        display.disk("db", DISK | {"key": 2001, "label": "Hard disk 2"})
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue().replace("\r", "\n"))
    drawn = [line.rstrip() for line in plain.splitlines() if " % " in line][-2:]
    assert max(map(len, drawn)) <= 80
    assert len({line.index(" % ") for line in drawn}) == 1
