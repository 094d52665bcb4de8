"""The commands that documents show: each exists as it is written, and those of the user guide are carried out."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from connector.cli.main import connector as root
from connector.cli.secret import VARIABLE
from tests.cli.conftest import Connector
from tests.control.conftest import machine
from tests.smc.conftest import Cloud
from tests.vcenter.imaginary import PASSWORD, world
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
GUIDE = sorted((ROOT / "docs" / "user-guide").glob("*.md"))
#: In backticks, or a line of a block; a comment ends it.
_SHOWN = re.compile(r"`(connector [^`\n]+)`|^ *(connector [a-z][^#\n]*)", re.MULTILINE)
_LEFT_OPEN = re.compile(r"\[[^\]]*\]|\.\.\.|…|[<>]")


def shown(document: Path) -> list[str]:
    text = document.read_text()
    # what stands far behind a command in a block says what it is for
    return [re.split(r" {3,}", (inline or line).strip())[0] for inline, line in _SHOWN.findall(text)]


def _cases() -> Iterator[object]:
    for document in DOCUMENTS:
        if "decisions" in document.parts:
            continue  # they tell of the day on which they were made
        for command in dict.fromkeys(shown(document)):
            yield pytest.param(command, id=f"{document.relative_to(ROOT)}: {command}")


@pytest.mark.parametrize("command", list(_cases()))
def test_a_command_that_a_document_shows_exists_with_its_options(command: str) -> None:
    words = shlex.split(_LEFT_OPEN.sub(" ", command), comments=True)[1:]
    part: click.Command = root
    context = click.Context(root, info_name="connector", **root.context_settings)
    while isinstance(part, click.Group) and words and not words[0].startswith("-"):
        following = part.get_command(context, words[0])
        assert following is not None, f"no command {words[0]}"
        part, context = (
            following,
            click.Context(following, parent=context, info_name=words[0], **following.context_settings),
        )
        words = words[1:]
    if "arguments" in {option.name for option in part.params}:  # a service, which reads its words itself
        service = [sys.executable, "-m", "connector.cli.main", *context.command_path.split()[1:], "--help"]
        said = subprocess.run(service, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
        assert all(word.partition("=")[0] in said for word in words if word.startswith("--"))
        return
    known = {name for option in part.get_params(context) for name in (*option.opts, *option.secondary_opts)}
    given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert given <= known | {"--help", "-h"}


def test_the_commands_of_the_user_guide_are_carried_out(
    cloud: Cloud, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.sources(machine("vm-1", "web-01"), machine("vm-2", "db-01"))
    connector("job", "create", "web-01", "--name", "shop")
    monkeypatch.setenv(VARIABLE, PASSWORD)
    commands = {command.replace("JOB", "shop") for document in GUIDE for command in shown(document)}
    assert len(commands) >= 5
    commands.remove("connector job rollback shop")  # there was no cutover: it is refused, and says so
    assert "rollback works after a cutover" in connector("job", "rollback", "shop", code=11).err
    for command in [
        command for command in commands if "former-disks" in command
    ]:  # it has no target instance
        commands.remove(command)
        refused = connector(*shlex.split(command)[1:], code=3)
        assert "has put no image onto a target instance" in refused.err
    with world(machines=2) as place:
        monkeypatch.setenv("CONNECTOR_VCENTER_URL", place.server.url)
        monkeypatch.setenv("CONNECTOR_VCENTER_THUMBPRINT", place.server.thumbprint)
        for command in sorted(commands):
            ran = connector(*shlex.split(command)[1:])
            assert ran.out, command
            assert not ran.err, command
