"""A question that is answered with yes or no, on a terminal."""

from __future__ import annotations

import click

_ANSWERS = {"y": True, "yes": True, "n": False, "no": False, "": False}


def agreed(question: str) -> bool:
    """The answer; Enter alone means no. Any other answer is refused in one line, and asked again."""
    while True:
        typed = str(click.prompt(f"{question} [y/N]", default="", show_default=False, err=True))
        answer = _ANSWERS.get(typed.strip().lower())
        if answer is not None:
            return answer
        click.echo("connector: this is neither yes nor no; type y or n", err=True)
