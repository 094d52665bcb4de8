"""`connector completion` prints what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from connector.errors import BadInput

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    \b
    connector completion bash > ~/.local/share/bash-completion/completions/connector
    connector completion zsh > ~/.zfunc/_connector
    connector completion fish > ~/.config/fish/completions/connector.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise BadInput(f"there is no completion for {shell}")
    root = context.find_root().command
    click.echo(kind(root, {}, "connector", "_CONNECTOR_COMPLETE").source())
