"""What is wrong with a manifest is said with file, line, column and remedy: each case by the change that makes it."""

from __future__ import annotations

import datetime
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.batch import quantities
from connector.batch.groups import cycle, order
from connector.batch.parse import check_time, parse
from connector.batch.problems import ManifestRefused

GOOD = """apiVersion: connector/v1
kind: MigrationWave
metadata:
  name: w1
timeZone: Europe/Berlin
defaults:
  target: {region: cn-hangzhou, imageName: "{wave}-{machine}"}
  incremental: {every: 6h, keep: 3}
groups:
  - name: db
  - name: web
    after: [db]
machines:
  - name: db-01
    group: db
    disks: {sizes: [{disk: "Hard disk 2", size: 100GiB}]}
  - selector: "name:web-* power:on"
    group: web
hooks:
  - {name: page, phase: before-cutover, command: ["true"]}
cutover:
  window: {start: 2030-12-05T22:00, end: 2030-12-06T04:00}
"""

#: What is changed -> where the message points, what it says, what it advises.
BAD: dict[tuple[str, str], tuple[str, str, str]] = {
    ("groups:", "gruops:"): ("9:1", "unknown key 'gruops'", "did you mean groups?"),
    ("    group: web", "    grup: web"): ("18:5", "unknown key 'grup'", "did you mean group?"),
    ("size: 100", "sise: 100"): ("16:21", "size is missing", "add it"),
    ("after: [db]", "after: [web]"): ("12:12", "web -> web", "dependencies"),
    ("- name: db\n", "- name: db\n    after: [web]\n"): ("11:12", "db -> web -> db", "dependencies"),
    ("after: [db]", "after: [bd]"): ("12:13", "no group is called bd", "did you mean db?"),
    ("group: web", "group: wbe"): ("18:12", "no group is called wbe", "did you mean web?"),
    ("- name: web", "- name: db"): ("11:11", "defined twice", "rename"),
    ("keep: 3", "keep: 30"): ("8:34", "less than or equal to 10", "docs/manifest.md"),
    ("every: 6h", "every: 90m"): ("8:24", "whole hours", "6h"),
    ("every: 6h", "every: 6"): ("8:24", "text is expected", "quotes"),
    ("region: cn-hangzhou, ", ""): ("14:5", "target.region is missing", "defaults"),
    ("{machine}", "{name}"): ("7:44", "nothing is known as {name}", "{machine}"),
    ("power:on", "power:up"): ("17:15", "there is no such power state", "docs/manifest.md"),
    ("power:on", "colour:red"): ("17:15", "colour is no condition", "docs/manifest.md"),
    ("  name: w1\n", ""): ("3:10", "a mapping is expected", "KEY: VALUE"),
    ("Europe/Berlin", "Mars/Base"): ("5:11", "no such time zone", "docs/manifest.md"),
    ("timeZone: Europe/Berlin\n", ""): ("21:19", "no time zone", "2026"),
    ("  - name: db-01\n", "  - name: db-01\n    selector: 'db-*'\n"): (
        "14:5",
        "name and selector are given",
        "or a selector",
    ),
    ("  - name: db-01\n", "  - vcenter: https://v\n"): ("14:5", "no machine is chosen", "or a selector"),
    ('  - selector: "name:web-* power:on"', "  - name: db-01"): ("17:11", "in line 14 already", "keep one"),
    ("end: 2030-12-06", "end: 2030-12-04"): ("22:42", "ends before it starts", "swap"),
    ("start: 2030-12-05T22:00", "start: 2030-13-05T22:00"): ("22:19", "month must be", "e.g."),
    ("start: 2030-12-05T22:00", "start: 2030-03-31T02:30"): ("22:19", "does not exist", "e.g."),
    (', command: ["true"]', ""): ("20:5", "either http or command", "exactly one"),
    ("before-cutover", "before-lunch"): ("20:25", "before-apply", "docs/manifest.md"),
    ("kind: MigrationWave", "kind: Wave"): ("2:7", "MigrationWave", "docs/manifest.md"),
    ("size: 100GiB", "size: 100GB"): ("16:49", "100GiB or 2TiB", "docs/manifest.md"),
    ("machines:", "machines: []\nmachine:"): ("13:11", "at least 1 item", "docs/manifest.md"),
}


def said(text: str) -> str:
    with pytest.raises(ManifestRefused) as found:
        parse(text.encode(), "wave.yaml")
    lines = [problem.line("wave.yaml") for problem in found.value.problems]
    assert all("\n" not in line for line in lines)
    return "\n".join(lines)


def test_the_good_one_is_good() -> None:
    found = parse(GOOD.encode(), "wave.yaml")
    check_time(found, 1_790_000_000.0)
    assert found.choices(0).group == "db"
    assert found.choices(0).target.region == "cn-hangzhou"
    assert found.window("db") == (1922734800.0, 1922756400.0)


@pytest.mark.parametrize("change", BAD, ids=[words for _, words, _ in BAD.values()])
def test_each_mistake_is_one_line_with_its_place_and_remedy(change: tuple[str, str]) -> None:
    place, what, remedy = BAD[change]
    assert change[0] in GOOD
    lines = said(GOOD.replace(*change, 1)).splitlines()
    found = [line for line in lines if line.startswith(f"wave.yaml:{place}: ") and what in line]
    assert found, lines
    assert remedy in found[0].partition("; ")[2]


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    text = (
        GOOD.replace("keep: 3", "keep: 30")
        .replace("group: web", "grup: web")
        .replace("  name: w1", "  nam: w1")
    )
    lines = said(text).splitlines()
    assert [line.split(":")[1] for line in lines] == sorted((line.split(":")[1] for line in lines), key=int)
    assert len(lines) >= 4


def test_a_window_that_is_over_is_refused_with_its_line() -> None:
    found = parse(GOOD.encode(), "wave.yaml")
    with pytest.raises(
        ManifestRefused, match=r"wave.yaml:22:42: cutover.window: the cutover window is over; move"
    ):
        check_time(found, 1_990_000_000.0)


def test_a_window_before_that_of_the_group_it_waits_for_is_refused_with_its_line() -> None:
    window = "window: {start: 2030-12-05T10:00, end: 2030-12-05T22:00}"
    text = GOOD.replace("    after: [db]\n", f"    after: [db]\n    {window}\n")
    words = r"groups\[\d\].after\[0\]: the window of web closes before that of db opens; move"
    with pytest.raises(ManifestRefused, match=words):
        check_time(parse(text.encode(), "wave.yaml"), 1_790_000_000.0)
    later = text.replace("end: 2030-12-05T22:00", "end: 2030-12-05T22:01")
    check_time(parse(later.encode(), "wave.yaml"), 1_790_000_000.0)


def test_a_machine_chooses_over_the_defaults_field_by_field() -> None:
    text = GOOD.replace(
        "  - name: db-01\n", "  - name: db-01\n    incremental: null\n    target: {instanceType: ecs.g6}\n"
    )
    found = parse(text.encode(), "f")
    assert found.choices(0).incremental is None
    assert (found.choices(0).target.instanceType, found.choices(0).target.region) == ("ecs.g6", "cn-hangzhou")
    assert found.choices(1).incremental is not None


NAMES = st.sampled_from("abcdefgh")


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=4), max_size=8))
def test_groups_have_a_cycle_or_an_order(after: dict[str, list[str]]) -> None:
    found = cycle(after)
    if found:
        assert found[0] == found[-1]
        assert all(later in after[earlier] for earlier, later in itertools.pairwise(found))
        with pytest.raises(ValueError, match="cycle"):
            order(after)
        return
    levels = order(after)
    assert sorted(name for level in levels for name in level) == sorted(after)
    place = {name: number for number, level in enumerate(levels) for name in level}
    assert all(place[other] < place[name] for name in after for other in after[name] if other in after)


@given(st.integers(0, 4_000_000_000))
def test_a_moment_is_written_as_it_is_read(instant: int) -> None:
    assert quantities.moment(quantities.written(instant), None) == instant
    assert quantities.read(quantities.written(instant)) == instant


@pytest.mark.parametrize(
    ("text", "value"),
    [("90s", 90), ("15m", 900), ("6h", 21600), ("2d", 172800)],
)
def test_durations(text: str, value: Any) -> None:
    assert quantities.seconds(text) == value
    assert str(datetime.timedelta(seconds=value))
