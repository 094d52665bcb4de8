"""How often an appliance is heard of is one fact: what says it elsewhere says the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.clients.heartbeat import HEARTBEAT, SILENCE
from connector.control import configuration

ROOT = Path(__file__).parents[2]


@pytest.mark.generated
def test_the_documents_say_how_often_and_how_long() -> None:
    told = (ROOT / "docs" / "control.md").read_text()
    assert f"| an appliance is heard of | every {HEARTBEAT:g} s " in told
    assert f"| an appliance is lost | after {SILENCE:g} s of silence " in told


def test_the_example_of_a_configuration_shows_the_default() -> None:
    file = ROOT / "config" / "control-plane.yaml"
    assert f"every {HEARTBEAT:g} seconds" in file.read_text()
    assert configuration.load(file).options()["grace"] == SILENCE
