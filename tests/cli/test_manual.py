"""The page about the command line lists the commands that there are; `UPDATE_DOCS=1` writes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from connector.cli.main import COMMANDS
from connector.cli.main import connector as root
from connector.cli.manual import filled, nouns

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_current() -> None:
    page = PAGE.read_text()
    text = filled(page, root)  # type: ignore[arg-type]
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text


def test_every_command_is_on_the_page() -> None:
    assert sorted(nouns(PAGE.read_text())) == sorted(COMMANDS)


def test_a_noun_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(KeyError):
        filled("<!-- commands: frob -->\n<!-- end -->", root)  # type: ignore[arg-type]
