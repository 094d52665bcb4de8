"""The page about the command line lists the commands that there are; `UPDATE_DOCS=1` writes it."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from connector.cli.main import COMMANDS
from connector.cli.main import connector as root
from tools.docs.commands import filled, nouns

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


def test_a_workgroup_is_no_wave_and_a_wave_no_workgroup() -> None:
    """One word per thing: neither command's help speaks of the other's."""
    context = click.Context(root)
    for noun, other in (("group", "wave"), ("source", "wave"), ("job", "wave"), ("batch", "workgroup")):
        command = root.get_command(context, noun)
        assert isinstance(command, click.Group)
        parts = [command, *command.commands.values()]
        texts = [f"{part.help} {[vars(option).get('help') for option in part.params]}" for part in parts]
        assert len(texts) > 5
        assert [text for text in texts if other in text.lower()] == [], noun
