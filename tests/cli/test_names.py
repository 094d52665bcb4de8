"""Names that look alike are told apart wherever they are shown."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from connector.cli.main import main
from connector.cli.secret import VARIABLE
from connector.cli.tables import plain
from connector.errors import NotFound, one_line
from tests.vcenter.imaginary import PASSWORD, World, change_vm, world

SHOWN = {
    "web\xa001": "web<U+00A0>01",
    "web\u200b01": "web<U+200B>01",
    "web\u202e10": "web<U+202E>10",
    "wa\u0308b": "wa<U+0308>b",
    "wäb": "wäb",
    "web 01": "web 01",
    "हिन्दी": "हिन्दी",
    "a\x1b[2Jb\nc": "a [2Jb c",
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_cannot_be_seen_in_a_name_is_written_out(name: str) -> None:
    assert plain(name) == one_line(name) == SHOWN[name]
    assert SHOWN[name] in str(NotFound("no such machine", on=name))


@pytest.fixture(scope="module")
def place() -> Iterator[World]:
    with world(machines=2) as made:
        change_vm(made.estate, "vm-101", name="web/01")
        yield made


@pytest.mark.parametrize("written", ["web/01", "web%2f01", "web%2F01", "web/*", "/DC0/vm/web%2f01"])
def test_a_name_with_a_slash_is_the_same_machine_however_it_is_written(
    place: World, written: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONNECTOR_VCENTER_URL", place.server.url)
    monkeypatch.setenv("CONNECTOR_VCENTER_THUMBPRINT", place.server.thumbprint)
    monkeypatch.setenv(VARIABLE, PASSWORD)
    assert main(["vm", "list", written, "--json"]) == 0
    [listed] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert listed["name"] == "web/01"
    assert main(["vm", "check", written, "--json"]) in (0, 5)
    assert {json.loads(line)["machine"] for line in capsys.readouterr().out.splitlines()} == {"web/01"}
