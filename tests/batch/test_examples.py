"""What is published about manifests is true: the schema, the page, and every example in `config/`. `UPDATE_DOCS=1` writes."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest

from connector.batch.apply import Apply
from connector.batch.hooks import HookRunner
from connector.batch.parse import check_time, parse
from connector.batch.schema import schema_text
from connector.cli.main import main
from tests.batch.conftest import Estate
from tools.docs.manifest import document

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "config").glob("manifest*.yaml"))


def current(file: Path, text: str) -> None:
    if os.environ.get("UPDATE_DOCS"):
        file.write_text(text)
    assert file.read_text() == text


@pytest.mark.generated
def test_the_schema_is_current() -> None:
    current(ROOT / "config" / "manifest.schema.json", schema_text())


@pytest.mark.generated
def test_the_reference_is_current() -> None:
    current(ROOT / "docs" / "manifest.md", document())


def test_the_command_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "MigrationWave"


def test_there_are_examples() -> None:
    assert [file.name for file in EXAMPLES] == ["manifest-minimal.yaml", "manifest.yaml"]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_each_example_is_loaded_planned_and_applied(estate: Estate, file: Path) -> None:
    estate.has("web-01", "web-02", "web-03-old", "db-01", networks=("VM Network",))
    estate.numbers = itertools.count(203)
    estate.has("report-01", networks=("vlan-9",))
    found = parse(file.read_bytes(), file.name)
    check_time(found, estate.house.clock())
    HookRunner(found, print, {}).check()
    planned = estate.plan(found)
    assert planned.problems == ()
    done = Apply(estate.plane, planned, clock=estate.house.clock, pause=estate.house.later).run()
    assert done.failures == ()
    assert len(done.created) == (2 if "minimal" in file.name else 4)
    assert estate.plan(found).empty
