"""A question is answered with yes or no; whatever else is typed is refused like every other error."""

from __future__ import annotations

import click
from click.testing import CliRunner

from connector.cli.asking import agreed


@click.command()
def _asks() -> None:
    click.echo(f"answer {agreed('Shall it go on?')}")


def test_what_is_neither_yes_nor_no_is_refused_in_a_line_of_ours_and_asked_again() -> None:
    shown = CliRunner().invoke(_asks, input="maybe\ny\n").output
    assert shown.count("Shall it go on? [y/N]") == 2
    assert "connector: this is neither yes nor no; type y or n" in shown
    assert "Error: " not in shown
    assert shown.endswith("answer True\n")


def test_enter_alone_means_no() -> None:
    assert CliRunner().invoke(_asks, input="\n").output.endswith("answer False\n")
