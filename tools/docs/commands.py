"""The lists of commands in docs/cli.md are made from the commands. Pure.

The page keeps its prose. This module writes what is between `<!-- commands: NOUN -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import click

_PLACE: Final = re.compile(r"(<!-- commands: (\S+) -->\n)(?:.*?)(<!-- end -->)", re.DOTALL)
_CONNECTION: Final = "connection"
_CONTROL: Final = "CONNECTOR_CONTROL_"  # how the variables of these options begin
_KEY: Final = "CONNECTOR_ACCESS_"


def filled(page: str, root: click.Group) -> str:
    """The page with all lists renewed. Raises `KeyError` for a noun that does not exist."""
    return _PLACE.sub(lambda match: match[1] + _section(root, match[2]) + match[3], page)


def nouns(page: str) -> list[str]:
    """The nouns that the page lists."""
    return [name for _, name, _ in _PLACE.findall(page) if name != _CONNECTION]


def _section(root: click.Group, noun: str) -> str:
    context = click.Context(root, info_name="connector")
    if noun == _CONNECTION:
        example = _command(context, "source", "list")
        rows = ((f"`{_flag(o)}`", f"`{o.envvar}`", o.help or "") for o in _connection(example))
        return _table(("flag", "variable", ""), rows)
    command = root.get_command(context, noun)
    if command is None:
        raise KeyError(noun)
    return _table(("command", "what it does", "options"), _rows(command, f"connector {noun}", context))


def _rows(command: click.Command, path: str, parent: click.Context) -> Iterator[tuple[str, str, str]]:
    context = click.Context(command, parent, info_name=path.rpartition(" ")[2])
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from _rows(_child(command, context, name), f"{path} {name}", context)
        return
    words = " ".join(
        [path, *(p.make_metavar(context) for p in command.params if isinstance(p, click.Argument))]
    )
    shared = {option.name for option in _connection(command)}
    own = [
        f"`{_flag(option)}`"
        for option in command.params
        if isinstance(option, click.Option) and option.name not in shared | {"as_json"} and not option.hidden
    ]
    yield f"`{words}`", command.get_short_help_str(200), " ".join(own)


def _command(context: click.Context, *names: str) -> click.Command:
    command = context.command
    for name in names:
        command = _child(command, context, name)
    return command


def _child(command: click.Command, context: click.Context, name: str) -> click.Command:
    child = command.get_command(context, name) if isinstance(command, click.Group) else None
    if child is None:
        raise KeyError(name)
    return child


def _connection(command: click.Command) -> list[click.Option]:
    """The options that every command on the public API has. Such a command signs, so it has those of an access key."""
    options = [option for option in command.params if isinstance(option, click.Option)]
    if not any(str(option.envvar).startswith(_KEY) for option in options):
        return []
    return [option for option in options if str(option.envvar).startswith((_CONTROL, _KEY))]


def _flag(option: click.Option) -> str:
    names = "/".join([option.opts[-1], *option.secondary_opts])
    if option.is_flag:
        return names
    shown = option.metavar or ("|".join(option.type.choices) if isinstance(option.type, click.Choice) else "")
    return f"{names} {shown or option.type.name.upper()}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines) + "\n"
