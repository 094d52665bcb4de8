"""What the option parser refuses, as one of our errors; and which variables give options, in each command's help."""

from __future__ import annotations

import click

from connector.errors import BadInput


def refusal(refused: click.ClickException, command: str = "") -> BadInput:
    """The refusal in one line. `command`: whose help to read; default: the command that refused."""
    context = refused.ctx if isinstance(refused, click.UsageError) else None
    command = command or (context.command_path if context else "connector")
    message, remedy = refused.format_message().rstrip("."), f"see {command} --help"
    parameter = refused.param if isinstance(refused, click.MissingParameter) else None
    if isinstance(parameter, click.Option) and context and (variable := _variable(parameter, context)):
        message = message.replace(f" (env var: '{variable}')", "")
        remedy = f"give it, or set {variable}; {remedy}"
    return BadInput(message, remedy=remedy)


def show_variables(command: click.Command, *, prefixed: bool = False) -> None:
    """Let the help of `command`, and of those below it, name the variable that gives an option. Repeatable.

    `prefixed`: every option has one, made of a prefix and its name.
    """
    for parameter in command.params:
        if isinstance(parameter, click.Option) and (parameter.envvar or prefixed):
            parameter.show_envvar = True
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        show_variables(below, prefixed=prefixed)


def _variable(option: click.Option, context: click.Context) -> str:
    if isinstance(option.envvar, str):
        return option.envvar
    prefix = context.auto_envvar_prefix
    return f"{prefix}_{str(option.name).upper()}" if prefix else ""
