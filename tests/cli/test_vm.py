"""`connector vm` as a person types it, against the simulator."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector.cli import estate_report
from connector.cli.main import main
from connector.cli.secret import VARIABLE
from connector.cli.vm import COLUMNS, TARGETS
from connector.cloud import factory
from tests.control.conftest import machine
from tests.vcenter.imaginary import PASSWORD, World, change_vm, world


@pytest.fixture(scope="module")
def place() -> Iterator[World]:
    with world(machines=3) as made:
        change_vm(made.estate, "vm-101", name="web-01")
        change_vm(made.estate, "vm-102", name="[/]<script>alert(1)</script>")
        change_vm(made.estate, "vm-103", name="=cmd()", question=None, template=True)
        yield made


@pytest.fixture
def access(place: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_VCENTER_URL", place.server.url)
    monkeypatch.setenv("CONNECTOR_VCENTER_THUMBPRINT", place.server.thumbprint)
    monkeypatch.setenv(VARIABLE, PASSWORD)


@pytest.mark.usefixtures("access")
class TestAccess:
    def test_a_selection_with_columns_as_csv(self, capsys: pytest.CaptureFixture[str]) -> None:
        columns = "name,moref,power,host,cluster,datastores,capacity"
        assert main(["vm", "list", "power:on", "folder:vm", "--columns", columns, "--csv"]) == 0
        head, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
        assert head == columns.split(",")
        assert [row[1] for row in rows] == ["vm-103", "vm-102", "vm-101"]
        assert rows[0][0] == "'=cmd()", "a name must not become a formula"
        assert rows[2] == [
            "web-01",
            "vm-101",
            "poweredOn",
            rows[2][3],
            "Cluster-1",
            "datastore-1",
            str(12 << 20),
        ]
        assert rows[2][3].startswith("esx-")

    def test_the_usual_csv_names_its_vcenter(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["vm", "list", "--csv"]) == 0
        head, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
        assert head[-1] == "vcenter"
        assert len({row[-1] for row in rows}) == 1 and re.fullmatch(
            r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", rows[0][-1]
        )

    def test_every_column_can_be_shown(self, capsys: pytest.CaptureFixture[str]) -> None:
        for column in COLUMNS:
            assert main(["vm", "list", "--columns", column.upper()]) == 0
            assert column in capsys.readouterr().out.splitlines()[0]

    def test_names_are_one_line_and_command_no_terminal(
        self, place: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """XML carries no escape character, but the C1 controls and line ends that terminals obey as well."""
        before = place.estate.inventory.vm("vm-101").name
        change_vm(place.estate, "vm-101", name="web\x9b31m\nvm-999 forged")
        try:
            for words, code in ((["vm", "list"], 0), (["vm", "check"], 5)):  # vm-103 is a template
                assert main(words) == code
                told = capsys.readouterr().out
                assert "\x9b" not in told
                assert not any(line.startswith("vm-999") for line in told.splitlines())
        finally:
            change_vm(place.estate, "vm-101", name=before)

    def test_names_are_no_markup(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["vm", "list"]) == 0
        assert "[/]<script>" in capsys.readouterr().out

    def test_json_has_one_machine_a_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["vm", "list", "web-*", "--json"]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        machine = json.loads(line)
        assert machine["moref"] == "vm-101" and machine["traits"]["cluster"] == "Cluster-1"

    def test_the_report_is_one_file_and_escapes_what_vcenter_says(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        report = tmp_path / "report.html"
        assert main(["vm", "check", "--html", str(report)]) == 5
        text = report.read_text()
        assert "<script" not in text and "&lt;script&gt;alert(1)" in text
        assert "src=" not in text and "href=" not in text and "http" not in text.replace("https://127", "")
        for part in (
            "it is a template",
            "convert it to a virtual machine",
            "config.template",
            "3 machines",
        ):
            assert part in text
        assert "it is a template" in capsys.readouterr().out

    def test_the_report_counts_what_it_shows(self, tmp_path: Path) -> None:
        report = tmp_path / "report.html"
        main(["vm", "check", "vm-101", "--html", str(report)])
        text = report.read_text()
        shown = Counter(re.findall(r'<tr><td class="([\w-]+)">[a-z ]+</td><td>', text))
        counted = dict(re.findall(r'<td class="([\w-]+)">(\d+)</td>', text))
        assert "1 machine," in text and shown
        assert {severity: int(number) for severity, number in counted.items() if number != "0"} == shown

    def test_the_report_shows_what_a_name_hides(self) -> None:
        text = estate_report.page([machine("vm-1", "web\u202e10\u00a0")], {}, "vc", datetime.now(UTC))
        assert "web&lt;U+202E&gt;10&lt;U+00A0&gt;" in text
        assert not {"\u202e", "\u00a0"} & set(text)

    def test_json_findings_tell_property_and_remedy(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["vm", "check", "vm-101", "--json"]) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        tracking = next(one for one in found if one["check"] == "V9")
        assert (tracking["reads"], tracking["fixable"]) == ("config.changeTrackingEnabled", True)
        assert {one["moref"] for one in found} == {"vm-101"}

    def test_the_limits_are_those_of_the_target(
        self, place: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert TARGETS == factory.NAMES
        change_vm(place.estate, "vm-101", secure_boot=True)
        try:
            for words, warned in (
                ([], True),
                (["--target", "alibaba"], True),
                (["--target", "local"], False),
            ):
                assert main(["vm", "check", "vm-101", "--json", *words]) == 0
                found = [json.loads(line)["check"] for line in capsys.readouterr().out.splitlines()]
                assert ("V18" in found) is warned
        finally:
            change_vm(place.estate, "vm-101", secure_boot=False)

    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            (["vm", "list", "color:red"], 2, "color is no condition"),
            (["vm", "list", "--columns", "name,frob"], 2, "there is no column frob; choose from name"),
            (["vm", "list", "--columns", ","], 2, "no column is named"),
            (["vm", "check", "nobody"], 3, "no machine has that name"),
            (["vm", "check", "power:suspended"], 3, "no machine matches"),
            (["vm", "check", "--html", "/nowhere/at/all.html"], 2, "the report cannot be written"),
        ],
    )
    def test_bad_input_is_one_line(
        self, words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(words) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


@pytest.mark.parametrize("command", ["list", "check"])
def test_help_tells_the_language(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vm", command, "--help"]) == 0
    assert "  power:     on, off or suspended" in capsys.readouterr().out
