"""The page about the command line lists the commands that there are; `UPDATE_DOCS=1` writes it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from connector.cli.main import COMMANDS
from connector.cli.main import connector as root
from tools.docs.commands import filled, nouns

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.mark.generated
def test_the_page_is_current() -> None:
    page = PAGE.read_text()
    text = filled(page, root)  # type: ignore[arg-type]
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text


def test_every_command_is_on_the_page() -> None:
    assert sorted(nouns(PAGE.read_text())) == sorted(COMMANDS)


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands(child, f"{path} {name}".strip())
    else:
        yield path, command


def test_every_option_is_on_the_page() -> None:
    """Beside its command, or with its variable among the options that all commands on the public API have."""
    lines = filled(PAGE.read_text(), root).splitlines()  # type: ignore[arg-type]
    context = click.Context(root)
    missing = []
    for noun in COMMANDS:
        for path, command in commands(root.get_command(context, noun), noun):  # type: ignore[arg-type]
            (row,) = (line for line in lines if re.match(rf"\| `connector {path}[` ]", line))
            for option in command.params:
                if not isinstance(option, click.Option) or option.hidden or option.name == "as_json":
                    continue
                shared = [line for line in lines if line.startswith(f"| `{option.opts[-1]} ")]
                own = re.search(rf"`{option.opts[-1]}[ `/]", row)
                if not own and not any(f"`{option.envvar}`" in line for line in shared):
                    missing.append(f"{path} {option.opts[-1]}")
    assert missing == []


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
