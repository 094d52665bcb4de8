"""Options that several commands share."""

from __future__ import annotations

import click
import pytest

from connector.cli.options import share

CONTEXT = click.Context(click.Command("x"))
OPTION = click.Option(["--audit"])


@pytest.mark.parametrize(("word", "value"), [("0.1%", 0.001), ("100%", 1.0), ("0", 0.0), ("0.25", 0.25)])
def test_a_share_is_a_percentage_or_a_part_of_one(word: str, value: float) -> None:
    assert share(CONTEXT, OPTION, word) == pytest.approx(value)


@pytest.mark.parametrize("word", ["", "%", "101%", "-1", "2", "all", "nan"])
def test_anything_else_is_refused(word: str) -> None:
    with pytest.raises(click.BadParameter, match="is no share"):
        share(CONTEXT, OPTION, word)


def test_not_given_is_the_default() -> None:
    assert share(CONTEXT, OPTION, None) is None
