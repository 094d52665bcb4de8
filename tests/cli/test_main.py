"""The outermost door: one line on stderr, the documented exit code, whatever comes in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.appliance.configuration import VCenterSection
from connector.cli.main import connector, main
from connector.cli.migration import free_name, plain_name
from connector.cli.secret import VARIABLE, vcenter_password
from connector.errors import BadInput
from connector.instance.images import NAME
from connector.specification import kinds

WRONG = (
    ["frob"],
    ["vm"],
    ["vm", "check"],
    ["migrate"],
    ["migrate", "web-01"],
    ["migrate", "web-01", "--frob"],
    ["demo", "--disk", "/nowhere/at/all.qcow2"],
    ["demo", "--vms", "0"],
    ["demo", "--format", "vdi"],
)


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_words_that_make_no_command(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("CONNECTOR_")]:
        monkeypatch.delenv(name)
    assert main([*words, "--json"] if words[-1] != "vm" else words) == 2
    said = capsys.readouterr()
    assert said.err.startswith("connector: ")
    assert len(said.err.splitlines()) == 1
    assert said.out == "" or json.loads(said.out)["error"] == "BadInput"


def test_an_option_that_is_missing_names_the_variable_that_gives_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONNECTOR_VCENTER_URL", raising=False)
    assert main(["vm", "list"]) == 2
    assert (
        "--vcenter'; give it, or set CONNECTOR_VCENTER_URL; see connector vm list" in capsys.readouterr().err
    )


def _commands(command: click.Command, path: str, parent: click.Context | None) -> Iterator[click.Context]:
    context = click.Context(command, parent, info_name=path)
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if below := command.get_command(context, name):
                yield from _commands(below, name, context)


def test_help_names_the_variable_of_every_option_that_one_can_give() -> None:
    named = 0
    for context in _commands(connector, "connector", None):
        text = " ".join(context.command.get_help(context).split())
        for option in context.command.params:
            if option.envvar:
                named += 1
                assert f"[env var: {option.envvar}" in text, (context.command_path, option.name)
    assert named > 50


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["-h"], ["vm", "--help"], ["migrate", "-h"], ["--version"]]
)
def test_help_is_no_failure(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out
    assert said.err == ""


def test_the_end_of_the_line_is_not_part_of_a_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    for text, password in (("a b\n", "a b"), ("a\n\n", "a"), ("a\r\n", "a"), (" a ", " a ")):
        file.write_bytes(text.encode())
        file.chmod(0o600)
        assert vcenter_password(file, "me") == password


def test_the_environment_is_the_second_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, "from the environment")
    assert vcenter_password(None, "me") == "from the environment"
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr("sys.stdin", (tmp_path / "empty").open("w+"))
    with pytest.raises(BadInput, match="no password"):
        vcenter_password(None, "me")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o444])
def test_a_password_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2")
    file.chmod(mode)
    with pytest.raises(BadInput, match="others can read") as refused:
        vcenter_password(file, "me")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("web-01", "web-01"),
        ("01 web", "vm-01-web"),
        ("Büro/1", "B-ro-1"),
        ("..", "vm-"),
        ("x", "x-"),
        ("db.example", "db-example"),
    ],
)
def test_names_of_machines_become_names_of_images(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_no_name_is_too_long_or_empty() -> None:
    for name in ("", "-", "x" * 300, "/" * 5, "\n"):
        assert 2 <= len(plain_name(name)) <= 60


@given(st.text(max_size=200), st.integers(1, 99), st.integers(1, 9999))
def test_every_name_of_a_machine_makes_a_name_that_an_instance_accepts(name: str, job: int, run: int) -> None:
    whole = f"{free_name(plain_name(name), {plain_name(name)}, set())}_CYCLE_{run}_j-{'0' * 20}_{run}"
    assert NAME.fullmatch(whole)
    job_name = free_name(plain_name(name), {plain_name(name)}, set())
    assert kinds.NAME.read("Name", job_name) == job_name


def test_a_free_name_is_of_no_job_and_of_no_image() -> None:
    assert free_name("web", set(), set()) == "web"
    assert free_name("web", {"web"}, {"web-2"}) == "web-3"
    assert free_name("web", set(), {"web_CYCLE_4"}) == "web-2"
    assert free_name("web", {"web-01"}, {"web-01", "web-01_CYCLE_1", "webx_CYCLE_1"}) == "web"


def test_a_reader_that_went_away_does_not_change_the_exit_code() -> None:
    """Python itself would end with 120 when it cannot flush at its end."""
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "connector.cli.main", "--help"]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.returncode in (0, 1)


def test_systemd_and_a_keyring_come_before_the_prompt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keyring = pytest.importorskip("keyring", reason="needs the extra keyring")
    monkeypatch.delenv(VARIABLE, raising=False)
    before = keyring.get_keyring()

    class Ring(keyring.backend.KeyringBackend):  # type: ignore[name-defined,misc]
        priority = 1

        def get_password(self, service: str, user: str) -> str | None:
            return {("connector vc.example.com", "me"): "from the ring"}.get((service, user))

        def set_password(self, service: str, user: str, password: str) -> None:
            raise NotImplementedError

    keyring.set_keyring(Ring())
    try:
        assert vcenter_password(None, "me", "https://vc.example.com/sdk") == "from the ring"
        (tmp_path / "vcenter-password").write_text("from systemd\n")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        assert vcenter_password(None, "me", "https://vc.example.com") == "from systemd"
        section = VCenterSection(url="https://vc.example.com", thumbprint="aa" * 20)
        assert section.settings().password.get_secret_value() == "from systemd"
    finally:
        keyring.set_keyring(before)


#: Commands whose output is made for programs already, and why.
SPEAKS_OTHERWISE = {
    "batch schema": "it prints a JSON document",
    "completion": "it prints a program for a shell",
    "control run": "it hands over to the service, which says in JSON that it is ready",
    "appliance first-boot": "it talks with a person on a console",
    "appliance run": "it hands over to the service, which says in JSON that it is ready",
    "control environment": "it prints a program for a shell",
    "machine run": "it hands the terminal over to the machine",
}


def commands(found: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(found)
    if not isinstance(found, click.Group):
        yield " ".join(words), found
        return
    for name in found.list_commands(context):
        below = found.get_command(context, name)
        assert below is not None
        yield from commands(below, (*words, name))


COMMANDS_BELOW = dict(commands(connector))


@pytest.mark.parametrize("words", COMMANDS_BELOW)
def test_every_command_shows_an_example_and_speaks_json(words: str) -> None:
    command = COMMANDS_BELOW[words]
    assert f"connector {words}" in (command.help or "").partition("\b\n")[2], "no example in its --help"
    options = {option for one in command.params for option in one.opts}
    assert ("--json" in options) != (words in SPEAKS_OTHERWISE)
