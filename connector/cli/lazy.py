"""A group imports a command only when it runs. The group's help and the completion of names come from a table."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from connector.usage import show_variables


class LazyGroup(click.Group):
    """Each command of `below` (name: first sentence of its help) is in the module of its name in `package`.

    The command's docstring has the same sentence; a test compares them.
    """

    def __init__(self, *arguments: Any, package: str, below: Mapping[str, str], **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._package = package
        self.summaries = {name: click.Command(name, help=text) for name, text in below.items()}
        self.commands = dict(self.summaries)  # click uses it for "Did you mean"

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self.summaries:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"{self._package}.{name}"), name)
        show_variables(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        room = formatter.width - 6 - max(map(len, self.summaries))
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, summary.get_short_help_str(room)) for name, summary in self.summaries.items()]
            )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        offered = [
            CompletionItem(name, help=summary.get_short_help_str())
            for name, summary in self.summaries.items()
            if name.startswith(incomplete)
        ]
        return [*offered, *click.Command.shell_complete(self, ctx, incomplete)]
