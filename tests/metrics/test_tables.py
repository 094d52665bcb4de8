"""The tables follow Prometheus' conventions, and what is made from them names nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from connector.metrics.rows import MetricKind, MetricRow
from connector.metrics.tables import APPLIANCE, CONTROL, INSTANCE, SERVICE, TABLES
from tools.docs.metrics import page

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "metrics.md"
RULES: Final = ROOT / "config" / "prometheus" / "alerts.yaml"
RULE_TESTS: Final = Path(__file__).with_name("alerts_test.yaml")
DASHBOARD: Final = ROOT / "config" / "prometheus" / "dashboard.json"
ROWS: Final = (*SERVICE, *CONTROL, *APPLIANCE, *INSTANCE)
BY_NAME: Final = {row.name: row for row in ROWS}
#: Labels that Prometheus gives to everything that it scrapes.
TARGET: Final = frozenset({"job", "instance"})
#: Of Prometheus itself.
OTHERS: Final = {"up"}
#: Words of PromQL that may stand where a metric may.
WORDS: Final = {"by", "on", "and", "or", "ignoring", "group_left", "max", "min", "sum", "count", "bool"}


@pytest.mark.generated
def test_the_page_is_the_tables() -> None:
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page()


def test_a_name_has_one_row() -> None:
    assert len(BY_NAME) == len(ROWS)
    assert set(TABLES) == {"control", "appliance", "instance"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_follows_the_conventions(row: MetricRow) -> None:
    """Base units, a prefix, `_total` for counters alone; no label that Prometheus itself gives."""
    assert re.fullmatch(r"(connector|process)(_[a-z0-9]+)+", row.name)
    assert row.name.endswith("_total") is (row.kind is MetricKind.COUNTER)
    assert not re.search(r"_(ms|milli|micro|minutes|hours|days|kb|mb|kib|mib|bits|percent)(_|$)", row.name)
    assert bool(row.buckets) is (row.kind is MetricKind.HISTOGRAM)
    assert list(row.buckets) == sorted(set(row.buckets))
    assert all(re.fullmatch(r"[a-z_]+", label) for label in row.labels)
    assert TARGET.isdisjoint(row.labels) and "le" not in row.labels
    assert row.help and row.where and "\n" not in row.text and not row.help.endswith(".")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_label_is_a_closed_set_or_says_its_bound(row: MetricRow) -> None:
    assert bool(row.bound) is bool({"job_id", "appliance"} & set(row.labels))


@pytest.mark.parametrize("row", CONTROL, ids=lambda row: row.name)
def test_the_help_says_when_each_control_plane_answers_the_same(row: MetricRow) -> None:
    of_process = {
        *("database_up", "database_query_seconds", "runner_active"),
        *("backup_last_success_timestamp_seconds", "backup_size_bytes"),
    }
    assert ("the same in each control plane" in row.text) is (
        row.name.removeprefix("connector_control_") not in of_process
    )


def names(expression: str) -> Iterator[tuple[str, set[str]]]:
    """The metrics of an expression, and the labels that it selects them by."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    bare = re.sub(r"\b(by|on|ignoring|group_left)\s*\([^)]*\)", " ", bare)
    for name, selector in re.findall(r"\b([a-z_][a-z0-9_]*)\b(?!\s*\()\s*(\{[^}]*\})?", _no_labels(bare)):
        if name not in WORDS:
            yield name, set(re.findall(r"([a-z_]+)\s*(?:=~|!=|!~|=)", selector))


def _no_labels(text: str) -> str:
    """Without durations; selectors stay."""
    return re.sub(r"\[[^\]]*\]", "", re.sub(r"\b\d[\w.]*", "", text))


def grouped(expression: str) -> set[str]:
    """The labels that an expression groups or matches by."""
    lists = re.findall(r"\b(?:by|on|ignoring|group_left)\s*\(([^)]*)\)", expression)
    return {label.strip() for found in lists for label in found.split(",")}


def row_of(name: str) -> MetricRow | None:
    return BY_NAME.get(name) or BY_NAME.get(re.sub(r"_(bucket|sum|count)$", "", name))


def check(expression: str) -> None:
    found = [(name, labels) for name, labels in names(expression) if name not in OTHERS]
    allowed = TARGET | {"le"}
    for name, labels in found:
        row = row_of(name)
        assert row is not None, f"{name} in {expression}"
        assert labels <= allowed | set(row.labels), f"{labels} of {name}"
        allowed = allowed | set(row.labels)
    assert grouped(expression) <= allowed, expression


def _rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def _expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: rule["alert"])
def test_a_rule_names_metrics_and_labels_of_the_tables(rule: dict[str, Any]) -> None:
    check(rule["expr"])
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"]["summary"] and rule["annotations"]["description"]
    used = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    known = {label for name, _ in names(rule["expr"]) if (row := row_of(name)) for label in row.labels}
    assert used <= known | TARGET


def test_every_rule_has_a_unit_test_that_is_quiet_first_and_fires_then() -> None:
    tested = yaml.safe_load(RULE_TESTS.read_text())["tests"]
    assert [test["name"] for test in tested] == [rule["alert"] for rule in _rules()]
    for test in tested:
        quiet, fires = test["alert_rule_test"]
        assert quiet["exp_alerts"] == [] and len(fires["exp_alerts"]) == 1
        for series in test["input_series"]:
            check(series["series"])


def test_promtool_finds_the_rules_right() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool; tests/metrics/promtool/tools.go says how it is built (minutes)")
    for words in (["check", "rules", str(RULES)], ["test", "rules", str(RULE_TESTS)]):
        done = subprocess.run([promtool, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_reads_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    """As recording rules: it has no other way to check expressions."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool; tests/metrics/promtool/tools.go says how it is built (minutes)")
    rules = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(_expressions())]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("expression", _expressions())
def test_the_dashboard_names_metrics_and_labels_of_the_tables(expression: str) -> None:
    check(expression)


def test_the_dashboard_shows_every_metric_of_work() -> None:
    """Whoever adds a metric decides where it is shown, or says here that a table or an alert is enough."""
    shown = {row.name for text in _expressions() for name, _ in names(text) if (row := row_of(name))}
    elsewhere = {
        "process_virtual_memory_bytes",
        "process_max_fds",
        "process_start_time_seconds",
        "connector_build_info",
        "connector_ready",
        "connector_healthy",
        "connector_metric_series_left_out",
        "connector_control_database_query_seconds",
        "connector_control_backup_last_success_timestamp_seconds",
        "connector_control_backup_size_bytes",
        "connector_control_epoch",
        "connector_control_next_expiry_timestamp_seconds",
        "connector_control_pass_seconds",
        "connector_control_open_snapshots",
        "connector_control_oldest_snapshot_seconds",
        "connector_control_appliances",
        "connector_control_oldest_pending_notification_seconds",
        "connector_appliance_passes_ended_total",
        "connector_appliance_pass_rate_bytes_per_second",
        "connector_appliance_pass_bottleneck",
        "connector_appliance_open_snapshot_seconds",
        "connector_appliance_peer_up",
        "connector_instance_unusable_disks",
        "connector_instance_capacity_bytes",
        "connector_instance_connection_limit",
    }
    assert BY_NAME.keys() - shown == elsewhere


def test_panels_do_not_cover_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells
