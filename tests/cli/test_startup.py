"""A command imports what it uses: help, version and completion come without the libraries that commands need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache

import click
import pytest

from connector.cli.lazy import LazyGroup
from connector.cli.main import COMMANDS
from connector.cli.main import connector as root

SCRIPT = """
import atexit, json, sys
from connector.cli.main import main
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
sys.exit(main(sys.argv[1:]))
"""
VCENTER = {"pyVmomi", "pyVim"}
SERVER = {"dbos", "sqlalchemy", "alembic", "starlette", "uvicorn"}
CLOUD = {"alibabacloud_ecs20140526", "alibabacloud_tea_openapi", "Tea"}
DATA = {"cryptography", "pydantic", "pydantic_settings", "requests", "stamina", "urllib3"}
#: What the help of a noun, and the completion of words inside of it, does without. The others are what they load.
SPARED = {
    "appliance": VCENTER | SERVER | CLOUD | DATA,
    "application": VCENTER | SERVER | CLOUD | DATA,
    "batch": VCENTER | SERVER | CLOUD | {"requests", "urllib3"},
    "completion": VCENTER | SERVER | CLOUD | DATA | {"rich"},
    "control": VCENTER | SERVER | CLOUD | DATA | {"rich"},
    "group": VCENTER | SERVER | CLOUD | DATA,
    "init": VCENTER | SERVER | CLOUD | {"pydantic", "requests", "urllib3"},
    "job": VCENTER | SERVER | CLOUD | DATA,
    "record": VCENTER | SERVER | CLOUD | DATA | {"rich"},
    "source": VCENTER | SERVER | CLOUD | DATA,
    "token": VCENTER | SERVER | CLOUD | DATA,
    "verify": VCENTER | SERVER | CLOUD | {"requests", "urllib3"},
    "vm": VCENTER | SERVER | CLOUD | DATA,
}


def imported(*words: str, **environment: str) -> tuple[str, set[str]]:
    """What the command printed, and the modules that it had at its end."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, env=given | environment
    )
    return done.stdout, set(json.loads(done.stderr.splitlines()[-1]))


@cache
def bare() -> set[str]:
    """The modules that this python has by itself, with what a virtual environment hooks into it."""
    code = "import sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def ours_and_foreign(modules: set[str]) -> set[str]:
    """Of this program and of libraries, not of python itself."""
    names = {name for name in modules - bare() if name.split(".")[0] not in sys.stdlib_module_names}
    return {name if name.startswith("connector.") else name.split(".")[0] for name in names} - {"connector"}


LIGHT = {"__main__", "click", "connector.cli", "connector.cli.lazy", "connector.cli.main"} | {
    "connector.environment",
    "connector.errors",
    "connector.log_context",
    "connector.log_formats",
    "connector.logs",
    "connector.names",
    "connector.usage",
}


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["--version"]], ids=str)
def test_help_and_version_import_the_door_alone(words: list[str]) -> None:
    said, modules = imported(*words)
    assert "connector" in said
    assert ours_and_foreign(modules) <= LIGHT


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_are_completed_without_importing_one(shell: str) -> None:
    asked = {"COMP_WORDS": "connector j", "COMP_CWORD": "j" if shell == "fish" else "1"}
    said, modules = imported(_CONNECTOR_COMPLETE=f"{shell}_complete", **asked)
    assert "job" in said
    assert "Migration jobs" in said or shell == "bash"
    assert ours_and_foreign(modules) <= LIGHT


def test_words_inside_a_command_import_that_command_alone() -> None:
    said, modules = imported(
        _CONNECTOR_COMPLETE="bash_complete", COMP_WORDS="connector job st", COMP_CWORD="2"
    )
    assert said.split() == ["plain,start", "plain,stop"]
    others = {f"connector.cli.{name}" for name in COMMANDS} - {"connector.cli.job"}
    assert not modules & (others | SPARED["job"])


@pytest.mark.parametrize("noun", sorted(SPARED))
def test_the_help_of_a_noun_comes_without_what_its_commands_load(noun: str) -> None:
    said, modules = imported(noun, "--help")
    assert f"connector {noun}" in said
    assert not {name.split(".")[0] for name in modules} & SPARED[noun]


def test_the_table_says_what_the_commands_say() -> None:
    assert isinstance(root, LazyGroup)
    for name, summary in root.summaries.items():
        command = root.get_command(click.Context(root), name)
        assert command is not None
        for room in range(20, 240):
            assert summary.get_short_help_str(room) == command.get_short_help_str(room), name


def test_commands_are_in_the_order_of_their_names() -> None:
    assert list(COMMANDS) == sorted(COMMANDS)


def test_a_command_that_is_none_is_told() -> None:
    assert isinstance(root, LazyGroup)
    assert root.get_command(click.Context(root), "frob") is None


@pytest.mark.parametrize(
    ("child", "spared"),
    [
        ("control", VCENTER | CLOUD | {"requests", "rich", "vddk"}),
        ("appliance", SERVER | CLOUD | {"requests", "rich"}),
        ("instance", VCENTER | CLOUD | {"dbos", "sqlalchemy", "alembic", "requests", "rich", "vddk"}),
    ],
)
def test_children_of_a_migration_do_without_what_others_use(child: str, spared: set[str]) -> None:
    code = f"import json, sys, connector.{child}.__main__; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in json.loads(done.stdout)} & spared
